package e2e

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-git/go-git/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// clone is a fresh clone of a work tree, as a new runner has it.
func (w *worktree) clone() *worktree {
	w.t.Helper()
	c := &worktree{t: w.t, dir: w.t.TempDir()}
	_, err := git.PlainClone(c.dir, false, &git.CloneOptions{URL: w.dir})
	require.NoError(w.t, err)
	return c
}

// newRunner lets the commands of the test run with an empty state, beside the platform that is up. It returns the state.
func newRunner(t *testing.T) string {
	t.Helper()
	before, empty := state, t.TempDir()
	require.NoError(t, os.Symlink(filepath.Join(before, "platform"), filepath.Join(empty, "platform")))
	state = empty
	t.Cleanup(func() {
		// Its engine ends; the platform is another one's, and goes on.
		assert.NoError(t, os.Remove(filepath.Join(empty, "platform")))
		out, err := command(context.Background(), "down").CombinedOutput()
		assert.NoError(t, err, "%s", out)
		state = before
	})
	return empty
}

// A source that was delivered is not built again by a runner that knows nothing of it: no build, no test, no engine. A change
// of a test runs the tests, and builds nothing.
func TestBuiltOnce(t *testing.T) {
	w := newWorktree(t)
	w.succeed(&struct{}{}, "up", "--free-ports", "argocd", "flux")
	w.write("app/vote/once.py", "# delivered once\n")
	w.commit("A source of this test")
	deliver := []string{"deliver", "--env", "local", "--kubeconfig", deployer(t, "vote-local")}
	var first delivery
	w.succeed(&first, deliver...)
	assert.Equal(t, "done", first.status("build"))

	fresh := newRunner(t)
	c, reports := w.clone(), t.TempDir()
	var second delivery
	r := c.succeed(&second, append(deliver, "--report", reports)...)
	t.Logf("a delivery of unchanged source by a new runner took %s", r.took.Round(time.Millisecond))
	assert.Equal(t, digest(first.Image), digest(second.Image))
	for _, step := range []string{"build", "test", "publish", "deploy"} {
		assert.Equal(t, "unchanged", second.status(step), step)
	}
	assert.Contains(t, r.stderr, "image of this source is in the registry: "+digest(first.Image))
	assert.Contains(t, r.stderr, "unverified")
	assert.NoDirExists(t, filepath.Join(fresh, "engine"), "no engine was started")
	assert.NoDirExists(t, filepath.Join(fresh, "layers"))
	assertJUnit(t, reports, false)
	unit, err := os.ReadFile(filepath.Join(reports, "unit.xml"))
	require.NoError(t, err)
	assert.Contains(t, string(unit), `<property name="aksflow.remembered" value="true">`)
	page, err := os.ReadFile(filepath.Join(reports, "report.html"))
	require.NoError(t, err)
	assert.Regexp(t, `(?s)Proofs of the image.*provenance.*SBOM.*[0-9]+ packages.*tests.*passed: [0-9]+ passed`, string(page))

	var plan struct {
		BuildKey, SourceKey string
		Recorded            struct{ Digest, Tests string }
		Explain             []struct{ Kind, Name string }
	}
	c.succeed(&plan, "plan", "--env", "local", "--explain")
	assert.Equal(t, digest(first.Image), plan.Recorded.Digest)
	assert.Contains(t, plan.Recorded.Tests, "passed")
	assert.NotEmpty(t, plan.Explain)

	c.write("app/tests/unit/test_once.py", "def test_once():\n    pass\n")
	c.commit("A new test")
	var third delivery
	c.succeed(&third, deliver...)
	assert.Equal(t, digest(first.Image), digest(third.Image))
	assert.Equal(t, "unchanged", third.status("build"))
	assert.Equal(t, "done", third.status("test"))
	assert.Equal(t, "unchanged", third.status("deploy"), "a commit that changes nothing of the image replaces no pod")
	assert.Equal(t, first.Image, third.Image, "the version of the commit that it was built for")

	// A file of the image, for the jobs of a pipeline.
	file := filepath.Join(t.TempDir(), "image.tar")
	var built struct{ Digest string }
	c.succeed(&built, "build", "--env", "local", "-o", file)
	assert.Equal(t, digest(first.Image), built.Digest)
	assert.FileExists(t, file)
}
