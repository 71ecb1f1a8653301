package e2e

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// devRun is a run of `aksflow dev`.
type devRun struct {
	t   *testing.T
	cmd *exec.Cmd

	mu    sync.Mutex
	lines []string
	more  chan struct{} // signalled after lines
	at    int           // lines before it were waited for
}

// startDev starts `aksflow dev` in the work tree.
func startDev(t *testing.T, w *worktree, args ...string) *devRun {
	t.Helper()
	d := &devRun{t: t, cmd: command(context.Background(), append([]string{"dev"}, args...)...), more: make(chan struct{}, 1)}
	d.cmd.Dir = w.dir
	d.cmd.Env = append(d.cmd.Env, "USER=e2e")
	stderr, err := d.cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, d.cmd.Start())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			d.mu.Lock()
			d.lines = append(d.lines, lines.Text())
			d.mu.Unlock()
			select {
			case d.more <- struct{}{}:
			default:
			}
		}
	}()
	t.Cleanup(func() {
		_ = d.cmd.Process.Signal(os.Interrupt) // it has ended already unless the test failed
		<-ended
		_ = d.cmd.Wait()
		t.Log(strings.Join(d.lines, "\n"))
	})
	return d
}

// await waits for a line with a text in it, after those that were waited for before, and returns those in between.
func (d *devRun) await(text string) []string {
	d.t.Helper()
	deadline := time.After(5 * time.Minute)
	for from := d.at; ; {
		d.mu.Lock()
		for i, line := range d.lines[from:] {
			if strings.Contains(line, text) {
				between := d.lines[d.at : from+i+1]
				d.at = from + i + 1
				d.mu.Unlock()
				return between
			}
		}
		from = len(d.lines)
		d.mu.Unlock()
		select {
		case <-d.more:
		case <-deadline:
			d.t.Fatalf("no line says %q", text)
		}
	}
}

// awaitAll waits for lines with texts in them, in whatever order.
func (d *devRun) awaitAll(texts ...string) {
	d.t.Helper()
	from, last := d.at, d.at
	for _, text := range texts {
		d.at = from
		d.await(text)
		last = max(last, d.at)
	}
	d.at = last
}

// shows waits until the app's page in the namespace vote-dev-e2e has a text in it, and returns how long that took.
func shows(t *testing.T, text string) time.Duration {
	t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for ctx.Err() == nil {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost:"+strconv.Itoa(local.Apps)+"/", nil)
		require.NoError(t, err)
		req.Host = "vote.vote-dev-e2e.localhost"
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			continue
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err == nil && strings.Contains(string(body), text) {
			return time.Since(began)
		}
	}
	t.Fatalf("the page never shows %q", text)
	return 0
}

// A work tree is delivered at each save: what can see the file is built, tested and deployed, what fails leaves the version
// before, and Ctrl-C leaves nothing.
func TestDev(t *testing.T) {
	w := newWorktree(t)
	w.succeed(&struct{}{}, "up", "--free-ports", "kubernetes")
	d := startDev(t, w)
	d.await("it answers")
	d.awaitAll("deploy    ✔", "test      ✔")
	shows(t, "Azure Voting App")

	w.replace("app/vote/templates/index.html", "</h1>", " of today</h1>")
	saved := shows(t, " of today</h1>")
	steps := d.await("it answers")
	t.Logf("the new page came %.1f s after the save; dev: %s", saved.Seconds(), steps[len(steps)-1])
	assert.Contains(t, strings.Join(steps, "\n"), "build ")
	d.awaitAll("deploy    ✔", "test      ✔") // its old pods are gone, and its integration tests passed

	w.replace("app/vote/templates/index.html", `id="version"`, `id="release"`) // as a unit test does not want it
	steps = d.await("what ran before goes on")
	assert.Contains(t, strings.Join(steps, "\n"), "test_page_shows_the_version")
	shows(t, `id="version"`)
	assert.Contains(t, page(t, "dev-e2e", nil), " of today</h1>")
	w.replace("app/vote/templates/index.html", `id="release"`, `id="version"`)
	d.await("deploy    ✔")

	w.replace("app/tests/unit/test_app.py", "import re\n", "import os\nimport re\n")
	steps = d.await("test      ✔")
	for _, line := range steps {
		assert.NotRegexp(t, "^(build|publish|deploy) ", line, "a test is no part of the image")
	}

	w.replace("app/Dockerfile", "FROM base AS runtime", "FROM base AS runtime\nRUM false")
	d.await("unknown instruction: RUM")
	d.await("what ran before goes on")
	assert.Contains(t, page(t, "dev-e2e", nil), " of today</h1>")

	require.NoError(t, d.cmd.Process.Signal(os.Interrupt))
	d.await("nothing is left")
	require.NoError(t, d.cmd.Wait(), "Ctrl-C is how it ends")
	_, err := admin(t).CoreV1().Namespaces().Get(t.Context(), "vote-dev-e2e", metav1.GetOptions{})
	assert.True(t, apierrors.IsNotFound(err), "%v", err)
	runs.Add([]string{"dev"})
}

// In a cluster that the team uses the page is reached through the API server, and a namespace that was there stays.
func TestDevInATeamsCluster(t *testing.T) {
	w := newWorktree(t)
	w.succeed(&struct{}{}, "up", "--free-ports", "kubernetes")
	w.write("aksflow.yaml", w.read("aksflow.yaml")+`
  team:
    registry: `+local.Registry+`
    manifests: manifests/overlays/local
    namespace: vote-local
    variables: {BASE: `+local.Registry+`/library/debian:trixie-slim}
`)
	_, err := admin(t).CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "vote-mine"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	d := startDev(t, w, "--env", "team", "--namespace", "vote-mine", "--kubeconfig", local.Kubeconfig)
	answers := d.await("it answers")
	_, address, found := strings.Cut(answers[len(answers)-1], "http://127.0.0.1:")
	require.True(t, found, "%q has no address of this machine", answers[len(answers)-1])
	address = "http://127.0.0.1:" + strings.TrimSpace(address)
	title := func() string {
		resp, err := http.Get(address)
		require.NoError(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return string(body)
	}
	assert.Contains(t, title(), "Azure Voting App")
	d.awaitAll("deploy    ✔", "test      ✔")
	w.replace("app/vote/templates/index.html", "</h1>", " of today</h1>")
	d.await("it answers")
	d.awaitAll("deploy    ✔", "test      ✔")
	assert.Contains(t, title(), " of today</h1>", "the address is the same, and leads to the newest pod")

	require.NoError(t, d.cmd.Process.Signal(os.Interrupt))
	d.await("the app is deleted in the namespace vote-mine, which was there before")
	require.NoError(t, d.cmd.Wait())
	namespace, err := admin(t).CoreV1().Namespaces().Get(t.Context(), "vote-mine", metav1.GetOptions{})
	require.NoError(t, err, "dev did not make it")
	assert.Nil(t, namespace.DeletionTimestamp)
	require.Eventually(t, func() bool {
		pods, err := admin(t).CoreV1().Pods("vote-mine").List(t.Context(), metav1.ListOptions{})
		return err == nil && len(pods.Items) == 0
	}, 2*time.Minute, 200*time.Millisecond)
}
