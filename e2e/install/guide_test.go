package install

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weirhq/weir/config"
	"go.yaml.in/yaml/v3"
)

// fenced are the fenced blocks of a document in a language.
func fenced(t *testing.T, path, language string) (blocks []string) {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	for _, part := range strings.Split(string(text), "```"+language+"\n")[1:] {
		block, _, _ := strings.Cut(part, "```")
		blocks = append(blocks, block)
	}
	return blocks
}

// replacement stands before kubectl for what needs a kubelet: the pod is in this network
// already, and podman has its log. Everything else is kubectl's.
const replacement = `#!/bin/sh
case " $* " in
*" port-forward "*) exit 0 ;;
*" logs "*) exec podman logs $(podman ps --quiet --filter label=app.kubernetes.io/name=weir) ;;
*) exec "$KUBECTL" "$@" ;;
esac
`

func TestTheCommandsOfTheGuideInstallAWeirThatDecides(t *testing.T) {
	const guide = repository + "/docs/install-helm.md"
	k := started(t)
	withMarketplace(t)
	n := withNode(t, k)

	// The guide's values, with the built image and AWS played on loopback.
	values := map[string]any{}
	must(t, yaml.Unmarshal([]byte(fenced(t, guide, "yaml")[0]), &values))
	values["image"] = map[string]any{"repository": "localhost/weir", "tag": "amd64", "pullPolicy": "Never"}
	values["env"] = []any{map[string]any{"name": "AWS_ACCESS_KEY_ID", "value": "any"}, map[string]any{"name": "AWS_SECRET_ACCESS_KEY", "value": "any"}}
	weir := values["config"].(map[string]any)
	weir["aws"] = map[string]any{"endpoint": "http://127.0.0.1:4588"}
	weir["updates"] = map[string]any{"queues": []any{"http://127.0.0.1:4588/294406891311/weir"}}
	text, err := yaml.Marshal(values)
	must(t, err)

	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "my-values.yaml"), text, 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "kubectl"), []byte(replacement), 0o700))
	must(t, os.Symlink(absolute(t, binary), filepath.Join(dir, "weir")))
	must(t, os.Symlink(absolute(t, repository+"/charts"), filepath.Join(dir, "charts")))
	for i, block := range fenced(t, guide, "sh") {
		cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", block)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "KUBECONFIG="+k.Kubeconfig, "KUBECTL="+absolute(t, filepath.Join(tools, "kubectl")),
			"PATH="+dir+":"+absolute(t, tools)+":"+os.Getenv("PATH"),
			"CONTAINERS_CONF="+n.config, "CONTAINERS_STORAGE_CONF="+n.storage)
		out, err := finish(cmd, "")
		if err != nil {
			t.Fatalf("block %d:\n%s\n%v\n%s", i+1, block, err, out)
		}
		if strings.Contains(block, "/v1/explain") && (!strings.Contains(out, `"allowed":false`) || !strings.Contains(out, `"reason":"feature_missing"`)) {
			t.Errorf("the guide promises another answer than\n%s", out)
		}
		if strings.Contains(block, "helm install") && (!strings.Contains(out, "Still missing:") || strings.Contains(out, "The callers' token")) {
			t.Errorf("the notes do not see what is there and what is not:\n%s", out)
		}
	}
}

func TestTheGuidesConfigurationIsValid(t *testing.T) {
	var values struct{ Config map[string]any }
	must(t, yaml.Unmarshal([]byte(fenced(t, repository+"/docs/install-helm.md", "yaml")[0]), &values))
	text, err := yaml.Marshal(values.Config)
	must(t, err)
	c, err := config.Load("my-values.yaml", text)
	must(t, err)
	if warnings := c.Warnings(); len(warnings) > 0 {
		t.Errorf("warnings: %v", warnings)
	}
}
