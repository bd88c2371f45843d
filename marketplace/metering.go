package marketplace

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	meteringservice "github.com/aws/aws-sdk-go-v2/service/marketplacemetering"
	"github.com/aws/smithy-go"
	"golang.org/x/sync/errgroup"

	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/policy"
)

const (
	// batchTimeout bounds one BatchMeterUsage call. It is long: what is cut off is ambiguous.
	batchTimeout = 30 * time.Second
	// batchesAtOnce bounds the calls in flight: ten a second that take up to a second each.
	batchesAtOnce = 10
)

// Usage sends usage records (AWS: BatchMeterUsage). Each record leaves at most as often as the
// ledger hands it over and halving repeats it after a refusal, never by a retry of the SDK. It is
// safe for concurrent use.
type Usage struct {
	client   *meteringservice.Client
	limits   *Limits
	products map[string]policy.Product
}

var _ metering.Sender = (*Usage)(nil)

// Usage is the sender of the given products' records, by the configuration's keys.
func (c *Connection) Usage(products map[string]policy.Product) *Usage {
	client := meteringservice.NewFromConfig(c.aws, func(o *meteringservice.Options) {
		o.Retryer = aws.NopRetryer{} // BILLING B13: the ledger alone resends
	})
	return &Usage{client: client, limits: c.Limits, products: products}
}

// Send makes one attempt at each record, and says how each fared. It returns no error:
// what did not leave has the outcome NotRecorded.
func (u *Usage) Send(ctx context.Context, records []metering.Record) ([]metering.Outcome, error) {
	outcomes := make([]metering.Outcome, len(records))
	batches := u.batches(records, outcomes)
	var calls errgroup.Group
	calls.SetLimit(batchesAtOnce)
	for _, b := range batches {
		calls.Go(func() error {
			u.sendBatch(ctx, b)
			return nil
		})
	}
	return outcomes, calls.Wait()
}

// sendBatch sends a batch, and halves it for as long as AWS refuses the whole for the fault of
// one record. At every step both halves leave, and one that is refused is halved further: so
// each pass pins at least one faulty record within 2 x ceil(log2 25) + 1 = 11 calls, and lets all
// the good ones go if there is no other.
func (u *Usage) sendBatch(ctx context.Context, b batch) {
	suspects := b
	if !u.sendOnce(ctx, suspects) {
		return
	}
	for suspects.len() > 1 {
		first, second := suspects.halve()
		firstRefused, secondRefused := u.sendOnce(ctx, first), u.sendOnce(ctx, second)
		switch {
		case firstRefused:
			suspects = first // if the second is refused too, it waits for the next pass
		case secondRefused:
			suspects = second
		default:
			return
		}
	}
}

// sendOnce makes one call. It tells whether AWS refused the whole for the fault of a
// record; then the outcomes say Faulty if there is one record, and NotRecorded otherwise.
func (u *Usage) sendOnce(ctx context.Context, b batch) (refused bool) {
	if err := u.limits.batch(ctx); err != nil {
		b.settle(metering.Outcome{Answer: metering.NotRecorded, Error: errorText(err)})
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, batchTimeout)
	defer cancel()
	output, err := u.client.BatchMeterUsage(ctx, b.input())
	if err == nil {
		b.match(output)
		return false
	}
	answer := answerOf(err)
	refused = answer == metering.Faulty
	if refused && b.len() > 1 {
		answer = metering.NotRecorded
	}
	b.settle(metering.Outcome{Answer: answer, Error: errorText(err)})
	return refused
}

// answerOf says what an error of the whole call means for its records (BILLING B12).
func answerOf(err error) metering.Answer {
	switch {
	case isUnsent(err) && (isThrottle(err) || isNetwork(err) || isContext(err)):
		return metering.NotRecorded
	case isUnsent(err):
		return metering.Unavailable // no credentials, no role, no endpoint
	case isThrottle(err):
		return metering.NotRecorded
	case isAmbiguous(err):
		return metering.Ambiguous
	case isFaultOfRecord(err):
		return metering.Faulty
	default:
		return metering.Unavailable // InvalidProductCode, DisabledApi, AccessDenied and the like
	}
}

// isFaultOfRecord tells that one record makes AWS refuse the whole call (BILLING B12).
func isFaultOfRecord(err error) bool {
	var api smithy.APIError
	return errors.As(err, &api) && slices.Contains([]string{
		"InvalidLicenseException", "InvalidCustomerIdentifierException", "InvalidUsageDimensionException",
		"InvalidTagException", "InvalidUsageAllocationsException", "TimestampOutOfBoundsException",
		"ValidationException", "ValidationError",
	}, api.ErrorCode())
}
