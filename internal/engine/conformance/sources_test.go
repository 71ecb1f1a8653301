package conformance

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"dagger.io/dagger"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/testing/gittest"
)

// sources judges what comes from git and web servers. These run on 127.0.0.1, where the engine must reach them.
func (r *rig) sources(t *testing.T) {
	t.Run("Git", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		repo := gittest.NewServer(t).Repo(t, "app", map[string]string{"file": "first\n"})
		first := repo.Run(repo.Work, "rev-parse", "HEAD")
		repo.Run(repo.Work, "tag", "-a", "-m", "a release", "v1.0.0")
		repo.Run(repo.Work, "push", "-q", "origin", "v1.0.0")
		second := repo.Commit("second", map[string]string{"file": "second\n", "sub/other": ""})
		remote := r.Client.Git(repo.URL, dagger.GitOpts{HTTPAuthToken: r.SetSecret("git", gittest.Token)})
		for name, test := range map[string]struct {
			ref          *dagger.GitRef
			commit, text string
		}{
			"head":   {remote.Head(), second, "second\n"},
			"branch": {remote.Branch("main"), second, "second\n"},
			"tag":    {remote.Tag("v1.0.0"), first, "first\n"},
			"commit": {remote.Commit(first), first, "first\n"},
			"ref":    {remote.Ref("refs/heads/main"), second, "second\n"},
		} {
			commit, err := test.ref.Commit(ctx)
			require.NoError(t, err, name)
			assert.Equal(t, test.commit, commit, name)
			text, err := test.ref.Tree().File("file").Contents(ctx)
			require.NoError(t, err, name)
			assert.Equal(t, test.text, text, name)
		}
		ref, err := remote.Tag("v1.0.0").Ref(ctx)
		require.NoError(t, err)
		assert.Equal(t, "refs/tags/v1.0.0", ref)
		kept, err := remote.Head().Tree().Exists(ctx, ".git")
		require.NoError(t, err)
		assert.True(t, kept)
		entries, err := remote.Head().Tree(dagger.GitRefTreeOpts{DiscardGitDir: true}).Entries(ctx)
		require.NoError(t, err)
		assert.Equal(t, []string{"file", "sub/"}, entries)
		_, err = remote.Branch("no-such-branch").Tree().Entries(ctx)
		assert.ErrorContains(t, err, "no-such-branch")
		_, err = remote.Commit("main").Tree().Entries(ctx)
		assert.ErrorContains(t, err, "invalid commit SHA")
	})

	t.Run("GitCredentials", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		repo := gittest.NewServer(t).Repo(t, "app", map[string]string{"file": "text"})
		const wrong = "battery-staple"
		_, err := r.Client.Git(repo.URL, dagger.GitOpts{HTTPAuthToken: r.SetSecret("wrong", wrong)}).Head().Commit(ctx)
		require.Error(t, err)
		assert.NotContains(t, err.Error(), wrong)
	})

	t.Run("HTTP", func(t *testing.T) {
		t.Parallel()
		ctx := within(t)
		text := nonce()
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			switch {
			case q.URL.Path == "/private/file" && q.Header.Get("Authorization") != "Bearer correct-horse":
				http.Error(w, "who are you?", http.StatusUnauthorized)
			case strings.HasSuffix(q.URL.Path, "/file"):
				_, _ = w.Write([]byte(text))
			default:
				http.NotFound(w, q)
			}
		}))
		t.Cleanup(server.Close)
		file := r.Client.HTTP(server.URL + "/some/file?query=1")
		got, err := file.Contents(ctx)
		require.NoError(t, err)
		assert.Equal(t, text, got)
		name, err := file.Name(ctx)
		require.NoError(t, err)
		assert.Equal(t, "file", name)
		out, err := r.base().WithFile("/tool", r.Client.HTTP(server.URL+"/file", dagger.HTTPOpts{Name: "tool", Permissions: 0o755})).
			WithExec(bash("stat -c %a /tool")).Stdout(ctx)
		require.NoError(t, err)
		assert.Equal(t, "755\n", out)
		got, err = r.Client.HTTP(server.URL+"/private/file", dagger.HTTPOpts{AuthHeader: r.SetSecret("header", "Bearer correct-horse")}).Contents(ctx)
		require.NoError(t, err)
		assert.Equal(t, text, got)
		sum := sha256.Sum256([]byte(text))
		got, err = r.Client.HTTP(server.URL+"/checked/file", dagger.HTTPOpts{Checksum: "sha256:" + hex.EncodeToString(sum[:])}).Contents(ctx)
		require.NoError(t, err)
		assert.Equal(t, text, got)
		_, err = r.Client.HTTP(server.URL+"/other/file", dagger.HTTPOpts{Checksum: "sha256:" + strings.Repeat("0", 64)}).Contents(ctx)
		assert.Error(t, err)
		_, err = r.Client.HTTP(server.URL + "/none").Contents(ctx)
		assert.ErrorContains(t, err, "404")
	})
}
