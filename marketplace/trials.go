package marketplace

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	agreements "github.com/aws/aws-sdk-go-v2/service/marketplaceagreement"
	"github.com/aws/aws-sdk-go-v2/service/marketplaceagreement/types"
	"golang.org/x/time/rate"

	"github.com/weirhq/weir/policy"
)

const (
	// termsPerSecond is half of what AWS allows for the account (AWS: Marketplace Agreement Service quotas,
	// GetAgreementTerms 10 a second): nothing waits for the answer.
	termsPerSecond = 5
	// termsAction is what IAM has to allow for it.
	termsAction = "aws-marketplace:GetAgreementTerms"
	// maxTermPages bounds one answer: an agreement has a dozen terms.
	maxTermPages = 20
	// maxTermsWaiting bounds memory; what finds no place is not asked, and shown as no trial.
	maxTermsWaiting = 10_000
	// termsAttempts is how often an agreement's terms are asked for, with pauses that double.
	termsAttempts = 6
)

// trials asks for the terms of agreements whether they are free trials (AWS: GetAgreementTerms,
// FreeTrialPricingTerm). It is beside everything else: a trial is shown, and decides nothing.
type trials struct {
	client *agreements.Client
	access *agreementAccess
	limit  *rate.Limiter
	clock  *Clock
	log    *slog.Logger
	tell   func(product string, key policy.Key, told policy.Trial) (known bool)

	mu      sync.Mutex
	waiting []termsQuestion
	full    bool // the last one found no place
	wake    chan struct{}
}

// termsQuestion is an agreement whose terms are asked for.
type termsQuestion struct {
	product   string // the configuration's key
	agreement string
	licenses  []policy.Key
	starts    time.Time // of the agreement; zero: not known
	attempts  int
	at        instant // not before
}

func (c *Connection) trials(tell func(string, policy.Key, policy.Trial) bool) *trials {
	return &trials{
		client: agreements.NewFromConfig(c.aws, func(o *agreements.Options) {
			o.Region = agreementRegion
			o.RetryMaxAttempts = 1 // a failure is asked again later
		}),
		access: &agreementAccess{
			clock: c.Clock, log: c.log, what: "terms of agreements", without: "which of them are free trials is told by SNS alone", action: termsAction,
		},
		limit: rate.NewLimiter(termsPerSecond, 1), clock: c.Clock, log: c.log, tell: tell, wake: make(chan struct{}, 1),
	}
}

// ask has the terms of an agreement in force asked for, soon.
func (t *trials) ask(product string, a *types.AgreementViewSummary) {
	keys := licenseARNs(a)
	if a.Status != types.AgreementStatusActive || len(keys) == 0 || a.AgreementId == nil {
		return
	}
	t.put(termsQuestion{product: product, agreement: *a.AgreementId, licenses: keys, starts: aws.ToTime(a.StartTime)})
}

func (t *trials) put(q termsQuestion) {
	t.mu.Lock()
	defer t.mu.Unlock()
	full := len(t.waiting) >= maxTermsWaiting
	if full && !t.full {
		t.log.Warn("too many agreements are new: of some it is not asked whether they are free trials")
	}
	t.full = full
	if full {
		return
	}
	t.waiting = append(t.waiting, q)
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// take takes the first question whose time has come.
func (t *trials) take() (q termsQuestion, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.waiting {
		if q = t.waiting[i]; t.clock.reached(q.at) {
			t.waiting = append(t.waiting[:i], t.waiting[i+1:]...)
			return q, true
		}
	}
	return termsQuestion{}, false
}

// run asks until ctx ends.
func (t *trials) run(ctx context.Context) {
	for ctx.Err() == nil {
		q, ok := t.take()
		switch {
		case !ok:
			t.rest(ctx)
		case !t.access.allowed(): // what comes meanwhile is not asked
		case t.limit.Wait(ctx) == nil:
			t.answer(ctx, &q)
		}
	}
}

// rest waits for something to do; what was put off is looked at each second.
func (t *trials) rest(ctx context.Context) {
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case <-t.wake:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// answer asks for one agreement's terms and tells what they say. What fails, or is of a license that memory does
// not hold yet, comes again.
func (t *trials) answer(ctx context.Context, q *termsQuestion) {
	told := policy.Trial{Told: t.clock.Now()}
	term, err := t.freeTrial(ctx, q.agreement)
	t.access.note(err)
	if term != nil {
		told.Free, told.Ends = true, trialEnd(q.starts, aws.ToString(term.Duration))
	}
	unknown := false
	for _, key := range q.licenses {
		unknown = err == nil && !t.tell(q.product, key, told) || unknown
	}
	if q.attempts++; (err != nil || unknown) && q.attempts < termsAttempts {
		q.at = t.clock.in(time.Second << q.attempts)
		t.put(*q)
		return
	}
	if err != nil && !isDenied(err) {
		t.log.Debug("terms not read", "agreement", q.agreement, "error", err)
	}
}

// freeTrial is the term of an agreement that makes it a free trial; nil: there is none.
func (t *trials) freeTrial(ctx context.Context, agreement string) (*types.FreeTrialPricingTerm, error) {
	ctx, cancel := context.WithTimeout(ctx, readAttempts*pageTimeout)
	defer cancel()
	input := &agreements.GetAgreementTermsInput{AgreementId: aws.String(agreement)}
	for range maxTermPages {
		page, err := t.client.GetAgreementTerms(ctx, input)
		if err != nil {
			return nil, fmt.Errorf("get terms of agreement %s: %w", agreement, err)
		}
		for _, term := range page.AcceptedTerms {
			if free, ok := term.(*types.AcceptedTermMemberFreeTrialPricingTerm); ok {
				return &free.Value, nil
			}
		}
		if input.NextToken = page.NextToken; aws.ToString(page.NextToken) == "" {
			return nil, nil
		}
		if err := t.limit.Wait(ctx); err != nil {
			return nil, fmt.Errorf("get terms of agreement %s: %w", agreement, err)
		}
	}
	return nil, errors.New("get terms of agreement " + agreement + ": too many pages")
}

// trialDays is a duration as AWS writes those of free trials: whole days (AWS: FreeTrialPricingTerm, 5 to 31 days).
var trialDays = regexp.MustCompile(`^P([0-9]{1,3})D$`)

// trialEnd is when a trial ends that begins with its agreement; zero: that can't be told.
func trialEnd(starts time.Time, duration string) time.Time {
	parts := trialDays.FindStringSubmatch(duration)
	if parts == nil || starts.IsZero() {
		return time.Time{}
	}
	days, err := strconv.Atoi(parts[1])
	if err != nil {
		return time.Time{}
	}
	return starts.UTC().AddDate(0, 0, days)
}
