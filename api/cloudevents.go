package api

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/weirhq/weir/metering"
)

// The media types of CloudEvents 1.0 in JSON (CloudEvents JSON Event Format, 3 and 4).
const (
	mediaEvent = "application/cloudevents+json"
	mediaBatch = "application/cloudevents-batch+json"
)

const (
	// maxEvents bounds a batch: no event that can be counted is shorter than 100 bytes.
	maxEvents = maxBody / 100
	// maxDigits is how long a quantity may be, as one that a request's header names.
	maxDigits = 15
)

// cloudEvent is a usage event as it comes in. Attributes that say nothing of usage are not read.
type cloudEvent struct {
	SpecVersion string      `json:"specversion"`
	ID          string      `json:"id"`
	Source      string      `json:"source"`
	Type        string      `json:"type"`
	Subject     string      `json:"subject"`
	Time        time.Time   `json:"time"`
	Data        usageData   `json:"data"`
	Base64      *base64JSON `json:"data_base64"`
	wrong       string      // what is wrong with it, a sentence
}

// usageData is what a usage event is about.
type usageData struct {
	Feature  string          `json:"feature"`
	Quantity json.RawMessage `json:"quantity"`
}

// base64JSON is data that a sender wrote as bytes: the same JSON (CloudEvents JSON Event Format, 3.1.1).
type base64JSON struct{ usageData }

// UnmarshalJSON reads it.
func (b *base64JSON) UnmarshalJSON(text []byte) error {
	decoded, err := base64.StdEncoding.DecodeString(strings.Trim(string(text), `"`))
	if err != nil || !json.Valid(decoded) {
		return errors.New("data_base64 is not JSON in base64")
	}
	return json.Unmarshal(decoded, &b.usageData)
}

// readBody reads the body of a request with usage events; not ok: the answer is given.
func readBody(w http.ResponseWriter, r *http.Request) (body []byte, batch, ok bool) {
	if batch, ok = isBatch(r); !ok {
		fail(w, http.StatusUnsupportedMediaType, reasonMediaType, "The body is one CloudEvent in JSON ("+mediaEvent+") or a batch of them ("+mediaBatch+").")
		return nil, false, false
	}
	body, err := io.ReadAll(r.Body)
	if large := new(http.MaxBytesError); errors.As(err, &large) {
		tooLarge(w)
		return nil, false, false
	}
	if err != nil {
		unreadable(w, err)
		return nil, false, false
	}
	return body, batch, true
}

// readEvents reads the events of a body; not ok: the answer is given.
func readEvents(w http.ResponseWriter, body []byte, batch bool) (events []cloudEvent, ok bool) {
	events, err := parseEvents(body, batch)
	switch {
	case err != nil:
		unreadable(w, err)
	case len(events) > maxEvents:
		fail(w, http.StatusRequestEntityTooLarge, reasonTooLarge, fmt.Sprintf("A batch holds at most %d events.", maxEvents))
	default:
		return events, true
	}
	return nil, false
}

func unreadable(w http.ResponseWriter, err error) {
	fail(w, http.StatusBadRequest, reasonInvalid, fmt.Sprintf("The body can't be read: %s.", err))
}

// isBatch tells which of the two media types a request has; ok: it has one of them.
func isBatch(r *http.Request) (batch, ok bool) {
	given := r.Header.Values("Content-Type")
	if len(given) != 1 {
		return false, false
	}
	kind, params, err := mime.ParseMediaType(given[0])
	charset := params["charset"]
	if err != nil || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return false, false
	}
	return kind == mediaBatch, kind == mediaBatch || kind == mediaEvent
}

// parseEvents parses a body. An error says that it is no JSON, or not what it should be as a
// whole; an event of a batch that can't be read says so itself.
func parseEvents(body []byte, batch bool) ([]cloudEvent, error) {
	body = bytes.TrimSpace(body)
	switch {
	case !utf8.Valid(body):
		return nil, errors.New("it is not UTF-8")
	case batch && !bytes.HasPrefix(body, []byte("[")):
		return nil, errors.New("a batch is a JSON array")
	case !batch && !bytes.HasPrefix(body, []byte("{")):
		return nil, errors.New("an event is a JSON object")
	case !batch:
		one, err := parseEvent(body)
		return []cloudEvent{one}, err
	}
	var events []cloudEvent
	if json.Unmarshal(body, &events) == nil {
		return events, nil
	}
	var each []json.RawMessage
	if err := json.Unmarshal(body, &each); err != nil {
		return nil, err
	}
	if len(each) > maxEvents {
		return make([]cloudEvent, len(each)), nil // too many, whatever they are
	}
	events = make([]cloudEvent, len(each))
	for i := range each {
		events[i], _ = parseEvent(each[i]) // it is JSON
	}
	return events, nil
}

// parseEvent parses one event. The error is that it is no JSON.
func parseEvent(text []byte) (e cloudEvent, err error) {
	err = json.Unmarshal(text, &e)
	if syntax := new(json.SyntaxError); err == nil || errors.As(err, &syntax) {
		return e, err
	}
	return cloudEvent{wrong: fmt.Sprintf("The event can't be read: %s.", err)}, nil
}

// event is the event in the meter's words, without a license. One that can't be counted says why; it has
// its own id all the same, so that it can be known from before.
func (c *cloudEvent) event(index int) metering.Event {
	if c.Base64 != nil {
		c.Data = c.Base64.usageData
	}
	e := metering.Event{ID: metering.NewEventID(c.Source, c.ID), Feature: c.Data.Feature, Time: c.Time}
	if c.wrong == "" {
		c.wrong = c.mistake()
	}
	if !isText(c.Source) || !isText(c.ID) {
		e.ID = metering.NewEventID("", strconv.Itoa(index)) // no event that counts has such an id
	}
	if c.wrong != "" {
		e.Refused = eventInvalid
		return e
	}
	if e.Quantity = c.Data.units(); e.Quantity < 1 {
		e.Refused = metering.EventQuantityInvalid
	}
	return e
}

// mistake says what is wrong with an event's attributes.
func (c *cloudEvent) mistake() string {
	for _, a := range [...]struct{ name, value string }{
		{"id", c.ID}, {"source", c.Source}, {"type", c.Type}, {"subject", c.Subject}, {"data.feature", c.Data.Feature},
	} {
		if !isText(a.value) {
			return a.name + " is missing, empty, or no clean text."
		}
	}
	if c.SpecVersion != "1.0" {
		return `specversion has to be "1.0".`
	}
	return ""
}

// isText tells whether a text is there and holds nothing that CloudEvents forbids, or that
// could not be read (CloudEvents, Type System).
func isText(s string) bool {
	for _, r := range s {
		if r < ' ' || 0x7f <= r && r <= 0x9f || r == utf8.RuneError {
			return false
		}
	}
	return s != ""
}

// units is the quantity; 0 where it is no integer from 1 to 15 digits.
func (d *usageData) units() int64 {
	if len(d.Quantity) > maxDigits {
		return 0
	}
	n, err := strconv.ParseInt(string(d.Quantity), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
