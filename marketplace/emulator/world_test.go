package emulator_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/marketplaceagreement"
	"github.com/aws/aws-sdk-go-v2/service/marketplaceentitlementservice"
	"github.com/aws/aws-sdk-go-v2/service/marketplacemetering"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/middleware"

	"github.com/weirhq/weir/marketplace/emulator"
	"github.com/weirhq/weir/marketplace/internal/awsbody"
)

// noon is where the tests' clock stands unless one moves it: the middle of a month, on the hour.
const noon = "2026-11-15T12:00:00Z"

// world is an emulator behind a real HTTP server, with the SDK's clients for it.
type world struct {
	t            *testing.T
	emulator     *emulator.Emulator
	url          string
	metering     *marketplacemetering.Client
	entitlements *marketplaceentitlementservice.Client
	agreements   *marketplaceagreement.Client
	queues       *sqs.Client
	topics       *sns.Client
	tokens       *sts.Client
}

// license is what the control API answers about one.
type license struct {
	ID                 string `json:"id"`
	LicenseArn         string `json:"licenseArn"`
	CustomerIdentifier string `json:"customerIdentifier"`
	AgreementID        string `json:"agreementId"`
}

func newWorld(t *testing.T, cfg emulator.Config) *world {
	t.Helper()
	e := emulator.New(cfg)
	server := httptest.NewServer(e)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		server.Close()
	})
	w := &world{t: t, emulator: e, url: server.URL}
	w.sign("AKIDEXAMPLE", "secret", "")
	return w
}

// sign makes the clients anew, with other credentials. They never retry: a test sees each answer.
func (w *world) sign(key, secret, token string) {
	cfg := w.config(key, secret, token)
	w.metering = marketplacemetering.NewFromConfig(cfg)
	w.entitlements = marketplaceentitlementservice.NewFromConfig(cfg)
	w.agreements = marketplaceagreement.NewFromConfig(cfg)
	w.queues = sqs.NewFromConfig(cfg)
	w.topics = sns.NewFromConfig(cfg)
	w.tokens = sts.NewFromConfig(cfg)
}

func (w *world) config(key, secret, token string) aws.Config {
	return aws.Config{
		Region:           "us-east-1",
		BaseEndpoint:     aws.String(w.url),
		Credentials:      credentials.NewStaticCredentialsProvider(key, secret, token),
		RetryMaxAttempts: 1,
		APIOptions:       []func(*middleware.Stack) error{awsbody.Plain},
	}
}

// standing is a world whose clock stands at noon, with a concurrent listing "acme" and a legacy one "old".
func standing(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, emulator.Config{})
	w.clock(noon)
	w.must(http.MethodPut, "products/acme", `{"dimensions":[{"key":"basic","types":["Entitled"]},{"key":"seats","types":["Entitled"]},
		{"key":"calls","types":["ExternallyMetered"]},{"key":"bytes","types":["ExternallyMetered"]}]}`, nil)
	w.must(http.MethodPut, "products/old", `{"agreements":"legacy","dimensions":[{"key":"basic","types":["Entitled"]},
		{"key":"calls","types":["ExternallyMetered"]}]}`, nil)
	return w
}

func (w *world) clock(now string) {
	w.t.Helper()
	w.must(http.MethodPut, "clock", fmt.Sprintf(`{"now":%q}`, now), nil)
}

func (w *world) advance(d string) {
	w.t.Helper()
	w.must(http.MethodPut, "clock", fmt.Sprintf(`{"advance":%q}`, d), nil)
}

// control makes a control call and answers status and body.
func (w *world) control(method, path, body string) (int, []byte) {
	w.t.Helper()
	request, err := http.NewRequest(method, w.url+"/_control/"+path, bytes.NewReader([]byte(body)))
	if err != nil {
		w.t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, path, err)
	}
	return response.StatusCode, answer
}

// must makes a control call that has to succeed, and decodes its answer.
func (w *world) must(method, path, body string, answer any) {
	w.t.Helper()
	status, text := w.control(method, path, body)
	if status != http.StatusOK {
		w.t.Fatalf("%s %s: got status %d, %s", method, path, status, text)
	}
	if answer == nil {
		return
	}
	if err := json.Unmarshal(text, answer); err != nil {
		w.t.Fatalf("%s %s: decode %s: %v", method, path, text, err)
	}
}

// buyer gives an account a license of a product that began long ago.
func (w *world) buyer(product, account, more string) license {
	w.t.Helper()
	var l license
	body := fmt.Sprintf(`{"product":%q,"account":%q,"starts":"2026-01-01T00:00:00Z"%s}`, product, account, more)
	w.must(http.MethodPost, "licenses", body, &l)
	return l
}

// on is the path of a control call on a license.
func (l license) on(verb string) string { return "licenses/" + url.PathEscape(l.ID) + "/" + verb }

// record is a usage record as the control API shows it.
type record struct {
	ID         string      `json:"id"`
	License    string      `json:"license"`
	Customer   string      `json:"customer"`
	Product    string      `json:"product"`
	Dimension  string      `json:"dimension"`
	Timestamp  time.Time   `json:"timestamp"`
	Quantity   json.Number `json:"quantity"`
	Status     string      `json:"status"`
	Error      string      `json:"error"`
	ReceivedAt time.Time   `json:"receivedAt"`
}

func (w *world) records() []record {
	w.t.Helper()
	var list []record
	w.must(http.MethodGet, "records", "", &list)
	return list
}

// billLine is one line of the bill.
type billLine struct {
	License   string      `json:"license"`
	Dimension string      `json:"dimension"`
	Hour      string      `json:"hour"`
	Quantity  json.Number `json:"quantity"`
}

func (w *world) bill() []billLine {
	w.t.Helper()
	var list []billLine
	w.must(http.MethodGet, "bill", "", &list)
	return list
}

func at(t *testing.T, text string) time.Time {
	t.Helper()
	parsed, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}
