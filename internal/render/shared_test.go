package render_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/render"
)

// filesBeside are kustomizations that use files outside of their own directories, each in another way.
const filesBeside = `
-- repository/shared/settings.env --
COLOR=red
-- repository/shared/app.conf --
x = 1
-- repository/shared/patch.yaml --
- {op: add, path: /data/patched, value: "yes"}
-- repository/shared/map.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: holder}
data: {}
-- repository/resource/kustomization.yaml --
resources: [../shared/map.yaml]
-- repository/patch/kustomization.yaml --
resources: [map.yaml]
patches: [{path: ../shared/patch.yaml, target: {kind: ConfigMap}}]
-- repository/patch/map.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: own}
data: {}
-- repository/files/kustomization.yaml --
configMapGenerator: [{name: c, files: [../shared/app.conf]}]
-- repository/envs/kustomization.yaml --
configMapGenerator: [{name: c, envs: [../shared/settings.env]}]
-- repository/base/kustomization.yaml --
resources: [../resource]
-- repository/away/kustomization.yaml --
resources: [../../secret.yaml]
-- repository/away-files/kustomization.yaml --
configMapGenerator: [{name: c, files: [key=../../secret.yaml]}]
-- repository/away-patch/kustomization.yaml --
resources: [map.yaml]
patches: [{path: ../../secret.yaml}]
-- repository/away-patch/map.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: own}
-- secret.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: own}
`

// Files beside a kustomization are used as whoever applies it allows: Flux those of the repository, others none.
func TestFilesBesideTheKustomization(t *testing.T) {
	dir := unpack(t, filesBeside)
	repository := filepath.Join(dir, "repository")
	for _, name := range []string{"resource", "patch", "files", "envs", "base"} {
		_, err := render.Render(t.Context(), filepath.Join(repository, name), render.Options{})
		require.ErrorContains(t, err, "is not in or below", name)
		assert.ErrorContains(t, err, "../shared/", name)
		assert.ErrorContains(t, err, ": move it there, or give it a directory with a kustomization.yaml of its own and name that", name)
		objects, err := render.Render(t.Context(), filepath.Join(repository, name), render.Options{Repository: repository})
		require.NoError(t, err, name)
		assert.Len(t, objects, 1, name)
	}
	for _, name := range []string{"away", "away-files", "away-patch"} {
		at := filepath.Join(repository, name)
		_, err := render.Render(t.Context(), at, render.Options{Repository: repository})
		require.ErrorContains(t, err, filepath.Join(at, "kustomization.yaml")+":", name)
		require.ErrorContains(t, err, "which is not in the repository "+repository+": copy it there", name)
		_, err = render.Render(t.Context(), at, render.Options{})
		require.Error(t, err, name)
	}
	require.NoError(t, os.Remove(filepath.Join(repository, "shared/app.conf")))
	_, err := render.Render(t.Context(), filepath.Join(repository, "files"), render.Options{Repository: repository})
	require.ErrorContains(t, err, "there is no such file")
}
