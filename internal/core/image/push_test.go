package image

import (
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/dial"
	"github.com/aksflow/aksflow/internal/core/fault"
)

func TestPush(t *testing.T) {
	noConfig(t)
	var asked recorded
	host := serve(t, asked.wrap)
	img := newImage(t, emptyImage(), 64<<10, 3)
	digest, err := img.Digest()
	require.NoError(t, err)
	o := Options{Tarball: tarball(t, img), Repository: host + "/team/vote", Tags: []string{"develop", "1.2.3", "develop"}, Registry: quick}

	var seen events
	got, err := Push(seen.in(t.Context()), o)
	require.NoError(t, err)
	require.Equal(t, host+"/team/vote@"+digest.String(), got.Image)
	require.Equal(t, digest.String(), got.Digest)
	require.Equal(t, []string{"develop", "1.2.3"}, got.Tags)
	require.Equal(t, 4, got.Uploaded, "three layers and the config")
	require.Zero(t, got.Skipped)
	require.Greater(t, got.UploadedBytes, int64(3*64<<10))
	require.False(t, got.Unchanged)
	require.Contains(t, seen.String(), "pushed, 64.")
	for _, ref := range []string{got.Image, host + "/team/vote:develop", host + "/team/vote:1.2.3"} {
		r, err := name.ParseReference(ref)
		require.NoError(t, err)
		pushed, err := remote.Image(r)
		require.NoError(t, err)
		require.NoError(t, validate.Image(pushed))
		d, err := pushed.Digest()
		require.NoError(t, err)
		require.Equal(t, digest, d, "byte for byte")
	}

	t.Run("again sends nothing", func(t *testing.T) {
		asked.reset()
		got, err := Push(t.Context(), o)
		require.NoError(t, err)
		require.True(t, got.Unchanged)
		require.Equal(t, 4, got.Skipped)
		require.Equal(t, []string{"develop", "1.2.3"}, got.Tags)
		require.Empty(t, asked.writes())
		require.Zero(t, asked.sent)
	})

	t.Run("another tag is one request", func(t *testing.T) {
		asked.reset()
		o := o
		o.Tags = append([]string{"latest"}, o.Tags...)
		got, err := Push(t.Context(), o)
		require.NoError(t, err)
		require.False(t, got.Unchanged)
		require.Zero(t, got.UploadedBytes)
		require.Equal(t, []string{"PUT latest"}, asked.writes())
	})

	t.Run("a change sends what changed", func(t *testing.T) {
		asked.reset()
		o := o
		o.Tarball = tarball(t, newImage(t, img, 1<<10, 1))
		o.Tags = []string{"develop"}
		var seen events
		got, err := Push(seen.in(t.Context()), o)
		require.NoError(t, err)
		require.Equal(t, 2, got.Uploaded, "the new layer and the config")
		require.Equal(t, 3, got.Skipped)
		require.Equal(t, []string{"PATCH blob", "PATCH blob", "POST blob", "POST blob", "PUT blob", "PUT blob", "PUT develop"}, asked.writes())
		require.Less(t, asked.sent, int64(8<<10))
		require.Contains(t, seen.String(), "moves from "+digest.String())
	})
}

func TestPushWithoutTags(t *testing.T) {
	noConfig(t)
	host := serve(t)
	got, err := Push(t.Context(), Options{Tarball: tarball(t, newImage(t, emptyImage(), 10, 1)), Repository: host + "/vote", Registry: quick})
	require.NoError(t, err)
	require.Empty(t, got.Tags)
	digest, err := resolve(t.Context(), got.Image, quick)
	require.NoError(t, err)
	require.Equal(t, got.Digest, digest)

	again, err := Push(t.Context(), Options{Tarball: tarball(t, newImage(t, emptyImage(), 10, 1)), Repository: host + "/vote", Registry: quick})
	require.NoError(t, err)
	require.False(t, again.Unchanged, "another image")
}

func TestPushIndex(t *testing.T) {
	noConfig(t)
	host := serve(t)
	index := newIndex(t)
	o := Options{Tarball: tarball(t, index), Repository: host + "/vote", Tags: []string{"all"}, Registry: quick}
	got, err := Push(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, 8, got.Uploaded, "five layers and three configs")
	r, err := name.ParseReference(host + "/vote:all")
	require.NoError(t, err)
	pushed, err := remote.Index(r)
	require.NoError(t, err)
	require.NoError(t, validate.Index(pushed))
	d, err := index.Digest()
	require.NoError(t, err)
	require.Equal(t, d.String(), got.Digest)

	again, err := Push(t.Context(), o)
	require.NoError(t, err)
	require.True(t, again.Unchanged)
}

// An exporter that was given two names lists the image twice.
func TestPushImageListedTwice(t *testing.T) {
	noConfig(t)
	host := serve(t)
	img := newImage(t, emptyImage(), 10, 1)
	_, err := Push(t.Context(), Options{Tarball: tarball(t, img, img), Repository: host + "/vote", Registry: quick})
	require.NoError(t, err)
}

func TestPushMisuse(t *testing.T) {
	noConfig(t)
	good := tarball(t, newImage(t, emptyImage(), 10, 1))
	for _, tt := range []struct {
		name string
		o    Options
		want string
	}{
		{"no registry", Options{Tarball: good, Repository: "vote"}, "it reads HOST/PATH"},
		{"no registry, two parts", Options{Tarball: good, Repository: "team/vote"}, "names no registry"},
		{"capitals", Options{Tarball: good, Repository: "localhost:5000/Vote"}, "want [HOST[:PORT]/]lower-case/path"},
		{"tag", Options{Tarball: good, Repository: "localhost:5000/vote", Tags: []string{"feature/x"}}, `tag "feature/x": want letters`},
		{"long tag", Options{Tarball: good, Repository: "localhost:5000/vote", Tags: []string{strings.Repeat("a", 129)}}, "128 at most"},
		{"no tarball", Options{Tarball: "none.tar", Repository: "localhost:5000/vote"}, "none.tar does not exist"},
		{"half a credential", Options{Tarball: good, Repository: "localhost:5000/vote", Registry: Registry{Password: "hush"}}, "only one is given"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Push(t.Context(), tt.o)
			require.ErrorContains(t, err, tt.want)
			require.Equal(t, fault.ExitUsage, fault.ExitCode(err))
		})
	}
}

func TestPushRegistryDown(t *testing.T) {
	noConfig(t)
	host := unused(t)
	_, err := Push(t.Context(), Options{Tarball: tarball(t, newImage(t, emptyImage(), 10, 1)), Repository: host + "/vote", Registry: quick})
	require.ErrorContains(t, err, "connect to registry "+host+": connection refused; nothing listens at "+host)
	require.Equal(t, fault.ExitNo, fault.ExitCode(err))
}

func TestPushPlainHTTPElsewhere(t *testing.T) {
	noConfig(t)
	host := serve(t)
	o := Options{
		Tarball: tarball(t, newImage(t, emptyImage(), 10, 1)), Repository: "registry.test:5000/vote",
		Registry: Registry{Network: through(t, host)},
	}
	_, err := Push(t.Context(), o)
	require.ErrorContains(t, err, "plain HTTP")

	o.Registry.Insecure = true
	got, err := Push(t.Context(), o)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(got.Image, "registry.test:5000/vote@"))
}

// through reaches host whatever address is asked for.
func through(t *testing.T, host string) dial.Network {
	t.Helper()
	n, err := dial.To(host)
	require.NoError(t, err)
	return n
}

func TestPushWhereConnectToLeadsNowhere(t *testing.T) {
	noConfig(t)
	host := unused(t)
	o := Options{Tarball: tarball(t, newImage(t, emptyImage(), 10, 1)), Repository: "registry.test:5000/vote", Registry: quick}
	o.Registry.Network = through(t, host)
	_, err := Push(t.Context(), o)
	require.ErrorContains(t, err, "connect to registry registry.test:5000: --connect-to ::"+host+", for registry.test:5000: ")
	require.ErrorContains(t, err, "connection refused; check where --connect-to leads")
}

// TLS sees the name that the user wrote, and not the address that was dialled.
func TestPushDialKeepsTLS(t *testing.T) {
	noConfig(t)
	s := httptest.NewUnstartedServer(http.NotFoundHandler()) // its certificate is for example.com
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	_, err := Push(t.Context(), Options{
		Tarball: tarball(t, newImage(t, emptyImage(), 10, 1)), Repository: "example.com/vote",
		Registry: Registry{Network: through(t, s.Listener.Addr().String()), firstPause: 1},
	})
	require.ErrorContains(t, err, "certificate")
	require.ErrorContains(t, err, "make this machine trust")
}

func TestPushCancelled(t *testing.T) {
	noConfig(t)
	ctx, cancel := context.WithCancel(t.Context())
	host := serve(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if req.Method == http.MethodPatch {
				cancel()
			}
			next.ServeHTTP(w, req)
		})
	})
	_, err := Push(ctx, Options{Tarball: tarball(t, newImage(t, emptyImage(), 1<<20, 2)), Repository: host + "/vote", Tags: []string{"a"}, Registry: quick})
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, fault.ExitInterrupted, fault.ExitCode(err))
	_, err = resolve(t.Context(), host+"/vote:a", quick)
	require.ErrorIs(t, err, errNotFound, "no tag on half an image")
}

// A layer whose bytes changed on the way is noticed before it has a name.
func TestPushDamagedLayer(t *testing.T) {
	noConfig(t)
	dir := t.TempDir()
	newLayout(t, dir, newImage(t, emptyImage(), 64<<10, 1))
	file := firstBlob(t, dir)
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	content[100] ^= 1
	require.NoError(t, os.WriteFile(file, content, 0o600))

	var asked recorded
	host := serve(t, asked.wrap)
	_, err = Push(t.Context(), Options{Tarball: pack(t, dir), Repository: host + "/vote", Tags: []string{"a"}, Registry: quick})
	require.ErrorContains(t, err, "the tarball is damaged")
	require.NotContains(t, asked.writes(), "PUT a")
}

func TestResolve(t *testing.T) {
	noConfig(t)
	host := serve(t)
	got, err := Push(t.Context(), Options{Tarball: tarball(t, newImage(t, emptyImage(), 10, 1)), Repository: host + "/vote", Tags: []string{"a"}, Registry: quick})
	require.NoError(t, err)
	for _, ref := range []string{host + "/vote:a", got.Image} {
		digest, err := resolve(t.Context(), ref, quick)
		require.NoError(t, err)
		require.Equal(t, got.Digest, digest)
	}
	_, err = resolve(t.Context(), host+"/vote:b", quick)
	require.ErrorIs(t, err, errNotFound)
	_, err = resolve(t.Context(), host+"/VOTE:b", quick)
	require.Equal(t, fault.ExitUsage, fault.ExitCode(err))
}

// A geo-replicated registry takes blobs at one replica and the manifest at another, which does not know them yet.
func TestPushToReplicas(t *testing.T) {
	for name, c := range map[string]struct {
		behind int32 // manifests that are refused
		works  bool
	}{"one that lags": {2, true}, "one that never has them": {1000, false}} {
		t.Run(name, func(t *testing.T) {
			var refused atomic.Int32
			host := serve(t, func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/") && refused.Add(1) <= c.behind {
						w.WriteHeader(http.StatusNotFound)
						_, _ = io.WriteString(w, `{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown to registry"}]}`)
						return
					}
					next.ServeHTTP(w, r)
				})
			})
			got, err := Push(t.Context(), Options{Tarball: tarball(t, newImage(t, emptyImage(), 10, 1)), Repository: host + "/vote", Tags: []string{"v1"}, Registry: quick})
			if !c.works {
				require.ErrorContains(t, err, "MANIFEST_BLOB_UNKNOWN")
				assert.EqualValues(t, attempts, refused.Load())
				return
			}
			require.NoError(t, err)
			assert.Equal(t, []string{"v1"}, got.Tags)
			_, err = resolve(t.Context(), got.Image, quick)
			require.NoError(t, err)
		})
	}
}
