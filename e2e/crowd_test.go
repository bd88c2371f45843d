package e2e

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirhq/weir/examples"
	"github.com/weirhq/weir/internal/stage"
)

// workers is how many requests a crowd has under way at once.
const workers = 16

// crowd is a number of tenants, each with a license of its own whose every call is billed.
type crowd struct{ tenants int }

func newCrowd(tenants int) *crowd { return &crowd{tenants: tenants} }

func (c *crowd) tenant(i int) string  { return fmt.Sprintf("t%03d", i) }
func (c *crowd) account(i int) string { return fmt.Sprintf("5%011d", i) }
func (c *crowd) license(i int) string {
	return fmt.Sprintf("arn:aws:license-manager::294406891311:license:l-%032d", i)
}

// plan is the stage for the crowd: the examples' configuration with its tenants, and plan
// enterprise billing from the first call.
func (c *crowd) plan() stage.Plan {
	var tenants, licenses strings.Builder
	for i := range c.tenants {
		fmt.Fprintf(&tenants, "  %s: {account: %q}\n", c.tenant(i), c.account(i))
		fmt.Fprintf(&licenses, "- POST licenses: {product: 8h6sexykx0r2ei8dxc94vajj8, account: %q, licenseArn: %q, entitlements: [{dimension: enterprise, value: 1}]}\n",
			c.account(i), c.license(i))
	}
	config := strings.Replace(examples.Weir, "tenants:\n", "tenants:\n"+tenants.String(), 1)
	config = strings.Replace(config, "{included: 100, every: day, then: bill}", "{included: 0, every: day, then: bill}", 1)
	feeds := strings.Index(examples.Marketplace, "- POST licenses:")
	return stage.Plan{Config: config, Marketplace: examples.Marketplace[:feeds] + licenses.String()}
}

// use sends n requests round the tenants; while runs beside it, once some were sent.
func (c *crowd) use(ctx context.Context, t *testing.T, ingress string, n int, while func()) {
	t.Helper()
	client := http1()
	var next atomic.Int64
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				who := i % c.tenants
				r, err := do(ctx, client, ingress, call{method: http.MethodGet, path: "/v1/reports/7", tenant: c.tenant(who)})
				switch {
				case err != nil:
					t.Errorf("request of %s: %v", c.tenant(who), err)
				case r.status != http.StatusOK && r.status != http.StatusServiceUnavailable: // weir is away
					t.Errorf("request of %s: %d %s", c.tenant(who), r.status, r.body)
				}
				if r.status == http.StatusServiceUnavailable {
					time.Sleep(5 * time.Millisecond) // or all requests would be spent in the gap
				}
			}
		})
	}
	if while != nil {
		for next.Load() < int64(n/3) {
			time.Sleep(time.Millisecond)
		}
		while()
	}
	group.Wait()
}

// served is what the application served, by license.
func served(s *stage.Stage) map[string]int64 {
	all := s.App.Served(func(string) bool { return true })
	delete(all, "")
	return all
}

// minus is what came on top of before.
func minus(after, before map[string]int64) map[string]int64 {
	more := maps.Clone(after)
	for k, n := range before {
		if more[k] -= n; more[k] == 0 {
			delete(more, k)
		}
	}
	return more
}

// billed is AWS's bill, by license and hour, hours without usage left out.
func billed(t *testing.T, s *stage.Stage) map[time.Time]map[string]int64 {
	t.Helper()
	lines, err := s.Bill(t.Context())
	must(t, err)
	bill := map[time.Time]map[string]int64{}
	for _, l := range lines {
		if l.Quantity == 0 {
			continue
		}
		if bill[l.Hour] == nil {
			bill[l.Hour] = map[string]int64{}
		}
		bill[l.Hour][l.License] += int64(l.Quantity)
	}
	return bill
}

// moveTo moves AWS's clock forward to an instant and waits until weir has seen it.
func moveTo(t *testing.T, s *stage.Stage, at time.Time) {
	t.Helper()
	now, err := s.Clock(t.Context())
	must(t, err)
	must(t, s.Advance(t.Context(), at.Sub(now).Round(time.Second)))
	eventually(t, 20*time.Second, "weir sees AWS's clock move", func() bool { return seesClock(t.Context(), s) })
}

// seesClock tells whether weir's offset is the emulator's, within two seconds.
func seesClock(ctx context.Context, s *stage.Stage) bool {
	var status struct {
		Clock struct {
			Offset any `json:"offset"`
		} `json:"clock"`
	}
	now, err := s.Clock(ctx)
	if err != nil || s.Status(ctx, "/v1/status", &status) != nil {
		return false
	}
	offset, ok := seconds(status.Clock.Offset)
	want := time.Until(now)
	return ok && (offset-want).Abs() < 2*time.Second
}

// seconds reads a duration as JSON has it: text as Go writes it, or a number of seconds.
func seconds(v any) (time.Duration, bool) {
	switch v := v.(type) {
	case string:
		d, err := time.ParseDuration(v)
		return d, err == nil
	case float64:
		return time.Duration(v * float64(time.Second)), true
	default:
		return 0, false
	}
}
