package emulator

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// codeInternal is the Marketplace APIs' name for a failure of their own.
const codeInternal = "InternalServiceErrorException"

// apiError is an error as an AWS service answers it.
type apiError struct {
	code    string
	message string
	status  int
	members object // further members that the service gives this error
}

func (e *apiError) Error() string { return e.code + ": " + e.message }

// statusIn is the HTTP status of the error as a service answers it.
func (e *apiError) statusIn(s *service) int {
	if status, special := s.statuses[e.code]; special {
		return status
	}
	return e.status
}

// body is the error as a structure on the wire.
func (e *apiError) body(kind string) object {
	out := object{"__type": kind, "message": e.message}
	for name, value := range e.members {
		out[name] = value
	}
	return out
}

// refuse makes AWS's error of that name, with the status that goes with it.
func refuse(code, format string, args ...any) *apiError {
	return &apiError{code: code, message: fmt.Sprintf(format, args...), status: statusOf(code)}
}

// statusOf is the HTTP status of an error: 400 for what the caller did, 500 and 503 for what the service did.
// The service models carry no other (botocore: only `fault: true`).
func statusOf(code string) int {
	switch {
	case strings.HasPrefix(code, "Internal"):
		return http.StatusInternalServerError
	case strings.HasPrefix(code, "ServiceUnavailable"):
		return http.StatusServiceUnavailable
	}
	return http.StatusBadRequest
}

// unknownOperation is what AWS says to a target or action that it does not have.
func unknownOperation(protocol, name string) *apiError {
	if protocol == protocolQuery {
		return refuse("InvalidAction", "Could not find operation %s for version 2011-06-15", clip(name))
	}
	err := refuse("UnknownOperationException", "The requested operation is not recognized by the service.")
	if protocol != protocolJSON {
		err.status = http.StatusNotFound
	}
	return err
}

// bodyError is what AWS says to a body that can't be read.
func bodyError(err error) *apiError {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return tooLargeError()
	}
	return refuse("SerializationException", "the request body could not be read")
}

func tooLargeError() *apiError {
	err := refuse("RequestEntityTooLargeException", "The request must be smaller than 1 MB.")
	err.status = http.StatusRequestEntityTooLarge
	return err
}

// clip shortens text of a request before it goes into an answer or is kept.
func clip(s string) string {
	const longest = 300
	if len(s) <= longest {
		return s
	}
	return strings.ToValidUTF8(s[:longest], "") + "..."
}

// errorCode is the name under which an operation's error is answered.
func errorCode(err error) string {
	var refusal *apiError
	if errors.As(err, &refusal) {
		return refusal.code
	}
	return codeInternal
}
