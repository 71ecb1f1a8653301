package cli

import (
	"bufio"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5"
	gitconfig "github.com/go-git/go-git/v5/config"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/azure/setup"
)

// What somebody has changed is replaced only when that is asked for.
func TestInitReplacesNothingUnasked(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "infra")
	files := []setup.File{{Name: "a.bicep", Content: "one\n"}, {Name: "b.bicep", Content: "two\n"}}
	require.NoError(t, writeNew(t.Context(), dir, files, false))
	require.NoError(t, writeNew(t.Context(), dir, files, false), "the same contents")

	changed := filepath.Join(dir, "b.bicep")
	require.NoError(t, os.WriteFile(changed, []byte("mine\n"), 0o644))
	files[0].Content = "new\n"
	read := func(name string) string {
		content, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		return string(content)
	}
	err := writeNew(t.Context(), dir, files[1:], false)
	require.ErrorContains(t, err, changed)
	require.Error(t, writeNew(t.Context(), dir, append([]setup.File{{Name: "c.bicep", Content: "three\n"}}, files...), false))
	assert.NoFileExists(t, filepath.Join(dir, "c.bicep"), "all or none")
	assert.Equal(t, []string{"one\n", "mine\n"}, []string{read("a.bicep"), read("b.bicep")})

	require.NoError(t, writeNew(t.Context(), dir, files, true))
	assert.Equal(t, []string{"new\n", "two\n"}, []string{read("a.bicep"), read("b.bicep")})
}

func TestGitHubRepository(t *testing.T) {
	t.Setenv("GITHUB_REPOSITORY", "o/r")
	t.Setenv("GITHUB_REPOSITORY_OWNER_ID", "")
	t.Setenv("GITHUB_REPOSITORY_ID", "")
	assert.Equal(t, "o/r", gitHubRepository())
	t.Setenv("GITHUB_REPOSITORY_OWNER_ID", "1")
	t.Setenv("GITHUB_REPOSITORY_ID", "2")
	assert.Equal(t, "o@1/r@2", gitHubRepository())
}

func TestRepositoryOnGitHub(t *testing.T) {
	for origin, want := range map[string]string{
		"git@github.com:team/vote.git": "team/vote", "https://github.com/team/vote": "team/vote",
		"https://x-access-token:t0ken@github.com/team/vote.git": "team/vote", "ssh://git@github.com/team/vote.git": "team/vote",
		"https://gitlab.com/team/vote.git": "", "https://github.com.example/team/vote": "", "/srv/git/vote.git": "",
	} {
		dir := t.TempDir()
		repo, err := git.PlainInit(dir, false)
		require.NoError(t, err)
		_, err = repo.CreateRemote(&gitconfig.RemoteConfig{Name: "origin", URLs: []string{origin}})
		require.NoError(t, err)
		assert.Equal(t, want, onGitHub(dir), origin)
	}
	assert.Empty(t, onGitHub(t.TempDir()))
}

// A wrong answer is asked for again.
func TestAskFor(t *testing.T) {
	stderr, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	require.NoError(t, err)
	defer stderr.Close()
	g := &globals{stderr: stderr}
	check := func(answer string) error {
		if answer == "wrong" {
			return errors.New("that is wrong")
		}
		return nil
	}
	for answers, want := range map[string]string{"wrong\nright\n": "right", "\n": "otherwise", "": "otherwise", "wrong": "otherwise", "right": "right"} {
		assert.Equal(t, want, g.askFor(bufio.NewReader(strings.NewReader(answers)), "What", "otherwise", check), "%q", answers)
	}
	text, err := os.ReadFile(stderr.Name())
	require.NoError(t, err)
	assert.Contains(t, string(text), "What [otherwise]: that is wrong\nWhat [otherwise]: ")
}
