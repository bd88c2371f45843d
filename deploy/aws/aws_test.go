// Package aws_test holds what a seller sets up at AWS to what weir does: the permissions are those of the calls in the
// code, the events those that weir understands.
package aws_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// policy is an IAM policy, as far as it is looked at.
type policy struct{ Statement []statement }

type statement struct {
	Sid, Effect string
	Principal   any
	Action      words
	Resource    any
	Condition   map[string]map[string]any
}

// words are a text or a list of them.
type words []string

func (w *words) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*w = words{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(w))
}

// actions are those that a policy allows, sorted.
func (p policy) actions() []string {
	var all []string
	for _, s := range p.Statement {
		if s.Effect == "Allow" {
			all = append(all, s.Action...)
		}
	}
	slices.Sort(all)
	return all
}

func (p policy) statement(t *testing.T, sid string) statement {
	t.Helper()
	for _, s := range p.Statement {
		if s.Sid == sid {
			return s
		}
	}
	t.Fatalf("there is no statement %s", sid)
	return statement{}
}

func readPolicy(t *testing.T, file string) (p policy) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(data, &p)
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// prefixes are IAM's names of the services whose clients weir has.
func prefixes() map[string]string {
	return map[string]string{
		"marketplacemetering": "aws-marketplace", "marketplaceentitlementservice": "aws-marketplace",
		"marketplaceagreement": "aws-marketplace", "marketplacecatalog": "aws-marketplace",
		"sqs": "sqs", "sns": "sns", "sts": "sts",
	}
}

// called are the IAM actions of the calls in a package: no operation of the SDK can be called without naming the type of
// its input, and roles are assumed by stscreds.
func called(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no source in %s: %v", dir, err)
	}
	actions := map[string]bool{}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		services := servicesOf(t, file)
		ast.Inspect(file, func(n ast.Node) bool {
			selector, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			from, ok := selector.X.(*ast.Ident)
			if !ok {
				return true
			}
			if from.Name == "stscreds" {
				actions["sts:AssumeRole"] = true
			}
			if operation, ok := strings.CutSuffix(selector.Sel.Name, "Input"); ok && services[from.Name] != "" {
				actions[services[from.Name]+":"+operation] = true
			}
			return true
		})
	}
	return slices.Sorted(maps.Keys(actions))
}

// servicesOf are the IAM prefixes of the clients that a file imports, by the names that it gives them.
func servicesOf(t *testing.T, file *ast.File) map[string]string {
	t.Helper()
	services := map[string]string{}
	for _, i := range file.Imports {
		path, err := strconv.Unquote(i.Path.Value)
		service, ok := strings.CutPrefix(path, "github.com/aws/aws-sdk-go-v2/service/")
		if err != nil || !ok || strings.Contains(service, "/") {
			continue
		}
		prefix, known := prefixes()[service]
		if !known {
			t.Fatalf("IAM's name of the service %s is not known here", service)
		}
		name := service
		if i.Name != nil {
			name = i.Name.Name
		}
		services[name] = prefix
	}
	return services
}

// needed are the actions that weir's role has to be allowed, and those that who assumes the role has to be.
func needed(t *testing.T) (role, assume []string) {
	t.Helper()
	for _, action := range called(t, "../../marketplace") {
		switch action {
		case "sts:GetCallerIdentity": // needs no permission (AWS: GetCallerIdentity)
		case "sts:AssumeRole":
			assume = append(assume, action)
		default:
			role = append(role, action)
		}
	}
	return role, assume
}

func TestThePoliciesAllowExactlyWhatTheCodeCalls(t *testing.T) {
	role, assume := needed(t)
	if len(role) < 10 {
		t.Fatalf("the code calls only %v", role)
	}
	for name, p := range map[string]policy{
		"policy.json": readPolicy(t, "policy.json"), "cloudformation.yaml": readTemplate(t).role(t), "terraform": readModule(t).policy(t, "weir"),
	} {
		if diff := cmp.Diff(role, p.actions()); diff != "" {
			t.Errorf("%s allows something else than the code calls (-code +policy):\n%s", name, diff)
		}
		for _, s := range p.Statement {
			if s.Sid == "AgreementsAsSeller" && s.Condition["StringEquals"]["aws-marketplace:PartyType"] == nil {
				t.Errorf("%s: agreements may be read in which the account is the buyer", name)
			}
			for _, action := range s.Action {
				if service, _, _ := strings.Cut(action, ":"); service != "aws-marketplace" && cmp.Equal(s.Resource, "*") {
					t.Errorf("%s: %s is allowed on everything", name, action)
				}
			}
		}
	}
	if got := readPolicy(t, "assume-policy.json").actions(); !slices.Equal(got, assume) {
		t.Errorf("assume-policy.json allows %v, the code calls %v", got, assume)
	}
}

// matches tells whether an event fits a pattern of exact values (AWS: EventBridge event patterns).
func matches(pattern, event map[string]any) bool {
	for key, want := range pattern {
		switch want := want.(type) {
		case []any:
			if !slices.Contains(want, event[key]) {
				return false
			}
		case map[string]any:
			inner, _ := event[key].(map[string]any)
			if !matches(want, inner) {
				return false
			}
		default:
			return false
		}
	}
	return len(pattern) > 0
}

func TestTheRulesMatchTheSampleEvents(t *testing.T) {
	samples, err := filepath.Glob("../../marketplace/testdata/events/*.json")
	if err != nil || len(samples) < 30 {
		t.Fatalf("%d samples: %v", len(samples), err)
	}
	for name, pattern := range map[string]map[string]any{"cloudformation.yaml": readTemplate(t).pattern(t), "terraform": readModule(t).pattern(t)} {
		for _, sample := range samples {
			data, err := os.ReadFile(sample)
			var event map[string]any
			if err == nil {
				err = json.Unmarshal(data, &event)
			}
			if err != nil {
				t.Fatal(err)
			}
			if !matches(pattern, event) {
				t.Errorf("%s: the rule passes over %s", name, sample)
			}
			event["source"] = "aws.marketplacecatalog"
			if matches(pattern, event) {
				t.Errorf("%s: the rule takes what is not of agreements", name)
			}
		}
	}
}

func TestOnlyTheRuleMaySendToTheQueues(t *testing.T) {
	for name, p := range map[string]policy{"cloudformation.yaml": readTemplate(t).queue(t), "terraform": readModule(t).policy(t, "queue")} {
		if got := p.actions(); !slices.Equal(got, []string{"sqs:SendMessage"}) {
			t.Errorf("%s: the queue allows %v", name, got)
		}
		rule := p.statement(t, "TheRuleAlone")
		if diff := cmp.Diff(map[string]any{"Service": "events.amazonaws.com"}, rule.Principal); diff != "" {
			t.Errorf("%s: who may send (-want +got):\n%s", name, diff)
		}
		if from, _ := rule.Condition["ArnEquals"]["aws:SourceArn"].(string); !strings.Contains(from, "ule") {
			t.Errorf("%s: rules of others may send: %v", name, rule.Condition)
		}
		if tls := p.statement(t, "TLSOnly"); tls.Effect != "Deny" || tls.Condition["Bool"]["aws:SecureTransport"] != "false" {
			t.Errorf("%s: not by TLS alone: %+v", name, tls)
		}
	}
}
