package store

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// tarballFile writes a tarball.
func tarballFile(t testing.TB, data []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "image.tar")
	require.NoError(t, os.WriteFile(file, data, 0o600))
	return file
}

// tarballOf makes an OCI layout tarball with another program than the store.
func tarballOf(t testing.TB, images int) []byte {
	t.Helper()
	index := mutate.IndexMediaType(empty.Index, "application/vnd.oci.image.index.v1+json")
	dir, err := layout.Write(t.TempDir(), index)
	require.NoError(t, err)
	for i := range images {
		image, err := random.Image(1000, int64(i+1))
		require.NoError(t, err)
		image = mutate.MediaType(image, "application/vnd.oci.image.manifest.v1+json")
		require.NoError(t, dir.AppendImage(image))
	}
	var b bytes.Buffer
	require.NoError(t, tarDirectory(&b, string(dir)))
	return b.Bytes()
}

func TestTarballs(t *testing.T) {
	s, err := Open(t.TempDir())
	require.NoError(t, err)
	ctx := t.Context()
	desc, err := s.ReadTarball(ctx, tarballFile(t, tarballOf(t, 1)))
	require.NoError(t, err)
	_, config, err := s.Image(ctx, desc, ocispecs.Platform{OS: "linux", Architecture: "amd64"})
	require.NoError(t, err)
	assert.Contains(t, string(config), "rootfs")

	var first, second bytes.Buffer
	require.NoError(t, s.WriteTarball(ctx, &first, desc))
	other, err := Open(t.TempDir())
	require.NoError(t, err)
	back, err := other.ReadTarball(ctx, tarballFile(t, first.Bytes()))
	require.NoError(t, err)
	assert.Equal(t, desc, back)
	require.NoError(t, other.WriteTarball(ctx, &second, back))
	assert.True(t, bytes.Equal(first.Bytes(), second.Bytes()), "the same image is the same bytes")

	require.NoError(t, s.Sweep())
	require.NoError(t, s.WriteTarball(ctx, &bytes.Buffer{}, desc), "young blobs stay")
	old := time.Now().Add(-keep - time.Hour)
	require.NoError(t, os.Chtimes(s.path(desc.Digest), old, old))
	require.NoError(t, s.Sweep())
	assert.Error(t, s.WriteTarball(ctx, &bytes.Buffer{}, desc))
}

func TestNotTarballs(t *testing.T) {
	good := tarballOf(t, 1)
	for name, data := range map[string][]byte{
		"text":       []byte("text"),
		"empty":      nil,
		"cut short":  good[:len(good)/2],
		"two images": tarballOf(t, 2),
		"changed":    bytes.Replace(good, []byte("rootfs"), []byte("ROOTFS"), 1),
	} {
		s, err := Open(t.TempDir())
		require.NoError(t, err)
		_, err = s.ReadTarball(t.Context(), tarballFile(t, data))
		assert.Error(t, err, name)
	}
}

func FuzzReadTarball(f *testing.F) {
	f.Add(tarballOf(f, 1))
	f.Add([]byte("text"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Open(t.TempDir())
		require.NoError(t, err)
		desc, err := s.ReadTarball(t.Context(), tarballFile(t, data))
		if err == nil {
			_, _, _ = s.Image(t.Context(), desc, ocispecs.Platform{OS: "linux", Architecture: "amd64"})
		}
	})
}

// tarDirectory writes a directory's files to an archive.
func tarDirectory(w io.Writer, dir string) error {
	t := tar.NewWriter(w)
	if err := t.AddFS(os.DirFS(dir)); err != nil {
		return err
	}
	return t.Close()
}
