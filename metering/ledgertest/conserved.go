package ledgertest

import (
	"context"
	"fmt"
	"math"

	"github.com/weirhq/weir/metering"
	"github.com/weirhq/weir/policy"
)

// account names what is counted together.
type account struct {
	license policy.Key
	feature string
}

// Conserved is nil when every counted unit is in exactly one place (BILLING B01).
func Conserved(ctx context.Context, l metering.Ledger) error {
	totals, err := l.Totals(ctx, "")
	if err != nil {
		return err
	}
	billed, err := billed(ctx, l)
	if err != nil {
		return err
	}
	for _, t := range totals {
		if sum := t.Included + t.Billable + t.Overrun + t.Unpriced; sum != t.Counted {
			return fmt.Errorf("%s %s: %d counted, %d accounted for: %+v", t.License, t.Feature, t.Counted, sum, t)
		}
		if err := conservedChecks(&t); err != nil {
			return err
		}
		in := billed[account{t.License, t.Feature}]
		for _, c := range t.Lines {
			if c.Units < 0 || c.Units >= c.Per {
				return fmt.Errorf("%s %s: carry is %d of %d", t.License, t.Feature, c.Units, c.Per)
			}
			in += c.Units + c.Per*c.Pruned
		}
		if in != t.Billable {
			return fmt.Errorf("%s %s: %d billable, %d in rows and carried", t.License, t.Feature, t.Billable, in)
		}
	}
	return nil
}

// conservedChecks is nil when every check that was let through has come to an end or waits (BILLING B04).
func conservedChecks(t *metering.Total) error {
	waiting := int64(0)
	for _, c := range t.Pending {
		if c.Count <= 0 || c.Units < 0 || c.Held < 0 || int64(len(c.Moved)) > c.Count {
			return fmt.Errorf("%s %s: a minute of checks is %+v", t.License, t.Feature, c)
		}
		waiting += c.Count
	}
	if t.Issued != t.Resolved+waiting {
		return fmt.Errorf("%s %s: %d checks let through, %d ended, %d wait", t.License, t.Feature, t.Issued, t.Resolved, waiting)
	}
	return nil
}

// billed sums the counted units in the rows of every state but rebooked.
func billed(ctx context.Context, l metering.Ledger) (map[account]int64, error) {
	rows, err := AllRows(ctx, l)
	if err != nil {
		return nil, err
	}
	sums := map[account]int64{}
	for _, r := range rows {
		if r.Quantity != min(r.Units, math.MaxInt64/millionths)*millionths {
			return nil, fmt.Errorf("record %s: quantity is %d for %d units", r.ID, r.Quantity, r.Units)
		}
		if r.State != metering.Rebooked {
			sums[account{r.License, r.Feature}] += r.Per * r.Units
		}
	}
	return sums, nil
}

// AllRows reads every row, page by page.
func AllRows(ctx context.Context, l metering.Ledger) ([]metering.Row, error) {
	var all []metering.Row
	for f := (metering.Filter{Limit: 1000}); ; {
		rows, next, err := l.Rows(ctx, f)
		if err != nil {
			return nil, err
		}
		all = append(all, rows...)
		if next == "" {
			return all, nil
		}
		f.After = next
	}
}
