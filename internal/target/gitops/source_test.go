package gitops

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
)

// workTree is a repository on disk, made by git itself.
func workTree(t testing.TB) *repository {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("needs git, whose answers the test compares with")
	}
	r := &repository{t: t, work: t.TempDir()}
	r.run(r.work, "init", "-q", "-b", "main", ".")
	return r
}

func (r *repository) write(name, content string) {
	r.t.Helper()
	full := filepath.Join(r.work, name)
	require.NoError(r.t, os.MkdirAll(filepath.Dir(full), 0o755))
	require.NoError(r.t, os.WriteFile(full, []byte(content), 0o644))
}

func (r *repository) record(message string) string {
	r.t.Helper()
	r.run(r.work, "add", "-A")
	r.run(r.work, "commit", "-q", "--allow-empty", "-m", message)
	return r.run(r.work, "rev-parse", "HEAD")
}

// TestSourceRevisionIsGitsOwn compares with git log on a history with branches and merges.
func TestSourceRevisionIsGitsOwn(t *testing.T) {
	r := workTree(t)
	random := rand.New(rand.NewPCG(1, 2))
	r.write("app/main.py", "0")
	r.write("lib/util.py", "0")
	r.write("manifests/dev/k.yaml", "0")
	r.record("first")
	for i := range 40 {
		file := []string{"app/main.py", "app/deep/x.py", "lib/util.py", "manifests/dev/k.yaml", "README.md"}[random.IntN(5)]
		if i%8 == 5 {
			r.run(r.work, "checkout", "-q", "-b", fmt.Sprint("side", i), "HEAD~2")
			r.write("side/"+file, fmt.Sprint(i))
			r.record("side")
			r.run(r.work, "checkout", "-q", "main")
			r.run(r.work, "merge", "-q", "--no-edit", fmt.Sprint("side", i))
			continue
		}
		r.write(file, fmt.Sprint(i))
		r.record(file)
	}
	for _, paths := range [][]string{{"."}, {"app"}, {"app/deep"}, {"lib"}, {"manifests"}, {"side"}, {"app/main.py"}, {"app", "lib"}, {"README.md", "side/app"}} {
		got, err := SourceRevision(t.Context(), r.work, paths...)
		require.NoError(t, err)
		want := r.run(r.work, append([]string{"log", "-1", "--format=%H", "--"}, paths...)...)
		assert.Equal(t, want, got.Commit, "%v", paths)
		assert.False(t, got.Dirty)
		assert.False(t, got.Shallow)
		assert.Equal(t, r.run(r.work, "log", "-1", "--format=%ct", want), fmt.Sprint(got.Time.Unix()))
	}
	inside, err := SourceRevision(t.Context(), filepath.Join(r.work, "app"))
	require.NoError(t, err)
	assert.Equal(t, r.run(r.work, "log", "-1", "--format=%H", "--", "app"), inside.Commit, "paths are relative to the directory")
}

func TestSourceRevisionOfADirtyTree(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*repository)
		dirty bool
	}{
		{"clean", func(*repository) {}, false},
		{"touched", func(r *repository) {
			later := time.Now().Add(time.Hour)
			require.NoError(r.t, os.Chtimes(filepath.Join(r.work, "app/a.py"), later, later))
		}, false},
		{"changed", func(r *repository) { r.write("app/a.py", "other") }, true},
		{"changed, and of the same size", func(r *repository) { r.write("app/a.py", "b") }, true},
		{"changed and staged", func(r *repository) { r.write("app/a.py", "other"); r.run(r.work, "add", "-A") }, true},
		{"new", func(r *repository) { r.write("app/new.py", "") }, true},
		{"new and staged", func(r *repository) { r.write("app/new.py", ""); r.run(r.work, "add", "-A") }, true},
		{"removed", func(r *repository) { require.NoError(r.t, os.Remove(filepath.Join(r.work, "app/a.py"))) }, true},
		{"removed from the index", func(r *repository) { r.run(r.work, "rm", "-q", "--cached", "app/a.py") }, true},
		{"made executable", func(r *repository) { require.NoError(r.t, os.Chmod(filepath.Join(r.work, "app/a.py"), 0o755)) }, true},
		{"a link instead", func(r *repository) {
			require.NoError(r.t, os.Remove(filepath.Join(r.work, "app/a.py")))
			require.NoError(r.t, os.Symlink("b.py", filepath.Join(r.work, "app/a.py")))
		}, true},
		{"ignored above", func(r *repository) { r.write("app/x.pyc", "") }, false},
		{"ignored here", func(r *repository) { r.write("app/deep/local.txt", "") }, false},
		{"ignored directory", func(r *repository) { r.write("app/node_modules/x/y.js", "") }, false},
		{"excluded", func(r *repository) {
			r.write(".git/info/exclude", "secret.env\n")
			r.write("app/secret.env", "")
		}, false},
		{"elsewhere", func(r *repository) { r.write("lib/new.py", "") }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := workTree(t)
			r.write(".gitignore", "*.pyc\nnode_modules/\n")
			r.write("app/a.py", "a")
			r.write("app/deep/.gitignore", "local.txt\n")
			r.write("lib/b.py", "b")
			commit := r.record("first")
			c.spoil(r)
			got, err := SourceRevision(t.Context(), r.work, "app")
			require.NoError(t, err)
			assert.Equal(t, commit, got.Commit)
			assert.Equal(t, c.dirty, got.Dirty)
			assert.Equal(t, c.dirty, r.run(r.work, "status", "--porcelain", "--", "app") != "", "git agrees")
		})
	}
}

func TestSourceRevisionWithoutAnAnswer(t *testing.T) {
	none, err := SourceRevision(t.Context(), t.TempDir())
	require.NoError(t, err)
	assert.Equal(t, Source{}, none, "no repository")

	r := workTree(t)
	r.write("app/a.py", "a")
	unborn, err := SourceRevision(t.Context(), r.work, "app")
	require.NoError(t, err)
	assert.Equal(t, Source{Dirty: true}, unborn, "nothing committed")

	r.record("first")
	r.write("lib/b.py", "b")
	untracked, err := SourceRevision(t.Context(), r.work, "lib")
	require.NoError(t, err)
	assert.Equal(t, Source{Dirty: true}, untracked, "nothing of it committed")

	_, err = SourceRevision(t.Context(), r.work, "../x")
	require.ErrorContains(t, err, "is outside the repository")

	r.record("second")
	r.write("README.md", "x")
	last := r.record("third")
	shallow := &repository{t: t, work: filepath.Join(t.TempDir(), "clone")}
	shallow.run(r.work, "clone", "-q", "--depth=1", "file://"+r.work, shallow.work)
	got, err := SourceRevision(t.Context(), shallow.work, "app")
	require.NoError(t, err)
	assert.Equal(t, last, got.Commit)
	assert.True(t, got.Shallow)
}

// In a linked work tree, .git is a file.
func TestSourceRevisionInALinkedWorkTree(t *testing.T) {
	r := workTree(t)
	r.write("app/a.py", "a")
	commit := r.record("first")
	linked := filepath.Join(t.TempDir(), "linked")
	r.run(r.work, "worktree", "add", "-q", linked)
	got, err := SourceRevision(t.Context(), linked, "app")
	require.NoError(t, err)
	assert.Equal(t, commit, got.Commit)
	assert.False(t, got.Dirty)
}

// BenchmarkSourceRevision looks for an app that was last touched 1,000 commits ago among 2,000 files, beside git.
func BenchmarkSourceRevision(b *testing.B) {
	r := workTree(b)
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
	load.Dir, load.Stdin = r.work, strings.NewReader(stream.String())
	out, err := load.CombinedOutput()
	require.NoError(b, err, string(out))
	r.run(r.work, "reset", "-q", "--hard", "main")
	want := r.run(r.work, "log", "-1", "--format=%H", "--", "app0")
	b.Run("aksflow", func(b *testing.B) {
		for b.Loop() {
			got, err := SourceRevision(b.Context(), r.work, "app0")
			require.NoError(b, err)
			require.Equal(b, want, got.Commit)
		}
	})
	b.Run("git", func(b *testing.B) {
		for b.Loop() {
			r.run(r.work, "log", "-1", "--format=%H", "--", "app0")
			r.run(r.work, "status", "--porcelain", "--", "app0")
		}
	})
}
