package git

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/testing/gittest"
)

// TestSourceRevisionIsGitsOwn compares with git log on a history with branches and merges.
func TestSourceRevisionIsGitsOwn(t *testing.T) {
	r := gittest.WorkTree(t)
	random := rand.New(rand.NewPCG(1, 2))
	r.Write("app/main.py", "0")
	r.Write("lib/util.py", "0")
	r.Write("manifests/dev/k.yaml", "0")
	r.Record("first")
	for i := range 40 {
		file := []string{"app/main.py", "app/deep/x.py", "lib/util.py", "manifests/dev/k.yaml", "README.md"}[random.IntN(5)]
		if i%8 == 5 {
			r.Run(r.Work, "checkout", "-q", "-b", fmt.Sprint("side", i), "HEAD~2")
			r.Write("side/"+file, fmt.Sprint(i))
			r.Record("side")
			r.Run(r.Work, "checkout", "-q", "main")
			r.Run(r.Work, "merge", "-q", "--no-edit", fmt.Sprint("side", i))
			continue
		}
		r.Write(file, fmt.Sprint(i))
		r.Record(file)
	}
	for _, paths := range [][]string{{"."}, {"app"}, {"app/deep"}, {"lib"}, {"manifests"}, {"side"}, {"app/main.py"}, {"app", "lib"}, {"README.md", "side/app"}} {
		got, err := SourceOf(t.Context(), r.Work, paths...)
		require.NoError(t, err)
		want := r.Run(r.Work, append([]string{"log", "-1", "--format=%H", "--"}, paths...)...)
		assert.Equal(t, want, got.Commit, "%v", paths)
		assert.False(t, got.Dirty)
		assert.False(t, got.Shallow)
		assert.Equal(t, r.Run(r.Work, "log", "-1", "--format=%ct", want), fmt.Sprint(got.Time.Unix()))
	}
	inside, err := SourceOf(t.Context(), filepath.Join(r.Work, "app"))
	require.NoError(t, err)
	assert.Equal(t, r.Run(r.Work, "log", "-1", "--format=%H", "--", "app"), inside.Commit, "paths are relative to the directory")
}

func TestSourceRevisionOfADirtyTree(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*gittest.Repository)
		dirty bool
	}{
		{"clean", func(*gittest.Repository) {}, false},
		{"touched", func(r *gittest.Repository) {
			later := time.Now().Add(time.Hour)
			require.NoError(t, os.Chtimes(filepath.Join(r.Work, "app/a.py"), later, later))
		}, false},
		{"changed", func(r *gittest.Repository) { r.Write("app/a.py", "other") }, true},
		{"changed, and of the same size", func(r *gittest.Repository) { r.Write("app/a.py", "b") }, true},
		{"changed and staged", func(r *gittest.Repository) { r.Write("app/a.py", "other"); r.Run(r.Work, "add", "-A") }, true},
		{"new", func(r *gittest.Repository) { r.Write("app/new.py", "") }, true},
		{"new and staged", func(r *gittest.Repository) { r.Write("app/new.py", ""); r.Run(r.Work, "add", "-A") }, true},
		{"removed", func(r *gittest.Repository) { require.NoError(t, os.Remove(filepath.Join(r.Work, "app/a.py"))) }, true},
		{"removed from the index", func(r *gittest.Repository) { r.Run(r.Work, "rm", "-q", "--cached", "app/a.py") }, true},
		{"made executable", func(r *gittest.Repository) { require.NoError(t, os.Chmod(filepath.Join(r.Work, "app/a.py"), 0o755)) }, true},
		{"a link instead", func(r *gittest.Repository) {
			require.NoError(t, os.Remove(filepath.Join(r.Work, "app/a.py")))
			require.NoError(t, os.Symlink("b.py", filepath.Join(r.Work, "app/a.py")))
		}, true},
		{"ignored above", func(r *gittest.Repository) { r.Write("app/x.pyc", "") }, false},
		{"ignored here", func(r *gittest.Repository) { r.Write("app/deep/local.txt", "") }, false},
		{"ignored directory", func(r *gittest.Repository) { r.Write("app/node_modules/x/y.js", "") }, false},
		{"excluded", func(r *gittest.Repository) {
			r.Write(".git/info/exclude", "secret.env\n")
			r.Write("app/secret.env", "")
		}, false},
		{"elsewhere", func(r *gittest.Repository) { r.Write("lib/new.py", "") }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := gittest.WorkTree(t)
			r.Write(".gitignore", "*.pyc\nnode_modules/\n")
			r.Write("app/a.py", "a")
			r.Write("app/deep/.gitignore", "local.txt\n")
			r.Write("lib/b.py", "b")
			commit := r.Record("first")
			c.spoil(r)
			got, err := SourceOf(t.Context(), r.Work, "app")
			require.NoError(t, err)
			assert.Equal(t, commit, got.Commit)
			assert.Equal(t, c.dirty, got.Dirty)
			assert.Equal(t, c.dirty, r.Run(r.Work, "status", "--porcelain", "--", "app") != "", "git agrees")
		})
	}
}

func TestSourceRevisionWithoutAnAnswer(t *testing.T) {
	none, err := SourceOf(t.Context(), t.TempDir())
	require.NoError(t, err)
	assert.Equal(t, delivery.Source{}, none, "no repository")

	r := gittest.WorkTree(t)
	r.Write("app/a.py", "a")
	unborn, err := SourceOf(t.Context(), r.Work, "app")
	require.NoError(t, err)
	assert.Equal(t, delivery.Source{Dirty: true}, unborn, "nothing committed")

	r.Record("first")
	r.Write("lib/b.py", "b")
	untracked, err := SourceOf(t.Context(), r.Work, "lib")
	require.NoError(t, err)
	assert.Equal(t, delivery.Source{Dirty: true}, untracked, "nothing of it committed")

	_, err = SourceOf(t.Context(), r.Work, "../x")
	require.ErrorContains(t, err, "is outside the repository")

	r.Record("second")
	r.Write("README.md", "x")
	last := r.Record("third")
	shallow := filepath.Join(t.TempDir(), "clone")
	r.Run(r.Work, "clone", "-q", "--depth=1", "file://"+r.Work, shallow)
	got, err := SourceOf(t.Context(), shallow, "app")
	require.NoError(t, err)
	assert.Equal(t, last, got.Commit)
	assert.True(t, got.Shallow)
}

// The files of a submodule are in the build's context, so that what is not committed of them counts.
func TestSourceRevisionWithASubmodule(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(r *gittest.Repository, dir string)
		dirty bool
	}{
		"clean":          {func(*gittest.Repository, string) {}, false},
		"changed":        {func(r *gittest.Repository, _ string) { r.Write("app/lib/a.py", "other") }, true},
		"new file":       {func(r *gittest.Repository, _ string) { r.Write("app/lib/new.py", "") }, true},
		"ignored file":   {func(r *gittest.Repository, _ string) { r.Write("app/lib/x.pyc", "") }, false},
		"another commit": {func(r *gittest.Repository, dir string) { r.Run(dir, "checkout", "-q", "HEAD~1") }, true},
		"one that is staged": {func(r *gittest.Repository, dir string) {
			r.Run(dir, "checkout", "-q", "HEAD~1")
			r.Run(r.Work, "add", "-A")
		}, true},
		"not checked out": {func(r *gittest.Repository, _ string) { r.Run(r.Work, "submodule", "-q", "deinit", "-f", "app/lib") }, false},
	} {
		t.Run(name, func(t *testing.T) {
			library := gittest.WorkTree(t)
			library.Write(".gitignore", "*.pyc\n")
			library.Record("first")
			library.Write("a.py", "a")
			library.Record("second")
			r := gittest.WorkTree(t)
			r.Write("app/b.py", "b")
			r.Run(r.Work, "-c", "protocol.file.allow=always", "submodule", "-q", "add", library.Work, "app/lib")
			commit := r.Record("first")
			c.spoil(r, filepath.Join(r.Work, "app/lib"))
			got, err := SourceOf(t.Context(), r.Work, "app")
			require.NoError(t, err)
			assert.Equal(t, commit, got.Commit)
			assert.Equal(t, c.dirty, got.Dirty)
			assert.Equal(t, c.dirty, r.Run(r.Work, "status", "--porcelain", "--", "app") != "", "git agrees")
		})
	}
}

// In a linked work tree, .git is a file.
func TestSourceRevisionInALinkedWorkTree(t *testing.T) {
	r := gittest.WorkTree(t)
	r.Write("app/a.py", "a")
	commit := r.Record("first")
	linked := filepath.Join(t.TempDir(), "linked")
	r.Run(r.Work, "worktree", "add", "-q", linked)
	got, err := SourceOf(t.Context(), linked, "app")
	require.NoError(t, err)
	assert.Equal(t, commit, got.Commit)
	assert.False(t, got.Dirty)
}

// BenchmarkSourceRevision looks for an app that was last touched 1,000 commits ago among 2,000 files, beside git.
func BenchmarkSourceOf(b *testing.B) {
	r := gittest.WorkTree(b)
	var stream strings.Builder
	stream.WriteString("commit refs/heads/main\ncommitter a <a@b> 1700000000 +0000\ndata 1\nx\n")
	for i := range 2000 {
		fmt.Fprintf(&stream, "M 100644 inline app%d/main.py\ndata 1\nx\n", i%200)
		fmt.Fprintf(&stream, "M 100644 inline app%d/file%d.py\ndata 1\nx\n", i%200, i)
	}
	for i := range 1000 {
		fmt.Fprintf(&stream, "commit refs/heads/main\ncommitter a <a@b> %d +0000\ndata 1\nx\nM 100644 inline app1/main.py\ndata %d\n%d\n", 1700000001+i, len(fmt.Sprint(i)), i)
	}
	load := exec.Command("git", "fast-import", "--quiet")
	load.Dir, load.Stdin = r.Work, strings.NewReader(stream.String())
	out, err := load.CombinedOutput()
	require.NoError(b, err, string(out))
	r.Run(r.Work, "reset", "-q", "--hard", "main")
	want := r.Run(r.Work, "log", "-1", "--format=%H", "--", "app0")
	b.Run("aksflow", func(b *testing.B) {
		for b.Loop() {
			got, err := SourceOf(b.Context(), r.Work, "app0")
			require.NoError(b, err)
			require.Equal(b, want, got.Commit)
		}
	})
	b.Run("git", func(b *testing.B) {
		for b.Loop() {
			r.Run(r.Work, "log", "-1", "--format=%H", "--", "app0")
			r.Run(r.Work, "status", "--porcelain", "--", "app0")
		}
	})
}

// A file's repository is that of its directory, and a work tree whose repository is elsewhere has none.
func TestSourceRevisionOfWhatIsNoWorkTree(t *testing.T) {
	r := gittest.WorkTree(t)
	r.Write("app/a.py", "a")
	commit := r.Record("first")
	got, err := SourceOf(t.Context(), filepath.Join(r.Work, "app/a.py"))
	require.NoError(t, err)
	assert.Equal(t, commit, got.Commit)

	alone := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(alone, ".git"), []byte("gitdir: ../.git/modules/lib\n"), 0o600))
	got, err = SourceOf(t.Context(), alone)
	require.NoError(t, err)
	assert.Equal(t, delivery.Source{}, got)
}

// A clone may have its objects, its history, its files or its index in other forms than `git clone` makes by itself. Each is
// made by git, and compared with it.
func TestSourceRevisionInOtherClones(t *testing.T) {
	r := gittest.WorkTree(t)
	r.Write("app/a.py", "a")
	r.Write("app/deep/b.py", "b")
	r.Write("docs/c.md", "c")
	r.Record("first")
	r.Write("docs/c.md", "d")
	r.Record("second")
	r.Run(r.Work, "config", "uploadpack.allowFilter", "true")
	for name, test := range map[string]struct {
		clone   []string
		after   [][]string // commands of git in the clone
		spoil   func(t *testing.T, dir string)
		shallow bool // its trees before HEAD are missing
		fails   string
	}{
		"shared":                       {clone: []string{"--shared", r.Work}},
		"with a reference":             {clone: []string{"--reference", r.Work, "file://" + r.Work}},
		"partial, without files":       {clone: []string{"--filter=blob:none", "file://" + r.Work}},
		"partial, without directories": {clone: []string{"--filter=tree:0", "file://" + r.Work}, shallow: true},
		"sparse":                       {clone: []string{"--sparse", r.Work}, after: [][]string{{"sparse-checkout", "set", "app/deep"}}},
		"sparse, with a sparse index":  {clone: []string{"--sparse", r.Work}, after: [][]string{{"sparse-checkout", "set", "--sparse-index", "docs"}}, fails: "git sparse-checkout reapply --no-sparse-index"},
		"index of version 4":           {clone: []string{r.Work}, after: [][]string{{"update-index", "--index-version", "4"}}},
		"split index":                  {clone: []string{r.Work}, after: [][]string{{"update-index", "--split-index"}}, fails: "git update-index --no-split-index"},
		"untracked cache":              {clone: []string{r.Work}, after: [][]string{{"update-index", "--force-untracked-cache"}, {"status"}}},
		"packed refs and objects":      {clone: []string{r.Work}, after: [][]string{{"pack-refs", "--all"}, {"gc", "-q"}, {"commit-graph", "write", "--reachable"}, {"multi-pack-index", "write"}}},
		"shared with one that is gone": {clone: []string{"--shared", r.Work}, spoil: func(t *testing.T, dir string) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, ".git", "objects", "info", "alternates"), []byte("/nowhere/objects\n"), 0o600))
		}, fails: "names /nowhere/objects, which is not there"},
		"shared, by a relative path": {clone: []string{"--shared", r.Work}, spoil: func(t *testing.T, dir string) {
			objects := filepath.Join(dir, ".git", "objects")
			relative, err := filepath.Rel(objects, filepath.Join(r.Work, ".git", "objects"))
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(objects, "info", "alternates"), []byte("# a mirror\n"+relative+"\n"), 0o600))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			clone := filepath.Join(t.TempDir(), "clone")
			r.Run(r.Work, append(append([]string{"clone", "-q"}, test.clone...), clone)...)
			for _, args := range test.after {
				r.Run(clone, args...)
			}
			if test.spoil != nil {
				test.spoil(t, clone)
			}
			got, err := SourceOf(t.Context(), clone, "app")
			if test.fails != "" {
				require.ErrorContains(t, err, test.fails)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, test.shallow, got.Shallow)
			if !test.shallow {
				assert.Equal(t, r.Run(clone, "log", "-1", "--format=%H", "--", "app"), got.Commit)
			}
			assert.False(t, got.Dirty, "git says: %s", r.Run(clone, "status", "--porcelain"))
			require.NoError(t, os.WriteFile(filepath.Join(clone, "app/deep/b.py"), []byte("changed"), 0o600))
			got, err = SourceOf(t.Context(), clone, "app")
			require.NoError(t, err)
			assert.True(t, got.Dirty)
		})
	}
	t.Run("shared with a shared one", func(t *testing.T) {
		first, second := filepath.Join(t.TempDir(), "first"), filepath.Join(t.TempDir(), "second")
		r.Run(r.Work, "clone", "-q", "--shared", r.Work, first)
		r.Run(r.Work, "clone", "-q", "--shared", first, second)
		linked := filepath.Join(t.TempDir(), "linked")
		r.Run(second, "worktree", "add", "-q", linked)
		for _, dir := range []string{second, linked} {
			got, err := SourceOf(t.Context(), dir, "app")
			require.NoError(t, err)
			assert.Equal(t, r.Run(r.Work, "log", "-1", "--format=%H", "--", "app"), got.Commit)
			assert.False(t, got.Dirty)
		}
	})
}
