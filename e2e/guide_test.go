package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirhq/weir/examples"
	"github.com/weirhq/weir/internal/stage"
)

func TestTheCommandsOfTheEnvoyGuideDoWhatItSays(t *testing.T) {
	s := stageWithoutEnvoy(t)
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "examples"), 0o700))
	must(t, os.MkdirAll(filepath.Join(dir, "bin"), 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "examples", "envoy.yaml"), []byte(s.Moved(examples.Envoy)), 0o600))
	envoy, err := filepath.Abs(binaries.envoy)
	must(t, err)
	// The base id keeps several Envoys on one machine apart.
	script := fmt.Sprintf("#!/bin/sh\nexec %q --use-dynamic-base-id --concurrency 2 \"$@\"\n", envoy)
	must(t, os.WriteFile(filepath.Join(dir, "bin", "envoy"), []byte(script), 0o700))

	commands := blocks(t, "../docs/guides/envoy.md", "sh")
	if len(commands) < 4 {
		t.Fatalf("the guide has %d blocks of commands", len(commands))
	}
	// One shell, as a reader has: Envoy ends with the process that has started it.
	cmd := exec.CommandContext(t.Context(), "bash", "-euxo", "pipefail", "-c", s.Moved(strings.Join(commands, "")))
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"))
	cmd.WaitDelay = 10 * time.Second // for an Envoy that the commands leave behind
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
}

// stageWithoutEnvoy sets the stage for a test that starts Envoy by itself.
func stageWithoutEnvoy(t *testing.T) *stage.Stage {
	t.Helper()
	if binaries.envoy == "" {
		t.Skip("there is no Envoy here: `make envoy` fetches it, and WEIR_REQUIRE_ENVOY=1 makes this a failure")
	}
	s, err := stage.Set(t.Context(), stage.Plan{Dir: t.TempDir(), Weir: binaries.weir})
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

// celFilter takes the place of the example's filter, as Istio and Envoy Gateway write one.
const celFilter = `            filter:
              extension_filter:
                name: envoy.access_loggers.extension_filters.cel
                typed_config:
                  "@type": type.googleapis.com/envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter
                  expression: %q
`

// onlyWeirs is the expression by which the manifests of Istio and Envoy Gateway choose entries.
const onlyWeirs = `'check' in metadata.filter_metadata['envoy.filters.http.ext_authz']`

func TestTheExpressionOfTheManifestsChoosesTheEntriesOfMeteredRequestsAndNoOthers(t *testing.T) {
	for _, file := range []string{"../deploy/istio/weir.yaml", "../deploy/envoy-gateway/weir.yaml"} {
		text, err := os.ReadFile(file)
		must(t, err)
		if !strings.Contains(string(text), onlyWeirs) {
			t.Errorf("%s chooses by another expression than %s", file, onlyWeirs)
		}
	}
	before, rest, _ := strings.Cut(examples.Envoy, "            filter:")
	_, after, _ := strings.Cut(rest, "match_if_key_not_found: false\n")
	s := set(t, stage.Plan{EnvoyConfig: before + fmt.Sprintf(celFilter, onlyWeirs) + after})
	for _, path := range []string{"/healthz", "/v1/sso/login", "/v1/held", "/v1/reports/7"} {
		raw(t, s.Ingress, path, "x-tenant-id: initech")
	}
	eventually(t, 20*time.Second, "the entry of the metered request", func() bool {
		return metric(t, s, "weir_checks_resolved_total", `how="counted"`) == 1
	})
	if got := metric(t, s, "weir_access_log_refused_total", `why="no_token"`); got != 0 {
		t.Errorf("%d entries came of requests that are not metered", got)
	}
}
