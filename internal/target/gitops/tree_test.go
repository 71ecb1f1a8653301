package gitops

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/manifest"
	"github.com/aksflow/aksflow/internal/testing/gittest"
)

const fieldImage = "acme.azurecr.io/shop/web@sha256:abababababababababababababababababababababababababababababababab"

// link makes a symbolic link in the work tree.
func link(t *testing.T, r *gittest.Repository, target, name string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(r.Work, name)), 0o755))
	require.NoError(t, os.Symlink(target, filepath.Join(r.Work, name)))
}

func fieldOptions(r *gittest.Repository, path string) BumpOptions {
	return BumpOptions{Remote: remote(r), Branch: "main", Path: path, Target: manifest.Target{Image: fieldImage}}
}

func TestSymbolicLinksInAPath(t *testing.T) {
	manifestBefore := gittest.Deployment("web", "acme.azurecr.io/shop/web:1")
	for name, c := range map[string]struct{ path, file string }{
		"last element":        {"apps/current", "apps/v2/k/d.yaml"},
		"element in between":  {"apps/current/k", "apps/v2/k/d.yaml"},
		"link to a link":      {"live/k", "apps/v2/k/d.yaml"},
		"link beside a file":  {"apps/current/k/d.yaml", "apps/v2/k/d.yaml"},
		"link in a directory": {"apps/v2/again/k", "apps/v2/k/d.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			r := gittest.NewServer(t).Repo(t, "config", map[string]string{"apps/v2/k/d.yaml": manifestBefore})
			link(t, r, "v2", "apps/current")
			link(t, r, "apps/current", "live")
			link(t, r, "../v2", "apps/v2/again")
			r.Commit("links", nil)
			result, err := Bump(t.Context(), fieldOptions(r, c.path))
			require.NoError(t, err)
			assert.Equal(t, c.file, result.Changes[0].File)
			assert.Contains(t, r.Show("main", c.file), fieldImage)
			assert.Equal(t, c.file, r.Run(r.Bare, "diff", "--name-only", "main~", "main"))
		})
	}
	r := gittest.NewServer(t).Repo(t, "config", map[string]string{"apps/v2/k/d.yaml": manifestBefore})
	link(t, r, "../../outside", "apps/out")
	link(t, r, "b", "apps/a")
	link(t, r, "a", "apps/b")
	r.Commit("links", nil)
	_, err := Bump(t.Context(), fieldOptions(r, "apps/out/k"))
	require.ErrorContains(t, err, "apps/out is a symbolic link that leaves the repository (to ../../outside)")
	_, err = Bump(t.Context(), fieldOptions(r, "apps/a/k"))
	require.ErrorContains(t, err, "is a symbolic link that leads in a circle")
}

func TestSubmodulesAreNamed(t *testing.T) {
	r := gittest.NewServer(t).Repo(t, "config", map[string]string{
		"o/kustomization.yaml": "resources:\n- ../vendor/base\n", "p/d.yaml": gittest.Deployment("web", "acme.azurecr.io/shop/web:1"),
	})
	r.Run(r.Work, "update-index", "--add", "--cacheinfo", "160000,"+strings.Repeat("a", 40)+",vendor")
	r.Run(r.Work, "commit", "-q", "-m", "submodule")
	r.Run(r.Work, "push", "-q", "origin", "HEAD:main")
	for _, path := range []string{"o", "vendor", "vendor/base"} {
		_, err := Bump(t.Context(), fieldOptions(r, path))
		require.ErrorContains(t, err, "vendor is a git submodule", path)
	}
	_, err := Bump(t.Context(), fieldOptions(r, "p"))
	require.NoError(t, err, "a submodule elsewhere is no obstacle")
}

func TestLFSPointersAreNamed(t *testing.T) {
	pointer := "version https://git-lfs.github.com/spec/v1\noid sha256:" + strings.Repeat("0c", 32) + "\nsize 1234\n"
	r := gittest.NewServer(t).Repo(t, "config", map[string]string{
		"k/d.yaml": pointer, "p/d.yaml": gittest.Deployment("web", "acme.azurecr.io/shop/web:1"), "p/logo.png": pointer,
	})
	_, err := Bump(t.Context(), fieldOptions(r, "k"))
	require.ErrorContains(t, err, "k/d.yaml is a Git LFS pointer")
	_, err = Bump(t.Context(), fieldOptions(r, "p"))
	require.NoError(t, err, "an image in LFS is no manifest")
}

func TestBranchAsCISystemsNameIt(t *testing.T) {
	r := voteRepo(t)
	o := options(r, "shop/vote:2")
	o.Branch = "refs/heads/main"
	result, err := Bump(t.Context(), o)
	require.NoError(t, err)
	assert.Equal(t, "main", result.Branch)
	o.Target.Image, o.Branch = "shop/vote:3", "refs/tags/v1"
	_, err = Bump(t.Context(), o)
	require.ErrorContains(t, err, "refs/tags/v1 is not a branch")
}
