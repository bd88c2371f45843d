package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/weirhq/weir/api"
)

// explain is `weir explain`: the decision on a request and each step to it, from a
// running weir, or from the state on disk where none runs.
func explain(ctx context.Context, c *console, fs *flag.FlagSet, args []string) error {
	file := fs.String("config", defaultConfig, "the configuration `FILE`")
	at := adminFlag(fs)
	asJSON := fs.Bool("json", false, "print JSON, as POST /v1/check answers")
	var q api.Question
	fs.StringVar(&q.Subject.Tenant, "tenant", "", "who asks: the seller's `ID` of a customer")
	fs.StringVar(&q.Subject.Account, "account", "", "who asks: an AWS account `ID`")
	fs.StringVar(&q.Subject.License, "license", "", "who asks: a license `KEY`")
	fs.StringVar(&q.Subject.Customer, "customer", "", "who asks: a legacy customer `ID`")
	fs.Func("at", "decide as at this `TIME` (RFC 3339)", func(s string) (err error) {
		q.At, err = time.Parse(time.RFC3339, s)
		return err
	})
	fs.Func("H", "a request `HEADER`, as in 'x-tenant-id: initech'; may be repeated", func(s string) error {
		return addHeader(&q, s)
	})
	rest, err := parse(fs, args, 2)
	if err != nil {
		return err
	}
	q.Method, q.URL = strings.ToUpper(rest[0]), rest[1]
	if _, err := q.Request(); err != nil {
		return &usageError{err.Error()}
	}
	k, err := newKeeper(c, *file, *at)
	if err != nil {
		return err
	}
	answer, err := ask(ctx, k, q)
	if err != nil {
		return err
	}
	if *asJSON {
		return json.NewEncoder(c.out).Encode(answer)
	}
	return showAnswer(c.out, answer)
}

// addHeader adds a header as people write it.
func addHeader(q *api.Question, text string) error {
	name, value, ok := strings.Cut(text, ":")
	if !ok || strings.TrimSpace(name) == "" {
		return errors.New("want 'name: value'")
	}
	if q.Headers == nil {
		q.Headers = map[string]api.Values{}
	}
	name = strings.ToLower(strings.TrimSpace(name))
	q.Headers[name] = append(q.Headers[name], strings.TrimSpace(value))
	return nil
}

// ask asks the running weir, or decides from the state on disk.
func ask(ctx context.Context, k *keeper, q api.Question) (answer api.Answer, err error) {
	err = k.call(ctx, http.MethodPost, "/v1/explain", nil, q, &answer, func(disk *stored) error {
		request, err := q.Request()
		if err != nil {
			return err
		}
		d := disk.gate.Explain(ctx, request, q.At)
		request.Steps.Lines = append([]string{"no weir is running: this is what the state on disk says"}, request.Steps.Lines...)
		answer = api.NewAnswer(&d, request.Steps)
		return nil
	})
	return answer, err
}

// showAnswer prints the decision and the steps to it.
func showAnswer(w io.Writer, a api.Answer) error {
	verdict := fmt.Sprintf("denied: %d %s", a.Status, a.Reason)
	if a.Allowed {
		verdict = fmt.Sprintf("allowed: %s", a.Reason)
	}
	if a.Mode != "enforce" {
		verdict += ", mode " + a.Mode
	}
	if _, err := fmt.Fprintln(w, verdict); err != nil {
		return err
	}
	for _, step := range a.Steps {
		if _, err := fmt.Fprintln(w, "  "+step); err != nil {
			return err
		}
	}
	return nil
}
