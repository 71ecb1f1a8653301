package dev

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// watching begins to watch a directory for a test.
func watching(t *testing.T, dir string, skip func(string) bool) *Watcher {
	t.Helper()
	w, err := Watch(t.Context(), func() ([]string, func(string) bool, error) { return []string{dir}, skip, nil })
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, w.Close()) })
	return w
}

// next waits for a save, and returns the names of its files below dir.
func next(t *testing.T, w *Watcher, dir string) []string {
	t.Helper()
	select {
	case save := <-w.Saves():
		names := []string{}
		for _, f := range save.Files {
			rel, err := filepath.Rel(dir, f)
			require.NoError(t, err)
			names = append(names, rel)
		}
		assert.False(t, save.Began.IsZero())
		return names
	case <-time.After(10 * time.Second):
		t.Fatal("no save was noticed")
		return nil
	}
}

func write(t *testing.T, name, content string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
	require.NoError(t, os.WriteFile(name, []byte(content), 0o644))
}

func TestWatch(t *testing.T) {
	for name, test := range map[string]struct {
		change func(t *testing.T, dir string)
		want   []string
	}{
		"a file is written": {func(t *testing.T, dir string) { write(t, filepath.Join(dir, "src/a"), "new") }, []string{"src/a"}},
		// As vim and many others save: a new file takes the old one's name.
		"a file is replaced": {func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "src/a.tmp"), "new")
			require.NoError(t, os.Rename(filepath.Join(dir, "src/a.tmp"), filepath.Join(dir, "src/a")))
		}, []string{"src/a", "src/a.tmp"}},
		"a file is removed": {func(t *testing.T, dir string) { require.NoError(t, os.Remove(filepath.Join(dir, "src/a"))) }, []string{"src/a"}},
		"a mode changes":    {func(t *testing.T, dir string) { require.NoError(t, os.Chmod(filepath.Join(dir, "src/a"), 0o755)) }, []string{"src/a"}},
		"many at once are one save": {func(t *testing.T, dir string) {
			for _, name := range []string{"b", "src/b", "src/a"} {
				write(t, filepath.Join(dir, name), "new")
			}
		}, []string{"b", "src/a", "src/b"}},
		"a tree moves in": {func(t *testing.T, dir string) {
			outside := t.TempDir()
			write(t, filepath.Join(outside, "deep/er/c"), "new")
			require.NoError(t, os.Rename(filepath.Join(outside, "deep"), filepath.Join(dir, "deep")))
		}, []string{"deep", "deep/er/c"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			write(t, filepath.Join(dir, "src/a"), "old")
			w := watching(t, dir, nil)
			test.change(t, dir)
			assert.Equal(t, test.want, next(t, w, dir))
		})
	}
}

// A directory that comes later is watched as those before.
func TestWatchFollowsNewDirectories(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := watching(t, dir, nil)
	write(t, filepath.Join(dir, "new/er/a"), "1")
	assert.Contains(t, next(t, w, dir), "new")
	write(t, filepath.Join(dir, "new/er/a"), "2")
	assert.Equal(t, []string{"new/er/a"}, next(t, w, dir))
}

// What is skipped is not watched, and neither is .git: what is written there is followed by no save, which is seen by the
// next save being the only one.
func TestWatchSkips(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{".git/index", "node_modules/x/y", "src/a"} {
		write(t, filepath.Join(dir, name), "old")
	}
	w := watching(t, dir, func(name string) bool { return filepath.Base(name) == "node_modules" })
	write(t, filepath.Join(dir, ".git/index"), "new")
	write(t, filepath.Join(dir, "node_modules/x/y"), "new")
	write(t, filepath.Join(dir, "later/node_modules/x"), "new")
	write(t, filepath.Join(dir, "src/a"), "new")
	assert.Equal(t, []string{"later", "src/a"}, next(t, w, dir))
}

func TestJoin(t *testing.T) {
	t.Parallel()
	early, late := time.Unix(1, 0), time.Unix(2, 0)
	a, b := Save{Began: early, Files: []string{"b", "c"}}, Save{Began: late, Files: []string{"a", "b"}}
	assert.Equal(t, Save{Began: early, Files: []string{"a", "b", "c"}}, a.join(b))
	assert.Equal(t, b, Save{}.join(b))
	assert.Equal(t, Save{Began: early}, a.join(Save{Began: late}), "what changed is not known any more")
}

// What a file such as .dockerignore left out is watched when it does not leave it out any more.
func TestWatchFollowsWhatIsLeftOut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "data/a"), "old")
	write(t, filepath.Join(dir, ".dockerignore"), "data")
	w, err := Watch(t.Context(), func() ([]string, func(string) bool, error) {
		text, err := os.ReadFile(filepath.Join(dir, ".dockerignore"))
		return []string{dir}, func(name string) bool { return filepath.Base(name) == string(text) }, err
	})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, w.Close()) })
	write(t, filepath.Join(dir, "data/a"), "unseen")
	write(t, filepath.Join(dir, ".dockerignore"), "")
	assert.Equal(t, []string{".dockerignore"}, next(t, w, dir))
	write(t, filepath.Join(dir, "data/a"), "new")
	assert.Equal(t, []string{"data/a"}, next(t, w, dir))
}

// A directory that goes and comes back, as on a branch that does not have it, is watched as before.
func TestWatchFindsADirectoryThatComesBack(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "app")
	write(t, filepath.Join(dir, "a"), "old")
	w := watching(t, dir, nil)
	require.NoError(t, os.RemoveAll(dir))
	assert.NotEmpty(t, next(t, w, dir))
	write(t, filepath.Join(dir, "a"), "back")
	assert.Empty(t, next(t, w, dir), "anything may have changed")
	write(t, filepath.Join(dir, "a"), "new")
	assert.Equal(t, []string{"a"}, next(t, w, dir))
}
