// Package e2e drives the built aksflow binary against a whole platform: real registry, git server, Kubernetes, Argo CD
// and Flux. `make test` builds what it needs.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/localplatform"
	"github.com/aksflow/aksflow/internal/testing/docstest"
)

var (
	aksflow string              // the binary under test
	state   string              // its state directory
	local   *localplatform.Info // what is up
	runs    docstest.Runs       // what was run with success
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		fmt.Println("skipped: the platform needs root on Linux")
		return 0
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	bin := os.Getenv("AKSFLOW_BIN")
	if bin == "" {
		bin = filepath.Join(root, "bin")
	}
	aksflow = filepath.Join(bin, "aksflow")
	if state = os.Getenv("AKSFLOW_STATE"); state == "" {
		state = filepath.Join(root, ".aksflow")
	}
	code := runUp(m)
	if code != 0 || !whole() {
		return code
	}
	return documented(root)
}

// whole reports whether go test was asked for all tests.
func whole() bool {
	return !slices.ContainsFunc([]string{"test.run", "test.skip", "test.list"}, func(name string) bool {
		return flag.Lookup(name).Value.String() != ""
	})
}

// documented returns 1 and names what is missing, unless the tests ran each command of the documentation that is theirs.
func documented(root string) int {
	commands, err := docstest.Commands(root)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	missing := runs.Missing(commands, docstest.E2E)
	for _, c := range missing {
		fmt.Printf("no test ran this command with success: %s\n", c)
	}
	return min(1, len(missing))
}

// runUp runs the tests beside a platform, which ends with them.
func runUp(m *testing.M) (code int) {
	defer func() {
		if out, err := command(context.Background(), "down").CombinedOutput(); err != nil {
			fmt.Printf("down: %v\n%s", err, out)
			code = 1
		}
		runs.Add([]string{"down"})
	}()
	// What other tests left in the git server would be fetched by each bump.
	platform, err := localplatform.OpenState(filepath.Join(state, "platform"))
	if err == nil {
		err = os.RemoveAll(platform.Repositories())
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	// In an empty directory: the environments are prepared by the tests' own work trees.
	up := command(context.Background(), "up", "--free-ports", "--output", "json", "argocd", "flux")
	up.Dir = os.TempDir()
	up.Stderr = os.Stdout
	out, err := up.Output()
	if err != nil {
		fmt.Printf("up: %v\n", err)
		return 1
	}
	if err := json.Unmarshal(out, &local); err != nil {
		fmt.Printf("up printed no JSON: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

func command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, aksflow, args...)
	cmd.Env = append(os.Environ(), "AKSFLOW_STATE="+state, "GITHUB_ACTIONS=", "AKSFLOW_ENGINE=embedded")
	// The end of a test interrupts the run as Ctrl-C would.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = 30 * time.Second
	return cmd
}

// worktree is a git repository with a copy of the sample app, its manifests and aksflow.yaml.
type worktree struct {
	t   *testing.T
	dir string
}

func newWorktree(t *testing.T) *worktree {
	t.Helper()
	w := &worktree{t: t, dir: t.TempDir()}
	for _, name := range []string{"app", "manifests"} {
		require.NoError(t, os.CopyFS(filepath.Join(w.dir, name), os.DirFS(filepath.Join("../..", name))))
	}
	w.write("aksflow.yaml", w.read("../../aksflow.yaml"))
	_, err := git.PlainInit(w.dir, false)
	require.NoError(t, err)
	w.commit("As it is")
	return w
}

func (w *worktree) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(w.dir, name)
}

func (w *worktree) read(name string) string {
	w.t.Helper()
	if strings.HasPrefix(name, "../..") {
		data, err := os.ReadFile(name)
		require.NoError(w.t, err)
		return string(data)
	}
	data, err := os.ReadFile(w.path(name))
	require.NoError(w.t, err)
	return string(data)
}

func (w *worktree) write(name, content string) {
	w.t.Helper()
	require.NoError(w.t, os.MkdirAll(filepath.Dir(w.path(name)), 0o755))
	require.NoError(w.t, os.WriteFile(w.path(name), []byte(content), 0o644))
}

// replace changes a file. It fails the test if the file does not contain from, because a test that changes nothing proves
// nothing.
func (w *worktree) replace(name, from, to string) {
	w.t.Helper()
	content := w.read(name)
	require.Contains(w.t, content, from, "%s changed: change the test too", name)
	w.write(name, strings.ReplaceAll(content, from, to))
}

// commit commits everything.
func (w *worktree) commit(message string) {
	w.t.Helper()
	repo, err := git.PlainOpen(w.dir)
	require.NoError(w.t, err)
	tree, err := repo.Worktree()
	require.NoError(w.t, err)
	require.NoError(w.t, tree.AddWithOptions(&git.AddOptions{All: true}))
	who := &object.Signature{Name: "Test", Email: "test@aksflow.example", When: time.Now()}
	_, err = tree.Commit(message, &git.CommitOptions{Author: who, AllowEmptyCommits: true})
	require.NoError(w.t, err)
}

// ran is the result of a run of aksflow.
type ran struct {
	code           int
	stdout, stderr string
	took           time.Duration
}

// remember adds the run to runs if it did what it is for. diff exits with 1 when it finds something.
func (r ran) remember(args []string) {
	if r.code == 0 || r.code == 1 && args[0] == "diff" {
		runs.Add(args)
	}
}

// aksflow runs the command in the work tree.
func (w *worktree) aksflow(args ...string) ran {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 12*time.Minute)
	defer cancel()
	cmd := command(ctx, args...)
	cmd.Dir = w.dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	began := time.Now()
	err := cmd.Run()
	r := ran{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String(), time.Since(began)}
	w.t.Logf("aksflow %s: exit %d after %.1f s\n%s", strings.Join(args, " "), r.code, r.took.Seconds(), r.stderr)
	if err != nil && r.code < 0 {
		w.t.Fatalf("aksflow %v: %v", args, err)
	}
	r.remember(args)
	return r
}

// succeed runs the command and reads the JSON that it prints into result.
func (w *worktree) succeed(result any, args ...string) ran {
	w.t.Helper()
	r := w.aksflow(append(args, "--output", "json")...)
	require.Zero(w.t, r.code, r.stderr)
	require.NoError(w.t, json.Unmarshal([]byte(r.stdout), result), r.stdout)
	return r
}
