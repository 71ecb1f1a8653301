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

	"github.com/aksflow/aksflow/internal/core/manifest"
)

func options(r *repository, image string) BumpOptions {
	return BumpOptions{
		Remote: r.remote(), Branch: "main", Path: "apps/vote", Target: manifest.Target{Image: image},
		Author: Author{Name: "Pipeline", Email: "pipeline@example.com"},
	}
}

func voteRepo(t *testing.T) *repository {
	return newServer(t).repo(t, "config", map[string]string{
		"apps/vote/deployment.yaml": deployment("vote", "shop/vote:1"),
		"apps/else/deployment.yaml": deployment("else", "shop/vote:1"),
		"README.md":                 "shop/vote:1\n",
	})
}

func TestBumpCommitsTheImageAndNothingElse(t *testing.T) {
	r := voteRepo(t)
	image := "registry.example.com/shop/vote:2@" + digest(2)
	o := options(r, image)
	o.SourceRevision, o.PipelineRun, o.SignOff, o.SkipCI = "abc123", "https://ci.example.com/7", true, true

	result, err := Bump(t.Context(), o)
	require.NoError(t, err)
	assert.Equal(t, []manifest.Change{{File: "apps/vote/deployment.yaml", Line: 10, From: "shop/vote:1", To: image}}, result.Changes)
	assert.Equal(t, r.run(r.bare, "rev-parse", "main"), result.Commit)
	assert.False(t, result.Unchanged)
	assert.Equal(t, deployment("vote", image), r.show("main", "apps/vote/deployment.yaml")+"\n")
	assert.Equal(t, "apps/vote/deployment.yaml", r.run(r.bare, "diff", "--name-only", "main~", "main"))
	assert.Equal(t, "1\t1\tapps/vote/deployment.yaml", r.run(r.bare, "diff", "--numstat", "main~", "main"))
	assert.Equal(t, "Pipeline <pipeline@example.com>", r.run(r.bare, "log", "-1", "--format=%an <%ae>", "main"))
	assert.Equal(t, "Deliver vote 2 to apps/vote [skip ci]", r.run(r.bare, "log", "-1", "--format=%s", "main"))
	assert.Equal(t, "Image: "+image+"\nSource-Revision: abc123\nPipeline-Run: https://ci.example.com/7\nSigned-off-by: Pipeline <pipeline@example.com>",
		r.run(r.bare, "log", "-1", "--format=%(trailers)", "main"))
	r.run(r.bare, "fsck", "--strict")

	again, err := Bump(t.Context(), o)
	require.NoError(t, err)
	assert.True(t, again.Unchanged)
	assert.Equal(t, result.Commit, again.Commit)
	assert.Equal(t, "2", r.run(r.bare, "rev-list", "--count", "main"))
}

func TestBumpOfTheDefaultBranchByTemplate(t *testing.T) {
	r := voteRepo(t)
	o := options(r, "shop/vote@"+digest(3))
	o.Branch, o.Message = "", "{{.Name}} {{.Digest}}\n\nto {{.Path}}"
	_, err := Bump(t.Context(), o)
	require.NoError(t, err)
	assert.Equal(t, "vote "+digest(3)+"\n\nto apps/vote\n\nImage: shop/vote@"+digest(3), r.run(r.bare, "log", "-1", "--format=%B", "main"))
}

// One branch, one server, 32 writers at once: everybody's commit must be there, each on top of another.
func TestManyWritersLoseNothing(t *testing.T) {
	const writers = 32
	files := map[string]string{}
	for i := range writers {
		files[fmt.Sprintf("apps/app%d/deployment.yaml", i)] = deployment("app", fmt.Sprintf("shop/app%d:1", i))
	}
	r := newServer(t).repo(t, "config", files)
	began := time.Now()
	var wg sync.WaitGroup
	var mu sync.Mutex
	pushes := 0
	for i := range writers {
		wg.Go(func() {
			result, err := Bump(t.Context(), BumpOptions{
				Remote: r.remote(), Branch: "main", Path: fmt.Sprintf("apps/app%d", i), Attempts: 200,
				Target: manifest.Target{Image: fmt.Sprintf("shop/app%d:2@%s", i, digest(i))},
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
	assert.Equal(t, fmt.Sprint(writers+1), r.run(r.bare, "rev-list", "--count", "--first-parent", "main"))
	for i := range writers {
		assert.Contains(t, r.show("main", fmt.Sprintf("apps/app%d/deployment.yaml", i)), fmt.Sprintf("image: shop/app%d:2@%s", i, digest(i)))
	}
	r.run(r.bare, "fsck", "--strict")
}

func TestBumpReappliesOnAMovedBranch(t *testing.T) {
	r := voteRepo(t)
	// The first push finds that somebody was faster, in the very file.
	theirs := strings.Replace(deployment("vote", "shop/vote:1"), "the front end", "renamed meanwhile", 1)
	r.commit("theirs", map[string]string{"apps/vote/deployment.yaml": theirs})
	r.run(r.bare, "branch", "theirs", "main")
	r.run(r.bare, "update-ref", "refs/heads/main", "main~")
	r.hook("pre-receive", `[ -e moved ] && exit 0; touch moved; unset GIT_QUARANTINE_PATH; git update-ref refs/heads/main theirs`)

	result, err := Bump(t.Context(), options(r, "shop/vote:2@"+digest(2)))
	require.NoError(t, err)
	assert.Equal(t, 2, result.Attempts)
	assert.Equal(t, strings.Replace(theirs, "shop/vote:1", "shop/vote:2@"+digest(2), 1), r.show("main", "apps/vote/deployment.yaml")+"\n")
	assert.Equal(t, "3", r.run(r.bare, "rev-list", "--count", "main"))
}

// What another writer did in between may leave nothing to apply the edit to.
func TestBumpThatCannotBeReapplied(t *testing.T) {
	r := voteRepo(t)
	r.run(r.work, "rm", "-q", "-r", "apps/vote")
	theirs := r.commit("theirs", nil)
	r.run(r.bare, "branch", "theirs", "main")
	r.run(r.bare, "update-ref", "refs/heads/main", "main~")
	r.hook("pre-receive", `[ -e moved ] && exit 0; touch moved; unset GIT_QUARANTINE_PATH; git update-ref refs/heads/main theirs`)
	_, err := Bump(t.Context(), options(r, "shop/vote:2"))
	require.ErrorContains(t, err, "cannot read apps/vote: file does not exist")
	assert.Equal(t, theirs, r.run(r.bare, "rev-parse", "main"))
}

func TestRollbackThatCannotBeApplied(t *testing.T) {
	kustomization := "resources: [../../base]\nimages:\n- {name: redis, newTag: '8'}\n"
	r := newServer(t).repo(t, "config", map[string]string{
		"base/kustomization.yaml": "resources: [deployment.yaml]\n", "base/deployment.yaml": deployment("vote", "shop/vote:1"),
		"apps/vote/kustomization.yaml": kustomization,
	})
	_, err := Bump(t.Context(), options(r, "shop/vote:2"))
	require.NoError(t, err)
	bumped := r.show("main", "apps/vote/kustomization.yaml")
	assert.Contains(t, bumped, "- name: shop/vote\n  newTag: \"2\"")
	_, err = Rollback(t.Context(), RollbackOptions{BumpOptions: options(r, "shop/vote")})
	require.NoError(t, err)
	assert.Equal(t, kustomization, r.show("main", "apps/vote/kustomization.yaml")+"\n", "the base's image comes back")

	_, err = Bump(t.Context(), options(r, "shop/vote:3"))
	require.NoError(t, err)
	bumped = r.show("main", "apps/vote/kustomization.yaml")
	r.pull()
	tip := r.commit("edit", map[string]string{"apps/vote/kustomization.yaml": "# edited\n" + bumped + "\n"})
	_, err = Rollback(t.Context(), RollbackOptions{BumpOptions: options(r, "shop/vote")})
	require.ErrorContains(t, err, "apps/vote/kustomization.yaml was changed after commit")
	assert.Equal(t, tip, r.run(r.bare, "rev-parse", "main"))
}

func TestBumpRefusals(t *testing.T) {
	s := newServer(t)
	r := s.repo(t, "config", map[string]string{
		"apps/vote/deployment.yaml": deployment("vote", "shop/vote:1"),
		"broken/a.yaml":             deployment("vote", "shop/vote:1"),
		"broken/b.yaml":             "image: shop/vote:1\n  bad: [\n",
	})
	require.NoError(t, os.MkdirAll(filepath.Join(r.work, "links"), 0o755))
	require.NoError(t, os.Symlink("/etc/passwd", filepath.Join(r.work, "links", "a.yaml")))
	require.NoError(t, os.Symlink("../apps/vote/deployment.yaml", filepath.Join(r.work, "apps", "link.yaml")))
	tip := r.commit("links", nil)
	empty := filepath.Join(s.dir, "empty.git")
	r.run(s.dir, "init", "-q", "--bare", empty)

	good := "shop/vote:2@" + digest(2)
	for _, c := range []struct {
		name   string
		change func(*BumpOptions)
		want   string
	}{
		{"bad digest", func(o *BumpOptions) { o.Target.Image = "shop/vote@sha256:abc" }, `digest "sha256:abc" is not valid`},
		{"no tag, no digest", func(o *BumpOptions) { o.Target.Image = "shop/vote" }, "neither tag nor digest"},
		{"no such repository", func(o *BumpOptions) { o.Remote.URL = s.URL + "/other.git" }, "no such repository"},
		{"empty repository", func(o *BumpOptions) { o.Remote.URL = s.URL + "/empty.git" }, "the repository is empty"},
		{"wrong token", func(o *BumpOptions) { o.Remote.Auth.Token = "wrong" }, "the credentials are refused"},
		{"no token", func(o *BumpOptions) { o.Remote.Auth.Token = "" }, "wants credentials and none were given"},
		{"password in the URL", func(o *BumpOptions) { o.Remote.URL = "https://a:hunter2@example.com/x" }, "holds a password"},
		{"no such branch", func(o *BumpOptions) { o.Branch = "dev" }, "has no branch dev"},
		{"no such path", func(o *BumpOptions) { o.Path = "apps/other" }, "cannot read apps/other"},
		{"outside", func(o *BumpOptions) { o.Path = "../x" }, "path ../x is outside the repository"},
		{"outside by a detour", func(o *BumpOptions) { o.Path = "apps/../../x" }, "is outside the repository"},
		{"link that leaves", func(o *BumpOptions) { o.Path = "links" }, "links/a.yaml is a symbolic link that leaves the repository (to /etc/passwd)"},
		{"no match", func(o *BumpOptions) { o.Target.Image = "shop/other:1" }, "no image named shop/other in apps/vote; the images there are shop/vote:1 (apps/vote/deployment.yaml:10)"},
		{"not YAML", func(o *BumpOptions) { o.Path = "broken" }, "broken/b.yaml:2: not valid YAML"},
		{"bad template", func(o *BumpOptions) { o.Message = "{{.Nope}}" }, "message template"},
		{"local path", func(o *BumpOptions) { o.Remote.URL = r.bare }, "only https, http and ssh"},
		{"nobody there", func(o *BumpOptions) { o.Remote.URL = "http://127.0.0.1:1/x.git" }, "connection refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := options(r, good)
			c.change(&o)
			_, err := Bump(t.Context(), o)
			require.ErrorContains(t, err, c.want)
			assert.NotContains(t, err.Error(), "hunter2")
			assert.NotContains(t, err.Error(), serverToken)
			assert.NotContains(t, err.Error(), "\n", "one line")
			assert.Equal(t, tip, r.run(r.bare, "rev-parse", "main"))
		})
	}

	t.Run("protected branch", func(t *testing.T) {
		r.hook("update", `[ "$1" = refs/heads/main ] && echo "main is protected" >&2 && exit 1; exit 0`)
		_, err := Bump(t.Context(), options(r, good))
		require.ErrorContains(t, err, "refuses the push to branch main")
		require.ErrorContains(t, err, "main is protected")
		assert.Equal(t, tip, r.run(r.bare, "rev-parse", "main"))
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
	image := func(n int) string { return fmt.Sprintf("shop/vote:%d@%s", n, digest(n)) }
	bump := func(t *testing.T, r *repository, n int, force bool) (*Result, error) {
		o := options(r, image(n))
		o.Force = force
		return Bump(t.Context(), o)
	}
	var rolledBack *RolledBackError

	t.Run("git revert", func(t *testing.T) {
		r := voteRepo(t)
		_, err := bump(t, r, 2, false)
		require.NoError(t, err)
		r.pull()
		r.run(r.work, "revert", "--no-edit", "HEAD")
		r.run(r.work, "push", "-q", "origin", "HEAD:main")
		by := r.run(r.work, "rev-parse", "HEAD")

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
		r.pull()
		r.commit("back", map[string]string{"apps/vote/deployment.yaml": deployment("vote", "shop/vote:1")})
		r.commit("unrelated", map[string]string{"README.md": "more\n"})
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
		before := r.show("main", "apps/vote/deployment.yaml")
		_, err := bump(t, r, 2, false)
		require.NoError(t, err)
		o := options(r, "shop/vote")
		result, err := Rollback(t.Context(), RollbackOptions{BumpOptions: o})
		require.NoError(t, err)
		assert.Equal(t, []manifest.Change{{File: "apps/vote/deployment.yaml", Line: 10, From: image(2), To: "shop/vote:1"}}, result.Changes)
		assert.Equal(t, before, r.show("main", "apps/vote/deployment.yaml"))
		assert.Contains(t, r.run(r.bare, "log", "-1", "--format=%B", "main"), "This reverts commit "+r.run(r.bare, "rev-parse", "main~")+".")
		_, err = bump(t, r, 2, false)
		require.ErrorAs(t, err, &rolledBack)
	})
}

func TestRollbackBesideOtherChanges(t *testing.T) {
	r := voteRepo(t)
	o := options(r, "registry.example.com/shop/vote:2@"+digest(2))
	_, err := Bump(t.Context(), o)
	require.NoError(t, err)
	o.Target.Image = "registry.example.com/shop/vote:3@" + digest(3)
	_, err = Bump(t.Context(), o)
	require.NoError(t, err)
	first := r.run(r.bare, "rev-parse", "main~")
	r.pull()
	edited := strings.Replace(r.show("main", "apps/vote/deployment.yaml"), "the front end", "edited since", 1)
	r.commit("edit", map[string]string{"apps/vote/deployment.yaml": edited + "\n"})

	_, err = Rollback(t.Context(), RollbackOptions{BumpOptions: options(r, "registry.example.com/shop/vote")})
	require.NoError(t, err)
	now := r.show("main", "apps/vote/deployment.yaml")
	assert.Contains(t, now, "registry.example.com/shop/vote:2@"+digest(2))
	assert.Contains(t, now, "edited since")

	same, err := Rollback(t.Context(), RollbackOptions{BumpOptions: options(r, "registry.example.com/shop/vote"), To: first})
	require.NoError(t, err)
	assert.True(t, same.Unchanged, "it is there already")
	_, err = Rollback(t.Context(), RollbackOptions{BumpOptions: options(r, "registry.example.com/shop/vote"), To: "0123456789"})
	require.ErrorContains(t, err, "is not among the last")
}

// bumpVariable makes the test binary a process that bumps and exits, so that it can be killed.
const bumpVariable = "AKSFLOW_GITOPS_BUMP"

func bumpAndExit() {
	url, image, found := strings.Cut(os.Getenv(bumpVariable), " ")
	if !found {
		return
	}
	_, err := Bump(context.Background(), BumpOptions{
		Remote: Remote{URL: url, Auth: Auth{Token: serverToken}}, Branch: "main", Path: "apps", Target: manifest.Target{Image: image},
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
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s shop/vote:%d", bumpVariable, r.url, n), "TMPDIR="+t.TempDir())
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
	assert.Contains(t, r.show("main", "apps/vote/deployment.yaml"), fmt.Sprintf("shop/vote:%d ", last))
	commits := strings.Fields(r.run(r.bare, "rev-list", "main"))
	t.Logf("%d kills within %s: %d bumps landed", kills, whole.Round(time.Millisecond), len(commits)-3)
	for _, commit := range commits {
		vote, other := r.show(commit, "apps/vote/deployment.yaml"), r.show(commit, "apps/else/deployment.yaml")
		assert.Equal(t, vote, strings.Replace(other, "name: else", "name: vote", 1), "all of a bump, or nothing")
	}
	r.run(r.bare, "fsck", "--strict")
}

// BenchmarkBump bumps one of 2,500 apps in a repository of 10,000 manifests, the whole of which is searched.
func BenchmarkBump(b *testing.B) {
	r := newServer(b).repo(b, "config", map[string]string{"README.md": "x\n"})
	var stream strings.Builder
	stream.WriteString("commit refs/heads/main\ncommitter a <a@b> 1700000000 +0000\ndata 1\nx\n")
	add := func(name, content string) {
		fmt.Fprintf(&stream, "M 100644 inline %s\ndata %d\n%s\n", name, len(content), content)
	}
	for i := range 2500 {
		dir := fmt.Sprintf("team%d/app%d/", i/50, i)
		add(dir+"deployment.yaml", deployment("app", fmt.Sprintf("shop/app%d:1", i)))
		add(dir+"service.yaml", fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: app%d}\n", i))
		add(dir+"configmap.yaml", fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\ndata:\n  app: %q\n  settings: |\n%s", fmt.Sprint(i), strings.Repeat("    key = value\n", 30)))
		add(dir+"kustomization.yaml", "resources: [deployment.yaml, service.yaml, configmap.yaml]\n")
	}
	load := exec.Command("git", "fast-import", "--quiet", "--force")
	load.Dir, load.Stdin = r.bare, strings.NewReader(stream.String())
	out, err := load.CombinedOutput()
	require.NoError(b, err, string(out))
	version := 1
	for b.Loop() {
		version++
		_, err := Bump(b.Context(), BumpOptions{Remote: r.remote(), Branch: "main", Target: manifest.Target{Image: fmt.Sprintf("shop/app7:%d", version)}})
		require.NoError(b, err)
	}
}
