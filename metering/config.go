package metering

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weirhq/weir/policy"
)

// Config is the metering section of weir.yaml: what is counted, when an hour
// closes, and what is sent.
type Config struct {
	// CloseAfter is how long after its end an hour is frozen; 0 to 1h.
	CloseAfter time.Duration `yaml:"closeAfter"`
	// Zero reports an hour without usage as 0 for active licenses.
	Zero bool `yaml:"zero"`
	// Unconfirmed says whether an allowed request of which no access log entry came is counted: count or drop.
	Unconfirmed string `yaml:"unconfirmed" enum:"count,drop"`
	// NotBilled lists the answers of the application that are not counted; it replaces the default lists.
	NotBilled NotBilled `yaml:"notBilled"`
	// Late is what happens to units that AWS certainly never took and now would refuse: rebook to the present hour, or expire.
	Late string `yaml:"late" enum:"rebook,expire"`
	// TrustRequestID joins the checks of several proxies by x-request-id; only where a trusted hop sets it.
	TrustRequestID bool `yaml:"trustRequestID"`
	// Remember is how many ids of usage events are kept for 48 h, at most; 0: what the disk holds.
	Remember int64 `yaml:"remember"`
	// Keep is how long ended rows are kept, at least 48h.
	Keep time.Duration `yaml:"keep"`
	// Send can be false for a dry run: what is frozen then ends as dry and is never sent.
	Send bool `yaml:"send"`
}

// The words of Config.Unconfirmed and Config.Late.
const (
	UnconfirmedCount = "count"
	UnconfirmedDrop  = "drop"

	LateRebook = "rebook"
	LateExpire = "expire"
)

// NotBilled lists the answers of the application that are not counted.
type NotBilled struct {
	// Status lists HTTP statuses: numbers such as 503, or ranges such as 500-599.
	Status []StatusRange `yaml:"status"`
	// GRPC lists the names of grpc statuses, such as UNAVAILABLE.
	GRPC []string `yaml:"grpc"`
}

// StatusRange is one HTTP status, or several in a row written as 500-599.
type StatusRange struct {
	Number *int64  `oneof:"number"`
	Text   *string `oneof:"text"`
}

// Bounds are the first and last status of the range; false where it is none.
func (r StatusRange) Bounds() (first, last int64, ok bool) {
	switch {
	case r.Number != nil:
		first, last = *r.Number, *r.Number
	case r.Text != nil:
		from, to, ranged := strings.Cut(*r.Text, "-")
		if !ranged {
			to = from
		}
		var err, err2 error
		first, err = strconv.ParseInt(strings.TrimSpace(from), 10, 64)
		last, err2 = strconv.ParseInt(strings.TrimSpace(to), 10, 64)
		if err != nil || err2 != nil {
			return 0, 0, false
		}
	default:
		return 0, 0, false
	}
	return first, last, 100 <= first && first <= last && last <= 599
}

// The limits of the section. An hour that closed more than an hour late would
// leave a license that ended no time to send in (AWS: one hour). Ids of usage
// events count once within 48 h, so rows have to be there as long.
const (
	maxCloseAfter = time.Hour
	minKeep       = 48 * time.Hour
)

// DefaultConfig is the metering section of a file that says nothing.
func DefaultConfig() Config {
	serverErrors := "500-599"
	return Config{
		CloseAfter:  5 * time.Minute,
		Zero:        true,
		Unconfirmed: UnconfirmedCount,
		NotBilled: NotBilled{
			Status: []StatusRange{{Text: &serverErrors}},
			GRPC:   []string{"UNAVAILABLE", "INTERNAL", "UNKNOWN", "DATA_LOSS"},
		},
		Late: LateRebook,
		Keep: 9600 * time.Hour,
		Send: true,
	}
}

// Validate reports every mistake in the section.
func (c *Config) Validate() []*policy.FieldError {
	var errs []*policy.FieldError
	wrong := func(hint, msg string, path ...string) {
		errs = append(errs, &policy.FieldError{Path: append([]string{"metering"}, path...), Msg: msg, Hint: hint})
	}
	if c.CloseAfter < 0 || c.CloseAfter > maxCloseAfter {
		wrong("a duration from 0s to 1h", fmt.Sprintf("%v is out of range", c.CloseAfter), "closeAfter")
	}
	if !slices.Contains([]string{UnconfirmedCount, UnconfirmedDrop}, c.Unconfirmed) {
		wrong("count or drop", fmt.Sprintf("%q is not one of its words", c.Unconfirmed), "unconfirmed")
	}
	if !slices.Contains([]string{LateRebook, LateExpire}, c.Late) {
		wrong("rebook or expire", fmt.Sprintf("%q is not one of its words", c.Late), "late")
	}
	if c.Remember < 0 {
		wrong("0 keeps as many as the disk holds", "must not be negative", "remember")
	}
	if c.Keep < minKeep {
		wrong("at least 48h", fmt.Sprintf("%v is too short", c.Keep), "keep")
	}
	for i, r := range c.NotBilled.Status {
		if _, _, ok := r.Bounds(); !ok {
			wrong("a number such as 503, or a range such as 500-599", "no HTTP status from 100 to 599",
				"notBilled", "status", fmt.Sprintf("[%d]", i))
		}
	}
	for i, name := range c.NotBilled.GRPC {
		if !slices.Contains(grpcErrors(), name) {
			wrong("one of "+strings.Join(grpcErrors(), ", "), fmt.Sprintf("no grpc error status %q", name),
				"notBilled", "grpc", fmt.Sprintf("[%d]", i))
		}
	}
	return errs
}

// grpcErrors are the names of grpc's statuses that tell of an error.
func grpcErrors() []string {
	return []string{
		"CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
		"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE",
		"UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
	}
}
