package api

import (
	"encoding/json"
	"net/http"

	"github.com/weirhq/weir/policy"
)

// The reasons of problems that are not about a decision.
const (
	reasonNotFound      = "not_found"
	reasonMethod        = "method_not_allowed"
	reasonInvalid       = "invalid"
	reasonTooLarge      = "too_large"
	reasonMediaType     = "media_type"
	reasonCallerUnknown = "caller_unknown"
	reasonFault         = "fault"
)

// fail answers with a problem; detail is a sentence that says what to do.
func fail(w http.ResponseWriter, status int, reason, detail string) {
	p := policy.Problem{
		Type: "urn:weir:reason:" + reason, Title: http.StatusText(status),
		Status: status, Detail: detail, Reason: reason,
	}
	write(w, status, policy.ProblemType, p.JSON())
}

// answer answers with JSON.
func answer(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		fail(w, http.StatusServiceUnavailable, reasonFault, "The answer can't be written as JSON.")
		return
	}
	write(w, status, "application/json", append(b, '\n'))
}

func write(w http.ResponseWriter, status int, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(body) // a caller who is gone needs no answer
}
