package forward

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/weirhq/weir/internal/kit"
	"github.com/weirhq/weir/internal/stage"
)

func TestTheCommandsOfTheNginxGuideDoWhatItSays(t *testing.T) {
	nginx := kit.Program(t, "nginx")
	w := set(t, stage.Plan{})
	must(t, os.Mkdir(filepath.Join(w.dir, "examples"), 0o700))
	w.write(t, "examples/nginx.conf", read(t, examplesDir+"/nginx.conf"))
	must(t, os.Symlink(w.ConfigFile, filepath.Join(w.dir, "weir.yaml")))
	must(t, os.Mkdir(filepath.Join(w.dir, "bin"), 0o700))
	must(t, os.Symlink(nginx, filepath.Join(w.dir, "bin", "nginx")))
	must(t, os.Symlink(weir, filepath.Join(w.dir, "bin", "weir")))
	t.Cleanup(func() { end(filepath.Join(w.dir, "nginx", "nginx.pid")) })

	blocks := fenced(t, guides+"/nginx.md", "sh")
	if len(blocks) < 5 {
		t.Fatalf("the guide has %d blocks of commands", len(blocks))
	}
	for i, block := range blocks {
		cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", w.Moved(block))
		cmd.Dir = w.dir
		cmd.Env = append(os.Environ(), "PATH="+filepath.Join(w.dir, "bin")+":"+os.Getenv("PATH"))
		said, err := os.Create(filepath.Join(w.dir, "said")) // a file, since nginx keeps what it was given open
		must(t, err)
		cmd.Stdout, cmd.Stderr = said, said
		err = cmd.Run()
		must(t, said.Close())
		if err != nil {
			t.Fatalf("block %d:\n%s\n%v\n%s", i+1, block, err, read(t, said.Name()))
		}
	}
}

// end ends the nginx that a block which failed has left.
func end(file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		return // it has ended, and removed its file
	}
	if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
		_ = syscall.Kill(pid, syscall.SIGTERM) // it may be ending already
	}
}
