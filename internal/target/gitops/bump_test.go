package gitops

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/manifest"
	"github.com/aksflow/aksflow/internal/git"
	"github.com/aksflow/aksflow/internal/testing/gittest"
)

func remote(r *gittest.Repository) git.Remote {
	return git.Remote{URL: r.URL, Access: delivery.GitAccess{Login: delivery.Login{Password: gittest.Token}}}
}

func options(r *gittest.Repository, image string) BumpOptions {
	return BumpOptions{
		Remote: remote(r), Branch: "main", Path: "apps/vote", Target: manifest.Target{Image: image},
		Author: git.Author{Name: "Pipeline", Email: "pipeline@example.com"},
	}
}

func voteRepo(t *testing.T) *gittest.Repository {
	return gittest.NewServer(t).Repo(t, "config", map[string]string{
		"apps/vote/deployment.yaml": gittest.Deployment("vote", "shop/vote:1"),
		"apps/else/deployment.yaml": gittest.Deployment("else", "shop/vote:1"),
		"README.md":                 "shop/vote:1\n",
	})
}

func TestBumpCommitsTheImageAndNothingElse(t *testing.T) {
	r := voteRepo(t)
	image := "registry.example.com/shop/vote:2@" + gittest.Digest(2)
	o := options(r, image)
	o.SourceRevision, o.PipelineRun, o.SignOff, o.SkipCI = "abc123", "https://ci.example.com/7", true, true

	result, err := Bump(t.Context(), o)
	require.NoError(t, err)
	assert.Equal(t, []manifest.Change{{File: "apps/vote/deployment.yaml", Line: 10, From: "shop/vote:1", To: image}}, result.Changes)
	assert.Equal(t, r.Run(r.Bare, "rev-parse", "main"), result.Commit)
	assert.False(t, result.Unchanged)
	assert.Equal(t, gittest.Deployment("vote", image), r.Show("main", "apps/vote/deployment.yaml")+"\n")
	assert.Equal(t, "apps/vote/deployment.yaml", r.Run(r.Bare, "diff", "--name-only", "main~", "main"))
	assert.Equal(t, "1\t1\tapps/vote/deployment.yaml", r.Run(r.Bare, "diff", "--numstat", "main~", "main"))
	assert.Equal(t, "Pipeline <pipeline@example.com>", r.Run(r.Bare, "log", "-1", "--format=%an <%ae>", "main"))
	assert.Equal(t, "Deliver vote 2 to apps/vote [skip ci]", r.Run(r.Bare, "log", "-1", "--format=%s", "main"))
	assert.Equal(t, "Image: "+image+"\nSource-Revision: abc123\nPipeline-Run: https://ci.example.com/7\nSigned-off-by: Pipeline <pipeline@example.com>",
		r.Run(r.Bare, "log", "-1", "--format=%(trailers)", "main"))
	r.Run(r.Bare, "fsck", "--strict")

	again, err := Bump(t.Context(), o)
	require.NoError(t, err)
	assert.True(t, again.Unchanged)
	assert.Equal(t, result.Commit, again.Commit)
	assert.Equal(t, "2", r.Run(r.Bare, "rev-list", "--count", "main"))
}

// A commit that changes nothing of the image is no reason to replace pods.
func TestBumpOfAnotherCommitsVersion(t *testing.T) {
	r := voteRepo(t)
	const repository = "registry.example.com/shop/vote:"
	o := options(r, repository+"0.0.0-develop.g1111111@"+gittest.Digest(2))
	o.Settle = true
	first, err := Bump(t.Context(), o)
	require.NoError(t, err)
	assert.False(t, first.Unchanged)
	assert.Equal(t, o.Target.Image, first.Image)

	o.Target.Image = repository + "0.0.0-develop.g2222222@" + gittest.Digest(2)
	second, err := Bump(t.Context(), o)
	require.NoError(t, err)
	assert.True(t, second.Unchanged)
	assert.Equal(t, first.Image, second.Image)

	o.Target.Image = repository + "1.2.0@" + gittest.Digest(2)
	release, err := Bump(t.Context(), o)
	require.NoError(t, err)
	assert.False(t, release.Unchanged, "a release is named")
	assert.Contains(t, r.Show("main", "apps/vote/deployment.yaml"), o.Target.Image)

	o.Target.Image, o.Settle = repository+"1.2.1-rc.g3333333@"+gittest.Digest(2), false
	named, err := Bump(t.Context(), o)
	require.NoError(t, err)
	assert.False(t, named.Unchanged, "a reference that somebody gives is set")
}

func TestBumpOfTheDefaultBranchByTemplate(t *testing.T) {
	r := voteRepo(t)
	o := options(r, "shop/vote@"+gittest.Digest(3))
	o.Branch, o.Message = "", "{{.Name}} {{.Digest}}\n\nto {{.Path}}"
	_, err := Bump(t.Context(), o)
	require.NoError(t, err)
	assert.Equal(t, "vote "+gittest.Digest(3)+"\n\nto apps/vote\n\nImage: shop/vote@"+gittest.Digest(3), r.Run(r.Bare, "log", "-1", "--format=%B", "main"))
}

// One branch, one server, 32 writers at once: everybody's commit must be there, each on top of another.
func TestManyWritersLoseNothing(t *testing.T) {
	const writers = 32
	files := map[string]string{}
	for i := range writers {
		files[fmt.Sprintf("apps/app%d/deployment.yaml", i)] = gittest.Deployment("app", fmt.Sprintf("shop/app%d:1", i))
	}
	r := gittest.NewServer(t).Repo(t, "config", files)
	began := time.Now()
	var wg sync.WaitGroup
	var mu sync.Mutex
	pushes := 0
	for i := range writers {
		wg.Go(func() {
			result, err := Bump(t.Context(), BumpOptions{
				Remote: remote(r), Branch: "main", Path: fmt.Sprintf("apps/app%d", i),
				Target: manifest.Target{Image: fmt.Sprintf("shop/app%d:2@%s", i, gittest.Digest(i))},
			})
			if assert.NoError(t, err) {
				mu.Lock()
				defer mu.Unlock()
				pushes += result.Attempts
			}
		})
	}
	wg.Wait()
	t.Logf("%d writers: %d pushes in %s", writers, pushes, time.Since(began).Round(time.Millisecond))
	assert.Equal(t, fmt.Sprint(writers+1), r.Run(r.Bare, "rev-list", "--count", "--first-parent", "main"))
	for i := range writers {
		assert.Contains(t, r.Show("main", fmt.Sprintf("apps/app%d/deployment.yaml", i)), fmt.Sprintf("image: shop/app%d:2@%s", i, gittest.Digest(i)))
	}
	r.Run(r.Bare, "fsck", "--strict")
}

func TestBumpReappliesOnAMovedBranch(t *testing.T) {
	r := voteRepo(t)
	// The first push finds that somebody was faster, in the very file.
	theirs := strings.Replace(gittest.Deployment("vote", "shop/vote:1"), "the front end", "renamed meanwhile", 1)
	r.Commit("theirs", map[string]string{"apps/vote/deployment.yaml": theirs})
	r.Run(r.Bare, "branch", "theirs", "main")
	r.Run(r.Bare, "update-ref", "refs/heads/main", "main~")
	r.Hook("pre-receive", `[ -e moved ] && exit 0; touch moved; unset GIT_QUARANTINE_PATH; git update-ref refs/heads/main theirs`)

	result, err := Bump(t.Context(), options(r, "shop/vote:2@"+gittest.Digest(2)))
	require.NoError(t, err)
	assert.Equal(t, 2, result.Attempts)
	assert.Equal(t, strings.Replace(theirs, "shop/vote:1", "shop/vote:2@"+gittest.Digest(2), 1), r.Show("main", "apps/vote/deployment.yaml")+"\n")
	assert.Equal(t, "3", r.Run(r.Bare, "rev-list", "--count", "main"))
}

// What another writer did in between may leave nothing to apply the edit to.
func TestBumpThatCannotBeReapplied(t *testing.T) {
	r := voteRepo(t)
	r.Run(r.Work, "rm", "-q", "-r", "apps/vote")
	theirs := r.Commit("theirs", nil)
	r.Run(r.Bare, "branch", "theirs", "main")
	r.Run(r.Bare, "update-ref", "refs/heads/main", "main~")
	r.Hook("pre-receive", `[ -e moved ] && exit 0; touch moved; unset GIT_QUARANTINE_PATH; git update-ref refs/heads/main theirs`)
	_, err := Bump(t.Context(), options(r, "shop/vote:2"))
	require.ErrorContains(t, err, "cannot read apps/vote: file does not exist")
	assert.Equal(t, theirs, r.Run(r.Bare, "rev-parse", "main"))
}

func TestRollbackThatCannotBeApplied(t *testing.T) {
	kustomization := "resources: [../../base]\nimages:\n- {name: redis, newTag: '8'}\n"
	r := gittest.NewServer(t).Repo(t, "config", map[string]string{
		"base/kustomization.yaml": "resources: [deployment.yaml]\n", "base/deployment.yaml": gittest.Deployment("vote", "shop/vote:1"),
		"apps/vote/kustomization.yaml": kustomization,
	})
	_, err := Bump(t.Context(), options(r, "shop/vote:2"))
	require.NoError(t, err)
	bumped := r.Show("main", "apps/vote/kustomization.yaml")
	assert.Contains(t, bumped, "- name: shop/vote\n  newTag: \"2\"")
	_, err = Rollback(t.Context(), RollbackOptions{BumpOptions: options(r, "shop/vote")})
	require.NoError(t, err)
	assert.Equal(t, kustomization, r.Show("main", "apps/vote/kustomization.yaml")+"\n", "the base's image comes back")

	_, err = Bump(t.Context(), options(r, "shop/vote:3"))
	require.NoError(t, err)
	bumped = r.Show("main", "apps/vote/kustomization.yaml")
	r.Pull()
	r.Commit("edit", map[string]string{"apps/vote/kustomization.yaml": "# edited\n" + bumped + "\n"})
	_, err = Rollback(t.Context(), RollbackOptions{BumpOptions: options(r, "shop/vote")})
	require.NoError(t, err)
	assert.Equal(t, "# edited\n"+kustomization, r.Show("main", "apps/vote/kustomization.yaml")+"\n", "what was edited since stays")

	_, err = Bump(t.Context(), options(r, "shop/vote:4"))
	require.NoError(t, err)
	bumped = r.Show("main", "apps/vote/kustomization.yaml")
	r.Pull()
	tip := r.Commit("edit", map[string]string{"apps/vote/kustomization.yaml": strings.Replace(bumped, "name: shop/vote", "name: shop/vote # pinned", 1) + "\n"})
	_, err = Rollback(t.Context(), RollbackOptions{BumpOptions: options(r, "shop/vote")})
	require.ErrorContains(t, err, "apps/vote/kustomization.yaml was changed after commit")
	assert.Equal(t, tip, r.Run(r.Bare, "rev-parse", "main"))
}

func TestBumpRefusals(t *testing.T) {
	s := gittest.NewServer(t)
	r := s.Repo(t, "config", map[string]string{
		"apps/vote/deployment.yaml": gittest.Deployment("vote", "shop/vote:1"),
		"broken/a.yaml":             gittest.Deployment("vote", "shop/vote:1"),
		"broken/b.yaml":             "image: shop/vote:1\n  bad: [\n",
	})
	require.NoError(t, os.MkdirAll(filepath.Join(r.Work, "links"), 0o755))
	require.NoError(t, os.Symlink("/etc/passwd", filepath.Join(r.Work, "links", "a.yaml")))
	require.NoError(t, os.Symlink("../apps/vote/deployment.yaml", filepath.Join(r.Work, "apps", "link.yaml")))
	tip := r.Commit("links", nil)
	empty := filepath.Join(s.Dir, "empty.git")
	r.Run(s.Dir, "init", "-q", "--bare", empty)

	good := "shop/vote:2@" + gittest.Digest(2)
	for _, c := range []struct {
		name   string
		change func(*BumpOptions)
		want   string
	}{
		{"bad digest", func(o *BumpOptions) { o.Target.Image = "shop/vote@sha256:abc" }, `digest "sha256:abc" is not valid`},
		{"no tag, no digest", func(o *BumpOptions) { o.Target.Image = "shop/vote" }, "neither tag nor digest"},
		{"no such repository", func(o *BumpOptions) { o.Remote.URL = s.URL + "/other.git" }, "no such repository"},
		{"empty repository", func(o *BumpOptions) { o.Remote.URL = s.URL + "/empty.git" }, "the repository is empty"},
		{"wrong token", func(o *BumpOptions) { o.Remote.Access.Login = delivery.Login{Password: "wrong"} }, "refuses the credentials"},
		{"no token", func(o *BumpOptions) { o.Remote.Access.Login = nil }, "wants credentials, and none are configured"},
		{"password in the URL", func(o *BumpOptions) { o.Remote.URL = "https://a:hunter2@example.com/x" }, "holds a password"},
		{"no such branch", func(o *BumpOptions) { o.Branch = "dev" }, "has no branch dev"},
		{"no such path", func(o *BumpOptions) { o.Path = "apps/other" }, "cannot read apps/other"},
		{"outside", func(o *BumpOptions) { o.Path = "../x" }, "path ../x is outside the repository"},
		{"outside by a detour", func(o *BumpOptions) { o.Path = "apps/../../x" }, "is outside the repository"},
		{"link that leaves", func(o *BumpOptions) { o.Path = "links" }, "links/a.yaml is a symbolic link that leaves the repository (to /etc/passwd)"},
		{"no match", func(o *BumpOptions) { o.Target.Image = "shop/other:1" }, "no image named shop/other in apps/vote; the images there are shop/vote:1 (apps/vote/deployment.yaml:10)"},
		{"not YAML", func(o *BumpOptions) { o.Path = "broken" }, "broken/b.yaml:2: not valid YAML"},
		{"bad template", func(o *BumpOptions) { o.Message = "{{.Nope}}" }, "message template"},
		{"local path", func(o *BumpOptions) { o.Remote.URL = r.Bare }, "only https, http and ssh"},
		{"nobody there", func(o *BumpOptions) { o.Remote.URL = "http://127.0.0.1:1/x.git" }, "connection refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := options(r, good)
			c.change(&o)
			_, err := Bump(t.Context(), o)
			require.ErrorContains(t, err, c.want)
			assert.NotContains(t, err.Error(), "hunter2")
			assert.NotContains(t, err.Error(), gittest.Token)
			assert.NotContains(t, err.Error(), "\n", "one line")
			assert.Equal(t, tip, r.Run(r.Bare, "rev-parse", "main"))
		})
	}

	t.Run("protected branch", func(t *testing.T) {
		r.Hook("update", `[ "$1" = refs/heads/main ] && echo "main is protected" >&2 && exit 1; exit 0`)
		_, err := Bump(t.Context(), options(r, good))
		require.ErrorContains(t, err, "refuses the push to branch main")
		require.ErrorContains(t, err, "main is protected")
		assert.Equal(t, tip, r.Run(r.Bare, "rev-parse", "main"))
	})
}

func TestBumpEndsWithItsContext(t *testing.T) {
	r := voteRepo(t)
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Bump(ctx, options(r, "shop/vote:2"))
	require.ErrorIs(t, err, context.Canceled)
	left, err := filepath.Glob(filepath.Join(os.TempDir(), "aksflow-git-*"))
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestBumpRespectsARollback(t *testing.T) {
	image := func(n int) string { return fmt.Sprintf("shop/vote:%d@%s", n, gittest.Digest(n)) }
	bump := func(t *testing.T, r *gittest.Repository, n int, force bool) (*Result, error) {
		o := options(r, image(n))
		o.Force = force
		return Bump(t.Context(), o)
	}
	var rolledBack *RolledBackError

	t.Run("git revert", func(t *testing.T) {
		r := voteRepo(t)
		_, err := bump(t, r, 2, false)
		require.NoError(t, err)
		r.Pull()
		r.Run(r.Work, "revert", "--no-edit", "HEAD")
		r.Run(r.Work, "push", "-q", "origin", "HEAD:main")
		by := r.Run(r.Work, "rev-parse", "HEAD")

		_, err = bump(t, r, 2, false)
		require.ErrorAs(t, err, &rolledBack)
		assert.Equal(t, by, rolledBack.Commit)
		assert.Equal(t, "Ada", rolledBack.Author)

		_, err = bump(t, r, 3, false)
		require.NoError(t, err, "another image is welcome")
		_, err = bump(t, r, 2, false)
		require.NoError(t, err, "going on from the other image is no undoing")
	})
	t.Run("by hand", func(t *testing.T) {
		r := voteRepo(t)
		_, err := bump(t, r, 2, false)
		require.NoError(t, err)
		r.Pull()
		r.Commit("back", map[string]string{"apps/vote/deployment.yaml": gittest.Deployment("vote", "shop/vote:1")})
		r.Commit("unrelated", map[string]string{"README.md": "more\n"})
		_, err = bump(t, r, 2, false)
		require.ErrorAs(t, err, &rolledBack)
		_, err = bump(t, r, 2, true)
		require.NoError(t, err, "forced")
	})
	t.Run("a delivery of the older image is no rollback", func(t *testing.T) {
		r := voteRepo(t)
		for _, n := range []int{2, 3, 2, 3} {
			_, err := bump(t, r, n, false)
			require.NoError(t, err)
		}
	})
	t.Run("Rollback", func(t *testing.T) {
		r := voteRepo(t)
		before := r.Show("main", "apps/vote/deployment.yaml")
		_, err := bump(t, r, 2, false)
		require.NoError(t, err)
		o := options(r, "shop/vote")
		result, err := Rollback(t.Context(), RollbackOptions{BumpOptions: o})
		require.NoError(t, err)
		assert.Equal(t, []manifest.Change{{File: "apps/vote/deployment.yaml", Line: 10, From: image(2), To: "shop/vote:1"}}, result.Changes)
		assert.Equal(t, before, r.Show("main", "apps/vote/deployment.yaml"))
		assert.Contains(t, r.Run(r.Bare, "log", "-1", "--format=%B", "main"), "This reverts commit "+r.Run(r.Bare, "rev-parse", "main~")+".")
		_, err = bump(t, r, 2, false)
		require.ErrorAs(t, err, &rolledBack)
	})
}

// A placeholder, or a tag that stands alone, is no reference to the image. The rollback of a bump brings it back.
func TestRollbackToWhatWasNoReference(t *testing.T) {
	const image = "acme.azurecr.io/shop/web:2.0@sha256:" + "abababababababababababababababababababababababababababababababab"
	for _, c := range []struct{ name, file, before, replace, edit string }{
		{"placeholder", "o/d.yaml", gittest.Deployment("web", "web-image"), "web-image", "# x\n"},
		{"tag of a Flux policy", "o/values.yaml", "image:\n  tag: \"1.4.0\" # {\"$imagepolicy\": \"x:web:tag\"}\n", "x:web", "# x\n"},
		{"repository without a tag", "o/values.yaml", "image:\n  repository: acme.azurecr.io/shop/web\n  tag: \"\"\n", "", "# x\n"},
	} {
		for _, rollbackNames := range []bool{true, false} {
			for _, edited := range []string{"", c.edit} {
				t.Run(fmt.Sprint(c.name, ", replace ", rollbackNames, ", edited ", edited != ""), func(t *testing.T) {
					r := gittest.NewServer(t).Repo(t, "config", map[string]string{c.file: c.before, "o/other.yaml": "a: 1\n"})
					o := options(r, image)
					o.Path = "o"
					if c.replace != "" {
						o.Target.Replace = []string{c.replace}
					}
					_, err := Bump(t.Context(), o)
					require.NoError(t, err)
					require.NotEqual(t, strings.TrimSpace(c.before), r.Show("main", c.file))
					if edited != "" {
						r.Pull()
						r.Commit("edit", map[string]string{c.file: r.Show("main", c.file) + "\n" + edited})
					}
					o.Target.Image = "acme.azurecr.io/shop/web"
					if !rollbackNames {
						o.Target.Replace = nil
					}
					_, err = Rollback(t.Context(), RollbackOptions{BumpOptions: o})
					require.NoError(t, err)
					assert.Equal(t, c.before+edited, r.Show("main", c.file)+"\n")

					// A pipeline that runs again does not undo the rollback.
					o.Target.Image, o.Target.Replace = image, nil
					if c.replace != "" {
						o.Target.Replace = []string{c.replace}
					}
					_, err = Bump(t.Context(), o)
					var rolledBack *RolledBackError
					require.ErrorAs(t, err, &rolledBack)
				})
			}
		}
	}
}

func TestRollbackOfSeveralBumps(t *testing.T) {
	r := voteRepo(t)
	first := r.Run(r.Bare, "rev-parse", "main")
	for n := 2; n <= 4; n++ {
		_, err := Bump(t.Context(), options(r, fmt.Sprint("shop/vote:", n)))
		require.NoError(t, err)
		r.Pull()
		r.Commit("edit", map[string]string{"apps/vote/deployment.yaml": r.Show("main", "apps/vote/deployment.yaml") + fmt.Sprint("\n# ", n, "\n")})
	}
	result, err := Rollback(t.Context(), RollbackOptions{BumpOptions: options(r, "shop/vote"), To: first[:10]})
	require.NoError(t, err)
	assert.Equal(t, []manifest.Change{{File: "apps/vote/deployment.yaml", Line: 10, From: "shop/vote:4", To: "shop/vote:1"}}, result.Changes)
	assert.Equal(t, gittest.Deployment("vote", "shop/vote:1")+"# 2\n# 3\n# 4", r.Show("main", "apps/vote/deployment.yaml"))

	o := options(r, "shop/other")
	_, err = Rollback(t.Context(), RollbackOptions{BumpOptions: o})
	require.ErrorContains(t, err, "no image of shop/other in apps/vote of branch main: nothing to roll back")
}

func TestRollbackBesideOtherChanges(t *testing.T) {
	r := voteRepo(t)
	o := options(r, "registry.example.com/shop/vote:2@"+gittest.Digest(2))
	_, err := Bump(t.Context(), o)
	require.NoError(t, err)
	o.Target.Image = "registry.example.com/shop/vote:3@" + gittest.Digest(3)
	_, err = Bump(t.Context(), o)
	require.NoError(t, err)
	first := r.Run(r.Bare, "rev-parse", "main~")
	r.Pull()
	edited := strings.Replace(r.Show("main", "apps/vote/deployment.yaml"), "the front end", "edited since", 1)
	r.Commit("edit", map[string]string{"apps/vote/deployment.yaml": edited + "\n"})

	_, err = Rollback(t.Context(), RollbackOptions{BumpOptions: options(r, "registry.example.com/shop/vote")})
	require.NoError(t, err)
	now := r.Show("main", "apps/vote/deployment.yaml")
	assert.Contains(t, now, "registry.example.com/shop/vote:2@"+gittest.Digest(2))
	assert.Contains(t, now, "edited since")

	same, err := Rollback(t.Context(), RollbackOptions{BumpOptions: options(r, "registry.example.com/shop/vote"), To: first})
	require.NoError(t, err)
	assert.True(t, same.Unchanged, "it is there already")
	_, err = Rollback(t.Context(), RollbackOptions{BumpOptions: options(r, "registry.example.com/shop/vote"), To: "0123456789"})
	require.ErrorContains(t, err, "is not among the last")
}

// bumpVariable makes the test binary a process that bumps and exits, so that it can be killed.
const bumpVariable = "AKSFLOW_GITOPS_BUMP"

func TestMain(m *testing.M) {
	bumpAndExit()
	os.Exit(m.Run())
}

func bumpAndExit() {
	url, image, found := strings.Cut(os.Getenv(bumpVariable), " ")
	if !found {
		return
	}
	_, err := Bump(context.Background(), BumpOptions{
		Remote: git.Remote{URL: url, Access: delivery.GitAccess{Login: delivery.Login{Password: gittest.Token}}}, Branch: "main", Path: "apps", Target: manifest.Target{Image: image},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Wherever a bump is killed, the branch is before or after it, both apps are of one version, and the next bump works.
func TestKilledBump(t *testing.T) {
	r := voteRepo(t)
	self, err := os.Executable()
	require.NoError(t, err)
	start := func(n int) *exec.Cmd {
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s shop/vote:%d", bumpVariable, r.URL, n), "TMPDIR="+t.TempDir())
		require.NoError(t, cmd.Start())
		return cmd
	}
	began := time.Now()
	require.NoError(t, start(2).Wait())
	whole := time.Since(began)

	const kills = 24
	for i := range kills {
		cmd := start(3 + i)
		timer := time.AfterFunc(whole*time.Duration(i+1)/kills, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		timer.Stop()
	}
	last := 3 + kills
	require.NoError(t, start(last).Wait(), "the next one succeeds")
	assert.Contains(t, r.Show("main", "apps/vote/deployment.yaml"), fmt.Sprintf("shop/vote:%d ", last))
	commits := strings.Fields(r.Run(r.Bare, "rev-list", "main"))
	t.Logf("%d kills within %s: %d bumps landed", kills, whole.Round(time.Millisecond), len(commits)-3)
	for _, commit := range commits {
		vote, other := r.Show(commit, "apps/vote/deployment.yaml"), r.Show(commit, "apps/else/deployment.yaml")
		assert.Equal(t, vote, strings.Replace(other, "name: else", "name: vote", 1), "all of a bump, or nothing")
	}
	r.Run(r.Bare, "fsck", "--strict")
}

// BenchmarkBump bumps one of 2,500 apps in a repository of 10,000 manifests, the whole of which is searched.
func BenchmarkBump(b *testing.B) {
	r := gittest.NewServer(b).Repo(b, "config", map[string]string{"README.md": "x\n"})
	var stream strings.Builder
	stream.WriteString("commit refs/heads/main\ncommitter a <a@b> 1700000000 +0000\ndata 1\nx\n")
	add := func(name, content string) {
		fmt.Fprintf(&stream, "M 100644 inline %s\ndata %d\n%s\n", name, len(content), content)
	}
	for i := range 2500 {
		dir := fmt.Sprintf("team%d/app%d/", i/50, i)
		add(dir+"deployment.yaml", gittest.Deployment("app", fmt.Sprintf("shop/app%d:1", i)))
		add(dir+"service.yaml", fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: app%d}\n", i))
		add(dir+"configmap.yaml", fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\ndata:\n  app: %q\n  settings: |\n%s", fmt.Sprint(i), strings.Repeat("    key = value\n", 30)))
		add(dir+"kustomization.yaml", "resources: [deployment.yaml, service.yaml, configmap.yaml]\n")
	}
	load := exec.Command("git", "fast-import", "--quiet", "--force")
	load.Dir, load.Stdin = r.Bare, strings.NewReader(stream.String())
	out, err := load.CombinedOutput()
	require.NoError(b, err, string(out))
	version := 1
	for b.Loop() {
		version++
		_, err := Bump(b.Context(), BumpOptions{Remote: remote(r), Branch: "main", Target: manifest.Target{Image: fmt.Sprintf("shop/app7:%d", version)}})
		require.NoError(b, err)
	}
}
