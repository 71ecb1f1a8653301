package git

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/testing/gittest"
)

// Git itself says which files and directories it ignores.
func TestIgnoredIsGitsOwn(t *testing.T) {
	r := gittest.WorkTree(t)
	r.Write(".gitignore", "node_modules/\n/build\n*.cache\n")
	r.Write("web/.gitignore", "dist\n!keep.cache\n")
	r.Write(".git/info/exclude", "private\n")
	ignored := Ignored(filepath.Join(r.Work, "web"))
	dirs := []string{
		"node_modules", "web/node_modules", "build", "web/build", "web/dist", "dist", "x.cache", "web/keep.cache", "private", "web/src",
	}
	for _, dir := range dirs {
		r.Write(dir+"/file", "")
	}
	want := strings.Split(r.Run(r.Work, "ls-files", "--others", "--ignored", "--exclude-standard", "--directory"), "\n")
	require.Contains(t, want, "web/dist/")
	for _, dir := range dirs {
		assert.Equal(t, slices.Contains(want, dir+"/"), ignored(filepath.Join(r.Work, dir), true), dir)
		file := dir + "/file"
		assert.Equal(t, r.Run(r.Work, "ls-files", "--others", "--ignored", "--exclude-standard", file) != "", ignored(filepath.Join(r.Work, file), false), file)
	}
	assert.True(t, ignored(filepath.Join(r.Work, "web/dist/new/file"), false), "it need not be there")
	assert.False(t, ignored(filepath.Join(r.Work, "web/new/file"), false))
	assert.False(t, ignored(filepath.Join(r.Work, "web"), true))
	outside := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(outside, "node_modules"), 0o755))
	assert.False(t, Ignored(outside)(filepath.Join(outside, "node_modules"), true))
	assert.False(t, ignored(outside, true))
}
