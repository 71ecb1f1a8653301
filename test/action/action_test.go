// Package action runs workflows that use this repository's GitHub Action, on this machine, with act.
package action

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/engine"
	"github.com/aksflow/aksflow/internal/localplatform/baseimage"
	"github.com/aksflow/aksflow/internal/testing/registrytest"
)

// source lists what the action is built from. action.yml hashes the same files, to know what it has built.
var source = []string{"action.yml", "Makefile", "go.mod", "go.sum", "main.go", "internal", "manifests/rbac", "schema", "tools/build", "tools/buildkit"}

// runner is a machine that runs workflows.
type runner struct {
	act      string // the program
	bin      string // aksflow's programs, for a release
	actions  string // this repository's action, as GitHub gives it to a runner: without bin/
	state    string // AKSFLOW_STATE
	registry string // host
	result   string // the file that RESULT names to the steps of a run
}

func newRunner(t *testing.T) *runner {
	t.Helper()
	if testing.Short() {
		t.Skip("runs containers")
	}
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		t.Skip("the embedded engine needs Linux and root")
	}
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	bin := os.Getenv("AKSFLOW_BIN")
	if bin == "" {
		bin = filepath.Join(root, "bin")
	}
	r := &runner{act: filepath.Join(bin, "act"), bin: bin, actions: t.TempDir(), state: os.Getenv("AKSFLOW_STATE")}
	if _, err := os.Stat(r.act); err != nil {
		t.Skip("act was not found: `make bin/act` builds it")
	}
	for _, path := range source {
		copyTo(t, filepath.Join(r.actions, path), filepath.Join(root, path))
	}
	if r.state == "" {
		r.state, err = os.MkdirTemp("", "aksflow-") // short: a socket is below it
		require.NoError(t, err)
		t.Cleanup(func() { _ = os.RemoveAll(r.state) })
	}
	t.Cleanup(func() {
		if err := engine.Down(context.Background(), r.state); err != nil {
			t.Errorf("stopping the engine: %v", err)
		}
	})
	r.registry = registrytest.Start(t)
	return r
}

func copyTo(t *testing.T, to, from string) {
	t.Helper()
	info, err := os.Stat(from)
	require.NoError(t, err)
	if info.IsDir() {
		require.NoError(t, os.CopyFS(to, os.DirFS(from)))
		return
	}
	data, err := os.ReadFile(from)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(to, data, 0o644))
}

// repository makes a repository with the sample app in the folder service, and one workflow.
func repository(t *testing.T, workflow string, change func(service string)) (dir string) {
	t.Helper()
	dir = t.TempDir()
	service := filepath.Join(dir, "service")
	copyTo(t, filepath.Join(service, "app"), "../../app")
	config, err := os.ReadFile("../../aksflow.yaml")
	require.NoError(t, err)
	build, _, found := strings.Cut(string(config), "environments:\n")
	require.True(t, found)
	write(t, filepath.Join(service, "aksflow.yaml"), build+`environments:
  ci:
    branches: [main]
    registry: ${REGISTRY}
    manifests: manifests
    namespace: vote
`)
	write(t, filepath.Join(service, "manifests/config.yaml"), "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: vote}\n")
	write(t, filepath.Join(dir, ".github/workflows/vote.yml"), workflow)
	if change != nil {
		change(service)
	}
	commit(t, dir, "main")
	return dir
}

// commit makes dir a git repository with one commit.
func commit(t *testing.T, dir, branch string) {
	t.Helper()
	repository, err := git.PlainInitWithOptions(dir, &git.PlainInitOptions{InitOptions: git.InitOptions{DefaultBranch: plumbing.NewBranchReferenceName(branch)}})
	require.NoError(t, err)
	tree, err := repository.Worktree()
	require.NoError(t, err)
	require.NoError(t, tree.AddWithOptions(&git.AddOptions{All: true}))
	author := &object.Signature{Name: "Ada", Email: "ada@example.com", When: time.Unix(1_700_000_000, 0)}
	_, err = tree.Commit("The app", &git.CommitOptions{Author: author})
	require.NoError(t, err)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
}

// release makes the action one of a release, whose programs a server of the test has. damage is what it does to them.
func (r *runner) release(t *testing.T, damage string) {
	t.Helper()
	files := t.TempDir()
	archive := filepath.Join(files, "aksflow_1.2.3_linux_"+runtime.GOARCH+".tar.gz")
	pack := exec.CommandContext(t.Context(), "tar", "-czf", archive, "-C", r.bin, "aksflow", "aksflow-shim", "buildkitd")
	out, err := pack.CombinedOutput()
	require.NoError(t, err, string(out))
	data, err := os.ReadFile(archive)
	require.NoError(t, err)
	write(t, filepath.Join(files, "SHA256SUMS"), fmt.Sprintf("%x  %s\n%064x  aksflow_1.2.3_linux_other.tar.gz\n", sha256.Sum256(data), filepath.Base(archive), 1))
	write(t, archive, string(data)+damage)
	server := httptest.NewServer(http.FileServer(http.Dir(files)))
	t.Cleanup(server.Close)
	file, err := exec.CommandContext(t.Context(), "../../tools/release/action.sh", server.URL, filepath.Join(files, "SHA256SUMS")).Output()
	require.NoError(t, err)
	write(t, filepath.Join(r.actions, ".release"), string(file))
}

// run runs the repository's workflow for a push, with more arguments for act. It returns the log of the run, and what its
// steps wrote to $RESULT.
func (r *runner) run(t *testing.T, dir string, args ...string) (log, result string, err error) {
	t.Helper()
	r.result = filepath.Join(t.TempDir(), "result")
	cmd := exec.CommandContext(t.Context(), r.act, append([]string{
		"push",
		"--directory", dir,
		"--platform", "ubuntu-latest=-self-hosted", // on this machine, without Docker
		"--container-daemon-socket", "-",
		"--action-cache-path", t.TempDir(), // each run is a new machine
		"--no-cache-server",
		"--secret", "GITHUB_TOKEN=none",
		"--local-repository", "aksflow/aksflow@v1=" + r.actions,
	}, args...)...)
	cmd.Env = append(os.Environ(),
		"XDG_CONFIG_HOME="+t.TempDir(), // not the settings of the user who runs the test
		"AKSFLOW_STATE="+r.state, "AKSFLOW_BIN=", "AKSFLOW_ENGINE=embedded",
		"RESULT="+r.result,
		"REGISTRY="+r.registry, "BASE="+r.registry+"/"+baseimage.Debian,
	)
	cmd.WaitDelay = 30 * time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("act's log:\n%s", out.String())
		}
	})
	data, readErr := os.ReadFile(r.result)
	if !errors.Is(readErr, fs.ErrNotExist) {
		require.NoError(t, readErr)
	}
	return out.String(), string(data), err
}

const publishing = `
on: push
jobs:
  vote:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v6 # act answers it with the repository that it was called for
      - uses: aksflow/aksflow@v1
        id: build
        with: {working-directory: service, run: build -o vote.tar}
      - uses: aksflow/aksflow@v1
        with: {working-directory: service, run: test --image vote.tar --report reports}
      - uses: aksflow/aksflow@v1
        id: publish
        with:
          working-directory: service
          run: >-
            publish --image 'vote.tar'
            --env ci --tag "v1"
      - env:
          BUILT: ${{ steps.build.outputs.digest }}
          IMAGE: ${{ steps.publish.outputs.image }}
          DIGEST: ${{ steps.publish.outputs.digest }}
        run: printf '%s\n' "$BUILT" "$IMAGE" "$DIGEST" service/reports/* >"$RESULT"
`

const delivering = `
on: push
jobs:
  vote:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v6 # act answers it with the repository that it was called for
      - uses: aksflow/aksflow@v1
        id: deliver
        with: {working-directory: service}
      - if: always()
        env:
          OUTCOME: ${{ steps.deliver.outcome }}
          ENVIRONMENT: ${{ steps.deliver.outputs.environment }}
          TARGET: ${{ steps.deliver.outputs.target }}
          IMAGE: ${{ steps.deliver.outputs.image }}
        run: printf '%s\n' "$OUTCOME" "$ENVIRONMENT" "$TARGET" "image=$IMAGE" >"$RESULT"
`

// injecting is text that an attacker could put into a branch's name or a commit's message, which a workflow passes on.
const injecting = `
on: push
jobs:
  vote:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v6
      - uses: ./aksflow
        id: metacharacters
        continue-on-error: true
        with:
          working-directory: service
          run: |
            build --build-arg "X=$(touch $RESULT.substitution)"; touch $RESULT.semicolon && touch $RESULT.and
            %[1]stouch $RESULT.backticks%[1]s | touch $RESULT.pipe > $RESULT.redirect #
      - uses: ./aksflow
        id: quote
        continue-on-error: true
        with: {working-directory: service, run: "build 'no end"}
      - uses: ./aksflow
        id: empty
        continue-on-error: true
        with: {working-directory: service, run: ""}
      - env:
          OUTCOMES: ${{ steps.metacharacters.outcome }} ${{ steps.quote.outcome }} ${{ steps.empty.outcome }}
        run: echo "$OUTCOMES" >"$RESULT"
`

// The first run has a checkout of the action, which builds the programs. The others have a release.
func TestAction(t *testing.T) {
	r := newRunner(t)

	t.Run("publish", func(t *testing.T) {
		log, result, err := r.run(t, repository(t, publishing, nil))
		require.NoError(t, err)
		lines := strings.Split(strings.TrimSpace(result), "\n")
		require.GreaterOrEqual(t, len(lines), 4, "the outputs reach a later step: %s", result)
		digest := lines[0]
		assert.Regexp(t, `^sha256:[0-9a-f]{64}$`, digest)
		assert.Equal(t, r.registry+"/vote@"+digest, lines[1])
		assert.Equal(t, digest, lines[2])
		assert.Contains(t, lines[3:], "service/reports/unit.xml")
		for _, tag := range []string{"@" + digest, ":v1"} {
			ref, err := name.ParseReference(r.registry + "/vote" + tag)
			require.NoError(t, err)
			pushed, err := remote.Head(ref)
			require.NoError(t, err)
			assert.Equal(t, digest, pushed.Digest.String())
		}
		assert.Equal(t, 1, strings.Count(log, "| building the programs from source"), "what the first step builds is for all that follow")
	})

	t.Run("failing test", func(t *testing.T) {
		r.release(t, "")
		dir := repository(t, delivering, func(service string) {
			write(t, filepath.Join(service, "app/tests/unit/test_broken.py"), "def test_broken():\n    assert 6 * 7 == 41\n")
		})
		log, result, err := r.run(t, dir)
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit)
		assert.Equal(t, "failure\nci\npush\nimage=\n", result)
		assert.Contains(t, log, "] exit status 1\n")
		assert.Regexp(t, `::error title=aksflow test::1 of 43 tests failed`, log)
		assert.Contains(t, log, "::error title=unit%3A tests.unit.test_broken.test_broken,file=service/app/tests/unit/test_broken.py,line=2::assert (6 * 7) == 41\n")
		assert.Contains(t, log, "### ✘ Not delivered to ci (push)")
		assert.Regexp(t, `\| build \| unchanged \| [0-9.]+ \| image of this source is in the registry: sha256:`, log)
		assert.Regexp(t, `\| test \| failed \| [0-9.]+ \| 42 passed, 1 failed \|`, log)
		assert.Contains(t, log, "| publish | skipped |  |  |")
		assert.Equal(t, 1, strings.Count(log, "| fetching http"))
		assert.NotContains(t, log, "from source")
	})

	t.Run("injection", func(t *testing.T) {
		r.release(t, "")
		dir := repository(t, fmt.Sprintf(injecting, "`"), func(service string) {
			copyTo(t, filepath.Join(service, "../aksflow"), r.actions) // the action as a part of the repository
		})
		log, result, err := r.run(t, dir)
		require.NoError(t, err)
		assert.Equal(t, "failure failure failure\n", result)
		made, err := filepath.Glob(r.result + ".*")
		require.NoError(t, err)
		assert.Empty(t, made, "nothing of the input was run")
		assert.Equal(t, 2, strings.Count(log, "] exit status 2\n"), "of aksflow, and of the empty input")
		assert.Contains(t, log, "::error title=aksflow::accepts 0 arg(s), received 13", "words, whatever they hold")
		assert.Contains(t, log, "unmatched single quote")
		assert.Equal(t, 1, strings.Count(log, "| fetching http"), "the later steps find the programs in place")
	})

	t.Run("another file than that of the release", func(t *testing.T) {
		r.release(t, "more")
		log, result, err := r.run(t, repository(t, delivering, nil))
		require.Error(t, err)
		assert.Equal(t, "failure\n\n\nimage=\n", result)
		assert.Regexp(t, "::error title=aksflow::http.*tar.gz is not the file of this release: its digest should be [0-9a-f]{64}", log)
	})
}
