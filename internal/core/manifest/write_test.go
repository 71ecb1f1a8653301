package manifest

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const pod = "apiVersion: v1\nkind: Pod\nspec: {containers: [{image: shop/vote:1}]}\n"

// tree writes files into a directory that is a git work tree's root; a content that begins with -> is a link.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(root, ".git"), 0o755))
	for name, content := range files {
		full := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(full), 0o755))
		if len(content) > 2 && content[:2] == "->" {
			require.NoError(t, os.Symlink(content[2:], full))
			continue
		}
		require.NoError(t, os.WriteFile(full, []byte(content), 0o644))
	}
	return root
}

func TestWriteKeepsModeAndLeavesNothing(t *testing.T) {
	root := tree(t, map[string]string{"env/pod.yaml": pod, "env/other.yaml": pod, "env/notes.txt": "shop/vote:1"})
	require.NoError(t, os.Chmod(filepath.Join(root, "env/pod.yaml"), 0o750))
	edit, err := SetDir(t.Context(), filepath.Join(root, "env"), Target{Image: "shop/vote:2"}, Options{})
	require.NoError(t, err)
	assert.Equal(t, []Change{{File: "other.yaml", Line: 3, From: "shop/vote:1", To: "shop/vote:2"}, {File: "pod.yaml", Line: 3, From: "shop/vote:1", To: "shop/vote:2"}}, edit.Changes)
	info, err := os.Stat(filepath.Join(root, "env/pod.yaml"))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o750), info.Mode())
	entries, err := os.ReadDir(filepath.Join(root, "env"))
	require.NoError(t, err)
	assert.Len(t, entries, 3, "no temporary file is left")
}

func TestOneFile(t *testing.T) {
	root := tree(t, map[string]string{"env/pod.yaml": pod, "env/other.yaml": pod})
	edit, err := SetDir(t.Context(), filepath.Join(root, "env/pod.yaml"), Target{Image: "shop/vote:2"}, Options{})
	require.NoError(t, err)
	assert.Equal(t, []Change{{File: "pod.yaml", Line: 3, From: "shop/vote:1", To: "shop/vote:2"}}, edit.Changes)
	other, err := os.ReadFile(filepath.Join(root, "env/other.yaml"))
	require.NoError(t, err)
	assert.Equal(t, pod, string(other))
}

func TestNothingIsWrittenWhenOneFileCannotBe(t *testing.T) {
	if runtime.GOOS != "linux" || os.Getuid() != 0 {
		root := tree(t, map[string]string{"a/pod.yaml": pod, "b/pod.yaml": pod})
		require.NoError(t, os.Chmod(filepath.Join(root, "b"), 0o500))
		_, err := SetDir(t.Context(), root, Target{Image: "shop/vote:2"}, Options{})
		require.ErrorContains(t, err, "cannot write b/pod.yaml: permission denied")
		content, err := os.ReadFile(filepath.Join(root, "a/pod.yaml"))
		require.NoError(t, err)
		assert.Equal(t, pod, string(content))
		return
	}
	t.Skip("root may write everywhere")
}

func TestLinks(t *testing.T) {
	target := Target{Image: "shop/vote:2"}
	outside := filepath.Join(t.TempDir(), "pod.yaml")
	require.NoError(t, os.WriteFile(outside, []byte(pod), 0o644))
	for _, c := range []struct {
		name, path string
		files      map[string]string
		want       string // of the error; none means that env/pod.yaml is set
	}{
		{"to a file in the directory", "env", map[string]string{"env/pod.yaml": pod, "env/again.yaml": "->pod.yaml"}, ""},
		{"to a directory in the directory", "env", map[string]string{"env/pod.yaml": pod, "env/deeper/x.txt": "", "env/again": "->deeper"}, ""},
		{"dangling", "env", map[string]string{"env/pod.yaml": pod, "env/again.yaml": "->nowhere.yaml"}, ""},
		{"the directory itself", "link", map[string]string{"env/pod.yaml": pod, "link": "->env"}, ""},
		{"to a shared file", "env", map[string]string{"base/pod.yaml": pod, "env/pod.yaml": "->../base/pod.yaml"}, "the image stands in ../base/pod.yaml, to which pod.yaml is a link: bump ../base"},
		{"out of the repository", "env", map[string]string{"env/pod.yaml": "->" + outside}, "pod.yaml is a symbolic link that leaves the repository"},
		{"out by steps", "env", map[string]string{"env/pod.yaml": pod, "env/a.yaml": "->b.yaml", "env/b.yaml": "->../../x.yaml"}, "is a symbolic link that leaves the repository"},
		{"out to a directory", "env", map[string]string{"env/pod.yaml": pod, "env/d": "->/etc"}, "d is a symbolic link that leaves the repository (to /etc)"},
		{"in a circle", "env", map[string]string{"env/pod.yaml": pod, "env/a.yaml": "->b.yaml", "env/b.yaml": "->a.yaml"}, "leads in a circle"},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := tree(t, c.files)
			_, err := SetDir(t.Context(), filepath.Join(root, c.path), target, Options{})
			if c.want == "" {
				require.NoError(t, err)
				content, err := os.ReadFile(filepath.Join(root, "env/pod.yaml"))
				require.NoError(t, err)
				assert.Contains(t, string(content), "shop/vote:2")
			} else {
				require.ErrorContains(t, err, c.want)
			}
			content, err := os.ReadFile(outside)
			require.NoError(t, err)
			assert.Equal(t, pod, string(content))
		})
	}
}

// Without a git work tree nobody knows how far the repository reaches: what is not below the directory is not looked for, which
// would be the whole file system.
func TestOnlyARepositoryIsSearched(t *testing.T) {
	for _, known := range []bool{true, false} {
		root := tree(t, map[string]string{
			"base/pod.yaml":              "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{image: shop/vote:1}]}\n",
			"base/kustomization.yaml":    "resources: [pod.yaml]\n",
			"overlay/kustomization.yaml": "resources: [../base]\nimages: [{name: shop/vote, newTag: '3'}]\n",
		})
		if !known {
			require.NoError(t, os.Remove(filepath.Join(root, ".git")))
		}
		below, err := filepath.Rel("/", root)
		require.NoError(t, err)
		build := func(ctx context.Context, fsys fs.FS, dir string) ([]byte, error) {
			if known {
				return testBuild(ctx, fsys, dir)
			}
			fsys, err := fs.Sub(fsys, below) // else the whole file system is copied
			require.NoError(t, err)
			return testBuild(ctx, fsys, strings.TrimPrefix(dir, below+"/"))
		}
		edit, err := SetDir(t.Context(), filepath.Join(root, "base"), Target{Image: "shop/vote:2"}, Options{Build: build})
		require.NoError(t, err)
		require.Len(t, edit.Changes, 1)
		if known {
			require.Len(t, edit.Unverified, 1)
			assert.Contains(t, edit.Unverified[0].Reason, "it uses an edited file, is outside of the path that is bumped")
		} else {
			assert.Empty(t, edit.Unverified)
		}
	}
}
