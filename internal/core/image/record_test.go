package image

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func opened(t *testing.T, host string) *Repository {
	t.Helper()
	r, err := Registry{firstPause: time.Millisecond}.Open(t.Context(), host+"/vote", ReadWrite)
	require.NoError(t, err)
	return r
}

// publish pushes a new image, and returns its digest.
func publish(t *testing.T, host string) string {
	t.Helper()
	r, err := Push(t.Context(), Options{Tarball: tarball(t, newImage(t, empty.Image, 100, 1)), Repository: host + "/vote"})
	require.NoError(t, err)
	return r.Digest
}

// Two clients that record another image under one tag at once agree on one of them, fifty times.
func TestRecordAtOnce(t *testing.T) {
	noConfig(t)
	host := serve(t)
	digests := []string{publish(t, host), publish(t, host)}
	clients := []*Repository{opened(t, host), opened(t, host)}
	var all sync.WaitGroup
	for n := range 50 {
		tag := fmt.Sprintf("src-%d", n)
		var recorded, later [2]string
		var errs [2]error
		var both sync.WaitGroup
		for i := range 2 {
			both.Go(func() { recorded[i], errs[i] = clients[i].Record(t.Context(), tag, digests[i]) })
		}
		all.Go(func() {
			both.Wait()
			for i := range 2 {
				assert.NoError(t, errs[i])
				later[i], errs[i] = clients[i].Record(t.Context(), tag, digests[i])
				assert.NoError(t, errs[i])
			}
			assert.Contains(t, digests, recorded[0])
			assert.Equal(t, recorded[0], recorded[1], tag)
			assert.Equal(t, recorded, later, "it stays")
		})
	}
	all.Wait()
}

// Only 404 means that nothing is recorded.
func TestRecordRefused(t *testing.T) {
	noConfig(t)
	for _, code := range []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway} {
		looking := func(req *http.Request) bool {
			return req.Method == http.MethodHead && filepath.Base(req.URL.Path) == "src-1"
		}
		var written recorded
		host := serve(t, failFirst(1000, looking, status(code)), written.wrap)
		digest := publish(t, host)
		written.reset()
		_, err := opened(t, host).Record(t.Context(), "src-1", digest)
		assert.ErrorContains(t, err, "src-1", code)
		assert.Empty(t, written.writes(), code)
	}
}

func TestTag(t *testing.T) {
	noConfig(t)
	host := serve(t)
	one, two := publish(t, host), publish(t, host)
	r := opened(t, host)
	changed, err := r.Tag(t.Context(), one, TagOptions{Tags: []string{"1.2.0", "main"}, Fixed: []string{"1.2.0"}})
	require.NoError(t, err)
	assert.True(t, changed)
	changed, err = r.Tag(t.Context(), one, TagOptions{Tags: []string{"1.2.0", "main"}, Fixed: []string{"1.2.0"}})
	require.NoError(t, err)
	assert.False(t, changed)
	_, err = r.Tag(t.Context(), two, TagOptions{Tags: []string{"main", "1.2.0"}, Fixed: []string{"1.2.0"}})
	assert.ErrorContains(t, err, "vote:1.2.0 is the image "+one+", and this is "+two+": the tag of a release does not move")
	is, _, err := r.Digest(t.Context(), "main")
	require.NoError(t, err)
	assert.Equal(t, one, is, "none of the tags moved")
	changed, err = r.Tag(t.Context(), two, TagOptions{Tags: []string{"main"}, Keep: []string{"main"}})
	require.NoError(t, err)
	assert.True(t, changed)
	_, hex, _ := strings.Cut(one, ":")
	is, _, err = r.Digest(t.Context(), "main-"+hex[:12])
	require.NoError(t, err)
	assert.Equal(t, one, is, "what the tag left keeps a tag")
}

// A tarball of a registry's image is that image.
func TestPull(t *testing.T) {
	noConfig(t)
	host := serve(t)
	file := filepath.Join(t.TempDir(), "image.tar")
	for name, content := range map[string]any{"image": newImage(t, empty.Image, 5000, 3), "index": newIndex(t)} {
		result, err := Push(t.Context(), Options{Tarball: tarball(t, content), Repository: host + "/" + name})
		require.NoError(t, err)
		r, err := Registry{}.Open(t.Context(), host+"/"+name, ReadOnly)
		require.NoError(t, err)
		require.NoError(t, r.Pull(t.Context(), result.Digest, file, map[string]string{"a": "b"}))
		a, err := Open(file)
		require.NoError(t, err)
		assert.Equal(t, result.Digest, a.Digest().String())
		assert.Equal(t, map[string]string{"a": "b"}, a.Annotations())
		assert.Empty(t, a.Root().Annotations, "they are no part of the image")
		require.NoError(t, a.Close())
		again, err := Push(t.Context(), Options{Tarball: file, Repository: host + "/copy"})
		require.NoError(t, err)
		assert.Equal(t, result.Digest, again.Digest)
	}
	r := opened(t, host)
	require.ErrorContains(t, r.Pull(t.Context(), "sha256:"+fmt.Sprintf("%064x", 1), filepath.Join(t.TempDir(), "none.tar"), nil), "pull "+host+"/vote@sha256:0")
}

func TestOnBuild(t *testing.T) {
	noConfig(t)
	host := serve(t)
	digest := publish(t, host)
	has, err := Registry{}.OnBuild(context.Background(), host+"/vote@"+digest)
	require.NoError(t, err)
	assert.False(t, has)
}

func TestLockElsewhere(t *testing.T) {
	locked, err := Registry{}.Lock(t.Context(), "localhost:5000/vote", "src-1")
	require.NoError(t, err)
	assert.False(t, locked)
}
