package install

import (
	"archive/tar"
	"compress/gzip"
	"debug/buildinfo"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// entries reads a tar archive.
func entries(t *testing.T, r io.Reader, each func(h *tar.Header, content io.Reader)) {
	t.Helper()
	for archive := tar.NewReader(r); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		must(t, err)
		each(h, archive)
	}
}

// image is an OCI archive, unpacked.
type image struct {
	Architecture string
	Config       struct {
		User            string
		Entrypoint, Cmd []string
	}
	// files are type, owner, mode and path of everything in the layers.
	files []string
}

type descriptor struct{ Digest string }

func unpack(t *testing.T, path string) (i image) {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	blobs := map[string][]byte{}
	entries(t, f, func(h *tar.Header, content io.Reader) {
		blob, err := io.ReadAll(content)
		must(t, err)
		blobs["sha256:"+filepath.Base(h.Name)] = blob
	})
	var index struct{ Manifests []descriptor }
	must(t, json.Unmarshal(blobs["sha256:index.json"], &index))
	var manifest struct {
		Config descriptor
		Layers []descriptor
	}
	must(t, json.Unmarshal(blobs[index.Manifests[0].Digest], &manifest))
	must(t, json.Unmarshal(blobs[manifest.Config.Digest], &i))
	for _, layer := range manifest.Layers {
		plain, err := gzip.NewReader(strings.NewReader(string(blobs[layer.Digest])))
		must(t, err)
		entries(t, plain, func(h *tar.Header, _ io.Reader) {
			i.files = append(i.files, fmt.Sprintf("%d:%d %04o %s", h.Uid, h.Gid, h.Mode&0o777, h.Name))
		})
	}
	slices.Sort(i.files)
	return i
}

func TestTheImageHoldsOneStaticBinaryAndRunsAsNobody(t *testing.T) {
	needsTools(t)
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		i := unpack(t, dist+"/weir-"+arch+".tar")
		if i.Architecture != arch || i.Config.User != "65532:65532" {
			t.Errorf("architecture %s, user %s, want %s and 65532:65532", i.Architecture, i.Config.User, arch)
		}
		if diff := cmp.Diff([]string{"/usr/local/bin/weir", "serve", "-config", "/etc/weir/weir.yaml"}, append(i.Config.Entrypoint, i.Config.Cmd...)); diff != "" {
			t.Errorf("command (-want +got):\n%s", diff)
		}
		want := []string{
			"0:0 0644 usr/share/doc/weir/LICENSE", "0:0 0644 usr/share/doc/weir/sbom.cdx.json", "0:0 0755 usr/local/bin/weir",
			"65532:65532 0700 run/weir/", "65532:65532 0700 var/lib/weir/",
		}
		got := slices.DeleteFunc(i.files, func(f string) bool { return strings.HasPrefix(f, "0:0 0755") && strings.HasSuffix(f, "/") })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: files beside directories of root's (-want +got):\n%s", arch, diff)
		}
		binary, err := elf.Open(dist + "/linux-" + arch + "/usr/local/bin/weir")
		must(t, err)
		defer binary.Close()
		if binary.Machine != machine {
			t.Errorf("%s: the binary is for %s", arch, binary.Machine)
		}
		if libraries, err := binary.ImportedLibraries(); err != nil || len(libraries) > 0 || slices.ContainsFunc(binary.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
			t.Errorf("%s: the binary is not static: %v, %v", arch, libraries, err)
		}
	}
}

func TestTheBillOfMaterialsNamesWhatIsInTheBinary(t *testing.T) {
	needsTools(t)
	for _, arch := range []string{"amd64", "arm64"} {
		info, err := buildinfo.ReadFile(dist + "/linux-" + arch + "/usr/local/bin/weir")
		must(t, err)
		want := []string{"std"}
		for _, d := range info.Deps {
			want = append(want, d.Path)
		}
		text, err := os.ReadFile(dist + "/linux-" + arch + "/usr/share/doc/weir/sbom.cdx.json")
		must(t, err)
		var bill struct{ Components []struct{ Name string } }
		must(t, json.Unmarshal(text, &bill))
		var got []string
		for _, c := range bill.Components {
			got = append(got, c.Name)
		}
		slices.Sort(want)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: modules (-binary +bill):\n%s", arch, diff)
		}
		if !slices.Contains(got, "golang.org/x/crypto/x509roots/fallback") {
			t.Errorf("%s: no root certificates are in the binary, and an image from scratch has none", arch)
		}
	}
}

func TestTheImageIsTheSameWhereverItIsBuilt(t *testing.T) {
	needsTools(t)
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	must(t, os.Mkdir(elsewhere, 0o700))
	copied := exec.Command("sh", "-c", `tar --exclude=./.cache --exclude=./dist --exclude=./bin -C "$0" -cf - . | tar -C "$1" -xf -`, repository, elsewhere)
	if _, err := finish(copied, ""); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("sh", "-c", `umask 077; exec tools/image.sh "$0"`, absolute(t, filepath.Join(tools, "cyclonedx-gomod")))
	build.Dir = elsewhere
	if _, err := finish(build, ""); err != nil {
		t.Fatal(err)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		want, err := os.ReadFile(dist + "/weir-" + arch + ".digest")
		must(t, err)
		got, err := os.ReadFile(filepath.Join(elsewhere, "dist", "weir-"+arch+".digest"))
		must(t, err)
		if string(got) != string(want) {
			t.Errorf("%s: here %s, elsewhere %s", arch, want, got)
		}
	}
}

func TestTheImageRunsReadOnlyWithoutRights(t *testing.T) {
	p := newPodman(t)
	run := func(args ...string) (string, error) {
		return p.run(t.Context(), "", append([]string{"run", "--rm", "--network", "none", "--read-only", "--cap-drop", "ALL", "localhost/weir:amd64"}, args...)...)
	}
	out, err := run("version", "-json")
	must(t, err)
	if !strings.Contains(out, `"go":"go1.`) {
		t.Errorf("version says %s", out)
	}
	if _, err := run(); err == nil || !strings.Contains(err.Error(), "open /etc/weir/weir.yaml: no such file") {
		t.Errorf("without arguments it does not serve /etc/weir/weir.yaml: %v", err)
	}
}
