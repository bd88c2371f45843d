package marketplace

import (
	"context"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	agreements "github.com/aws/aws-sdk-go-v2/service/marketplaceagreement"
	catalog "github.com/aws/aws-sdk-go-v2/service/marketplacecatalog"
	entitlement "github.com/aws/aws-sdk-go-v2/service/marketplaceentitlementservice"
	meteringservice "github.com/aws/aws-sdk-go-v2/service/marketplacemetering"
	meteringtypes "github.com/aws/aws-sdk-go-v2/service/marketplacemetering/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/weirhq/weir/policy"
)

const (
	// catalogRegion is the only region of the Catalog API (AWS: Marketplace Catalog endpoints and quotas).
	catalogRegion = "us-east-1"
	// catalogName is the one catalog that there is.
	catalogName = "AWSMarketplace"
	// noToken is a registration token that AWS never issued.
	noToken = "weir-doctor"
)

// The IAM actions that a [Checkup] tries.
const (
	ActionCallerIdentity   = "sts:GetCallerIdentity"
	ActionBatchMeterUsage  = "aws-marketplace:BatchMeterUsage"
	ActionResolveCustomer  = "aws-marketplace:ResolveCustomer"
	ActionGetEntitlements  = "aws-marketplace:GetEntitlements"
	ActionSearchAgreements = searchAction
	ActionAgreementTerms   = termsAction
	ActionDescribeEntity   = "aws-marketplace:DescribeEntity"
	ActionQueueAttributes  = "sqs:GetQueueAttributes"
	ActionReceiveMessage   = "sqs:ReceiveMessage"
	ActionDeleteMessage    = "sqs:DeleteMessage"
	ActionHideMessage      = "sqs:ChangeMessageVisibility"
)

// Checkup tries what weir will need of AWS, and changes nothing there: what would change something is asked for in a way
// that AWS has to refuse, or has nothing to do for. A refusal for any reason but permission proves the permission.
// Every error of its methods is a [*CheckupError].
type Checkup struct {
	c          *Connection
	identity   *sts.Client
	metering   *meteringservice.Client
	agreements *agreements.Client
	catalog    *catalog.Client
}

// Checkup is one on this connection.
func (c *Connection) Checkup() *Checkup {
	return &Checkup{
		c: c, identity: sts.NewFromConfig(c.aws), metering: meteringservice.NewFromConfig(c.aws),
		agreements: agreements.NewFromConfig(c.aws, func(o *agreements.Options) { o.Region = agreementRegion }),
		catalog:    catalog.NewFromConfig(c.aws, func(o *catalog.Options) { o.Region = catalogRegion }),
	}
}

// Caller is the ARN that AWS knows weir by. Asking needs no permission (AWS: GetCallerIdentity).
func (c *Checkup) Caller(ctx context.Context) (arn string, err error) {
	out, err := c.identity.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return "", newCheckupError(ActionCallerIdentity, err)
	}
	return aws.ToString(out.Arn), nil
}

// Metering tries whether usage of a product may be metered in the configured region: with a call that holds no record, which
// AWS takes (AWS: BatchMeterUsage, 0 to 25 records). A legacy listing's product code goes along, as with its records.
func (c *Checkup) Metering(ctx context.Context, product policy.Product) error {
	if err := c.c.Limits.batch(ctx); err != nil {
		return newCheckupError(ActionBatchMeterUsage, err)
	}
	input := &meteringservice.BatchMeterUsageInput{UsageRecords: []meteringtypes.UsageRecord{}}
	if product.Agreements == policy.AgreementsLegacy {
		input.ProductCode = aws.String(product.Code)
	}
	if _, err := c.metering.BatchMeterUsage(ctx, input); !permits(err) {
		return newCheckupError(ActionBatchMeterUsage, err)
	}
	return nil
}

// Registration tries whether registration tokens may be resolved, with one that is none.
func (c *Checkup) Registration(ctx context.Context) error {
	_, err := c.metering.ResolveCustomer(ctx, &meteringservice.ResolveCustomerInput{RegistrationToken: aws.String(noToken)})
	if !permits(err) {
		return newCheckupError(ActionResolveCustomer, err)
	}
	return nil
}

// Entitlements reads the first page of what the buyers of a product hold, and gives the dimensions in it, sorted.
func (c *Checkup) Entitlements(ctx context.Context, name string, product policy.Product) (dimensions []string, err error) {
	page, err := c.c.Entitlements(name, product).page(ctx, &entitlement.GetEntitlementsInput{
		ProductCode: aws.String(product.Code), MaxResults: aws.Int32(pageSize),
	}, false)
	if err != nil {
		return nil, newCheckupError(ActionGetEntitlements, err)
	}
	for _, held := range page.Entitlements {
		dimensions = append(dimensions, aws.ToString(held.Dimension))
	}
	slices.Sort(dimensions)
	return slices.Compact(dimensions), nil
}

// Agreements tries whether the agreements of a product may be read, and gives the id of one in force; empty: there is none.
func (c *Checkup) Agreements(ctx context.Context, product policy.Product) (agreement string, err error) {
	for a, err := range c.c.search(product).all(ctx, false, byStartTime, whereActive()) {
		if err != nil {
			return "", newCheckupError(ActionSearchAgreements, err)
		}
		return aws.ToString(a.AgreementId), nil
	}
	return "", nil
}

// Terms tries whether the terms of an agreement may be read.
func (c *Checkup) Terms(ctx context.Context, agreement string) error {
	_, err := c.agreements.GetAgreementTerms(ctx, &agreements.GetAgreementTermsInput{AgreementId: aws.String(agreement), MaxResults: aws.Int32(1)})
	if err != nil {
		return newCheckupError(ActionAgreementTerms, err)
	}
	return nil
}

// Listing is what AWS sells.
type Listing struct {
	// Code is the product code.
	Code string
	// Dimensions are their types by key: Entitled, Metered, ExternallyMetered (AWS: Catalog API, SaaSProduct).
	Dimensions map[string][]string
}

// Listing reads the listing of a product id, as its seller may.
func (c *Checkup) Listing(ctx context.Context, id string) (Listing, error) {
	out, err := c.catalog.DescribeEntity(ctx, &catalog.DescribeEntityInput{Catalog: aws.String(catalogName), EntityId: aws.String(id)})
	if err != nil {
		return Listing{}, newCheckupError(ActionDescribeEntity, err)
	}
	var details struct {
		Description struct{ ProductCode string }
		Dimensions  []struct {
			Key   string
			Types []string
		}
	}
	if out.DetailsDocument == nil {
		return Listing{}, newCheckupError(ActionDescribeEntity, fmt.Errorf("read listing %s: AWS gave no details", id))
	}
	if err := out.DetailsDocument.UnmarshalSmithyDocument(&details); err != nil {
		return Listing{}, newCheckupError(ActionDescribeEntity, fmt.Errorf("read listing %s: %w", id, err))
	}
	l := Listing{Code: details.Description.ProductCode, Dimensions: map[string][]string{}}
	for _, d := range details.Dimensions {
		l.Dimensions[d.Key] = d.Types
	}
	return l, nil
}
