package image

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/require"
)

const proofType = "application/vnd.example.proof"

// servers are the kinds of registries: with the referrers API, and with the tag only.
var servers = map[string]bool{"api": true, "tag": false}

// pushed starts a registry with one image, and returns a connection to it and the image's digest.
func pushed(t *testing.T, api bool, wrap ...func(http.Handler) http.Handler) (*Repository, string) {
	t.Helper()
	noConfig(t)
	h := http.Handler(registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(api)))
	for _, w := range wrap {
		h = w(h)
	}
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return pushedTo(t, s.Listener.Addr().String())
}

func pushedTo(t *testing.T, host string) (*Repository, string) {
	t.Helper()
	repository := host + "/team/vote"
	result, err := Push(t.Context(), Options{
		Tarball: tarball(t, newImage(t, emptyImage(), 1<<10, 1)), Repository: repository, Tags: []string{"v1"}, Registry: quick,
	})
	require.NoError(t, err)
	return reopened(t, repository), result.Digest
}

func reopened(t *testing.T, repository string) *Repository {
	t.Helper()
	repo, err := quick.Open(t.Context(), repository, ReadWrite)
	require.NoError(t, err)
	return repo
}

func artifact(n int) Artifact {
	return Artifact{Type: proofType, Content: fmt.Appendf(nil, "proof %d", n), Annotations: map[string]string{"n": fmt.Sprint(n)}}
}

func contents(t *testing.T, repo *Repository, digest string) []string {
	t.Helper()
	referrers, err := repo.Referrers(t.Context(), digest)
	require.NoError(t, err)
	var all []string
	for _, r := range referrers {
		a, err := repo.Read(t.Context(), digest, r, proofType)
		require.NoError(t, err)
		require.Equal(t, proofType, a.Type)
		all = append(all, string(a.Content))
	}
	return all
}

func TestAttach(t *testing.T) {
	for name, api := range servers {
		t.Run(name, func(t *testing.T) {
			repo, digest := pushed(t, api)
			require.Empty(t, contents(t, repo, digest))

			first, err := repo.Attach(t.Context(), digest, artifact(1), artifact(2))
			require.NoError(t, err)
			again, err := repo.Attach(t.Context(), digest, artifact(2), artifact(3))
			require.NoError(t, err)
			require.Equal(t, first[1], again[0])
			require.ElementsMatch(t, []string{"proof 1", "proof 2", "proof 3"}, contents(t, repo, digest))

			is, ok, err := repo.Digest(t.Context(), "v1")
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, digest, is, "attaching does not change the image")
		})
	}
}

func TestDigestOfNothing(t *testing.T) {
	repo, _ := pushed(t, false)
	_, ok, err := repo.Digest(t.Context(), "v2")
	require.NoError(t, err)
	require.False(t, ok)
	_, err = repo.Attach(t.Context(), "sha256:"+strings.Repeat("0", 64), artifact(1))
	require.ErrorContains(t, err, "push it first")
}

// The tag lists what the specification wants in it: media type, size, artifact type and annotations of each referrer.
func TestFallbackTag(t *testing.T) {
	repo, digest := pushed(t, false)
	added, err := repo.Attach(t.Context(), digest, artifact(1))
	require.NoError(t, err)
	hash, err := v1.NewHash(digest)
	require.NoError(t, err)
	got, err := repo.puller.Get(t.Context(), repo.client.repo.Tag("sha256-"+hash.Hex))
	require.NoError(t, err)
	var index map[string]any
	require.NoError(t, json.Unmarshal(got.Manifest, &index))
	require.EqualValues(t, "application/vnd.oci.image.index.v1+json", index["mediaType"])
	require.Equal(t, []any{map[string]any{
		"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": added[0].Digest, "size": float64(added[0].size),
		"artifactType": proofType, "annotations": map[string]any{"n": "1"},
	}}, index["manifests"])
}

// A registry that got the API after clients had written the tag has referrers in both.
func TestBothListsAreRead(t *testing.T) {
	var hidden bool
	repo, digest := pushed(t, true, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if strings.Contains(req.URL.Path, "/referrers/") {
				if hidden {
					http.NotFound(w, req)
					return
				}
				w = &onlyLast{ResponseWriter: w}
			}
			next.ServeHTTP(w, req)
		})
	})
	hidden = true
	_, err := repo.Attach(t.Context(), digest, artifact(1))
	require.NoError(t, err)
	hidden = false
	_, err = repo.Attach(t.Context(), digest, artifact(2))
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"proof 1", "proof 2"}, contents(t, repo, digest))
}

// onlyLast drops the referrer with the annotation n=1 from a list.
type onlyLast struct{ http.ResponseWriter }

func (o *onlyLast) Write(p []byte) (int, error) {
	var index v1.IndexManifest
	if err := json.Unmarshal(p, &index); err != nil {
		return 0, err
	}
	kept := index.Manifests[:0]
	for _, d := range index.Manifests {
		if d.Annotations["n"] != "1" {
			kept = append(kept, d)
		}
	}
	index.Manifests = kept
	out, err := json.Marshal(index)
	if err != nil {
		return 0, err
	}
	_, err = o.ResponseWriter.Write(out)
	return len(p), err
}

func (o *onlyLast) WriteHeader(code int) {
	o.Header().Del("Content-Length")
	o.ResponseWriter.WriteHeader(code)
}

// Two clients attach at once, fifty times: to a registry with the API, and to the one that most of the world runs, which
// has none.
func TestAttachAtOnce(t *testing.T) {
	for name, api := range servers {
		t.Run(name, func(t *testing.T) {
			repo, digest := (*Repository)(nil), ""
			if api {
				repo, digest = pushed(t, api)
			} else {
				noConfig(t)
				repo, digest = pushedTo(t, distribution(t, nil))
			}
			rounds := 50
			if testing.Short() {
				rounds = 5
			}
			errs := make([]error, 2*rounds)
			var group sync.WaitGroup
			for writer := range 2 {
				mine, err := Registry{firstPause: 50 * time.Millisecond}.Open(t.Context(), repo.Name(), ReadWrite)
				require.NoError(t, err)
				group.Go(func() {
					for i := range rounds {
						n := writer*rounds + i
						_, errs[n] = mine.Attach(context.WithoutCancel(t.Context()), digest, artifact(n))
					}
				})
			}
			group.Wait()
			for _, err := range errs {
				require.NoError(t, err)
			}
			require.Len(t, contents(t, repo, digest), 2*rounds)
		})
	}
}

// Only 404 is an absence.
func TestReferrersRefuse(t *testing.T) {
	for _, at := range []string{"/referrers/", "/manifests/sha256-"} {
		for _, code := range []int{401, 403, 429, 500, 503} {
			t.Run(fmt.Sprint(at, code), func(t *testing.T) {
				fail := false
				repo, digest := pushed(t, false, func(next http.Handler) http.Handler {
					return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
						if fail && strings.Contains(req.URL.Path, at) {
							status(code)(w, req)
							return
						}
						next.ServeHTTP(w, req)
					})
				})
				_, err := repo.Attach(t.Context(), digest, artifact(1))
				require.NoError(t, err)
				fail = true
				_, err = repo.Referrers(t.Context(), digest)
				require.ErrorContains(t, err, "list what is attached to")
				_, err = repo.Attach(t.Context(), digest, artifact(2))
				require.ErrorContains(t, err, "attach to")
			})
		}
	}
}

// What the registry lists and does not have, or has changed, cannot be read.
func TestReadRefuses(t *testing.T) {
	var gone, changed string
	repo, digest := pushed(t, false, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			switch {
			case req.Method == http.MethodGet && gone != "" && path.Base(req.URL.Path) == gone:
				http.NotFound(w, req)
			case req.Method == http.MethodGet && changed != "" && strings.Contains(req.URL.Path, "/blobs/"):
				_, _ = io.WriteString(w, changed)
			default:
				next.ServeHTTP(w, req)
			}
		})
	})
	added, err := repo.Attach(t.Context(), digest, artifact(1))
	require.NoError(t, err)

	gone = added[0].Digest
	listed, err := repo.Referrers(t.Context(), digest)
	require.NoError(t, err)
	_, err = repo.Read(t.Context(), digest, listed[0], proofType)
	require.ErrorContains(t, err, "read "+gone)

	gone, changed = "", "proof 9"
	_, err = repo.Read(t.Context(), digest, listed[0], proofType)
	require.Error(t, err)

	changed = ""
	_, err = repo.Read(t.Context(), "sha256:"+strings.Repeat("0", 64), listed[0], proofType)
	require.ErrorContains(t, err, "does not refer to this image")
}

// A registry that fails once gets the whole manifest at the next attempt.
func TestAttachRetries(t *testing.T) {
	fail := failFirst(0, anything, nil)
	repo, digest := pushed(t, false, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { fail(next).ServeHTTP(w, req) })
	})
	failing := func(req *http.Request) bool {
		return req.Method == http.MethodPut && strings.Contains(req.URL.Path, "/manifests/")
	}
	left := 2
	fail = func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if failing(req) && left > 0 {
				left--
				_, _ = io.Copy(io.Discard, req.Body)
				status(503)(w, req)
				return
			}
			next.ServeHTTP(w, req)
		})
	}
	_, err := repo.Attach(t.Context(), digest, artifact(1))
	require.NoError(t, err)
	require.Equal(t, []string{"proof 1"}, contents(t, repo, digest))
}
