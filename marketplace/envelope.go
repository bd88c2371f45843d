package marketplace

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"
)

// The types of messages that SNS sends (AWS: SNS message and JSON formats).
const (
	typeNotification = "Notification"
	typeSubscribe    = "SubscriptionConfirmation"
	typeUnsubscribe  = "UnsubscribeConfirmation"
)

// maxMembers bounds an envelope's members. SNS sends ten or so.
const maxMembers = 64

// envelope is a message as SNS posts it. Nothing in it is true before its signature is verified.
type envelope struct {
	kind      string // Type
	id        string // MessageId; SNS keeps it when it tries again
	topic     string // TopicArn
	subject   string
	message   string
	timestamp string
	token     string
	// subscribeURL is signed, so it has to be known. It is never followed.
	subscribeURL string

	version        string // SignatureVersion
	signature      string
	certificateURL string

	hasSubject bool
	at         time.Time // timestamp, understood
}

// What the members look like. They are signed as lines, name and value in turn, so a value with a line break of its
// own could be read as two members. Only the message may have one: it comes first, and all after it is fixed.
var (
	messageID   = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
	messageTime = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?Z$`)
	oneLine     = regexp.MustCompile(`^[^\r\n]{0,1000}$`)
	oneWord     = regexp.MustCompile(`^[!-~]{1,1000}$`)
	anyText     = regexp.MustCompile(``)
)

// member is one member of an envelope: where it goes, and what it looks like. All are texts.
type member struct {
	name     string
	into     *string
	syntax   *regexp.Regexp
	required bool
}

func (e *envelope) members() []member {
	confirms := e.kind == typeSubscribe || e.kind == typeUnsubscribe
	return []member{
		{"MessageId", &e.id, messageID, true},
		{"TopicArn", &e.topic, oneWord, true},
		{"Subject", &e.subject, oneLine, false},
		{"Message", &e.message, anyText, true},
		{"Timestamp", &e.timestamp, messageTime, true},
		{"Token", &e.token, oneWord, confirms},
		{"SubscribeURL", &e.subscribeURL, oneWord, confirms},
		// Whatever is wrong with these is told by what they are for.
		{"SignatureVersion", &e.version, anyText, false},
		{"Signature", &e.signature, anyText, false},
		{"SigningCertURL", &e.certificateURL, anyText, false},
	}
}

// readEnvelope reads a message to the letter: what two readers could understand in two ways is refused.
func readEnvelope(body []byte) (*envelope, error) {
	object, err := readObject(body)
	if err != nil {
		return nil, err
	}
	e := new(envelope)
	if e.kind, err = readText(object, "Type"); err != nil {
		return nil, err
	}
	switch e.kind {
	case typeNotification, typeSubscribe, typeUnsubscribe:
	default:
		return nil, errors.New("its Type is none that SNS sends; raw delivery has to be off")
	}
	for _, m := range e.members() {
		if _, ok := object[m.name]; !ok {
			if m.required {
				return nil, fmt.Errorf("it has no %s", m.name)
			}
			continue
		}
		if *m.into, err = readText(object, m.name); err != nil {
			return nil, err
		}
		if !m.syntax.MatchString(*m.into) {
			return nil, fmt.Errorf("its %s does not look like one", m.name)
		}
	}
	_, e.hasSubject = object["Subject"]
	if e.at, err = time.Parse(time.RFC3339, e.timestamp); err != nil {
		return nil, errors.New("its Timestamp is no time")
	}
	return e, nil
}

// readObject reads a JSON object whose names are all different, in upper or lower case.
func readObject(body []byte) (map[string]json.RawMessage, error) {
	if !utf8.Valid(body) {
		return nil, errors.New("it is not UTF-8")
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	if opening, err := decoder.Token(); err != nil || opening != json.Delim('{') {
		return nil, errors.New("it is no JSON object")
	}
	object, seen := make(map[string]json.RawMessage), make(map[string]bool)
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return nil, errors.New("it is no JSON object")
		}
		text, _ := name.(string) // the name of a member always is
		if seen[strings.ToLower(text)] {
			return nil, errors.New("it has two members of one name")
		}
		if len(seen) == maxMembers {
			return nil, fmt.Errorf("it has more than %d members", maxMembers)
		}
		seen[strings.ToLower(text)] = true
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return nil, errors.New("it is no JSON object")
		}
		object[text] = value
	}
	if _, err := decoder.Token(); err != nil {
		return nil, errors.New("it is no JSON object")
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the JSON object")
	}
	return object, nil
}

// readText reads a member that has to be a text: null is none.
func readText(object map[string]json.RawMessage, name string) (string, error) {
	raw := object[name]
	var text string
	if len(raw) == 0 || raw[0] != '"' || json.Unmarshal(raw, &text) != nil {
		return "", fmt.Errorf("its %s is no text", name)
	}
	return text, nil
}

// signed is the text that SNS has signed (AWS: verifying the signatures of SNS messages): the names in the order of
// their bytes, a line break after each name and each value.
func (e *envelope) signed() []byte {
	lines := []string{"Message", e.message, "MessageId", e.id}
	switch {
	case e.kind != typeNotification:
		lines = append(lines, "SubscribeURL", e.subscribeURL, "Timestamp", e.timestamp, "Token", e.token)
	case e.hasSubject:
		lines = append(lines, "Subject", e.subject, "Timestamp", e.timestamp)
	default:
		lines = append(lines, "Timestamp", e.timestamp)
	}
	lines = append(lines, "TopicArn", e.topic, "Type", e.kind, "")
	return []byte(strings.Join(lines, "\n"))
}

// signatureBytes is the signature; nil: it is none.
func (e *envelope) signatureBytes() []byte {
	if strings.ContainsAny(e.signature, "\r\n") { // which the decoder would pass over
		return nil
	}
	signature, err := base64.StdEncoding.Strict().DecodeString(e.signature)
	if err != nil {
		return nil
	}
	return signature
}
