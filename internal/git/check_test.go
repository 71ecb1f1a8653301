package git_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/git"
	"github.com/aksflow/aksflow/internal/testing/gittest"
)

func TestCheckPush(t *testing.T) {
	server := gittest.NewServer(t)
	repo := server.Repo(t, "team/vote", map[string]string{"a.yaml": "a: b\n"})
	remote := git.Remote{URL: repo.URL, Access: delivery.GitAccess{Login: delivery.Login{Password: gittest.Token}}}
	assert.NoError(t, remote.CheckPush(t.Context(), "main"))
	assert.ErrorContains(t, remote.CheckPush(t.Context(), "nowhere"), "has no branch nowhere")

	remote.Access.Login = delivery.Login{Password: "wrong"}
	assert.ErrorContains(t, remote.CheckPush(t.Context(), "main"), "refuses the credentials")
}
