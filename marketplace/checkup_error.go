package marketplace

import (
	"errors"
	"net"
	"regexp"
	"strings"

	"github.com/aws/smithy-go"
)

// Trouble is what is the matter with a call to AWS.
type Trouble int

// The kinds of Trouble.
const (
	// TroubleOther is none of those below.
	TroubleOther Trouble = iota
	// TroubleDenied: IAM does not allow the action.
	TroubleDenied
	// TroubleCredentials: there are none, or AWS does not know them.
	TroubleCredentials
	// TroubleClock: the local clock is so far off that AWS refuses signatures.
	TroubleClock
	// TroubleRegion: the API is not served in the region, or not to this account.
	TroubleRegion
	// TroubleUnknown: AWS does not know what the call names: a listing, or a queue.
	TroubleUnknown
	// TroubleNetwork: AWS was not reached.
	TroubleNetwork
)

// CheckupError is why a call of a [Checkup] failed.
type CheckupError struct {
	Trouble Trouble
	// Action is the IAM action: that of the call, or one that AWS named in its refusal.
	Action string
	err    error
}

func (e *CheckupError) Error() string { return errorText(e.err) }
func (e *CheckupError) Unwrap() error { return e.err }

// newCheckupError tells what is the matter with a call that needs an action.
func newCheckupError(action string, err error) *CheckupError {
	e := &CheckupError{Trouble: trouble(err), Action: action, err: err}
	if e.Trouble != TroubleDenied {
		return e
	}
	if named := deniedAction.FindStringSubmatch(err.Error()); named != nil {
		e.Action = named[1]
	} else if assumesRole(err) {
		e.Action = "sts:AssumeRole"
	}
	return e
}

// permits takes a refusal for proof where AWS looked at what it was asked for, and found nothing wrong but that.
func permits(err error) bool {
	return err == nil || isRefused(err) && !isThrottle(err) && trouble(err) == TroubleOther
}

// deniedAction takes the action out of what AWS says of a denied call: "is not authorized to perform: sqs:ReceiveMessage on".
var deniedAction = regexp.MustCompile(`not authorized to perform: ([a-z0-9-]+:[A-Za-z0-9]+)`)

// assumesRole tells whether it was the role that could not be had, whatever the call was for.
func assumesRole(err error) bool {
	var op *smithy.OperationError
	for errors.As(err, &op) {
		if op.Operation() == "AssumeRole" {
			return true
		}
		err = op.Unwrap()
	}
	return false
}

// troubles are AWS's names of errors that say more than that something failed, without "Exception".
func troubles() map[string]Trouble {
	return map[string]Trouble{
		"AccessDenied": TroubleDenied, "AuthorizationError": TroubleDenied, "UnauthorizedOperation": TroubleDenied, "KMS.AccessDenied": TroubleDenied,

		"UnrecognizedClient": TroubleCredentials, "InvalidClientTokenId": TroubleCredentials, "MissingAuthenticationToken": TroubleCredentials,
		"IncompleteSignature": TroubleCredentials, "InvalidSignature": TroubleCredentials, "SignatureDoesNotMatch": TroubleCredentials,
		"ExpiredToken": TroubleCredentials, "NotAuthorized": TroubleCredentials, "InvalidIdentityToken": TroubleCredentials,
		"InvalidAccessKeyId": TroubleCredentials,

		"RequestExpired": TroubleClock, "RequestTimeTooSkewed": TroubleClock, "RequestInTheFuture": TroubleClock,

		"DisabledApi": TroubleRegion, "OptInRequired": TroubleRegion,

		"InvalidProductCode": TroubleUnknown, "ResourceNotFound": TroubleUnknown, "QueueDoesNotExist": TroubleUnknown,
		"AWS.SimpleQueueService.NonExistentQueue": TroubleUnknown, "InvalidParameter": TroubleUnknown,
	}
}

// trouble tells what is the matter with a call.
func trouble(err error) Trouble {
	var api smithy.APIError
	if errors.As(err, &api) && api.ErrorCode() != "" {
		said := troubles()[strings.TrimSuffix(api.ErrorCode(), "Exception")]
		if said == TroubleCredentials && isAboutTime(api.ErrorMessage()) {
			return TroubleClock
		}
		return said
	}
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns), isNetwork(err), isContext(err):
		return TroubleNetwork
	case isUnsent(err):
		return TroubleCredentials // nothing was found to sign with
	default:
		return TroubleOther
	}
}

// isAboutTime tells whether a signature is refused for its time (AWS: "Signature expired: 20261115T120000Z is now earlier
// than", "Signature not yet current").
func isAboutTime(message string) bool {
	return strings.Contains(message, "Signature expired") || strings.Contains(message, "not yet current")
}
