package e2e

import (
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-git/go-git/v5"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

type delivery struct {
	Steps []struct {
		Name, Status string
		Seconds      float64
	}
	Image, Environment, Target, Commit string
	Revision                           int
}

func (d delivery) status(step string) string {
	for _, s := range d.Steps {
		if s.Name == step {
			return s.Status
		}
	}
	return ""
}

func digest(ref string) string {
	_, digest, _ := strings.Cut(ref, "@")
	return digest
}

// Push and pull bring the tested image to the pods. A second delivery has nothing to do. A change of the app reaches the
// pods.
func TestDeliver(t *testing.T) {
	for _, tc := range []struct{ environment, changes string }{
		{"local", "deploy"}, {"local-argocd", "bump"}, {"local-flux", "bump"},
	} {
		t.Run(tc.environment, func(t *testing.T) {
			w := newWorktree(t)
			w.succeed(&struct{}{}, "up", "--free-ports", "argocd", "flux")

			to := []string{"--env", tc.environment}
			if tc.changes == "deploy" {
				to = append(to, "--kubeconfig", deployer(t, "vote-local"))
			}
			deliver := append([]string{"deliver"}, to...)
			var first delivery
			w.succeed(&first, deliver...)
			require.Regexp(t, `^sha256:[0-9a-f]{64}$`, digest(first.Image))
			assertRuns(t, "vote-"+tc.environment, first.Image)
			if tc.changes == "bump" {
				assert.Contains(t, inGit(t, tc.environment), digest(first.Image))
				var bumped struct{ Commit string }
				w.succeed(&bumped, "bump", "--env", tc.environment, "--image", first.Image)
				assert.Equal(t, first.Commit, bumped.Commit, "it is there already")
			}
			assert.Equal(t, "Cats - 3 | Dogs - 1", vote(t, tc.environment))

			var second delivery
			r := w.succeed(&second, deliver...)
			assert.Equal(t, first.Image, second.Image, "the same source is the same image")
			assert.Equal(t, "unchanged", second.status("publish"))
			assert.Equal(t, "unchanged", second.status(tc.changes))
			assert.Equal(t, first.Commit, second.Commit)
			assert.Contains(t, r.stderr, "nothing new")
			assert.Contains(t, results(t, tc.environment), "Cats - 3", "what runs was left alone")

			w.write("app/vote/changed.py", "# "+tc.environment+"\n")
			w.commit("Change the app")
			var third delivery
			w.succeed(&third, deliver...)
			assert.NotEqual(t, digest(first.Image), digest(third.Image))
			assertRuns(t, "vote-"+tc.environment, third.Image)
			if tc.changes == "bump" {
				assert.Contains(t, inGit(t, tc.environment), digest(third.Image))
			}

			// A rollback in production, which a later delivery does not undo.
			var back struct{ Commit string }
			w.succeed(&back, append([]string{"rollback"}, to...)...)
			if tc.changes == "bump" {
				w.succeed(&struct{}{}, "wait", "--env", tc.environment, "--image", first.Image, "--commit", back.Commit, "--timeout", "3m")
				r := w.aksflow(deliver...)
				assert.Equal(t, 1, r.code)
				assert.Contains(t, r.stderr, "--force")
				assert.Contains(t, inGit(t, tc.environment), digest(first.Image))
			} else {
				var recorded struct {
					Revisions []struct {
						Number                        int
						Status, Image, SourceRevision string
					}
				}
				w.succeed(&recorded, append([]string{"history"}, to...)...)
				history := recorded.Revisions
				require.Len(t, history, 3)
				assert.Equal(t, "deployed", history[0].Status)
				assert.Equal(t, first.Image, history[0].Image)
				assert.Equal(t, "superseded", history[1].Status)
				assert.Equal(t, third.Image, history[1].Image)
				assert.Regexp(t, "^[0-9a-f]{40}$", history[1].SourceRevision)
			}
			assertRuns(t, "vote-"+tc.environment, first.Image)
		})
	}
}

// assertRuns checks that all pods of the app that are not terminating run the digest and are ready.
func assertRuns(t *testing.T, namespace, image string) {
	t.Helper()
	pods, err := admin(t).CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=vote"})
	require.NoError(t, err)
	running := 0
	for _, pod := range pods.Items {
		if pod.DeletionTimestamp != nil {
			continue
		}
		require.Len(t, pod.Status.ContainerStatuses, 1, pod.Name)
		assert.Contains(t, pod.Status.ContainerStatuses[0].ImageID, digest(image), pod.Name)
		assert.True(t, pod.Status.ContainerStatuses[0].Ready, pod.Name)
		running++
	}
	assert.Positive(t, running)
}

// inGit returns the environment's kustomization from the platform's git server.
func inGit(t *testing.T, environment string) string {
	t.Helper()
	password, err := os.ReadFile(local.GitPasswordFile)
	require.NoError(t, err)
	dir := t.TempDir()
	_, err = git.PlainClone(dir, false, &git.CloneOptions{
		URL:  local.RepositoryURL("vote"),
		Auth: &githttp.BasicAuth{Username: local.GitUser, Password: strings.TrimSpace(string(password))},
	})
	require.NoError(t, err)
	data, err := os.ReadFile(filepath.Join(dir, "manifests/overlays", environment, "kustomization.yaml"))
	require.NoError(t, err)
	return string(data)
}

var resultsElement = regexp.MustCompile(`id="results"[^>]*>([^<]*)<`)

// page gets the app's page through the platform's port for apps.
func page(t *testing.T, environment string, form url.Values) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost:"+strconv.Itoa(local.Apps)+"/", nil)
	if form != nil {
		req, err = http.NewRequestWithContext(t.Context(), http.MethodPost, req.URL.String(), strings.NewReader(form.Encode()))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	require.NoError(t, err)
	req.Host = "vote.vote-" + environment + ".localhost"
	resp, err := (&http.Client{Timeout: 10 * time.Second}).Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode, string(body))
	return string(body)
}

func results(t *testing.T, environment string) string {
	t.Helper()
	m := resultsElement.FindStringSubmatch(page(t, environment, nil))
	require.NotNil(t, m, "the page has no results")
	return strings.TrimSpace(m[1])
}

// vote casts three votes for Cats and one for Dogs.
func vote(t *testing.T, environment string) string {
	t.Helper()
	for _, choice := range []string{"reset", "Cats", "Cats", "Dogs", "Cats"} {
		page(t, environment, url.Values{"vote": {choice}})
	}
	return results(t, environment)
}
