package marketplace

import (
	"log/slog"
	"sync"
	"time"
)

// retryDenied is how long the Agreement API is left alone after IAM refused a call.
const retryDenied = time.Hour

// agreementAccess remembers whether weir may call an operation of the Agreement API. Contract listings do without:
// then nobody asks for an hour, and people are told once.
type agreementAccess struct {
	clock   *Clock
	log     *slog.Logger
	what    string // what is read
	without string // what it is like without
	action  string // what IAM has to allow

	mu     sync.Mutex
	denied bool
	again  instant // when it is tried again
}

// allowed tells whether a call is worth trying.
func (a *agreementAccess) allowed() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !a.denied || a.clock.reached(a.again)
}

// note takes the outcome of a call. An error that is no refusal says nothing of permission.
func (a *agreementAccess) note(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case isDenied(err):
		if !a.denied {
			a.log.Warn("AWS denies a read, and weir does without", "what", a.what, "without", a.without, "allow", a.action, "error", err)
		}
		a.denied, a.again = true, a.clock.in(retryDenied)
	case err == nil && a.denied:
		a.log.Info("AWS allows a read again", "what", a.what)
		a.denied = false
	}
}

// instant is reached when AWS time or local time reaches it: either may be moved.
type instant struct{ aws, local time.Time }

func (c *Clock) in(d time.Duration) instant { return instant{c.Now().Add(d), c.local().Add(d)} }

func (c *Clock) reached(i instant) bool {
	return !c.Now().Before(i.aws) || !c.local().Before(i.local)
}
