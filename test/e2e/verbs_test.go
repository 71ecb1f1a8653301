package e2e

import (
	"bufio"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-git/go-git/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
)

const greeter = `apiVersion: v1
kind: Namespace
metadata: {name: verbs}
---
apiVersion: v1
kind: Service
metadata: {name: greeter}
spec: {selector: {app: greeter}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: greeter}
spec:
  replicas: 2
  selector: {matchLabels: {app: greeter}}
  template:
    metadata: {labels: {app: greeter}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: greeter, image: greeter}]
`

// newGreeter is a repository with a small app that is quickly delivered.
func newGreeter(t *testing.T) *worktree {
	t.Helper()
	w := &worktree{t: t, dir: t.TempDir()}
	w.write("aksflow.yaml", `app: greeter
build: {target: app, args: {BASE: "`+local.Registry+`/library/debian:trixie-slim"}}
test: {unit: {target: test}}
environments:
  local: {platform: local, manifests: manifests, namespace: verbs}
`)
	w.write("Dockerfile", `ARG BASE
FROM ${BASE} AS app
COPY greeting /greeting
CMD ["sh", "-c", "cat /greeting; exec sleep infinity"]

FROM app AS test
RUN mkdir /reports
CMD ["sh", "-c", "echo '<testsuites><testsuite tests=\"1\"><testcase name=\"greeting\"/></testsuite></testsuites>' > /reports/unit.xml; test -s /greeting"]
`)
	w.write("greeting", "Hello\n")
	w.write("manifests/greeter.yaml", greeter)
	_, err := git.PlainInit(w.dir, false)
	require.NoError(t, err)
	w.commit("As it is")
	return w
}

// TestVerbs delivers with the verbs one by one, as the README lists them.
func TestVerbs(t *testing.T) {
	w := newGreeter(t)
	w.succeed(&struct{}{}, "up", "--free-ports", "kubernetes")
	to := func(words ...string) []string { return append(words, "--env", "local") }
	ok := func(words ...string) ran {
		t.Helper()
		r := w.aksflow(words...)
		require.Zero(t, r.code, r.stderr)
		return r
	}

	ok(to("build", "-o", "vote.tar")...)
	ok(to("build", "--check")...)
	ok(to("test", "--image", "vote.tar", "--report", "reports")...)
	assertJUnit(t, filepath.Join(w.dir, "reports"), false)
	assert.FileExists(t, filepath.Join(w.dir, "reports", "report.html"))
	hello := strings.TrimSpace(ok(to("publish", "--image", "vote.tar")...).stdout)
	require.Contains(t, hello, "/greeter@sha256:")

	r := w.aksflow(to("diff", "--image", hello)...)
	assert.Equal(t, 1, r.code, r.stderr)
	assert.Contains(t, r.stdout, "+kind: Deployment")
	ok(to("deploy", "--image", hello)...)
	ok(to("diff", "--image", hello)...)
	ok(to("doctor")...)

	logs(t, w, ok)

	greet := func(greeting string) string {
		w.write("greeting", greeting+"\n")
		w.commit("Say " + greeting)
		var held delivery
		w.succeed(&held, to("deliver", "--strategy", "canary", "--percent", "50", "--hold")...)
		assert.Equal(t, "held", held.status("deploy"))
		return held.Image
	}
	hi := greet("Hi")
	ok(to("resume")...)
	assertGreets(t, digest(hi))
	assert.Contains(t, ok("verify", hi).stdout, "passed: 1 passed")
	assert.Contains(t, ok(to("verify", hi)...).stdout, "COUNTS IN LOCAL")
	ok(to("rollback")...)
	assertGreets(t, digest(hello))
	greet("Bye")
	ok(to("abort")...)
	assertGreets(t, digest(hello))
	history := ok(to("history")...).stdout
	assert.Equal(t, 1, strings.Count(history, " deployed "), history)

	w.replace("greeting", "Bye", "Hello")
	w.commit("Say Hello")
	through, connections := forward(t)
	ok(to("deliver", "--connect-to", through)...)
	assert.Positive(t, connections.Load())

	session := ok("run", "sh", "-c", `echo "port $DAGGER_SESSION_PORT"`)
	assert.Regexp(t, `^port [0-9]+\n$`, session.stdout)
	ok(to("uninstall")...)
	pods, err := admin(t).AppsV1().Deployments("verbs").List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	assert.Empty(t, pods.Items)
	_, err = admin(t).CoreV1().Namespaces().Get(t.Context(), "verbs", metav1.GetOptions{})
	assert.NoError(t, err, "no flag named the namespace")
	assert.Contains(t, ok("up", "--free-ports", "azure").stdout, "azure")
}

// logs reads what the pods write, once and until Ctrl-C.
func logs(t *testing.T, w *worktree, ok func(...string) ran) {
	t.Helper()
	out := ok("logs", "--env", "local").stdout
	assert.Equal(t, 2, strings.Count(out, "/greeter  Hello\n"), "one line of each pod: %s", out)
	var printed struct {
		Lines []struct{ Pod, Container, Text string }
	}
	w.succeed(&printed, "logs", "--env", "local", "--container", "greeter", "--tail", "1")
	if assert.Len(t, printed.Lines, 2) {
		assert.Equal(t, "Hello", printed.Lines[0].Text)
	}

	follow := []string{"logs", "--env", "local", "--follow"}
	cmd := command(t.Context(), follow...)
	cmd.Dir = w.dir
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	pods := map[string]bool{}
	deleted := false
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		pod, _, _ := strings.Cut(lines.Text(), "/")
		pods[pod] = true
		switch {
		case len(pods) == 2 && !deleted: // the pod in its place comes in, too
			deleted = true
			require.NoError(t, admin(t).CoreV1().Pods("verbs").Delete(t.Context(), pod, metav1.DeleteOptions{}))
		case len(pods) == 3:
			require.NoError(t, cmd.Process.Signal(os.Interrupt))
		}
	}
	assert.NoError(t, cmd.Wait(), "Ctrl-C is how it ends")
	assert.Len(t, pods, 3)
	runs.Add(follow)
}

// assertGreets checks that all pods of the greeter run a digest.
func assertGreets(t *testing.T, digest string) {
	t.Helper()
	pods, err := admin(t).CoreV1().Pods("verbs").List(t.Context(), metav1.ListOptions{LabelSelector: "app=greeter"})
	require.NoError(t, err)
	running := 0
	for _, pod := range pods.Items {
		if pod.DeletionTimestamp == nil {
			running++
			assert.Contains(t, pod.Spec.Containers[0].Image, digest)
		}
	}
	assert.Equal(t, 2, running)
}

// forward passes connections on to the API server. It returns the value of --connect-to and a count of the connections.
func forward(t *testing.T) (connectTo string, connections *atomic.Int64) {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", local.Kubeconfig)
	require.NoError(t, err)
	server, err := url.Parse(config.Host)
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	connections = &atomic.Int64{}
	go func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			go func() {
				defer from.Close()
				to, err := net.Dial("tcp", server.Host)
				if err != nil {
					return
				}
				defer to.Close()
				go func() { _, _ = io.Copy(to, from); _ = to.Close() }()
				_, _ = io.Copy(from, to)
			}()
		}
	}()
	return server.Host + ":" + listener.Addr().String(), connections
}
