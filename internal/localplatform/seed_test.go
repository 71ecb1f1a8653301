package localplatform

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSeed(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	source := t.TempDir()
	for name, content := range map[string]string{"a.yaml": "a: 1\n", ".gitignore": "out\n", "out": "no"} {
		require.NoError(t, os.WriteFile(filepath.Join(source, name), []byte(content), 0o644))
	}
	info := &Info{State: t.TempDir()}
	first, err := info.Seed(t.Context(), "team/app", "main", source)
	require.NoError(t, err)
	repository := filepath.Join(State(info.State).Repositories(), "team", "app.git")
	files, err := exec.CommandContext(t.Context(), "git", "--git-dir="+repository, "ls-tree", "--name-only", "main").Output()
	require.NoError(t, err)
	assert.Equal(t, ".gitignore\na.yaml\n", string(files))

	require.NoError(t, os.WriteFile(filepath.Join(source, "b.yaml"), nil, 0o644))
	second, err := info.Seed(t.Context(), "team/app", "main", source)
	require.NoError(t, err)
	assert.Equal(t, first, second, "a branch that exists stays as it is")
	other, err := info.Seed(t.Context(), "team/app", "next", source)
	require.NoError(t, err)
	assert.NotEqual(t, first, other)
}

func TestRepositoryNames(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"", ".", "..", "../x", "/x", "x/", "x//y", "x/../y", ".hidden", "x.git", "a b", "-x"} {
		_, err := createRepository(t.Context(), root, name)
		assert.Error(t, err, name)
	}
}
