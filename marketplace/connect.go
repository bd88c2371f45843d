package marketplace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirhq/weir/marketplace/internal/awsbody"
)

const (
	// dialTimeout bounds the making of a connection.
	dialTimeout = 5 * time.Second
	// quietAWS is how long no answer may come before AWS is asked who weir is (BILLING B18).
	quietAWS = time.Minute
	// quietEndpoint is the same at an endpoint such as the emulator's, whose clock may be moved at any time.
	quietEndpoint = time.Second
	// endpointBackoff bounds every pause between attempts where an endpoint is set.
	endpointBackoff = 2 * time.Second
	// longestBackoff bounds every pause between attempts at AWS.
	longestBackoff = 30 * time.Second
)

// Connection is what one AWS account is talked to through. Nothing runs but what its
// parts' Run methods run.
type Connection struct {
	// Clock tells AWS's time; its Run has to run.
	Clock *Clock
	// Limits keeps the account's quotas.
	Limits *Limits

	cfg     Config
	aws     aws.Config
	log     *slog.Logger
	updates *prometheus.CounterVec

	agreements *agreementAccess
	hearing    *hearing
	// subscriptions is where Queue, Notifications and Registrations store events; nil: no listing lives by them.
	subscriptions *Subscriptions
}

// Connect prepares clients for the AWS services that weir uses. It calls none of
// them; credentials are looked for at the first call.
func Connect(ctx context.Context, cfg Config, log *slog.Logger, reg prometheus.Registerer) (*Connection, error) {
	clock, err := newClock(log, reg)
	if err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	observer, err := newObserver(clock, reg)
	if err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	updates := newUpdatesMetric()
	if err := reg.Register(updates); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	c := &Connection{Clock: clock, Limits: NewLimits(), cfg: cfg, log: log, updates: updates}
	c.agreements = &agreementAccess{
		clock: clock, log: log, what: "agreements", without: "lost notifications wait for the sweep, and renewals for AWS's entitlements", action: searchAction,
	}
	c.hearing = &hearing{clock: clock, failing: map[string]error{}}
	c.aws, err = config.LoadDefaultConfig(ctx,
		config.WithRegion(cfg.Region),
		config.WithLogger(sdkLog{log}),
		config.WithHTTPClient(awshttp.NewBuildableClient().WithDialerOptions(func(d *net.Dialer) { d.Timeout = dialTimeout })),
		config.WithRetryer(func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxBackoff = c.backoffLimit() })
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("load AWS configuration: %w", err)
	}
	c.aws.APIOptions = append(c.aws.APIOptions, observer.install, awsbody.Plain)
	if cfg.Endpoint != "" {
		c.aws.BaseEndpoint = aws.String(cfg.Endpoint)
		// The emulator's Date is the time of business, which can be moved; signatures carry the real one.
		c.aws.DisableClockSkewCorrection = true
	}
	c.assumeRole()
	c.watchTime()
	return c, nil
}

// assumeRole makes every later client use the configured role.
func (c *Connection) assumeRole() {
	if c.cfg.RoleARN == "" {
		return
	}
	provider := stscreds.NewAssumeRoleProvider(sts.NewFromConfig(c.aws), c.cfg.RoleARN, func(o *stscreds.AssumeRoleOptions) {
		o.RoleSessionName = "weir"
		if c.cfg.ExternalID != "" {
			o.ExternalID = aws.String(c.cfg.ExternalID)
		}
	})
	c.aws.Credentials = aws.NewCredentialsCache(provider)
}

// watchTime tells the clock how to get an answer when none came for long.
func (c *Connection) watchTime() {
	if c.cfg.Endpoint != "" {
		c.Clock.quiet = quietEndpoint
		c.Clock.look = func(ctx context.Context) error { return lookAtEndpoint(ctx, c.aws.HTTPClient, c.cfg.Endpoint, c.Clock) }
		return
	}
	client := sts.NewFromConfig(c.aws)
	c.Clock.quiet = quietAWS
	c.Clock.look = func(ctx context.Context) error {
		_, err := client.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
		if isRefused(err) { // a refusal has a Date too, which is all that was wanted
			return nil
		}
		return err
	}
}

// lookAtEndpoint reads the Date of an unauthenticated GET, which is no AWS operation.
func lookAtEndpoint(ctx context.Context, client aws.HTTPClient, endpoint string, clock *Clock) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint+"/", nil)
	if err != nil {
		return fmt.Errorf("look at endpoint: %w", err)
	}
	begun := clock.local()
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("look at endpoint: %w", err)
	}
	received := clock.local()
	_, err = io.CopyN(io.Discard, resp.Body, 4096) // so that the connection can be used again
	if err = errors.Join(ignoreEOF(err), resp.Body.Close()); err != nil {
		return fmt.Errorf("look at endpoint: %w", err)
	}
	date, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return fmt.Errorf("look at endpoint: read Date: %w", err)
	}
	clock.observe(date, received, received.Sub(begun))
	return nil
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// backoffLimit bounds pauses between attempts.
func (c *Connection) backoffLimit() time.Duration {
	if c.cfg.Endpoint != "" {
		return endpointBackoff
	}
	return longestBackoff
}
