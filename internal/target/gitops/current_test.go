package gitops

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/testing/gittest"
)

func TestCurrent(t *testing.T) {
	r := voteRepo(t)
	o := options(r, "shop/vote:2@"+gittest.Digest(2))
	env := &delivery.Environment{Repository: "shop/vote", Git: o.Remote.Access}
	env.GitOps.Repo, env.GitOps.Branch, env.GitOps.Path = o.Remote.URL, o.Branch, o.Path
	now, err := Target{}.Current(t.Context(), env)
	require.NoError(t, err)
	assert.Empty(t, now.Image, "a tag alone says nothing")

	o.SourceRevision = "0123456789abcdef"
	_, err = Bump(t.Context(), o)
	require.NoError(t, err)
	since := r.Run(r.Bare, "log", "-1", "--format=%cI", "main")
	r.Pull()
	r.Commit("something else", map[string]string{"README.md": "x"})
	now, err = Target{}.Current(t.Context(), env)
	require.NoError(t, err)
	assert.Equal(t, "shop/vote:2@"+gittest.Digest(2), now.Image)
	assert.Equal(t, "0123456789abcdef", now.Source)
	assert.Equal(t, since, now.Since.Format("2006-01-02T15:04:05-07:00"), "when it was set, not when the branch moved")

	r.Pull()
	r.Commit("half of it", map[string]string{o.Path + "/more.yaml": gittest.Deployment("more", "shop/vote@"+gittest.Digest(3))})
	_, err = Target{}.Current(t.Context(), env)
	assert.ErrorContains(t, err, "has two images: ")

	env.GitOps.Branch = "none"
	_, err = Target{}.Current(t.Context(), env)
	assert.ErrorContains(t, err, "has no branch none")
}
