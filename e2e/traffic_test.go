package e2e

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weirhq/weir/internal/stage"
)

const (
	// fails is the last part of the paths at which the application fails; one request in so many goes there.
	fails, failsEvery = "500", 8
	// trafficPause is what each of the workers rests after a request.
	trafficPause = 4 * time.Millisecond
	// reportPause is what lies between events: the commit of each takes with it all that was counted before.
	reportPause = 300 * time.Millisecond
)

// book is an application that keeps for itself what it served, and when.
type book struct {
	mu       sync.Mutex
	served   map[string]int64 // answers 200, by license
	answered map[string]int64 // all answers
	times    []time.Time
}

func (b *book) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	license := r.Header.Get("x-weir-license")
	b.mu.Lock()
	if b.served == nil {
		b.served, b.answered = map[string]int64{}, map[string]int64{}
	}
	b.answered[license]++
	failed := path.Base(r.URL.Path) == fails
	if !failed {
		b.served[license]++
	}
	b.times = append(b.times, time.Now())
	b.mu.Unlock()
	if failed {
		w.WriteHeader(http.StatusInternalServerError)
	}
}

// since is how many requests were answered since an instant. What was before is forgotten.
func (b *book) since(at time.Time) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	first, _ := slices.BinarySearchFunc(b.times, at, time.Time.Compare)
	b.times = b.times[first:]
	return int64(len(b.times))
}

func (b *book) of(license string) (served, answered int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.served[license], b.answered[license]
}

// traffic is what a crowd does without a pause: a third of the tenants have their requests counted when
// they were served, a third at the check, and the usage of the others is reported.
type traffic struct {
	t     *testing.T
	crowd *crowd
	stage *stage.Stage
	book  *book
	next  atomic.Int64
	ids   atomic.Int64
	ended atomic.Int64 // when weir's last end was over, in Unix nanoseconds; while it is under way, far ahead

	mu      sync.Mutex
	refused []int64 // requests answered 503 that began before an end of weir, by tenant: it may have let the check through
	acked   []int64 // units of events that were taken
}

func (f *traffic) reports(tenant int) bool { return tenant%3 == 2 }

// least is what has to be billed when nothing was lost, and most what can be.
func (f *traffic) least(tenant int) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	served, answered := f.book.of(f.crowd.license(tenant))
	switch tenant % 3 {
	case 0:
		return served
	case 1:
		return answered
	default:
		return f.acked[tenant]
	}
}

func (f *traffic) most(tenant int) int64 {
	_, answered := f.book.of(f.crowd.license(tenant))
	f.mu.Lock()
	defer f.mu.Unlock()
	return answered + f.refused[tenant]
}

// unclear is how many requests may have been checked that the application never saw.
func (f *traffic) unclear() (n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.refused {
		n += r
	}
	return n
}

// end ends weir in the traffic.
func (f *traffic) end(how func(*stage.Stage) error) error {
	f.ended.Store(math.MaxInt64)
	defer func() { f.ended.Store(time.Now().UnixNano()) }()
	return how(f.stage)
}

// start has the workers begin; the function that is returned waits for their end.
func (f *traffic) start() (stop func()) {
	stopped := make(chan struct{})
	var once sync.Once
	var group sync.WaitGroup
	begin := func(pause time.Duration, mine func(who int) bool, do func(*http.Client, int)) {
		group.Go(func() {
			client := http1()
			for {
				select {
				case <-stopped:
					return
				case <-time.After(pause):
				}
				who := int(f.next.Add(1)) % f.crowd.tenants
				for !mine(who) {
					who = (who + 1) % f.crowd.tenants
				}
				do(client, who)
			}
		})
	}
	for range workers {
		begin(trafficPause, func(who int) bool { return !f.reports(who) }, f.request)
	}
	begin(reportPause, f.reports, f.report)
	f.flow()
	return func() {
		once.Do(func() { close(stopped) })
		group.Wait()
	}
}

// flow waits until some requests have been answered.
func (f *traffic) flow() {
	before := f.next.Load()
	eventually(f.t, 20*time.Second, "requests flow", func() bool { return f.next.Load() > before+2*workers || f.t.Failed() })
}

func (f *traffic) request(client *http.Client, who int) {
	to := "/v1/reports/7"
	if who%3 == 1 {
		to = "/v1/checked/7"
	}
	if f.ids.Add(1)%failsEvery == 0 {
		to = path.Dir(to) + "/" + fails
	}
	began := time.Now().UnixNano()
	got, err := do(f.t.Context(), client, f.stage.Ingress, call{method: http.MethodGet, path: to, tenant: f.crowd.tenant(who)})
	switch {
	case err != nil:
		f.t.Errorf("request of %s: %v", f.crowd.tenant(who), err)
	case got.status == http.StatusServiceUnavailable: // weir is away
		if began <= f.ended.Load() {
			f.mu.Lock()
			f.refused[who]++
			f.mu.Unlock()
		}
		time.Sleep(100 * time.Millisecond)
	case got.status != http.StatusOK && got.status != http.StatusInternalServerError:
		f.t.Errorf("request of %s: %d %s", f.crowd.tenant(who), got.status, got.body)
	}
}

// report sends one event until it is taken, and some again although they were.
func (f *traffic) report(client *http.Client, who int) {
	id := f.ids.Add(1)
	event := fmt.Sprintf(`{"specversion": "1.0", "type": "t", "source": "/traffic", "id": "%d", "subject": %q, "data": {"feature": "apiCalls", "quantity": %d}}`,
		id, f.crowd.tenant(who), eventUnits)
	for left := 1 + id%2; left > 0 && !f.t.Failed(); {
		resp, err := client.Post("http://"+f.stage.HTTP+"/v1/usage", "application/cloudevents+json", strings.NewReader(event))
		if err != nil { // weir is away, and perhaps has taken it
			time.Sleep(20 * time.Millisecond)
			continue
		}
		said, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		switch resp.StatusCode {
		case http.StatusAccepted:
			left--
		case http.StatusServiceUnavailable:
			time.Sleep(20 * time.Millisecond)
		default:
			f.t.Errorf("event %d: %d %s", id, resp.StatusCode, said)
			return
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.acked[who] += eventUnits
}
