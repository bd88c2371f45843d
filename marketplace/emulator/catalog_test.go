package emulator_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/marketplacecatalog"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"github.com/weirhq/weir/marketplace/emulator"
)

// catalog is the SDK's client for the Catalog API.
func (w *world) catalog(secret string) *marketplacecatalog.Client {
	return marketplacecatalog.NewFromConfig(w.config("AKIDEXAMPLE", secret, ""))
}

func TestDescribeEntityShowsAListingToTheSDK(t *testing.T) {
	w := newWorld(t, emulator.Config{Credentials: "AKIDEXAMPLE:secret"})
	w.control("PUT", "products/code1", `{"id": "prod-1", "dimensions": [{"key": "basic", "types": ["Entitled"]}, {"key": "calls", "types": ["ExternallyMetered"]}]}`)
	ask := func(secret, id string) (*marketplacecatalog.DescribeEntityOutput, error) {
		return w.catalog(secret).DescribeEntity(t.Context(), &marketplacecatalog.DescribeEntityInput{Catalog: aws.String("AWSMarketplace"), EntityId: aws.String(id)})
	}
	out, err := ask("secret", "prod-1")
	if err != nil {
		t.Fatal(err)
	}
	type details struct {
		Description struct{ ProductCode string }
		Dimensions  []struct {
			Key   string
			Types []string
		}
	}
	var document, text details
	if err := errors.Join(out.DetailsDocument.UnmarshalSmithyDocument(&document), json.Unmarshal([]byte(*out.Details), &text)); err != nil {
		t.Fatal(err)
	}
	for _, d := range []details{document, text} {
		if d.Description.ProductCode != "code1" || len(d.Dimensions) != 2 || d.Dimensions[1].Key != "calls" || d.Dimensions[1].Types[0] != "ExternallyMetered" {
			t.Errorf("got %+v", d)
		}
	}
	for id, want := range map[string]string{"prod-2": "ResourceNotFoundException", "a b": "ValidationException"} {
		var api smithy.APIError
		if _, err := ask("secret", id); !errors.As(err, &api) || api.ErrorCode() != want {
			t.Errorf("entity %q: got %v, want %s", id, err, want)
		}
	}
	if _, err := ask("wrong", "prod-1"); err == nil {
		t.Error("a wrong signature was taken")
	}
}

func TestAFeedsQueueHasThePolicyThatAWSNeeds(t *testing.T) {
	w := newWorld(t, emulator.Config{})
	policy := func(queue string) string {
		out, err := w.queues.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{
			QueueUrl: aws.String(w.url + "/294406891311/" + queue), AttributeNames: []sqstypes.QueueAttributeName{"Policy"},
		})
		if err != nil {
			t.Fatal(err)
		}
		return out.Attributes["Policy"]
	}
	own := w.queue("own", map[string]string{"Policy": `{"Statement": []}`})
	w.control("PUT", "feeds", `{"eventbridge": {"queue": "both"}, "sns": {"queue": "both"}}`)
	if got := policy("both"); !json.Valid([]byte(got)) || !strings.Contains(got, `"events.amazonaws.com", "sns.amazonaws.com"`) {
		t.Errorf("got %s", got)
	}
	w.control("PUT", "feeds", `{"eventbridge": {"queue": "own"}, "sns": {"queue": "both"}}`)
	if got := policy("both"); strings.Contains(got, "events.amazonaws.com") || !strings.Contains(got, "sns.amazonaws.com") {
		t.Errorf("after EventBridge left: %s", got)
	}
	if got := policy("own"); got != `{"Statement": []}` {
		t.Errorf("the caller's policy of %s became %s", *own, got)
	}
	w.control("PUT", "feeds", `{}`)
	if got := policy("both"); got != "" {
		t.Errorf("without feeds: %s", got)
	}
}
