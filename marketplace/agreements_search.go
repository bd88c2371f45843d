package marketplace

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	agreements "github.com/aws/aws-sdk-go-v2/service/marketplaceagreement"
	"github.com/aws/aws-sdk-go-v2/service/marketplaceagreement/types"
	"github.com/aws/smithy-go"

	"github.com/weirhq/weir/policy"
)

const (
	// agreementRegion is the region of the Agreement API, wherever usage is metered (AWS:
	// Marketplace Agreement Service endpoints).
	agreementRegion = "us-east-1"
	// searchPage is the most that SearchAgreements gives at once (AWS: SearchAgreements, MaxResults).
	searchPage = 50
	// searchAction is what IAM has to allow for it.
	searchAction = "aws-marketplace:SearchAgreements"
)

// What agreements are sorted by (AWS: SearchAgreements, Sort; both for proposers only).
const (
	byStartTime      = "StartTime"
	byLastUpdateTime = "LastUpdateTime"
)

// search asks for the agreements of one product (AWS: SearchAgreements). Reading all of
// them is a sweep to [Limits]; any other search goes before it.
type search struct {
	client  *agreements.Client
	limits  *Limits
	product policy.Product
}

func (c *Connection) search(product policy.Product) *search {
	client := agreements.NewFromConfig(c.aws, func(o *agreements.Options) {
		o.Region = agreementRegion
		o.RetryMaxAttempts = readAttempts
	})
	return &search{client: client, limits: c.Limits, product: product}
}

// where is one filter. AWS takes one value for each.
func where(name, value string) types.Filter {
	return types.Filter{Name: aws.String(name), Values: []string{value}}
}

// whereTime is a filter by time; AWS's pattern for values has no room for fractions of seconds.
func whereTime(name string, at time.Time) types.Filter {
	return where(name, at.UTC().Format(time.RFC3339))
}

// whereActive lets through what is in force.
func whereActive() types.Filter { return where("Status", string(types.AgreementStatusActive)) }

// all yields the product's agreements that every filter lets through, latest first where they are
// sorted by StartTime, else earliest first. An error ends it: there may have been more.
func (s *search) all(ctx context.Context, sweep bool, sortBy string, filters ...types.Filter) iter.Seq2[*types.AgreementViewSummary, error] {
	order := types.SortOrderAscending
	if sortBy == byStartTime {
		order = types.SortOrderDescending
	}
	input := &agreements.SearchAgreementsInput{
		Catalog: aws.String("AWSMarketplace"), MaxResults: aws.Int32(searchPage),
		Sort: &types.Sort{SortBy: aws.String(sortBy), SortOrder: order},
		Filters: append([]types.Filter{
			where("PartyType", "Proposer"), where("AgreementType", "PurchaseAgreement"),
			where("ResourceType", "SaaSProduct"), where("ResourceIdentifier", s.product.ID),
		}, filters...),
	}
	return func(yield func(*types.AgreementViewSummary, error) bool) {
		tokens := make(map[string]struct{})
		for range maxPages {
			page, err := s.page(ctx, input, sweep)
			if err != nil {
				yield(nil, err)
				return
			}
			for i := range page.AgreementViewSummaries {
				if !yield(&page.AgreementViewSummaries[i], nil) {
					return
				}
			}
			token := aws.ToString(page.NextToken) // an empty page may carry one
			if token == "" {
				return
			}
			if _, ok := tokens[token]; ok {
				yield(nil, errors.New("read pages: a page token came twice"))
				return
			}
			tokens[token] = struct{}{}
			input.NextToken = aws.String(token)
		}
		yield(nil, fmt.Errorf("read pages: more than %d", maxPages))
	}
}

// page reads one page. Every attempt waits for the quota.
func (s *search) page(ctx context.Context, input *agreements.SearchAgreementsInput, sweep bool) (*agreements.SearchAgreementsOutput, error) {
	turn := func(ctx context.Context) error { return s.limits.search(ctx, sweep) }
	page, err := s.client.SearchAgreements(ctx, input, func(o *agreements.Options) {
		o.APIOptions = append(o.APIOptions, eachAttempt(turn))
	})
	if isDenied(err) {
		err = fmt.Errorf("%w; allow the IAM action %s", err, searchAction)
	}
	return page, err
}

// isDenied tells that IAM does not allow a call.
func isDenied(err error) bool {
	var api smithy.APIError
	return errors.As(err, &api) && strings.HasPrefix(api.ErrorCode(), "AccessDenied")
}

// licenseARNs are the licenses of an agreement, in the spelling of the APIs.
func licenseARNs(a *types.AgreementViewSummary) []policy.Key {
	var keys []policy.Key
	for _, held := range a.Entitlements {
		if key, ok := licenseKey(aws.ToString(held.LicenseArn)); ok {
			keys = append(keys, key)
		}
	}
	return keys
}

// acceptor is the buyer's account; empty where AWS gives none.
func acceptor(a *types.AgreementViewSummary) string {
	if a.Acceptor == nil || !account.MatchString(aws.ToString(a.Acceptor.AccountId)) {
		return ""
	}
	return aws.ToString(a.Acceptor.AccountId)
}
