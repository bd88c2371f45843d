package aws_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
	"go.yaml.in/yaml/v3"
)

// template is a CloudFormation template, its functions written out as text: !GetAtt Rule.Arn is "!GetAtt Rule.Arn".
type template map[string]any

func readTemplate(t *testing.T) template {
	t.Helper()
	data, err := os.ReadFile("cloudformation.yaml")
	var document yaml.Node
	if err == nil {
		err = yaml.Unmarshal(data, &document)
	}
	if err != nil {
		t.Fatal(err)
	}
	plain(&document)
	var read template
	if err := document.Decode(&read); err != nil {
		t.Fatal(err)
	}
	return read
}

// plain writes the functions of scalars as text.
func plain(n *yaml.Node) {
	if strings.HasPrefix(n.Tag, "!") && !strings.HasPrefix(n.Tag, "!!") {
		if n.Kind == yaml.ScalarNode {
			n.Value = n.Tag + " " + n.Value
			n.Tag = "!!str"
		} else {
			n.Tag = ""
		}
	}
	for _, child := range n.Content {
		plain(child)
	}
}

// properties of a resource, read into out.
func (c template) properties(t *testing.T, resource, property string, out any) {
	t.Helper()
	resources, _ := c["Resources"].(template)
	r, _ := resources[resource].(template)
	properties, _ := r["Properties"].(template)
	data, err := json.Marshal(properties[property])
	if err == nil && string(data) != "null" {
		err = json.Unmarshal(data, out)
	} else if err == nil {
		err = fmt.Errorf("there is no %s of %s", property, resource)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (c template) role(t *testing.T) (p policy) {
	t.Helper()
	c.properties(t, "Policy", "PolicyDocument", &p)
	return p
}

func (c template) queue(t *testing.T) (p policy) {
	t.Helper()
	c.properties(t, "QueuePolicy", "PolicyDocument", &p)
	return p
}

func (c template) pattern(t *testing.T) (pattern map[string]any) {
	t.Helper()
	c.properties(t, "Rule", "EventPattern", &pattern)
	return pattern
}

func TestWhatCanNotBeDeliveredGoesToTheDeadLetterQueue(t *testing.T) {
	c := readTemplate(t)
	var redrive struct {
		DeadLetterTargetArn string
		MaxReceiveCount     int
	}
	c.properties(t, "Queue", "RedrivePolicy", &redrive)
	var targets []struct {
		Arn              string
		DeadLetterConfig struct{ Arn string }
	}
	c.properties(t, "Rule", "Targets", &targets)
	if redrive.DeadLetterTargetArn != "!GetAtt DeadLetterQueue.Arn" || redrive.MaxReceiveCount < 100 {
		t.Errorf("redrive %+v", redrive)
	}
	if len(targets) != 1 || targets[0].Arn != "!GetAtt Queue.Arn" || targets[0].DeadLetterConfig.Arn != "!GetAtt DeadLetterQueue.Arn" {
		t.Errorf("targets %+v", targets)
	}
	m := readModule(t)
	if got := m.text(m.block(t, "resource", "aws_sqs_queue", "weir"), "redrive_policy"); !strings.Contains(got, "aws_sqs_queue.dead.arn") {
		t.Errorf("terraform: redrive %s", got)
	}
	target := m.block(t, "resource", "aws_cloudwatch_event_target", "weir")
	if m.text(target, "arn") != "aws_sqs_queue.weir.arn" || m.text(target.Blocks[0].Body, "arn") != "aws_sqs_queue.dead.arn" {
		t.Errorf("terraform: the rule's target is %s, what fails goes to %s", m.text(target, "arn"), m.text(target.Blocks[0].Body, "arn"))
	}
}

// module is the Terraform module.
type module struct {
	source []byte // of main.tf
	blocks hclsyntax.Blocks
}

func readModule(t *testing.T) *module {
	t.Helper()
	files, err := filepath.Glob("terraform/*.tf")
	if err != nil || len(files) < 4 {
		t.Fatalf("files %v: %v", files, err)
	}
	m := &module{}
	for _, name := range files {
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		file, problems := hclsyntax.ParseConfig(source, name, hcl.InitialPos)
		if problems.HasErrors() {
			t.Fatal(problems)
		}
		if filepath.Base(name) == "main.tf" {
			m.source, m.blocks = source, file.Body.(*hclsyntax.Body).Blocks
		}
	}
	return m
}

// block is the body of the block with that type and these labels.
func (m *module) block(t *testing.T, kind string, labels ...string) *hclsyntax.Body {
	t.Helper()
	for _, b := range m.blocks {
		if b.Type == kind && strings.Join(b.Labels, ".") == strings.Join(labels, ".") {
			return b.Body
		}
	}
	t.Fatalf("there is no %s %v", kind, labels)
	return nil
}

// text is an attribute as it is written.
func (m *module) text(body *hclsyntax.Body, attribute string) string {
	a, ok := body.Attributes[attribute]
	if !ok {
		return ""
	}
	return string(a.Expr.Range().SliceBytes(m.source))
}

// value is an attribute's value; what refers to other resources is its text.
func (m *module) value(body *hclsyntax.Body, attribute string) any {
	a, ok := body.Attributes[attribute]
	if !ok {
		return nil
	}
	v, problems := a.Expr.Value(&hcl.EvalContext{Functions: map[string]function.Function{"jsonencode": stdlib.JSONEncodeFunc}})
	if problems.HasErrors() {
		return strings.Trim(m.text(body, attribute), "[]")
	}
	if v.Type() == cty.String {
		return v.AsString()
	}
	var all []string
	for _, one := range v.AsValueSlice() {
		all = append(all, one.AsString())
	}
	if len(all) == 1 {
		return all[0]
	}
	return all
}

// policy is a data source aws_iam_policy_document.
func (m *module) policy(t *testing.T, name string) (p policy) {
	t.Helper()
	for _, b := range m.block(t, "data", "aws_iam_policy_document", name).Blocks {
		s := statement{Effect: "Allow", Condition: map[string]map[string]any{}, Resource: m.value(b.Body, "resources")}
		s.Sid, _ = m.value(b.Body, "sid").(string)
		if effect, ok := m.value(b.Body, "effect").(string); ok {
			s.Effect = effect
		}
		switch actions := m.value(b.Body, "actions").(type) {
		case string:
			s.Action = words{actions}
		case []string:
			s.Action = actions
		}
		for _, inner := range b.Body.Blocks {
			switch inner.Type {
			case "condition":
				test, variable := m.value(inner.Body, "test").(string), m.value(inner.Body, "variable").(string)
				s.Condition[test] = map[string]any{variable: m.value(inner.Body, "values")}
			case "principals":
				s.Principal = map[string]any{m.value(inner.Body, "type").(string): m.value(inner.Body, "identifiers")}
			}
		}
		p.Statement = append(p.Statement, s)
	}
	return p
}

func (m *module) pattern(t *testing.T) (pattern map[string]any) {
	t.Helper()
	text, _ := m.value(m.block(t, "resource", "aws_cloudwatch_event_rule", "weir"), "event_pattern").(string)
	if err := json.Unmarshal([]byte(text), &pattern); err != nil {
		t.Fatal(err)
	}
	return pattern
}
