package files_test

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/build/files"
)

// tree makes a directory with files of these modes; their content is their name.
func tree(t *testing.T, entries map[string]fs.FileMode) string {
	t.Helper()
	root := t.TempDir()
	for name, mode := range entries {
		path := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(name), 0o600))
		require.NoError(t, os.Chmod(path, mode))
	}
	return root
}

func listed(t *testing.T, root, dockerfile string) (names []string) {
	t.Helper()
	require.NoError(t, files.Walk(root, dockerfile, func(name string, d fs.DirEntry) error {
		if !d.IsDir() {
			names = append(names, name)
		}
		return nil
	}))
	return names
}

func TestWalk(t *testing.T) {
	root := tree(t, map[string]fs.FileMode{"Dockerfile": 0o644, "a": 0o644, "node_modules/x": 0o644, "b/keep": 0o644, "b/c": 0o644, "deploy/Dockerfile": 0o644, "deploy/d": 0o644})
	assert.Equal(t, []string{"Dockerfile", "a", "b/c", "b/keep", "deploy/Dockerfile", "deploy/d", "node_modules/x"}, listed(t, root, "Dockerfile"))

	ignore := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(root, name), []byte(text), 0o644))
	}
	ignore(".dockerignore", "node_modules\nDockerfile\n.dockerignore\nb\n!b/keep\ndeploy/d\n")
	assert.Equal(t, []string{".dockerignore", "Dockerfile", "a", "b/keep", "deploy/Dockerfile"}, listed(t, root, "Dockerfile"))

	ignore("deploy/Dockerfile.dockerignore", "*\n")
	assert.Equal(t, []string{"deploy/Dockerfile", "deploy/Dockerfile.dockerignore"}, listed(t, root, "deploy/Dockerfile"))
}

func TestCanonicalIsTheContextItself(t *testing.T) {
	root := tree(t, map[string]fs.FileMode{"Dockerfile": 0o644, "run": 0o755, "ignored": 0o600, "d/e": 0o644})
	require.NoError(t, os.Chmod(root, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(root, ".dockerignore"), []byte("ignored"), 0o644))
	dir, done, err := files.Canonical(t.Context(), root, "Dockerfile")
	require.NoError(t, err)
	assert.Equal(t, root, dir)
	require.NoError(t, done())
	assert.FileExists(t, filepath.Join(root, "run"))
}

func TestCanonicalCopiesAnotherUmask(t *testing.T) {
	root := tree(t, map[string]fs.FileMode{"Dockerfile": 0o664, "run": 0o700, "ignored": 0o600, "d/e": 0o600})
	require.NoError(t, os.Chmod(filepath.Join(root, "d"), 0o2770))
	require.NoError(t, os.Symlink("d/e", filepath.Join(root, "link")))
	require.NoError(t, os.WriteFile(filepath.Join(root, ".dockerignore"), []byte("ignored"), 0o664))
	dir, done, err := files.Canonical(t.Context(), root, "Dockerfile")
	require.NoError(t, err)
	modes := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		info, infoErr := os.Lstat(path)
		require.NoError(t, infoErr)
		name, _ := filepath.Rel(dir, path)
		modes[name] = info.Mode().String()
		return err
	}))
	delete(modes, ".")
	assert.Equal(t, map[string]string{
		".dockerignore": "-rw-r--r--", "Dockerfile": "-rw-r--r--", "run": "-rwxr-xr-x", "d": "drwxr-xr-x", "d/e": "-rw-r--r--", "link": "Lrwxrwxrwx",
	}, modes)
	content, err := os.ReadFile(filepath.Join(dir, "link"))
	require.NoError(t, err)
	assert.Equal(t, "d/e", string(content))
	require.NoError(t, done())
	assert.NoDirExists(t, dir)
	assert.FileExists(t, filepath.Join(root, "ignored"))
}

func TestCanonicalHasNoSockets(t *testing.T) {
	root := tree(t, map[string]fs.FileMode{"Dockerfile": 0o644})
	listener, err := net.Listen("unix", filepath.Join(root, "agent.sock"))
	require.NoError(t, err)
	defer listener.Close()
	dir, done, err := files.Canonical(t.Context(), root, "Dockerfile")
	require.NoError(t, err)
	assert.FileExists(t, filepath.Join(dir, "Dockerfile"))
	_, err = os.Lstat(filepath.Join(dir, "agent.sock"))
	assert.ErrorIs(t, err, fs.ErrNotExist, "an engine would make a file of it")
	require.NoError(t, done())
	assert.FileExists(t, filepath.Join(root, "Dockerfile"))
}

func TestHidden(t *testing.T) {
	root := tree(t, map[string]fs.FileMode{"Dockerfile": 0o644})
	hidden := func(ignore string) (out []string) {
		require.NoError(t, os.WriteFile(filepath.Join(root, ".dockerignore"), []byte(ignore), 0o644))
		is, err := files.Hidden(root, "deploy/Dockerfile")
		require.NoError(t, err)
		for _, dir := range []string{"app", "app/src", "deploy", "node_modules", "node_modules/x"} {
			if is(dir) {
				out = append(out, dir)
			}
		}
		return out
	}
	assert.Empty(t, hidden(""))
	assert.Equal(t, []string{"node_modules", "node_modules/x"}, hidden("node_modules\n"))
	assert.Equal(t, []string{"node_modules", "node_modules/x"}, hidden("*\n!app\n"), "the Dockerfile is seen")
	assert.Equal(t, []string{"node_modules", "node_modules/x"}, hidden("*\n!app/src/*.py\n"))
	assert.Equal(t, []string{"app", "app/src", "node_modules/x"}, hidden("*\n!node_modules/keep\n"))
	assert.Empty(t, hidden("*\n!**/*.py\n"))
}
