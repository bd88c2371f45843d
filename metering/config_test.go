package metering_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/metering"
)

func TestTheDefaultConfigIsValid(t *testing.T) {
	cfg := metering.DefaultConfig()
	for _, err := range cfg.Validate() {
		t.Error(err)
	}
}

func TestEveryMistakeInTheConfigIsReportedWithItsPath(t *testing.T) {
	text := func(s string) metering.StatusRange { return metering.StatusRange{Text: &s} }
	number := func(n int64) metering.StatusRange { return metering.StatusRange{Number: &n} }
	cfg := metering.Config{
		CloseAfter: time.Hour + 1, Unconfirmed: "maybe", Late: "never", Remember: -1, Keep: time.Hour,
		NotBilled: metering.NotBilled{
			Status: []metering.StatusRange{text("500-599"), text("599-500"), text("x"), number(503), number(99), {}},
			GRPC:   []string{"INTERNAL", "OK"},
		},
	}
	var got []string
	for _, err := range cfg.Validate() {
		got = append(got, strings.Join(err.Path, "/"))
		if err.Msg == "" || err.Hint == "" {
			t.Errorf("%v: message %q, hint %q", err.Path, err.Msg, err.Hint)
		}
	}
	want := []string{
		"metering/closeAfter", "metering/unconfirmed", "metering/late", "metering/remember", "metering/keep",
		"metering/notBilled/status/[1]", "metering/notBilled/status/[2]", "metering/notBilled/status/[4]", "metering/notBilled/status/[5]",
		"metering/notBilled/grpc/[1]",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestStatusesOfARange(t *testing.T) {
	n := int64(503)
	if first, last, ok := (metering.StatusRange{Number: &n}).Bounds(); !ok || first != 503 || last != 503 {
		t.Errorf("503 is %d to %d, %t", first, last, ok)
	}
	s := "500-599"
	if first, last, ok := (metering.StatusRange{Text: &s}).Bounds(); !ok || first != 500 || last != 599 {
		t.Errorf("500-599 is %d to %d, %t", first, last, ok)
	}
}
