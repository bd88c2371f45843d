package marketplace

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirhq/weir/policy"
)

func TestConfigTellsEveryMistakeAtOnce(t *testing.T) {
	got := []string{}
	for _, err := range (Config{Region: "eu-west-9", RoleARN: "weir", ExternalID: "x", Endpoint: "localhost:4588"}).Validate() {
		if err.Hint == "" {
			t.Errorf("%v has no cure", err)
		}
		got = append(got, err.Error())
	}
	want := []string{
		`aws.region: usage can't be metered in region "eu-west-9"`,
		`aws.roleArn: "weir" is not the ARN of an IAM role`,
		`aws.externalId: not an external id`,
		`aws.endpoint: "localhost:4588" is not an http or https URL`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestConfigOfOneMember(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Config)
		path   string // of the mistake; empty: none
	}{
		{"default", func(*Config) {}, ""},
		{"another region", func(c *Config) { c.Region = "eu-central-1" }, ""},
		{"no region", func(c *Config) { c.Region = "" }, "aws.region"},
		{"region of GovCloud, where SaaS is not metered", func(c *Config) { c.Region = "us-gov-west-1" }, "aws.region"},
		{"role", func(c *Config) { c.RoleARN = "arn:aws:iam::111122223333:role/path/weir" }, ""},
		{"a user is no role", func(c *Config) { c.RoleARN = "arn:aws:iam::111122223333:user/weir" }, "aws.roleArn"},
		{"external id without role", func(c *Config) { c.ExternalID = "abc" }, "aws.externalId"},
		{"endpoint", func(c *Config) { c.Endpoint = "http://127.0.0.1:4588" }, ""},
		{"endpoint of IPv6", func(c *Config) { c.Endpoint = "https://[::1]:4588" }, ""},
		{"endpoint with path", func(c *Config) { c.Endpoint = "http://127.0.0.1:4588/" }, "aws.endpoint"},
		{"endpoint with query", func(c *Config) { c.Endpoint = "http://127.0.0.1:4588?a=b" }, "aws.endpoint"},
		{"endpoint with password", func(c *Config) { c.Endpoint = "http://a:b@127.0.0.1:4588" }, "aws.endpoint"},
		{"endpoint of another kind", func(c *Config) { c.Endpoint = "unix:///run/aws.sock" }, "aws.endpoint"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := DefaultConfig()
			tt.change(&cfg)
			got := ""
			for _, err := range cfg.Validate() {
				got += policy.JoinPath(err.Path)
			}
			if got != tt.path {
				t.Errorf("got a mistake at %q, want %q", got, tt.path)
			}
		})
	}
}
