package git_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/git"
	"github.com/aksflow/aksflow/internal/testing/gittest"
)

func TestDefaultBranch(t *testing.T) {
	r := gittest.WorkTree(t)
	r.Write("a", "a")
	r.Record("first")
	branch, err := git.DefaultBranch(r.Work)
	require.NoError(t, err)
	assert.Empty(t, branch, "it was not cloned")

	r.Run(r.Work, "symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/release/next")
	branch, err = git.DefaultBranch(r.Work)
	require.NoError(t, err)
	assert.Equal(t, "release/next", branch, "also where that branch was not fetched")

	branch, err = git.DefaultBranch(t.TempDir())
	require.NoError(t, err)
	assert.Empty(t, branch, "there is no repository")
}
