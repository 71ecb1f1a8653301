package image

import (
	"testing"

	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/stretchr/testify/require"
)

// BenchmarkPush compares with what `crane push DIRECTORY` does: it wants the layout unpacked, which is not measured.
// An empty registry gets an image of 32 MiB; then the same is pushed again.
func BenchmarkPush(b *testing.B) {
	noConfig(b)
	dir := b.TempDir()
	newLayout(b, dir, newImage(b, emptyImage(), 8<<20, 4))
	archive := pack(b, dir)

	pushCrane := func(b *testing.B, ref string) {
		index, err := layout.ImageIndexFromPath(dir)
		require.NoError(b, err)
		manifest, err := index.IndexManifest()
		require.NoError(b, err)
		img, err := index.Image(manifest.Manifests[0].Digest)
		require.NoError(b, err)
		require.NoError(b, crane.Push(img, ref))
	}
	pushOurs := func(b *testing.B, repository string) {
		_, err := Push(b.Context(), Options{Tarball: archive, Repository: repository, Tags: []string{"a"}})
		require.NoError(b, err)
	}
	for _, tool := range []struct {
		name string
		push func(b *testing.B, repository string)
	}{
		{"aksflow", pushOurs},
		{"crane", func(b *testing.B, repository string) { pushCrane(b, repository+":a") }},
	} {
		b.Run("new/"+tool.name, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				host := serve(b) // a registry shares blobs between its repositories
				b.StartTimer()
				tool.push(b, host+"/vote")
			}
		})
		b.Run("unchanged/"+tool.name, func(b *testing.B) {
			host := serve(b)
			tool.push(b, host+"/vote")
			for b.Loop() {
				tool.push(b, host+"/vote")
			}
		})
	}
}
