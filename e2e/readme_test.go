package e2e

import (
	"os"
	"strings"
	"testing"

	"github.com/weirhq/weir/config"
	"github.com/weirhq/weir/examples"
)

// blocks are the fenced blocks of a document in a language.
func blocks(t *testing.T, file, language string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	must(t, err)
	var found []string
	for _, part := range strings.Split(string(text), "```"+language+"\n")[1:] {
		block, _, ok := strings.Cut(part, "```")
		if !ok {
			t.Fatalf("%s: a block does not end", file)
		}
		found = append(found, block)
	}
	return found
}

func TestTheReadmesConfigurationIsWhatTheTestsRun(t *testing.T) {
	yaml := blocks(t, "../README.md", "yaml")
	if len(yaml) != 2 {
		t.Fatalf("README has %d blocks of YAML, want Envoy's and weir's", len(yaml))
	}
	ran := map[string]bool{}
	for line := range strings.Lines(examples.Envoy) {
		ran[strings.TrimSpace(line)] = true
	}
	for line := range strings.Lines(yaml[0]) {
		if !ran[strings.TrimSpace(line)] {
			t.Errorf("examples/envoy.yaml does not have README's line %q", strings.TrimSpace(line))
		}
	}
	if _, err := config.Load("README.md", []byte(yaml[1])); err != nil {
		t.Errorf("README's weir.yaml: %v", err)
	}
}
