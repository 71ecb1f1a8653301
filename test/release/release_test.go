// Package release packs a release of the programs that are built and installs it on a bare root file system.
package release

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/localplatform/baseimage"
)

// programs returns the directory with the programs that are built.
func programs(t *testing.T) string {
	t.Helper()
	bin := os.Getenv("AKSFLOW_BIN")
	if bin == "" {
		bin = "../../bin"
	}
	bin, err := filepath.Abs(bin)
	require.NoError(t, err)
	if _, err := os.Stat(filepath.Join(bin, "release")); err != nil {
		t.Skip("the program that packs releases was not found: `make bin/release` builds it")
	}
	return bin
}

// pack packs the programs of a directory. Nothing is compiled for it.
func pack(t *testing.T, bin, out string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(programs(t), "release"), "-bin", bin, "-version", "v1.2.3",
		"-commit", strings.Repeat("ab12", 10), "-time", "1700000000", "-run", "https://ci.example/1", "-out", out,
		"-aksflow", filepath.Join(programs(t), "aksflow"), runtime.GOARCH)
	cmd.Dir = "../.."
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, string(output))
}

func TestReleaseIsTheSameTwice(t *testing.T) {
	small := t.TempDir() // the smallest program stands for all of them
	for _, name := range []string{"aksflow", "aksflow-shim", "aksflow-platform", "buildkitd", "rootlesskit"} {
		copyTo(t, filepath.Join(small, name), filepath.Join(programs(t), "aksflow-shim"))
	}
	first, second := filepath.Join(t.TempDir(), "dist"), filepath.Join(t.TempDir(), "dist")
	pack(t, small, first)
	pack(t, small, second)
	names := []string{"SHA256SUMS", "provenance.json", "image-" + runtime.GOARCH + ".tar"}
	for _, kind := range []string{"tar.gz", "deb", "cdx.json"} {
		names = append(names, "aksflow_1.2.3_linux_"+runtime.GOARCH+"."+kind)
	}
	var found []string
	require.NoError(t, fs.WalkDir(os.DirFS(first), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			found = append(found, name)
			one, err := os.ReadFile(filepath.Join(first, name))
			require.NoError(t, err)
			two, err := os.ReadFile(filepath.Join(second, name))
			require.NoError(t, err)
			assert.True(t, bytes.Equal(one, two), name)
		}
		return err
	}))
	assert.ElementsMatch(t, names, found)

	check := exec.CommandContext(t.Context(), "sha256sum", "--check", "--strict", "SHA256SUMS")
	check.Dir = first
	out, err := check.CombinedOutput()
	require.NoError(t, err, string(out))

	var provenance struct {
		Subject []struct {
			Name   string
			Digest map[string]string
		}
		PredicateType string
	}
	read(t, filepath.Join(first, "provenance.json"), &provenance)
	assert.Equal(t, "https://slsa.dev/provenance/v1", provenance.PredicateType)
	sums, err := os.ReadFile(filepath.Join(first, "SHA256SUMS"))
	require.NoError(t, err)
	require.Len(t, provenance.Subject, 4)
	for _, s := range provenance.Subject {
		assert.Contains(t, string(sums), s.Digest["sha256"]+"  "+s.Name+"\n")
	}

	var materials struct {
		Components []struct {
			Name       string
			Components []struct{ PURL string }
		}
	}
	read(t, filepath.Join(first, "aksflow_1.2.3_linux_"+runtime.GOARCH+".cdx.json"), &materials)
	require.Len(t, materials.Components, 5)
	for _, c := range materials.Components {
		assert.NotEmpty(t, c.Components, c.Name)
		for _, m := range c.Components {
			assert.Regexp(t, `^pkg:golang/[^@]+@.+`, m.PURL)
		}
	}
}

func read(t *testing.T, file string, into any) {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, into))
}

// The package brings all that a build needs: apt installs it on Debian's smallest system, and there it builds an image.
func TestInstalledOnABareSystem(t *testing.T) {
	if testing.Short() || runtime.GOOS != "linux" || os.Geteuid() != 0 {
		t.Skip("installs a package in a root file system of its own, which needs root on Linux")
	}
	root, dist := t.TempDir(), filepath.Join(t.TempDir(), "dist")
	pack(t, programs(t), dist)
	unpack(t, root)
	deb := "aksflow_1.2.3_linux_" + runtime.GOARCH + ".deb"
	copyTo(t, filepath.Join(root, deb), filepath.Join(dist, deb))
	for _, name := range []string{"/etc/resolv.conf", "/etc/hosts"} {
		copyTo(t, filepath.Join(root, name), name)
	}
	require.NoError(t, os.MkdirAll(filepath.Join(root, "app"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(root, "app/Dockerfile"), []byte("FROM scratch\nCOPY Dockerfile /\n"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(root, "app/aksflow.yaml"), []byte("app: app\n"), 0o644))
	// Namespaces of its own, so that no mount and no process is left.
	// The root is a mount of its own, as that of every system is.
	script := `set -e
mount --bind "$0" "$0"; cd "$0"
mount -t proc proc "$0/proc"; mount --rbind /sys "$0/sys"; mount --rbind /dev "$0/dev"
in_root() { chroot "$0" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root DEBIAN_FRONTEND=noninteractive "$@"; }
in_root apt-get update -qq
in_root apt-get install -y -qq --no-install-recommends "/$1"
in_root aksflow version
cd /
in_root sh -c 'cd /app && aksflow build --engine embedded -o app.tar'
in_root sh -c 'cd /app && aksflow down'
in_root tar -tf /app/app.tar`
	cmd := exec.CommandContext(t.Context(), "unshare", "--mount", "--pid", "--fork", "--kill-child", "bash", "-c", script, root, deb)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	assert.Contains(t, string(out), "index.json", "the image is built")
}

// unpack writes the platform's base image into a directory.
func unpack(t *testing.T, root string) {
	t.Helper()
	images, err := baseimage.Ensure(t.Context(), "")
	require.NoError(t, err)
	img, err := images.Image(baseimage.Debian)
	require.NoError(t, err)
	files := mutate.Extract(img)
	defer files.Close()
	tar := exec.CommandContext(t.Context(), "tar", "-x", "-C", root)
	tar.Stdin = files
	out, err := tar.CombinedOutput()
	require.NoError(t, err, string(out))
}

func copyTo(t *testing.T, to, from string) {
	t.Helper()
	data, err := os.ReadFile(from)
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Dir(to), 0o755))
	require.NoError(t, os.WriteFile(to, data, 0o644))
}
