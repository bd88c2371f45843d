package emulator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// The control API: how tests and operators play buyer and AWS. JSON in and out, errors as RFC 9457 problems. A
// call has had its whole effect when it returns.

const (
	controlPrefix = "/_control/"
	// maxControlBody bounds a control call, in bytes.
	maxControlBody = 1 << 20
)

// controlCall is one request of the control API.
type controlCall struct {
	r    *http.Request
	body []byte
	now  time.Time // of the emulator's clock
}

// controlFunc answers a control call with a document, e.mu held and everything due settled.
type controlFunc func(c *controlCall) (any, error)

// problem is an error of the control API.
type problem struct {
	status int
	detail string
	hint   string // what to do about it
}

func (p *problem) Error() string { return p.detail + "; " + p.hint }

func invalid(hint, format string, args ...any) *problem {
	return &problem{status: http.StatusBadRequest, detail: fmt.Sprintf(format, args...), hint: hint}
}

func conflict(hint, format string, args ...any) *problem {
	return &problem{status: http.StatusConflict, detail: fmt.Sprintf(format, args...), hint: hint}
}

func missing(hint, format string, args ...any) *problem {
	return &problem{status: http.StatusNotFound, detail: fmt.Sprintf(format, args...), hint: hint}
}

// controlTable is every control call: path, then method.
func (e *Emulator) controlTable() map[string]map[string]controlFunc {
	one := func(method string, serve controlFunc) map[string]controlFunc {
		return map[string]controlFunc{method: serve}
	}
	return map[string]map[string]controlFunc{
		"products/{code}":            one(http.MethodPut, e.putProduct),
		"licenses":                   one(http.MethodPost, e.postLicense),
		"licenses/{id}/entitlements": one(http.MethodPut, e.putEntitlements),
		"licenses/{id}/renew":        one(http.MethodPost, e.onLicense(e.postRenew)),
		"licenses/{id}/replace":      one(http.MethodPost, e.onLicense(e.postReplace)),
		"licenses/{id}/cancel":       one(http.MethodPost, e.onLicense(e.postCancel)),
		"licenses/{id}/expire":       one(http.MethodPost, e.onLicense(e.change(e.expire))),
		"licenses/{id}/deprovision":  one(http.MethodPost, e.onLicense(e.change(e.deprovision))),
		"licenses/{id}/suspend":      one(http.MethodPost, e.onLicense(e.change(e.suspend))),
		"licenses/{id}/resume":       one(http.MethodPost, e.onLicense(e.change(e.resume))),
		"tokens":                     one(http.MethodPost, e.postToken),
		"notify":                     one(http.MethodPost, e.postNotify),
		"feeds":                      {http.MethodPut: e.putFeeds, http.MethodGet: e.getFeeds},
		"faults":                     {http.MethodPost: e.postFault, http.MethodGet: e.getFaults, http.MethodDelete: e.deleteFaults},
		"faults/{id}":                one(http.MethodDelete, e.deleteFault),
		"clock":                      {http.MethodPut: e.putClock, http.MethodGet: e.getClock},
		"records":                    one(http.MethodGet, func(*controlCall) (any, error) { return listed(e.ledger.last()), nil }),
		"bill":                       one(http.MethodGet, func(*controlCall) (any, error) { return e.ledger.bill(), nil }),
		"calls":                      {http.MethodGet: e.getCalls, http.MethodDelete: e.deleteCalls},
		"reset":                      one(http.MethodPost, e.postReset),
	}
}

func (e *Emulator) controlRoutes() http.Handler {
	mux := http.NewServeMux()
	for path, methods := range e.controlTable() {
		mux.HandleFunc(controlPrefix+path, func(w http.ResponseWriter, r *http.Request) { e.serveControl(w, r, methods) })
	}
	mux.HandleFunc(controlPrefix, func(w http.ResponseWriter, r *http.Request) {
		writeProblem(w, missing("the calls are "+strings.Join(e.controlPaths(), ", "), "no control call %s", clip(r.URL.Path)))
	})
	return mux
}

func (e *Emulator) controlPaths() []string {
	var paths []string
	for path := range e.controlTable() {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	return paths
}

func (e *Emulator) serveControl(w http.ResponseWriter, r *http.Request, methods map[string]controlFunc) {
	serve, ok := methods[r.Method]
	if !ok {
		var allowed []string
		for method := range methods {
			allowed = append(allowed, method)
		}
		slices.Sort(allowed)
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		writeProblem(w, &problem{http.StatusMethodNotAllowed, r.Method + " is not a method of " + clip(r.URL.Path), "use " + strings.Join(allowed, " or ")})
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxControlBody))
	if err != nil {
		writeProblem(w, unreadable(err))
		return
	}
	answer, err := e.runControl(serve, &controlCall{r: r, body: body})
	if err != nil {
		writeProblem(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	writeJSON(w, http.StatusOK, answer)
}

func unreadable(err error) *problem {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return &problem{http.StatusRequestEntityTooLarge, "the body is too large", fmt.Sprintf("at most %d bytes", maxControlBody)}
	}
	return invalid("send it again", "the body could not be read")
}

func (e *Emulator) runControl(serve controlFunc, c *controlCall) (any, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c.now = e.settle()
	return serve(c)
}

func writeProblem(w http.ResponseWriter, err error) {
	var p *problem
	if !errors.As(err, &p) {
		p = &problem{http.StatusInternalServerError, err.Error(), "this is a fault of the emulator"}
	}
	w.Header().Set("Content-Type", "application/problem+json")
	writeJSON(w, p.status, object{
		"type": "about:blank", "title": http.StatusText(p.status), "status": p.status, "detail": p.detail, "hint": p.hint,
	})
}

// read decodes the body into a document. Members that the document does not have are errors; an empty body is an
// empty document.
func (c *controlCall) read(document any) error {
	if len(bytes.TrimSpace(c.body)) == 0 {
		return nil
	}
	decoder := json.NewDecoder(bytes.NewReader(c.body))
	decoder.DisallowUnknownFields()
	decoder.UseNumber()
	if err := decoder.Decode(document); err != nil {
		return invalid("compare it with the documentation of the call; account numbers are texts, times RFC 3339",
			"the body can't be read: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return invalid("send one JSON document", "the body has something after its JSON")
	}
	return nil
}

// notify is false where the query says ?notify=false.
func (c *controlCall) notify() (bool, error) {
	switch c.r.URL.Query().Get("notify") {
	case "", "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, invalid("use ?notify=true or ?notify=false", "notify is neither true nor false")
}

// listed makes an empty list of none, where JSON would have null.
func listed[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func (e *Emulator) getCalls(*controlCall) (any, error) {
	list := []callEntry{}
	for _, entry := range e.calls.last() {
		list = append(list, *entry)
	}
	return list, nil
}

func (e *Emulator) deleteCalls(*controlCall) (any, error) {
	e.calls = callList{}
	return object{}, nil
}

func (e *Emulator) postReset(*controlCall) (any, error) {
	for _, q := range e.queues {
		q.announce()
	}
	e.state = newState()
	e.nudge()
	return object{}, nil
}
