package render_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/tools/txtar"

	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/manifest"
	"github.com/aksflow/aksflow/internal/render"
)

// unpack writes the files of a txtar archive and returns their directory.
func unpack(t *testing.T, archive string) string {
	t.Helper()
	dir := t.TempDir()
	for _, f := range txtar.Parse([]byte(archive)).Files {
		path := filepath.Join(dir, f.Name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, f.Data, 0o600))
	}
	return dir
}

const deployment = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: vote
spec:
  template:
    spec:
      initContainers:
      - {name: wait, image: busybox}
      containers:
      - {name: web, image: "example.com/shop/vote:old"}
      - {name: proxy, image: envoy}
`

func names(t *testing.T, path string, o render.Options) []string {
	t.Helper()
	objects, err := render.Render(context.Background(), path, o)
	require.NoError(t, err)
	var out []string
	for _, object := range objects {
		out = append(out, object.GetKind()+"/"+object.GetName())
	}
	return out
}

func TestRenderForms(t *testing.T) {
	dir := unpack(t, `
-- plain/a.yaml --
`+deployment+`---
# nothing but a comment
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: one}}
- {apiVersion: v1, kind: ConfigMap, metadata: {name: two}}
-- plain/sub/b.json --
{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "vote"}, "spec": {"ports": [{"port": 80}]}}
-- plain/.hidden/c.yaml --
not: an object
-- plain/README.md --
not YAML: [
-- base/kustomization.yaml --
resources: [vote.yaml]
-- base/vote.yaml --
`+deployment+`
-- overlay/kustomization.yaml --
resources: [../base]
namespace: dev
namePrefix: dev-
images:
- {name: example.com/shop/vote, newName: localhost:5000/shop/vote, newTag: base}
configMapGenerator:
- {name: settings, literals: [A=1]}
-- chart/Chart.yaml --
apiVersion: v2
name: shop
version: 1.0.0
-- chart/values.yaml --
replicas: 1
-- chart/crds/crd.yaml --
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.example.com}
-- chart/templates/vote.yaml --
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}-vote
  namespace: {{ .Release.Namespace }}
spec:
  replicas: {{ .Values.replicas }}
-- chart/templates/NOTES.txt --
Thank you
-- chart/templates/test.yaml --
apiVersion: v1
kind: Pod
metadata:
  name: test
  annotations: {helm.sh/hook: test}
-- values.yaml --
replicas: 7
`)
	assert.Equal(t, []string{"Deployment/vote", "ConfigMap/one", "ConfigMap/two", "Service/vote"}, names(t, filepath.Join(dir, "plain"), render.Options{}))
	assert.Equal(t, []string{"Deployment/vote", "ConfigMap/one", "ConfigMap/two"}, names(t, filepath.Join(dir, "plain", "a.yaml"), render.Options{}))
	overlay := names(t, filepath.Join(dir, "overlay"), render.Options{})
	assert.Equal(t, overlay, names(t, filepath.Join(dir, "overlay", "kustomization.yaml"), render.Options{}))
	require.Len(t, overlay, 2)
	assert.Contains(t, overlay, "Deployment/dev-vote")
	assert.Equal(t, []string{"CustomResourceDefinition/things.example.com", "Deployment/shop-vote"}, names(t, filepath.Join(dir, "chart"), render.Options{}))
}

func TestRenderRefuses(t *testing.T) {
	for name, test := range map[string]struct{ files, says string }{
		"not YAML":                       {"-- a.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: x\n", "a.yaml:3 is not YAML"},
		"not YAML below a kustomization": {"-- kustomization.yaml --\nresources: [a.yaml]\n-- a.yaml --\nkind: x\n  a: b\n", "a.yaml:2 is not YAML"},
		"not an object":                  {"-- a.yaml --\n# first\n---\nhello: world\n", "a.yaml:3: not a Kubernetes object"},
		"no version":                     {"-- a.yaml --\nkind: ConfigMap\nmetadata: {name: a}\n", "a.yaml:1: not a Kubernetes object: ConfigMap has no apiVersion"},
		"no name":                        {"-- a.yaml --\napiVersion: v1\nkind: ConfigMap\n", "a.yaml:1: ConfigMap has no metadata.name"},
		"generated name":                 {"-- a.yaml --\napiVersion: v1\nkind: Pod\nmetadata: {generateName: a-}\n", `Pod with generateName "a-": give it a name`},
		"empty":                          {"-- README.md --\nhello\n", "describes no objects"},
		"remote base":                    {"-- kustomization.yaml --\nresources:\n- \"https://github.com/example/repo//base?ref=v1\"\n", "kustomization.yaml:2 names the remote https://github.com/example/repo//base?ref=v1: only local files are rendered"},
		"remote by host":                 {"-- kustomization.yaml --\nresources: [github.com/example/repo]\n", "names the remote github.com/example/repo"},
		"remote in a base":               {"-- kustomization.yaml --\nresources: [base]\n-- base/kustomization.yaml --\nresources: [\"git@example.com:a/b.git\"]\n", "base/kustomization.yaml:1 names the remote git@example.com:a/b.git"},
		"remote patch":                   {"-- kustomization.yaml --\npatches: [{path: \"https://example.com/p.yaml\"}]\n", "names the remote https://example.com/p.yaml"},
		"remote file":                    {"-- kustomization.yaml --\nconfigMapGenerator: [{name: a, files: [\"k=https://example.com/f\"]}]\n", "names the remote https://example.com/f"},
		"missing base":                   {"-- kustomization.yaml --\nresources: [../nowhere]\n", "kustomization.yaml:1 names ../nowhere, and there is no such file or directory"},
		"base without kustomization":     {"-- kustomization.yaml --\nresources: [base]\n-- base/a.yaml --\n", "kustomization.yaml:1 names the directory base, which holds no kustomization.yaml"},
		"unknown field":                  {"-- kustomization.yaml --\nresorces: [a.yaml]\n", `unknown field "resorces"`},
		"missing file of a generator":    {"-- kustomization.yaml --\nsecretGenerator:\n- name: a\n  envs:\n  - my.env\n", "kustomization.yaml:4 names my.env, and there is no such file"},
		"chart by kustomize":             {"-- kustomization.yaml --\nhelmCharts: [{name: redis, repo: \"https://charts.example.com\"}]\n", "kustomization.yaml:1 inflates Helm charts"},
		"program":                        {"-- kustomization.yaml --\ngenerators: [g.yaml]\n-- g.yaml --\napiVersion: example.com/v1\nkind: G\nmetadata: {name: g, annotations: {config.kubernetes.io/function: \"{exec: {path: ./run}}\"}}\n", "rendering the kustomization"},
		"chart not vendored":             {"-- Chart.yaml --\napiVersion: v2\nname: a\nversion: 1.0.0\ndependencies: [{name: redis, version: 1.0.0, repository: \"https://charts.example.com\"}]\n", "depends on redis 1.0.0 of https://charts.example.com, which its charts directory lacks: nothing is fetched while rendering, so run `helm dependency build"},
		"chart with an error":            {"-- Chart.yaml --\napiVersion: v2\nname: a\nversion: 1.0.0\n-- templates/a.yaml --\n{{ fail \"no password\" }}\n", "no password"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := unpack(t, test.files)
			_, err := render.Render(context.Background(), dir, render.Options{})
			require.ErrorContains(t, err, test.says)
			assert.Equal(t, fault.ExitUsage, fault.ExitCode(err))
		})
	}
	_, err := render.Render(context.Background(), "/no/such", render.Options{})
	require.ErrorContains(t, err, "no manifests at /no/such")
	assert.Equal(t, fault.ExitUsage, fault.ExitCode(err))
}

// On a registry other than Docker Hub library/ is a part of the path like any other.
func TestSetImagesBelowLibrary(t *testing.T) {
	const image = "localhost:5000/library/debian@sha256:"
	objects, err := render.Decode("a.yaml", []byte("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, image: \"localhost:5000/library/debian:trixie-slim\"}]}"))
	require.NoError(t, err)
	changes, err := render.SetImages(objects, []render.Image{{Ref: image + strings.Repeat("a", 64)}})
	require.NoError(t, err)
	assert.Len(t, changes, 1)
}

// TestSetImagesOfVolumes is about an image that pods mount: it is the app's as much as that of a container is.
func TestSetImagesOfVolumes(t *testing.T) {
	objects, err := render.Decode("a.yaml", []byte(`apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  template:
    spec:
      containers: [{name: nginx, image: nginx:1}]
      volumes: [{name: site, image: {reference: example.com/site:old}}, {name: data, emptyDir: {}}]
`))
	require.NoError(t, err)
	image := "localhost:5000/site@sha256:" + strings.Repeat("a", 64)
	changes, err := render.SetImages(objects, []render.Image{{Ref: image}})
	require.NoError(t, err)
	assert.Equal(t, []render.ImageChange{{Object: "Deployment/web", Name: "site", From: "example.com/site:old", To: image}}, changes)
	var images []string
	manifest.Images(objects[0].Object, func(i manifest.Image) { images = append(images, i.Ref()) })
	assert.Equal(t, []string{"nginx:1", image}, images)
}

// TestSetImagesWithout is about a text that YAML reads as a comment: the container has no image then.
func TestSetImagesWithout(t *testing.T) {
	dir := unpack(t, `
-- a.yaml --
apiVersion: v1
kind: Pod
metadata: {name: vote}
spec:
  containers:
  - name: web
    image: #{registry}#/vote:#{tag}#
`)
	objects, err := render.Render(t.Context(), dir, render.Options{})
	require.NoError(t, err)
	image := []render.Image{{Ref: "example.com/vote@sha256:" + strings.Repeat("a", 64)}}
	_, err = render.SetImages(objects, image)
	require.EqualError(t, err, "there is no image in the container web in Pod/vote: write one, in quotes if it has a # in it, which begins a comment")

	spec := objects[0].Object["spec"].(map[string]any)
	spec["initContainers"] = []any{map[string]any{"name": "wait", "image": "busybox"}}
	_, err = render.SetImages(objects, image)
	require.ErrorContains(t, err, "the images there are: busybox. Name the one to replace with --replace; there is no image in the container web in Pod/vote")
}

func TestSetImages(t *testing.T) {
	digest := "@sha256:" + strings.Repeat("a", 64)
	for name, test := range map[string]struct {
		image render.Image
		want  []string // of web, wait, proxy; or
		says  string
	}{
		"same path, other host": {image: render.Image{Ref: "localhost:5000/shop/vote:v2" + digest}, want: []string{"busybox", "localhost:5000/shop/vote:v2" + digest, "envoy"}},
		"other path":            {image: render.Image{Ref: "localhost:5000/vote" + digest}, says: "no container runs vote; the images there are: busybox, envoy, example.com/shop/vote:old. Name the one to replace with --replace"},
		"named":                 {image: render.Image{Ref: "localhost:5000/other" + digest, Replace: "busybox"}, want: []string{"localhost:5000/other" + digest, "example.com/shop/vote:old", "envoy"}},
		"named with host":       {image: render.Image{Ref: "x.azurecr.io/v" + digest, Replace: "example.com/shop/vote"}, want: []string{"busybox", "x.azurecr.io/v" + digest, "envoy"}},
		"named with wrong host": {image: render.Image{Ref: "x.azurecr.io/v" + digest, Replace: "example.org/shop/vote"}, says: "no container runs example.org/shop/vote"},
		"library":               {image: render.Image{Ref: "docker.io/library/envoy:v1"}, want: []string{"busybox", "example.com/shop/vote:old", "docker.io/library/envoy:v1"}},
		"not a reference":       {image: render.Image{Ref: "UPPER CASE"}, says: `image reference "UPPER CASE"`},
	} {
		t.Run(name, func(t *testing.T) {
			objects, err := render.Decode("a.yaml", []byte(deployment))
			require.NoError(t, err)
			changes, err := render.SetImages(objects, []render.Image{test.image})
			if test.says != "" {
				require.ErrorContains(t, err, test.says)
				return
			}
			require.NoError(t, err)
			require.Len(t, changes, 1)
			var images []string
			manifest.Images(objects[0].Object, func(i manifest.Image) { images = append(images, i.Ref()) })
			assert.Equal(t, test.want, images)
		})
	}
}
