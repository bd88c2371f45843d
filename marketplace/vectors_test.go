package marketplace

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirhq/weir/cache"
	"github.com/weirhq/weir/policy"
)

// vectors are messages with real signatures, good and hostile, and the certificates that their URLs lead to.
type vectors struct {
	Now      time.Time             `json:"now"`
	Topics   []string              `json:"expected_topics"`
	Certs    map[string]servedFile `json:"certs"`
	Messages []vector              `json:"vectors"`
}

type servedFile struct {
	File     string `json:"file"`
	Status   int    `json:"status"`
	Location string `json:"location"`
	Size     int    `json:"size"`
	Body     []byte `json:"-"` // in the place of a file
}

type vector struct {
	Name    string            `json:"name"`
	Expect  string            `json:"expect"` // accept, reject, reject-or-ack-without-effect, or policy: as weir likes
	Fetch   bool              `json:"cert_fetch_allowed"`
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
}

func readVectors(t testing.TB) vectors {
	t.Helper()
	file, err := os.ReadFile("testdata/sns/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(file, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// internet is all that weir can reach: certificates, and the API of SNS. It notes what it is asked for.
type internet struct {
	mu     sync.Mutex
	files  map[string]servedFile
	asked  []string // URLs of what was fetched
	called []string // forms that the API got
	broken error    // for the API
}

func (i *internet) RoundTrip(r *http.Request) (*http.Response, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	answer := httptest.NewRecorder()
	if r.Method == http.MethodPost {
		form, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		i.called = append(i.called, r.URL.String()+" "+string(form))
		io.WriteString(answer, `<ConfirmSubscriptionResponse><ConfirmSubscriptionResult><SubscriptionArn>arn</SubscriptionArn></ConfirmSubscriptionResult></ConfirmSubscriptionResponse>`)
		return answer.Result(), i.broken
	}
	i.asked = append(i.asked, r.URL.String())
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	served, ok := i.files[r.URL.String()]
	if !ok {
		return nil, errors.New("no such host")
	}
	if served.Location != "" {
		answer.Header().Set("Location", served.Location)
	}
	if served.Status != 0 {
		answer.WriteHeader(served.Status)
	}
	answer.Write(make([]byte, served.Size))
	answer.Write(served.Body)
	if served.File != "" {
		file, err := os.ReadFile(filepath.Join("testdata/sns", served.File))
		if err != nil {
			return nil, err
		}
		answer.Write(file)
	}
	return answer.Result(), nil
}

// Do is how the SDK asks.
func (i *internet) Do(r *http.Request) (*http.Response, error) { return i.RoundTrip(r) }

// requests is how many requests left.
func (i *internet) requests() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.asked) + len(i.called)
}

// posted is POST /sns as it faces AWS itself, at the time of the vectors.
type posted struct {
	t testing.TB
	*Notifications
	internet *internet
	hints    []cache.Hint
	fail     error // what the handler gives
	log      *syncBuffer
}

func newPosted(t testing.TB, topics []string) *posted {
	t.Helper()
	v := readVectors(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
	p := &posted{t: t, internet: &internet{files: v.Certs}, log: new(syncBuffer)}
	c, err := Connect(t.Context(), Config{Region: "eu-central-1"}, slog.New(slog.NewTextHandler(p.log, nil)), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	c.aws.HTTPClient = p.internet
	c.Clock.offset.Store(int64(v.Now.Sub(c.Clock.local())))
	products := map[string]policy.Product{"legacy": {Code: "prodlegacy0000001", ID: "prod-l", Agreements: policy.AgreementsLegacy}}
	p.Notifications = c.Notifications(topics, products, func(_ context.Context, h cache.Hint) (bool, error) {
		p.hints = append(p.hints, h)
		return true, p.fail
	})
	p.certificates.client.Transport = p.internet
	p.certificates.roots = x509.NewCertPool()
	ca, err := os.ReadFile("testdata/sns/ca.pem")
	if err != nil || !p.certificates.roots.AppendCertsFromPEM(ca) {
		t.Fatal("no authority: ", err)
	}
	return p
}

// answer is what SNS gets.
type answer struct {
	status int
	reason string // of a problem
}

// post posts a message.
func (p *posted) post(headers map[string]string, body []byte) answer {
	p.t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/sns", bytes.NewReader(body))
	for name, value := range headers {
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	got := answer{status: w.Code}
	if w.Code != http.StatusOK {
		var problem policy.Problem
		if err := json.Unmarshal(w.Body.Bytes(), &problem); err != nil || problem.Status != w.Code || problem.Detail == "" ||
			w.Header().Get("Content-Type") != "application/problem+json" {
			p.t.Errorf("answered %q", w.Body)
		}
		got.reason = problem.Reason
	}
	return got
}

// vectorAnswers are what each kind of message gets, by how its name begins; the longest beginning counts.
func vectorAnswers() map[string]answer {
	unreadable, topic := answer{400, "unreadable"}, answer{403, "topic"}
	certificate, signature := answer{403, "certificate"}, answer{403, "signature"}
	return map[string]answer{
		"ok-":                      {200, ""},
		"policy-china-cert-host":   certificate, // not the region of its topic
		"policy-cert-":             certificate,
		"policy-lambda-style-keys": certificate, // it has no SigningCertURL
		"cert-":                    certificate,
		"certfile-":                certificate,
		"altered-":                 signature,
		"altered-v1-TopicArn":      topic,
		"altered-v2-TopicArn":      topic,
		"sigver-":                  signature,
		"sigver-integer-1":         unreadable,
		"signature-":               signature,
		"signature-array":          unreadable,
		"signature-null":           unreadable,
		"topic-other-account":      topic,
		"topic-header-differs":     unreadable,
		"timestamp-2h-future":      {403, "stale"},
		"replay-":                  {200, ""},
		"type-":                    unreadable,
		"message-":                 unreadable,
		"messageid-array":          unreadable,
		"duplicate-key-":           unreadable,
		"canonical-ambiguity-":     unreadable,
		"subject-null-key":         unreadable,
		"json-":                    unreadable,
		"raw-delivery":             unreadable,
	}
}

func TestEveryVectorGetsTheRightAnswer(t *testing.T) {
	v := readVectors(t)
	replayed := newPosted(t, v.Topics)
	for _, m := range v.Messages {
		t.Run(m.Name, func(t *testing.T) {
			p := newPosted(t, v.Topics)
			if strings.HasPrefix(m.Name, "replay-") {
				p = replayed
			}
			longest, want := "", answer{}
			for beginning, a := range vectorAnswers() {
				if strings.HasPrefix(m.Name, beginning) && len(beginning) > len(longest) {
					longest, want = beginning, a
				}
			}
			got := p.post(m.Headers, []byte(m.Body))
			if got != want {
				t.Errorf("got %+v, want %+v\n%s", got, want, p.log)
			}
			if accepted := got.status == 200; m.Expect == "accept" && !accepted || m.Expect == "reject" && accepted {
				t.Errorf("%s, but got %+v", m.Expect, got)
			}
			if !m.Fetch && p.internet.requests() != 0 {
				t.Errorf("asked for %v, called %v", p.internet.asked, p.internet.called)
			}
			if got.status != 200 && (len(p.hints) != 0 || len(p.internet.called) != 0) {
				t.Errorf("refused with an effect: %v, %v", p.hints, p.internet.called)
			}
			if len(p.hints) > 1 {
				t.Errorf("%d effects", len(p.hints))
			}
		})
	}
}
