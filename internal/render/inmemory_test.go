package render_test

import (
	"cmp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/manifest"
	"github.com/aksflow/aksflow/internal/render"
)

const (
	judgedDigest = "sha256:ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12ab12"
	judgedWeb    = "acme.azurecr.io/shop/web"
	judgedImage  = judgedWeb + ":2.0.0@" + judgedDigest
	tagAndDigest = ":{{ .Values.image.tag }}@{{ .Values.image.digest }}"

	judgedChart      = "apiVersion: v2\nname: web\nversion: 1.0.0\nappVersion: 0.9.0\n"
	judgedValues     = "image:\n  repository: acme.azurecr.io/shop/web\n  tag: 1.0.0\nenabled: true\n"
	judgedDeployment = "{{- if .Values.enabled }}\nkind: Deployment\napiVersion: apps/v1\nmetadata: {name: web}\nspec:\n  template:\n    metadata: {labels: {app: web}}\n" +
		"    spec:\n      containers:\n      - {name: web, image: \"{{ .Values.image.repository }}:{{ .Values.image.tag }}\"}\n{{- end }}\n"
)

// judgedSet is an ApplicationSet with values of environments.
func judgedSet(generator string) string {
	return "apiVersion: argoproj.io/v1alpha1\nkind: ApplicationSet\nmetadata: {name: web}\nspec:\n  generators: [{" + generator + "}]\n" +
		"  template:\n    spec:\n      source:\n        path: chart\n        helm: {valueFiles: [\"../envs/{{env}}.yaml\"]}\n"
}

// judgedPair is a chart with a tag and a digest in its values, and a template that adds a version to their repository.
func judgedPair(version string) map[string]string {
	return map[string]string{
		"chart/values.yaml":        "image:\n  repository: acme.azurecr.io/shop/web\n  tag: 1.0.0\n  digest: sha256:" + strings.Repeat("0c", 32) + "\nenabled: true\n",
		"chart/templates/web.yaml": strings.Replace(judgedDeployment, ":{{ .Values.image.tag }}", version, 1),
	}
}

// TestChartsJudgeValues edits values of charts, and has the charts say what comes of it.
func TestChartsJudgeValues(t *testing.T) {
	for name, test := range map[string]struct {
		files      map[string]string
		image      string // instead of judgedImage
		err        string
		unverified string
	}{
		"as it should be": {},
		"values of an environment": {files: map[string]string{
			"chart/values.yaml": "image: {repository: acme.azurecr.io/shop/web, tag: \"\"}\nenabled: false\n", "chart/values-prod.yaml": judgedValues,
		}},
		"a template that does not use them": {
			files: map[string]string{"chart/templates/web.yaml": strings.Replace(judgedDeployment, "{{ .Values.image.tag }}", "{{ .Chart.AppVersion }}", 1)},
			err:   "chart/values.yaml: the chart chart would still give acme.azurecr.io/shop/web:0.9.0 in Deployment/web; nothing was changed",
		},
		"a tag with a prefix": {
			files: map[string]string{"chart/templates/web.yaml": strings.Replace(judgedDeployment, ":{{", ":v{{", 1)},
			err:   "would still give acme.azurecr.io/shop/web:v2.0.0@" + judgedDigest,
		},
		"a tag that is a label too": {
			files: map[string]string{"chart/templates/web.yaml": strings.Replace(judgedDeployment, "app: web", `version: "{{ .Values.image.tag }}"`, 1)},
			err:   "would use " + judgedImage + " as the label version, which may not hold a digest; nothing was changed: give the chart a key of its own for the digest",
		},
		"a tag and a digest, and the target has no tag": {files: judgedPair(tagAndDigest), image: judgedWeb + "@" + judgedDigest},
		"a tag and a digest":                            {files: judgedPair(tagAndDigest)},
		"a digest instead of the tag":                   {files: judgedPair(`{{ if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ .Values.image.tag }}{{ end }}`)},
		"a digest in the tag, and the target has no tag": {
			files: map[string]string{"chart/values.yaml": "image:\n  repository: acme.azurecr.io/shop/web\n  tag: 1.2.3@sha256:" + strings.Repeat("0", 64) + "\nenabled: true\n"},
			image: judgedWeb + "@" + judgedDigest,
		},
		"a digest of a template's own": {
			files: judgedPair(":{{ .Values.image.tag }}@sha256:" + strings.Repeat("0", 64)), image: judgedWeb + "@" + judgedDigest,
			err: "would still give acme.azurecr.io/shop/web:1.0.0@sha256:0000",
		},
		"a tag of a template's own": {
			files: judgedPair(":0.9.0@{{ .Values.image.digest }}"),
			err:   "would still give acme.azurecr.io/shop/web:0.9.0@" + judgedDigest,
		},
		"a second image in a template": {
			files:      map[string]string{"chart/templates/job.yaml": "apiVersion: batch/v1\nkind: Job\nmetadata: {name: migrate}\nspec: {template: {spec: {containers: [{name: a, image: \"acme.azurecr.io/shop/web:1.0.0\"}]}}}\n"},
			unverified: "chart/values.yaml the chart chart also gives acme.azurecr.io/shop/web:1.0.0 in Job/migrate",
		},
		"what is switched off": {
			files:      map[string]string{"chart/values.yaml": strings.Replace(judgedValues, "true", "false", 1)},
			unverified: "chart/values.yaml the chart chart does not give the image: no template uses it with these values",
		},
		"a dependency that is not there": {
			files:      map[string]string{"chart/Chart.yaml": judgedChart + "dependencies: [{name: redis, version: 1.0.0, repository: https://charts.example}]\n"},
			unverified: "chart/values.yaml the chart chart cannot be rendered: the Helm chart chart depends on redis",
		},
		"a chart that computes with the tag": {
			files: map[string]string{"chart/templates/check.yaml": "{{- if semverCompare \">=1.0.0\" .Values.image.tag }}{{ end }}\n"},
			err:   "chart/values.yaml: the edit would break the chart chart: chart/templates/check.yaml:1: ",
		},
		"an Application whose chart computes with the tag": {
			files: map[string]string{
				"chart/values.yaml": "image: {tag: 1.0.0}\nenabled: true\n", "chart/templates/check.yaml": "{{- if semverCompare \">=1.0.0\" .Values.image.tag }}{{ end }}\n",
				"app.yaml": "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: web}\nspec:\n  source:\n    path: ./chart\n    helm:\n" +
					"      values: |\n        image:\n          repository: acme.azurecr.io/shop/web\n          tag: 1.0.0\n",
			},
			err: "app.yaml: the edit would break the chart chart: chart/templates/check.yaml:1: ",
		},
		"an Application with values of its own": {files: map[string]string{
			"chart/values.yaml": "image: {}\nenabled: false\n",
			"app.yaml": "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: web}\nspec:\n  source:\n    path: ./chart\n    helm:\n      valueFiles: [other.yaml]\n" +
				"      parameters: [{name: enabled, value: \"true\"}]\n      values: |\n        image:\n          repository: acme.azurecr.io/shop/web\n          tag: 1.0.0\n",
		}},
		"a HelmRelease whose chart does not use the image": {
			files: map[string]string{
				"chart/values.yaml": "image: {}\nenabled: false\n",
				"release.yaml": "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: web}\nspec:\n  chart: {spec: {chart: ./chart}}\n  values:\n" +
					"    enabled: false\n    image:\n      repository: acme.azurecr.io/shop/web\n      tag: 1.0.0\n",
			},
			unverified: "release.yaml the chart chart does not give the image",
		},
		"an ApplicationSet that names values": {files: map[string]string{
			"chart/values.yaml": "image: {}\nenabled: false\n", "envs/prod.yaml": judgedValues, "envs/test.yaml": "enabled: false\n", "set.yaml": judgedSet("list: {elements: [{env: test}, {env: prod}]}"),
		}},
		"an ApplicationSet whose chart does not use them": {
			files: map[string]string{
				"chart/values.yaml": "image: {}\nenabled: false\n", "envs/prod.yaml": judgedValues, "set.yaml": judgedSet("list: {elements: [{env: prod}]}"),
				"chart/templates/web.yaml": strings.Replace(judgedDeployment, "{{ .Values.image.tag }}", "{{ .Chart.AppVersion }}", 1),
			},
			err: "set.yaml: the chart chart would still give acme.azurecr.io/shop/web:0.9.0 in Deployment/web; nothing was changed",
		},
		"an ApplicationSet of files": {
			files: map[string]string{
				"chart/values.yaml": "image: {}\nenabled: false\n", "envs/prod.yaml": judgedValues + "env: prod\n", "envs/old.yaml": "env: old\n",
				"set.yaml": judgedSet("git: {repoURL: x, files: [{path: envs/*.yaml}]}"), "chart/templates/web.yaml": strings.Replace(judgedDeployment, "{{ .Values.image.tag }}", "{{ .Chart.AppVersion }}", 1),
			},
			err: "set.yaml: the chart chart would still give acme.azurecr.io/shop/web:0.9.0",
		},
		"an ApplicationSet of clusters": {
			files: map[string]string{
				"set.yaml": strings.Replace(judgedSet("clusters: {}"), "path: chart", "path: \"{{name}}\"", 1),
			},
			unverified: "set.yaml:1 the ApplicationSet's Applications are not known: its generator clusters is not expanded offline",
		},
	} {
		t.Run(name, func(t *testing.T) {
			tree := fstest.MapFS{}
			for _, files := range []map[string]string{
				{"chart/Chart.yaml": judgedChart, "chart/values.yaml": judgedValues, "chart/templates/web.yaml": judgedDeployment}, test.files,
			} {
				for name, text := range files {
					tree[name] = &fstest.MapFile{Data: []byte(text), Mode: 0o644}
				}
			}
			edit, err := manifest.Plan(t.Context(), tree, ".", manifest.Target{Image: cmp.Or(test.image, judgedImage)}, manifest.Options{Chart: render.Chart})
			if test.err != "" {
				require.ErrorContains(t, err, test.err)
				return
			}
			require.NoError(t, err)
			assert.NotEmpty(t, edit.Changes)
			if test.unverified == "" {
				assert.Empty(t, edit.Unverified)
				return
			}
			require.Len(t, edit.Unverified, 1)
			assert.Contains(t, edit.Unverified[0].File+" "+edit.Unverified[0].Reason, test.unverified)
		})
	}
}
