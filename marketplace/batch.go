package marketplace

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	meteringservice "github.com/aws/aws-sdk-go-v2/service/marketplacemetering"
	"github.com/aws/aws-sdk-go-v2/service/marketplacemetering/types"

	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/policy"
)

const (
	// batchSize is the most records of one call (AWS: BatchMeterUsage). Without allocations
	// a record is below 3 KB by the limits of its members, so a call is far below AWS's 1 MB.
	batchSize = 25
	// unit is one billed unit in a record's quantity (BILLING B08).
	unit = 1_000_000
)

// batch is what one call sends: records of one product, all named by LicenseArn or
// all by customer (BILLING B14).
type batch struct {
	code     string // the product code, where records are named by customer; empty otherwise
	records  []metering.Record
	outcomes []*metering.Outcome // where to say how each record fared
}

// batches divides records among calls, in their order. A blocked record is tried alone,
// so that it does not hold up others again. What can't be sent gets its outcome here.
func (u *Usage) batches(records []metering.Record, outcomes []metering.Outcome) []batch {
	type kind struct {
		product string
		legacy  bool
	}
	var made []batch
	open := make(map[kind]int) // the batch that still takes records
	for i, r := range records {
		product, ok := u.products[r.Product]
		if !ok {
			outcomes[i] = metering.Outcome{
				Answer: metering.Unavailable, Error: fmt.Sprintf("product %q is not in the configuration", r.Product),
			}
			continue
		}
		if err := sendable(r); err != nil {
			outcomes[i] = metering.Outcome{Answer: metering.Faulty, Error: err.Error()}
			continue
		}
		k := kind{r.Product, r.License.Kind() == policy.KindLegacy}
		at, ok := open[k]
		blocked := r.State == metering.Blocked
		if blocked || !ok || made[at].len() == batchSize {
			b := batch{}
			if k.legacy {
				b.code = product.Code
			}
			made = append(made, b)
			at = len(made) - 1
			if !blocked {
				open[k] = at
			}
		}
		made[at].records = append(made[at].records, r)
		made[at].outcomes = append(made[at].outcomes, &outcomes[i])
	}
	return made
}

// sendable tells why a record must not leave: AWS would take it for something else.
func sendable(r metering.Record) error {
	switch {
	case r.License.Kind() == policy.KindDirect:
		return errors.New("a direct customer did not buy through AWS")
	case r.License.Kind() == policy.KindLegacy && r.Customer == "":
		return errors.New("the record names no customer")
	case r.License.Kind() == policy.KindARN && r.Account == "":
		return errors.New("the record names no AWS account")
	case r.Quantity < 0 || r.Quantity%unit != 0:
		return fmt.Errorf("quantity %d millionths is no whole number of units", r.Quantity)
	case r.Quantity/unit > math.MaxInt32:
		return fmt.Errorf("quantity %d is more than a record takes", r.Quantity/unit)
	default:
		return nil
	}
}

func (b batch) len() int { return len(b.records) }

// halve divides a batch; the first half is never the smaller one.
func (b batch) halve() (first, second batch) {
	at := (b.len() + 1) / 2
	return batch{b.code, b.records[:at], b.outcomes[:at]}, batch{b.code, b.records[at:], b.outcomes[at:]}
}

// settle gives every record the same outcome.
func (b batch) settle(o metering.Outcome) {
	for _, outcome := range b.outcomes {
		*outcome = o
	}
}

// input is the batch on the wire: LicenseArn without ProductCode, or ProductCode with
// CustomerIdentifier. With both AWS bills twice (AWS: BatchMeterUsage, ProductCode).
func (b batch) input() *meteringservice.BatchMeterUsageInput {
	input := &meteringservice.BatchMeterUsageInput{UsageRecords: make([]types.UsageRecord, 0, b.len())}
	if b.code != "" {
		input.ProductCode = aws.String(b.code)
	}
	for _, r := range b.records {
		record := types.UsageRecord{
			Dimension: aws.String(r.Dimension),
			Timestamp: aws.Time(r.Timestamp),
			Quantity:  aws.Int32(int32(r.Quantity / unit)), // sendable has bounded it
		}
		if b.code != "" {
			record.CustomerIdentifier = aws.String(r.Customer)
		} else {
			record.LicenseArn = aws.String(string(r.License))
			record.CustomerAWSAccountId = aws.String(r.Account)
		}
		input.UsageRecords = append(input.UsageRecords, record)
	}
	return input
}

// identity is what names a record in an answer, whatever its position (BILLING B12).
type identity struct {
	license   string // LicenseArn, or customer identifier
	dimension string
	timestamp int64 // seconds
}

// identify takes the identity of what AWS echoes.
func (b batch) identify(echo types.UsageRecord) identity {
	license := aws.ToString(echo.LicenseArn)
	if b.code != "" {
		license = aws.ToString(echo.CustomerIdentifier)
	}
	return identity{license, aws.ToString(echo.Dimension), aws.ToTime(echo.Timestamp).Unix()}
}

// match gives each record what AWS said of it. One in no list is ambiguous, and so
// is one of which AWS said two things.
func (b batch) match(output *meteringservice.BatchMeterUsageOutput) {
	said := make(map[identity]metering.Outcome, b.len())
	say := func(echo types.UsageRecord, o metering.Outcome) {
		id := b.identify(echo)
		if before, ok := said[id]; ok && before.Answer != o.Answer {
			o = metering.Outcome{Error: "AWS answered two things for this record"}
		}
		said[id] = o
	}
	for _, echo := range output.UnprocessedRecords {
		say(echo, metering.Outcome{Answer: metering.NotRecorded, Error: "not processed"})
	}
	for _, result := range output.Results {
		if result.UsageRecord != nil {
			say(*result.UsageRecord, outcomeOf(result))
		}
	}
	for i, r := range b.records {
		license := string(r.License)
		if b.code != "" {
			license = r.Customer
		}
		o, ok := said[identity{license, r.Dimension, r.Timestamp.Truncate(time.Second).Unix()}]
		if !ok {
			o = metering.Outcome{Error: "AWS's answer does not name this record"}
		}
		*b.outcomes[i] = o
	}
}

// outcomeOf is what AWS said of one record (AWS: UsageRecordResult, Status).
func outcomeOf(result types.UsageRecordResult) metering.Outcome {
	o := metering.Outcome{MeteringRecordID: aws.ToString(result.MeteringRecordId)}
	switch result.Status {
	case types.UsageRecordResultStatusSuccess:
		o.Answer = metering.Success
	case types.UsageRecordResultStatusDuplicateRecord:
		o.Answer, o.Error = metering.Duplicate, "DuplicateRecord"
	case types.UsageRecordResultStatusCustomerNotSubscribed:
		o.Answer, o.Error = metering.NotSubscribed, "CustomerNotSubscribed"
	default:
		o.Answer, o.Error = metering.Ambiguous, fmt.Sprintf("unknown status %q", result.Status)
	}
	return o
}
