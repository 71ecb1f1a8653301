package git

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/testing/gittest"
)

// branches is a repository with main and develop, after a release.
func branches(t *testing.T) *gittest.Repository {
	t.Helper()
	r := gittest.WorkTree(t)
	r.Write("a", "one\ntwo\nthree\n")
	r.Record("first")
	r.Run(r.Work, "branch", "develop")
	return r
}

// onBranch makes a commit on a new branch that starts at from.
func onBranch(r *gittest.Repository, from, name, file, content string) {
	r.Run(r.Work, "checkout", "-q", "-b", name, from)
	r.Write(file, content)
	r.Record("fix in " + file)
	r.Run(r.Work, "checkout", "-q", "main")
}

func TestNotMergedBack(t *testing.T) {
	merge := func(r *gittest.Repository, into, branch string, how ...string) {
		r.Run(r.Work, "checkout", "-q", into)
		r.Run(r.Work, append([]string{"merge", "-q", "--no-edit"}, append(how, branch)...)...)
		r.Run(r.Work, "checkout", "-q", "main")
	}
	squash := func(r *gittest.Repository, into, branch, message string) {
		r.Run(r.Work, "checkout", "-q", into)
		r.Run(r.Work, "merge", "-q", "--squash", branch)
		r.Record(message)
		r.Run(r.Work, "checkout", "-q", "main")
	}
	for name, tc := range map[string]struct {
		do   func(*gittest.Repository)
		want []string // branches
	}{
		"nothing new": {func(*gittest.Repository) {}, nil},
		"a hotfix that develop lacks": {func(r *gittest.Repository) {
			onBranch(r, "main", "hotfix/1.2.1", "a", "ONE\ntwo\nthree\n")
			merge(r, "main", "hotfix/1.2.1", "--no-ff")
		}, []string{"hotfix/1.2.1"}},
		"merged to both": {func(r *gittest.Repository) {
			onBranch(r, "main", "hotfix/1.2.1", "a", "ONE\ntwo\nthree\n")
			merge(r, "main", "hotfix/1.2.1", "--no-ff")
			merge(r, "develop", "hotfix/1.2.1", "--no-ff")
		}, nil},
		"main merged to develop": {func(r *gittest.Repository) {
			onBranch(r, "main", "hotfix/1.2.1", "a", "ONE\ntwo\nthree\n")
			merge(r, "main", "hotfix/1.2.1", "--no-ff")
			merge(r, "develop", "main", "--no-ff")
		}, nil},
		"squashed to both, develop having moved": {func(r *gittest.Repository) {
			onBranch(r, "main", "hotfix/1.2.1", "a", "ONE\ntwo\nthree\n")
			onBranch(r, "develop", "feature/x", "a", "one\ntwo\nthree\nfour\n")
			merge(r, "develop", "feature/x", "--no-ff")
			squash(r, "main", "hotfix/1.2.1", "fix one (#7)")
			squash(r, "develop", "hotfix/1.2.1", "the fix of one for develop (#8)")
		}, nil},
		"merged with a conflict, by a commit that names it": {func(r *gittest.Repository) {
			onBranch(r, "main", "hotfix/1.2.1", "a", "ONE\ntwo\nthree\n")
			squash(r, "main", "hotfix/1.2.1", "Merged PR 7: hotfix/1.2.1")
			onBranch(r, "develop", "x", "a", "uno\ntwo\nthree\n")
			squash(r, "develop", "x", "Merge branch 'hotfix/1.2.1' into develop")
		}, nil},
		"the last of three, where the second one brought the first": {func(r *gittest.Repository) {
			for _, file := range []string{"b", "c", "d"} {
				onBranch(r, "main", "hotfix/1.2."+file, file, file)
				merge(r, "main", "hotfix/1.2."+file, "--no-ff")
			}
			merge(r, "develop", "hotfix/1.2.c", "--no-ff")
		}, []string{"hotfix/1.2.d"}},
		"a commit to main": {func(r *gittest.Repository) {
			r.Write("a", "direct")
			r.Record("quick fix")
		}, []string{""}},
		"develop is ahead": {func(r *gittest.Repository) {
			onBranch(r, "develop", "feature/x", "b", "x")
			merge(r, "develop", "feature/x", "--no-ff")
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := branches(t)
			tc.do(r)
			missing, err := NotMergedBack(t.Context(), r.Work, "", "develop")
			require.NoError(t, err)
			var found []string
			for _, m := range missing {
				found = append(found, m.Branch)
				assert.Len(t, m.Commit, 40)
				assert.NotEmpty(t, m.Subject)
			}
			assert.Equal(t, tc.want, found)

			r.Run(r.Work, "checkout", "-q", "develop")
			again, err := NotMergedBack(t.Context(), r.Work, "refs/heads/main", "develop")
			require.NoError(t, err)
			assert.Equal(t, missing, again, "the git ref decides")
		})
	}
}

func TestNotMergedBackWithoutTheBranch(t *testing.T) {
	r := gittest.WorkTree(t)
	r.Write("a", "a")
	r.Record("first")
	missing, err := NotMergedBack(t.Context(), r.Work, "", "develop")
	require.NoError(t, err)
	assert.Empty(t, missing, "nothing is known")
	missing, err = NotMergedBack(t.Context(), t.TempDir(), "", "develop")
	require.NoError(t, err)
	assert.Empty(t, missing, "no repository")
}
