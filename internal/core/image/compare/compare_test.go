package compare

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/delivery"
)

// file is an entry of a layer.
type file struct {
	name, content string
	mode          int64
	at            int64
}

// tarball writes an image with these layers.
func tarball(t *testing.T, layers ...[]file) string {
	t.Helper()
	image := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	for _, files := range layers {
		var content bytes.Buffer
		w := tar.NewWriter(&content)
		for _, f := range files {
			h := &tar.Header{Name: f.name, Mode: f.mode | 0o600, Size: int64(len(f.content)), ModTime: time.Unix(f.at, 0), Typeflag: tar.TypeReg}
			require.NoError(t, w.WriteHeader(h))
			_, err := w.Write([]byte(f.content))
			require.NoError(t, err)
		}
		require.NoError(t, w.Close())
		var err error
		image, err = mutate.AppendLayers(image, static.NewLayer(content.Bytes(), types.OCIUncompressedLayer))
		require.NoError(t, err)
	}
	return write(t, image)
}

func write(t *testing.T, image v1.Image) string {
	t.Helper()
	dir := t.TempDir()
	l, err := layout.Write(dir, empty.Index)
	require.NoError(t, err)
	require.NoError(t, l.AppendImage(image))
	var content bytes.Buffer
	w := tar.NewWriter(&content)
	require.NoError(t, w.AddFS(os.DirFS(dir)))
	require.NoError(t, w.Close())
	name := filepath.Join(t.TempDir(), "image.tar")
	require.NoError(t, os.WriteFile(name, content.Bytes(), 0o600))
	return name
}

func TestTarballs(t *testing.T) {
	base := []file{{name: "etc/os", content: "debian"}}
	one := tarball(t, base,
		[]file{{name: "same", content: "s"}, {name: "var/log/dpkg.log", content: "a\n2026-11-26 one\n"}},
		[]file{{name: "app/x.pyc", content: "\x00\x01"}, {name: "only", content: "1"}, {name: "mode", mode: 0o644}, {name: "time", at: 1}})
	other := tarball(t, base,
		[]file{{name: "same", content: "s"}, {name: "var/log/dpkg.log", content: "a\n2026-11-27 two\n"}},
		[]file{{name: "app/x.pyc", content: "\x00\x02"}, {name: "mode", mode: 0o755}, {name: "time", at: 2}})

	found, err := Tarballs(t.Context(), one, other, 2)
	require.NoError(t, err)
	assert.Equal(t, []Layer{
		{Number: 1, Own: 0, Files: []delivery.DifferentFile{
			{Path: "/var/log/dpkg.log", What: `line 2 is "2026-11-26 one" and "2026-11-27 two"`, Remedy: remedy("/var/log/dpkg.log")},
		}},
		{Number: 2, Own: 1, Files: []delivery.DifferentFile{
			{Path: "/app/x.pyc", What: "it differs from byte 1 on, of 2 and 2", Remedy: remedy("/app/x.pyc")},
			{Path: "/mode", What: "its permissions: 0644 and 0755"},
			{Path: "/only", What: "only in the first build"},
			{Path: "/time", What: "its time: 1970-01-01 00:00:01 +0000 UTC and 1970-01-01 00:00:02 +0000 UTC"},
		}},
	}, found)
	assert.Contains(t, remedy("/var/log/dpkg.log"), "rm -rf /var/log/apt")
	assert.Contains(t, remedy("/app/x.pyc"), "--no-compile")

	same, err := Tarballs(t.Context(), one, one, 2)
	require.NoError(t, err)
	assert.Empty(t, same)

	moved, err := Tarballs(t.Context(), tarball(t, []file{{name: "etc/os", content: "one"}}), tarball(t, []file{{name: "etc/os", content: "other"}}), 0)
	require.NoError(t, err)
	assert.Equal(t, -1, moved[0].Own)

	_, err = Tarballs(t.Context(), one, tarball(t, base), 0)
	assert.ErrorContains(t, err, "have 3 and 1 layers")
}

func TestOrderOfFiles(t *testing.T) {
	a, b := file{name: "a", content: "1"}, file{name: "b", content: "2"}
	found, err := Tarballs(t.Context(), tarball(t, []file{a, b}), tarball(t, []file{b, a}), 1)
	require.NoError(t, err)
	assert.Equal(t, []delivery.DifferentFile{{Path: "/", What: "its files are the same, and stand in another order"}}, found[0].Files)
}

func TestRemedies(t *testing.T) {
	for path, want := range map[string]string{
		"/var/log/apt/history.log":                         "/var/log/apt",
		"/var/cache/ldconfig/aux-cache":                    "ldconfig",
		"/var/lib/apt/lists/deb.debian.org_Release":        "/var/lib/apt/lists/*",
		"/usr/lib/python3/dist-packages/__pycache__/x.pyc": "PYTHONDONTWRITEBYTECODE",
		"/usr/local/lib/python3.13/x.dist-info/RECORD":     "--no-compile",
		"/root/.cache/pip/http/1":                          "--no-cache-dir",
		"/root/.npm/_cacache/index":                        "/root/.npm",
		"/etc/shadow":                                      "SOURCE_DATE_EPOCH=0 useradd",
		"/root/.cache/go-build/00/x":                       "go-build",
		"/var/log/anything.log":                            "a log",
	} {
		assert.Contains(t, remedy(path), want, path)
	}
	assert.Empty(t, remedy("/srv/app"))
}
