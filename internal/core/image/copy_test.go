package image

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// An image goes to another registry with all that is attached to it, whichever way each of the two lists referrers.
func TestCopy(t *testing.T) {
	for fromName, fromAPI := range servers {
		for toName, toAPI := range servers {
			t.Run(fromName+" to "+toName, func(t *testing.T) {
				from, digest := pushed(t, fromAPI)
				_, err := from.Attach(t.Context(), digest, artifact(1), artifact(2))
				require.NoError(t, err)
				other, _ := pushed(t, toAPI)
				to := reopened(t, other.Name()+"/production")

				copied, err := Copy(t.Context(), from, to, digest, "src-1")
				require.NoError(t, err)
				require.True(t, copied)
				require.ElementsMatch(t, []string{"proof 1", "proof 2"}, contents(t, to, digest))
				is, ok, err := to.Digest(t.Context(), "src-1")
				require.NoError(t, err)
				require.True(t, ok)
				require.Equal(t, digest, is)

				copied, err = Copy(t.Context(), from, to, digest, "src-1")
				require.NoError(t, err)
				require.False(t, copied, "nothing is new")

				_, err = from.Attach(t.Context(), digest, artifact(3))
				require.NoError(t, err)
				copied, err = Copy(t.Context(), from, to, digest)
				require.NoError(t, err)
				require.True(t, copied, "what was attached since is brought, too")
				require.Len(t, contents(t, to, digest), 3)
			})
		}
	}
}

func TestCopyRefuses(t *testing.T) {
	from, digest := pushed(t, true)
	_, err := from.Attach(t.Context(), digest, artifact(1))
	require.NoError(t, err)

	t.Run("what is not there", func(t *testing.T) {
		_, err := Copy(t.Context(), from, from, "sha256:"+strings.Repeat("0", 64))
		require.ErrorContains(t, err, "has no image sha256:0000")
	})
	t.Run("a tag that is another image", func(t *testing.T) {
		to, other := pushed(t, true)
		_, err := to.Tag(t.Context(), other, TagOptions{Tags: []string{"src-1"}})
		require.NoError(t, err)
		_, err = Copy(t.Context(), from, to, digest, "src-1")
		require.ErrorContains(t, err, "src-1 is the image "+other)
	})
	for name, refuse := range map[string]func(*http.Request) bool{
		"without the right to push": func(r *http.Request) bool { return r.Method == http.MethodPost },
		"without the right to tag": func(r *http.Request) bool {
			return r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/manifests/src-1")
		},
		"without the right to read referrers": func(r *http.Request) bool {
			return r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/referrers/")
		},
	} {
		t.Run(name, func(t *testing.T) {
			armed := false
			to, _ := pushed(t, true, func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if armed && refuse(r) {
						http.Error(w, `{"errors":[{"code":"DENIED","message":"you may not"}]}`, http.StatusForbidden)
						return
					}
					next.ServeHTTP(w, r)
				})
			})
			armed = true
			_, err := Copy(t.Context(), from, reopened(t, to.Name()+"/production"), digest, "src-1")
			require.ErrorContains(t, err, "you may not")
			require.ErrorContains(t, err, "/production")
		})
	}
}
