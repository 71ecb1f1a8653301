package e2e

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const anyImage = "localhost:1/vote@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// Wrong usage ends with one clear message and the right exit code.
func TestErrors(t *testing.T) {
	built := filepath.Join(t.TempDir(), "vote.tar")
	base := newWorktree(t)
	base.succeed(&struct{}{}, "build", "--env", "local", "-o", built)

	refusing := httptest.NewServer(passwordFor(registry.New(), "right"))
	t.Cleanup(refusing.Close)
	refusingHost := strings.TrimPrefix(refusing.URL, "http://")
	t.Setenv("WRONG_PASSWORD", "wr0ng-s3cret")

	for _, tc := range []struct {
		name   string
		change func(*worktree)
		args   []string
		code   int
		says   []string
	}{
		{"no Dockerfile", func(w *worktree) { w.replace("aksflow.yaml", "context: app\n", "context: manifests\n") },
			[]string{"build", "--env", "local"}, 2, []string{"there is no Dockerfile at", "build.dockerfile"}},
		{"a Dockerfile that does not build", func(w *worktree) {
			w.replace("app/Dockerfile", "COPY gunicorn.conf.py .", "RUN echo the disk is on fire >&2 && exit 3")
		}, []string{"build", "--env", "local"}, 1, []string{"the disk is on fire", "3"}},
		{"a Dockerfile that is none", func(w *worktree) { w.write("app/Dockerfile", "FORM debian\n") },
			[]string{"build", "--env", "local"}, 1, []string{"FORM"}},
		{"a registry that is down", nil,
			[]string{"publish", "--image", built, "--repository", "localhost:1/vote"}, 1, []string{"localhost:1"}},
		{"a registry that refuses the password", nil,
			[]string{"publish", "--image", built, "--repository", refusingHost + "/vote", "--username", "me", "--password-env", "WRONG_PASSWORD"},
			1, []string{refusingHost, "refuses access: 401", `user name "me"`}},
		{"an image that is no image", func(w *worktree) { w.write("vote.tar", "no tar") },
			[]string{"publish", "--image", "vote.tar", "--repository", "localhost:1/vote"}, 2, []string{"vote.tar"}},
		{"a kubeconfig that is missing", nil,
			[]string{"deploy", "--env", "local", "--kubeconfig", "nowhere/config"}, 2, []string{"nowhere/config", "az aks get-credentials"}},
		{"a kubeconfig that points nowhere", func(w *worktree) { w.write("config", kubeconfigOf("https://127.0.0.1:1")) },
			[]string{"deploy", "--env", "local", "--kubeconfig", "config"}, 1, []string{"127.0.0.1:1", "cannot be reached"}},
		{"a manifest that is not YAML", func(w *worktree) { w.write("m/vote.yaml", "kind: Deployment\n  name: [") },
			[]string{"deploy", "--app", "vote", "--manifests", "m", "--kubeconfig", "config"}, 2, []string{"vote.yaml:2"}},
		{"a bump of a manifest that is not YAML", func(w *worktree) { w.write("m/vote.yaml", "image: vote:1\nkind: Deployment\n  name: [") },
			[]string{"bump", "--manifests", "m", "--image", anyImage}, 2, []string{"vote.yaml"}},
		{"a bump that matches nothing", nil,
			[]string{"bump", "--manifests", "manifests/overlays/dev", "--image", strings.Replace(anyImage, "vote", "other", 1)}, 1, []string{"no image named", "vote"}},
		{"an unknown key in aksflow.yaml", func(w *worktree) { w.replace("aksflow.yaml", "build:\n", "biuld:\n") },
			[]string{"build"}, 2, []string{`aksflow.yaml:5:1: biuld: unknown key: did you mean "build"?`}},
		{"an unknown environment", nil, []string{"deliver", "--env", "prod"}, 2, []string{"production"}},
		{"an unknown verb", nil, []string{"delivr"}, 2, []string{"deliver"}},
		{"an unknown flag", nil, []string{"build", "--fast"}, 2, []string{"--fast", "aksflow build --help"}},
		{"flags that exclude each other", nil, []string{"bump", "--image", anyImage, "--manifests", "m", "--repo", "r"}, 2, []string{"manifests", "repo"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorktree(t)
			if tc.change != nil {
				tc.change(w)
			}
			r := w.aksflow(tc.args...)
			assert.Equal(t, tc.code, r.code)
			for _, s := range tc.says {
				assert.Contains(t, r.stderr, s)
			}
			assert.NotContains(t, r.stderr, "wr0ng-s3cret")
			assert.NotContains(t, r.stderr, "goroutine ")
		})
	}
}

func TestPublishSendsWhatTheRegistryLacks(t *testing.T) {
	w := newWorktree(t)
	server := httptest.NewServer(registry.New())
	t.Cleanup(server.Close)
	repository := strings.TrimPrefix(server.URL, "http://") + "/vote"
	var built, published, again struct {
		Digest    string
		Image     string
		Unchanged bool
	}
	w.succeed(&built, "build", "--env", "local", "-o", "vote.tar")
	w.succeed(&published, "publish", "--image", "vote.tar", "--repository", repository, "--tag", "v1")
	require.Equal(t, repository+"@"+built.Digest, published.Image)
	w.succeed(&again, "publish", "--image", "vote.tar", "--repository", repository, "--tag", "v1")
	assert.False(t, published.Unchanged)
	assert.True(t, again.Unchanged)
}

func passwordFor(next http.Handler, password string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, got, ok := r.BasicAuth(); !ok || got != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func kubeconfigOf(server string) string {
	return `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "` + server + `"}}]
users: [{name: u, user: {token: t}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`
}
