package image

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/fault"
)

func TestOpenFaults(t *testing.T) {
	img := newImage(t, emptyImage(), 64<<10, 1)
	manifestOf := func(t *testing.T, dir string) string {
		d, err := img.Digest()
		require.NoError(t, err)
		return blobFile(dir, d)
	}
	for _, tt := range []struct {
		name string
		make func(t *testing.T) string // returns the tarball
		want string
		exit int
	}{
		{"no tar", func(t *testing.T) string {
			return file(t, strings.Repeat("no tar at all\n", 100))
		}, "not a tar file", fault.ExitUsage},
		{"empty file", func(t *testing.T) string { return file(t, "") }, "no index.json", fault.ExitUsage},
		{"docker's format", func(t *testing.T) string {
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, "manifest.json"), []byte("[]"), 0o600))
			return pack(t, dir)
		}, "Docker's format", fault.ExitUsage},
		{"two images", func(t *testing.T) string {
			return tarball(t, img, newImage(t, emptyImage(), 10, 1))
		}, "names 2 images", fault.ExitUsage},
		{"no image", func(t *testing.T) string { return tarball(t) }, "names no image", fault.ExitNo},
		{"index.json is no JSON", func(t *testing.T) string {
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, "index.json"), []byte("{"), 0o600))
			return pack(t, dir)
		}, "index.json: unexpected end of JSON input", fault.ExitNo},
		{"cut short", func(t *testing.T) string {
			whole := tarball(t, img)
			content, err := os.ReadFile(whole)
			require.NoError(t, err)
			return file(t, string(content[:len(content)/2]))
		}, "cut short", fault.ExitNo},
		{"a layer is missing", func(t *testing.T) string {
			dir := t.TempDir()
			newLayout(t, dir, img)
			require.NoError(t, os.Remove(firstBlob(t, dir)))
			return pack(t, dir)
		}, "is missing: the tarball is damaged", fault.ExitNo},
		{"a layer is shorter", func(t *testing.T) string {
			dir := t.TempDir()
			newLayout(t, dir, img)
			require.NoError(t, os.Truncate(firstBlob(t, dir), 3))
			return pack(t, dir)
		}, "has 3 bytes, its descriptor says", fault.ExitNo},
		{"another manifest", func(t *testing.T) string {
			dir := t.TempDir()
			newLayout(t, dir, img)
			f := manifestOf(t, dir)
			content, err := os.ReadFile(f)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(f, bytes.Replace(content, []byte(`2`), []byte(`3`), 1), 0o600))
			return pack(t, dir)
		}, "has other content: the tarball is damaged", fault.ExitNo},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := tt.make(t)
			_, err := Open(f)
			require.ErrorContains(t, err, tt.want)
			require.ErrorContains(t, err, f, "which file")
			require.Equal(t, tt.exit, fault.ExitCode(err))
		})
	}
}

func file(t *testing.T, content string) string {
	t.Helper()
	f := filepath.Join(t.TempDir(), "image.tar")
	require.NoError(t, os.WriteFile(f, []byte(content), 0o600))
	return f
}

// Tar files that other programs wrote: GNU tar puts "./" before names.
func TestOpenNamesWithDot(t *testing.T) {
	content, err := os.ReadFile(tarball(t, newImage(t, emptyImage(), 10, 1)))
	require.NoError(t, err)
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for tr := tar.NewReader(bytes.NewReader(content)); ; {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		h.Name = "./" + h.Name
		require.NoError(t, tw.WriteHeader(h))
		_, err = io.Copy(tw, tr)
		require.NoError(t, err)
	}
	require.NoError(t, tw.Close())
	a, err := Open(file(t, buf.String()))
	require.NoError(t, err)
	require.NoError(t, a.Close())
}

// A layer that must not be distributed is in no tarball, and that is no fault.
func TestOpenForeignLayer(t *testing.T) {
	dir := t.TempDir()
	newLayout(t, dir)
	config := `{}`
	configHash, configSize, err := v1.SHA256(strings.NewReader(config))
	require.NoError(t, err)
	manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"size":%d,"digest":%q},"layers":[{"mediaType":%q,"size":1,"digest":"sha256:%064d"}]}`,
		types.OCIManifestSchema1, types.OCIConfigJSON, configSize, configHash, types.DockerForeignLayer, 1)
	manifestHash, manifestSize, err := v1.SHA256(strings.NewReader(manifest))
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755))
	require.NoError(t, os.WriteFile(blobFile(dir, configHash), []byte(config), 0o600))
	require.NoError(t, os.WriteFile(blobFile(dir, manifestHash), []byte(manifest), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "index.json"),
		fmt.Appendf(nil, `{"schemaVersion":2,"manifests":[{"mediaType":%q,"size":%d,"digest":%q}]}`, types.OCIManifestSchema1, manifestSize, manifestHash), 0o600))
	a, err := Open(pack(t, dir))
	require.NoError(t, err)
	require.Len(t, a.blobs, 1)
	require.Equal(t, manifestHash, a.Digest())
	require.NoError(t, a.Close())
}

// Any file is opened or refused; none brings the process down.
func FuzzOpen(f *testing.F) {
	for _, content := range []any{newImage(f, emptyImage(), 10, 1), newIndex(f)} {
		raw, err := os.ReadFile(tarball(f, content))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		name := filepath.Join(t.TempDir(), "image.tar")
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
		a, err := Open(name)
		if err != nil {
			return
		}
		for _, b := range a.blobs {
			rc, err := a.open(b)
			if err != nil {
				t.Fatalf("Open let blob %s through: %v", b.Digest, err)
			}
			_, _ = io.Copy(io.Discard, rc)
		}
		_ = a.Close()
	})
}

func TestLayers(t *testing.T) {
	img := newImage(t, emptyImage(), 100, 2)
	config, err := img.ConfigFile()
	require.NoError(t, err)
	config.History = []v1.History{{CreatedBy: "FROM base"}, {CreatedBy: "ENV A=b", EmptyLayer: true}, {CreatedBy: "RUN make"}}
	img, err = mutate.ConfigFile(img, config)
	require.NoError(t, err)
	want, err := img.Layers()
	require.NoError(t, err)

	layers := layersOf(t, tarball(t, img))
	require.Len(t, layers, 2)
	for i, createdBy := range []string{"FROM base", "RUN make"} {
		digest, err := want[i].Digest()
		require.NoError(t, err)
		assert.Equal(t, digest.String(), layers[i].Digest)
		assert.Equal(t, createdBy, layers[i].CreatedBy)
		assert.Positive(t, layers[i].Size)
	}
	assert.Len(t, layersOf(t, tarball(t, newIndex(t))), 2, "of several platforms the first")
}

func layersOf(t *testing.T, file string) []delivery.Layer {
	t.Helper()
	a, err := Open(file)
	require.NoError(t, err)
	defer a.Close()
	layers, err := a.Layers()
	require.NoError(t, err)
	return layers
}
