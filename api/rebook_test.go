package api

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/weirhq/weir/metering"
)

// hands is a UsageKeeper that answers as a test wants.
type hands struct {
	row   metering.Row
	was   metering.OtherWriter
	err   error
	asked string
}

func (h *hands) Rebook(_ context.Context, id string) (metering.Row, error) {
	h.asked = "rebook " + id
	return h.row, h.err
}

func (h *hands) Acknowledge(_ context.Context, product string) (metering.OtherWriter, error) {
	h.asked = "ack " + product
	return h.was, h.err
}

func TestB21RebookAnswersTheRowOrWhyNot(t *testing.T) {
	for name, test := range map[string]struct {
		err    error
		status int
		want   string
	}{
		"rebooked":     {nil, 200, `{"id":"r/1","product":"acme","license":"","dimension":"","hour":"0001-01-01T00:00:00Z","state":"rebooked","quantity":3,`},
		"unknown":      {metering.ErrNoRow, 404, `"reason":"not_found"`},
		"wrong state":  {fmt.Errorf("rebook r: %w: it is accepted", metering.ErrNotLost), 409, `it is accepted`},
		"license over": {metering.ErrEnded, 422, `"reason":"license_ended"`},
		"disk full":    {errors.New("no space"), 503, `"reason":"fault"`},
	} {
		t.Run(name, func(t *testing.T) {
			h := &hands{err: test.err, row: metering.Row{Record: metering.Record{ID: "r/1", Product: "acme", Quantity: 3 * millionths, State: metering.Rebooked}}}
			s := empty()
			s.Keeper = h
			c, base := local(t, s)
			out, body := call(t, c, "POST", base+"/v1/usage/r%2F1/rebook", "")
			if out.StatusCode != test.status || !strings.Contains(body, test.want) || h.asked != "rebook r/1" {
				t.Errorf("%s: %d %s, want %d with %s", h.asked, out.StatusCode, body, test.status, test.want)
			}
			if out, _ := call(t, c, "GET", base+"/v1/usage/r/rebook", ""); out.StatusCode != 405 {
				t.Errorf("GET: %d, want 405", out.StatusCode)
			}
		})
	}
}

func TestB21AckAnswersWhatWasAcknowledged(t *testing.T) {
	for name, test := range map[string]struct {
		was    metering.OtherWriter
		err    error
		status int
		want   string
	}{
		"conflicts":       {metering.OtherWriter{Product: "acme", Conflicts: 2}, nil, 200, `{"product":"acme","conflicts":2}`},
		"none":            {metering.OtherWriter{Product: "acme"}, nil, 200, `{"product":"acme","conflicts":0}`},
		"unknown product": {metering.OtherWriter{}, ErrNoProduct, 404, `"reason":"not_found"`},
		"disk full":       {metering.OtherWriter{}, errors.New("no space"), 503, `"reason":"fault"`},
	} {
		t.Run(name, func(t *testing.T) {
			s := empty()
			s.Keeper = &hands{was: test.was, err: test.err}
			c, base := local(t, s)
			out, body := call(t, c, "POST", base+"/v1/products/acme/ack", "")
			if out.StatusCode != test.status || !strings.Contains(body, test.want) {
				t.Errorf("%d %s, want %d with %s", out.StatusCode, body, test.status, test.want)
			}
		})
	}
}
