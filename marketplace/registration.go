package marketplace

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	meteringservice "github.com/aws/aws-sdk-go-v2/service/marketplacemetering"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"golang.org/x/time/rate"

	"github.com/weirhq/weir/policy"
)

const (
	// maxToken is the longest registration token that is sent to AWS, in bytes. AWS's are some hundred.
	maxToken = 4096
	// resolveTimeout bounds one Resolve with all its attempts: a buyer's browser waits for it.
	resolveTimeout = 10 * time.Second
	// resolvesPerSecond keeps a flood of forged tokens off AWS, which tells no quota of ResolveCustomer.
	resolvesPerSecond = 10
	// maxAnswer bounds what is read of an answer of ResolveCustomer, in bytes.
	maxAnswer = 64 << 10
)

// What Resolve says of a token that it can't resolve.
var (
	// ErrTokenExpired tells that AWS issued the token, and that its time is over: the buyer has to follow
	// the link at AWS Marketplace again.
	ErrTokenExpired = errors.New("the registration token has expired")
	// ErrTokenInvalid tells that AWS issued no such token.
	ErrTokenInvalid = errors.New("the registration token is invalid")
	// ErrUnavailable tells that AWS did not say: the same token may be resolved later.
	ErrUnavailable = errors.New("AWS can't resolve the registration token now")
)

// Registered is the buyer behind a registration token.
type Registered struct {
	// Product is the configuration's key.
	Product     string
	ProductCode string
	// Account is the buyer's AWS account.
	Account string
	// Customer is the legacy customer identifier; empty for new listings.
	Customer string
	// License is what was bought.
	License policy.Key
	// Agreement is the id that events carry; empty where AWS does not tell it.
	Agreement string
}

// Registrations resolves registration tokens (AWS: ResolveCustomer). A token is resolved each time anew and kept nowhere. It
// is safe for concurrent use.
type Registrations struct {
	client   *meteringservice.Client
	products map[string]policy.Product
	names    parser
	limit    *rate.Limiter
	// subscriptions is where buyers are noted; nil: no listing lives by events.
	subscriptions *Subscriptions
}

// Registrations resolves tokens for the given products, by the configuration's keys.
func (c *Connection) Registrations(products map[string]policy.Product) *Registrations {
	return &Registrations{
		client: meteringservice.NewFromConfig(c.aws), products: products, names: newParser(products),
		limit: rate.NewLimiter(resolvesPerSecond, resolvesPerSecond), subscriptions: c.subscriptions,
	}
}

// Resolve says whose registration a token is: the form field x-amzn-marketplace-token as AWS Marketplace has the buyer's
// browser post it. The same token gives the same answer until it expires. Its errors are [ErrTokenExpired],
// [ErrTokenInvalid], [ErrUnavailable], or say how the configuration differs from the listing; none holds the token.
func (r *Registrations) Resolve(ctx context.Context, token string) (Registered, error) {
	if !isToken(token) {
		return Registered{}, fmt.Errorf("resolve customer: %w", ErrTokenInvalid)
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	if err := wait(ctx, r.limit); err != nil {
		return Registered{}, fmt.Errorf("resolve customer: %w: %w", ErrUnavailable, err)
	}
	var agreement string
	out, err := r.client.ResolveCustomer(ctx, &meteringservice.ResolveCustomerInput{RegistrationToken: aws.String(token)},
		func(o *meteringservice.Options) {
			o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
				return stack.Deserialize.Add(agreementOf(&agreement), middleware.After)
			})
		})
	if err != nil {
		return Registered{}, fmt.Errorf("resolve customer: %w", resolveError(err, token))
	}
	found := Registered{
		ProductCode: aws.ToString(out.ProductCode),
		Account:     aws.ToString(out.CustomerAWSAccountId),
		Customer:    aws.ToString(out.CustomerIdentifier),
		Agreement:   agreement,
	}
	err = r.place(&found, aws.ToString(out.LicenseArn))
	if err == nil && r.subscriptions != nil && r.products[found.Product].ByEvents() {
		err = r.subscriptions.register(&found)
	}
	if err != nil {
		return Registered{}, fmt.Errorf("resolve customer: %w", err)
	}
	return found, nil
}

// isToken tells what AWS need not be asked about.
func isToken(token string) bool {
	return token != "" && len(token) <= maxToken && utf8.ValidString(token) && strings.IndexFunc(token, unicode.IsControl) < 0
}

// resolveError says what AWS's error means for the token. AWS may repeat the token in what it says.
func resolveError(err error, token string) error {
	var api smithy.APIError
	if errors.As(err, &api) {
		switch api.ErrorCode() {
		case "ExpiredTokenException":
			return ErrTokenExpired
		case "InvalidTokenException", "ValidationException":
			return ErrTokenInvalid
		}
	}
	if strings.Contains(err.Error(), token) {
		return ErrUnavailable
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// place finds the product of what was bought, and the license's key as that product names licenses.
func (r *Registrations) place(found *Registered, arn string) error {
	name := r.names[found.ProductCode].name
	if name == "" {
		return fmt.Errorf("the buyer's product code %s is not in the configuration; add the listing under products, or correct its code",
			strconv.Quote(found.ProductCode))
	}
	found.Product = name
	legacy := r.products[name].Agreements == policy.AgreementsLegacy
	switch {
	case !account.MatchString(found.Account):
		return fmt.Errorf("the buyer's account %s is not an AWS account", strconv.Quote(found.Account))
	case legacy && !customer.MatchString(found.Customer):
		return fmt.Errorf("AWS gave no CustomerIdentifier for a buyer of product %s; a listing with concurrent agreements needs agreements: concurrent", name)
	case legacy:
		found.License = policy.Key(found.ProductCode + "/" + found.Customer)
	case policy.Key(arn).Kind() != policy.KindARN:
		return fmt.Errorf("AWS gave no LicenseArn for a buyer of product %s; a listing from before concurrent agreements needs agreements: legacy", name)
	default:
		found.License = policy.Key(arn)
	}
	return nil
}

// agreementID is what AWS takes for the id of an agreement.
var agreementID = regexp.MustCompile(`^[A-Za-z0-9_/-]{1,64}$`)

// agreementOf takes Metadata.AgreementId out of the answer, which this version of the SDK does not know (AWS:
// ResolveCustomer). What can't be read is left to the SDK to complain about.
func agreementOf(id *string) middleware.DeserializeMiddleware {
	return middleware.DeserializeMiddlewareFunc("weir/agreement", func(
		ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler,
	) (middleware.DeserializeOutput, middleware.Metadata, error) {
		out, metadata, err := next.HandleDeserialize(ctx, in)
		resp, ok := out.RawResponse.(*smithyhttp.Response)
		if err != nil || !ok {
			return out, metadata, err
		}
		body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		if err = errors.Join(err, resp.Body.Close()); err != nil {
			return out, metadata, fmt.Errorf("read answer: %w", err)
		}
		resp.Body = io.NopCloser(bytes.NewReader(body))
		var answer struct {
			Metadata struct {
				AgreementID string `json:"AgreementId"`
			}
		}
		if json.Unmarshal(body, &answer) == nil && agreementID.MatchString(answer.Metadata.AgreementID) {
			*id = answer.Metadata.AgreementID
		}
		return out, metadata, nil
	})
}
