package manifest

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

var builtImage = regexp.MustCompile(`(?m)^\s*-? ?image: (.*)$`)

// build is what kustomize makes of a directory.
func build(t *testing.T, dir string) string {
	t.Helper()
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	require.NoError(t, err)
	out, err := built.AsYaml()
	require.NoError(t, err)
	return string(out)
}

// TestOverlaysBuild bumps one environment and asks kustomize itself: that environment runs the image, and the other one
// is what it was, file by file.
func TestOverlaysBuild(t *testing.T) {
	workload := func(image string) string {
		return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: vote}
spec:
  selector: {matchLabels: {app: vote}}
  template:
    metadata: {labels: {app: vote}}
    spec: {containers: [{name: vote, image: %q}, {name: cache, image: "redis:8"}]}
`, image)
	}
	const other = "resources: [../../base]\nnamePrefix: prod-\n"
	for _, c := range []struct {
		name    string
		files   map[string]string // the base, when it is not the usual one, and the overlay dev
		replace []string
	}{
		{"base alone", map[string]string{"overlays/dev/kustomization.yaml": "resources:\n- ../../base\n"}, nil},
		{"entry with a tag", map[string]string{"overlays/dev/kustomization.yaml": "resources: [../../base]\nimages:\n- name: shop/vote\n  newTag: '2'\n"}, nil},
		{"entry with a digest", map[string]string{"overlays/dev/kustomization.yaml": "resources: [../../base]\nimages:\n- name: shop/vote\n  digest: " + "sha256:" + zeros + "\n"}, nil},
		{"entry with all", map[string]string{"overlays/dev/kustomization.yaml": "resources: [../../base]\nimages: [{digest: 'sha256:" + zeros + "', newTag: v1, newName: a.example.com/b, name: shop/vote}]\n"}, nil},
		{"entry for another image", map[string]string{"overlays/dev/kustomization.yaml": "resources: [../../base]\nimages:\n- name: redis\n  newTag: '9'\n"}, nil},
		{"patch as a file", map[string]string{
			"overlays/dev/kustomization.yaml": "resources: [../../base]\npatches: [{path: patch.yaml}]\n",
			"overlays/dev/patch.yaml":         "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: vote}\nspec: {template: {spec: {containers: [{name: vote, image: 'ghcr.io/shop/vote:9'}]}}}\n",
		}, []string{"shop/vote"}},
		{"patch as text", map[string]string{
			"overlays/dev/kustomization.yaml": "resources: [../../base]\npatches:\n- patch: |-\n    apiVersion: apps/v1\n    kind: Deployment\n    metadata: {name: vote}\n    spec: {template: {spec: {containers: [{name: vote, image: 'ghcr.io/shop/vote:9'}]}}}\n",
		}, []string{"shop/vote"}},
		{"patch of operations", map[string]string{
			"overlays/dev/kustomization.yaml": "resources: [../../base]\npatches: [{path: ops.yaml, target: {kind: Deployment}}]\n",
			"overlays/dev/ops.yaml":           "- {op: replace, path: /spec/template/spec/containers/0/image, value: 'shop/vote:9'}\n",
		}, nil},
		{"base that renames", map[string]string{
			"base/kustomization.yaml":         "resources: [deployment.yaml]\nimages: [{name: placeholder, newName: ghcr.io/shop/vote, newTag: '3'}]\n",
			"base/deployment.yaml":            workload("placeholder"),
			"overlays/dev/kustomization.yaml": "resources: [../../base]\n",
		}, []string{"shop/vote"}},
		{"base of a base", map[string]string{
			"middle/kustomization.yaml":       "resources: [../base]\nimages: [{name: shop/vote, newTag: '7'}]\n",
			"overlays/dev/kustomization.yaml": "resources: [../../middle]\n",
		}, nil},
		{"component", map[string]string{
			"component/kustomization.yaml":    "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nresources: [job.yaml]\n",
			"component/job.yaml":              "apiVersion: batch/v1\nkind: Job\nmetadata: {name: once}\nspec: {template: {spec: {restartPolicy: Never, containers: [{name: a, image: 'mirror.example.com/shop/vote:0'}]}}}\n",
			"overlays/dev/kustomization.yaml": "resources: [../../base]\ncomponents: [../../component]\n",
		}, []string{"shop/vote"}},
		{"kustomization below", map[string]string{
			"overlays/dev/kustomization.yaml":     "resources: [app]\nnamePrefix: dev-\n",
			"overlays/dev/app/kustomization.yaml": "resources: [../../../base]\n",
		}, nil},
		{"named otherwise", map[string]string{
			"base/deployment.yaml":            workload("front:1"),
			"overlays/dev/kustomization.yaml": "resources: [../../base]\n",
		}, []string{"front"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := map[string]string{
				"base/kustomization.yaml": "resources: [deployment.yaml]\n", "base/deployment.yaml": workload("shop/vote:1"),
				"overlays/prod/kustomization.yaml": other,
			}
			maps.Copy(files, c.files)
			root := tree(t, files)
			dev, prod := filepath.Join(root, "overlays/dev"), filepath.Join(root, "overlays/prod")
			before := build(t, prod)
			for _, image := range []string{propertyImage, "registry.example.com:5000/shop/vote@sha256:" + zeros, "registry.example.com:5000/shop/vote:v9"} {
				target := Target{Image: image, Replace: c.replace}
				_, err := SetDir(t.Context(), dev, target, Options{Build: testBuild})
				require.NoError(t, err)
				found := map[string]bool{}
				for _, m := range builtImage.FindAllStringSubmatch(build(t, dev), -1) {
					found[m[1]] = true
				}
				delete(found, "redis:8")
				delete(found, "redis:9")
				assert.Equal(t, map[string]bool{image: true}, found)
				assert.Equal(t, before, build(t, prod))
				for name, content := range files {
					if filepath.Dir(name) != "overlays/dev" && filepath.Dir(name) != "overlays/dev/app" {
						now, err := os.ReadFile(filepath.Join(root, name))
						require.NoError(t, err)
						assert.Equal(t, content, string(now), name)
					}
				}
			}
		})
	}
}

const zeros = "0000000000000000000000000000000000000000000000000000000000000000"
