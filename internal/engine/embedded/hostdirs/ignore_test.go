package hostdirs

import (
	"context"
	"io/fs"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tonistiigi/fsutil"

	"github.com/aksflow/aksflow/internal/core/build/files"
)

// TestKeysSeeTheFilesThatAreSent compares the files that build keys are made of with those that BuildKit gets, for patterns of
// .dockerignore in any order: a file that is only sent would be missing in the key.
func TestKeysSeeTheFilesThatAreSent(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"a/b/c", "a/c", "b/a", "c"} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	for _, file := range []string{"f", "a/f", "a/b/f", "a/b/c/f", "a/c/f", "a/b/g.md", "b/a/f", "b/g.md", "c/f"} {
		require.NoError(t, os.WriteFile(filepath.Join(root, file), nil, 0o644))
	}
	require.NoError(t, os.WriteFile(filepath.Join(root, ".dockerignore"), nil, 0o644))
	check := func(patterns []string) {
		t.Helper()
		require.NoError(t, os.WriteFile(filepath.Join(root, ".dockerignore"), []byte(strings.Join(patterns, "\n")), 0o644))
		var ofKey []string
		require.NoError(t, files.WalkVisible(root, "Dockerfile", func(name string, d fs.DirEntry) error {
			if !d.IsDir() {
				ofKey = append(ofKey, name)
			}
			return nil
		}))
		assert.ElementsMatch(t, sent(t, root, patterns), ofKey, "%q", patterns)
	}
	check([]string{"a", "!a/b", "a"})
	check([]string{"a/b", "!a"})
	check([]string{"**/*.md", "!a/b"})
	words := []string{"a", "b", "a/b", "**/b", "b/*", "*", "**", "a/**", "*/c", "**/*.md", "a/b/c/f", "f"}
	random := rand.New(rand.NewSource(1))
	for range 500 {
		var patterns []string
		for range 1 + random.Intn(4) {
			patterns = append(patterns, strings.Repeat("!", random.Intn(2))+words[random.Intn(len(words))])
		}
		check(slices.Clone(patterns))
		if t.Failed() {
			return
		}
	}
}

// sent lists the files of a directory that a session sends without those that patterns match.
func sent(t *testing.T, root string, patterns []string) (names []string) {
	dir, err := fsutil.NewFS(root)
	require.NoError(t, err)
	dir, err = fsutil.NewFilterFS(dir, &fsutil.FilterOpt{ExcludePatterns: patterns})
	require.NoError(t, err)
	require.NoError(t, dir.Walk(context.Background(), "", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, name)
		}
		return err
	}))
	return names
}
