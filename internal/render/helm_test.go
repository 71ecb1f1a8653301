package render_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/render"
)

// cluster is a cluster with objects by kind/namespace/name.
type cluster struct {
	version string
	apis    []string
	objects map[string]map[string]any
}

func (c cluster) Version() string                               { return c.version }
func (c cluster) APIVersions(context.Context) ([]string, error) { return c.apis, nil }
func (c cluster) Lookup(_ context.Context, _, kind, namespace, name string) (map[string]any, error) {
	if kind == "Forbidden" {
		return nil, errors.New("forbidden: you may not read it")
	}
	return c.objects[kind+"/"+namespace+"/"+name], nil
}

const chartHead = "-- chart/Chart.yaml --\napiVersion: v2\nname: shop\nversion: 1.0.0\n"

// data renders a chart with one ConfigMap, and returns its data.
func data(t *testing.T, dir string, o render.Options) map[string]any {
	t.Helper()
	objects, err := render.Render(context.Background(), filepath.Join(dir, "chart"), o)
	require.NoError(t, err)
	for _, o := range objects {
		if o.GetKind() == "ConfigMap" {
			values, _ := o.Object["data"].(map[string]any)
			return values
		}
	}
	t.Fatal("the chart has no ConfigMap")
	return nil
}

func TestChartKnowsTheReleaseAndTheCluster(t *testing.T) {
	dir := unpack(t, chartHead+`
-- chart/crds/bulb.yaml --
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: bulbs.example.com}
spec:
  group: example.com
  names: {kind: Bulb}
  versions: [{name: v1, served: true}, {name: v1alpha1, served: false}]
-- chart/templates/cm.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: facts}
data:
  kube: {{ .Capabilities.KubeVersion.Version }}
  minor: {{ .Capabilities.KubeVersion.Minor | quote }}
  lamp: {{ .Capabilities.APIVersions.Has "example.com/v1/Lamp" | quote }}
  lampVersion: {{ .Capabilities.APIVersions.Has "example.com/v1" | quote }}
  own: {{ .Capabilities.APIVersions.Has "example.com/v1/Bulb" | quote }}
  unserved: {{ .Capabilities.APIVersions.Has "example.com/v1alpha1/Bulb" | quote }}
  release: {{ .Release.Namespace }}/{{ .Release.Name }}/{{ .Release.Revision }}
  install: {{ .Release.IsInstall }}/{{ .Release.IsUpgrade }}
  password: {{ dig "data" "password" "none" (lookup "v1" "Secret" .Release.Namespace "db") }}
`)
	live := cluster{version: "v1.34.4-hotfix.20260101", apis: []string{"v1", "example.com/v1", "example.com/v1/Lamp"}, objects: map[string]map[string]any{
		"Secret/dev/db": {"data": map[string]any{"password": "c2VjcmV0"}},
	}}
	assert.Equal(t, map[string]any{
		"kube": "v1.34.4-hotfix.20260101", "minor": "34", "lamp": "true", "lampVersion": "true", "own": "true", "unserved": "false",
		"release": "dev/web/7", "install": "false/true", "password": "c2VjcmV0",
	}, data(t, dir, render.Options{Cluster: live, Namespace: "dev", ReleaseName: "web", Revision: 7, Upgrade: true}))

	offline := data(t, dir, render.Options{})
	assert.Equal(t, "default/shop/1", offline["release"])
	assert.Equal(t, "true/false", offline["install"])
	assert.Equal(t, "none", offline["password"])
}

// The values of a chart, by the rules that Helm has: https://helm.sh/docs/chart_template_guide/values_files/
func TestChartValues(t *testing.T) {
	dir := unpack(t, chartHead+`
-- chart/values.yaml --
a: chart
b: chart
c: chart
d: chart
list: [1, 2]
map: {x: chart, kept: chart}
gone: {x: 1}
probe: {httpGet: {path: /}}
big: 12345678
-- chart/templates/cm.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: values}
data:
  all: {{ .Values | toJson | quote }}
  big: {{ .Values.big | quote }}
  set: {{ .Values.set | default 0 | quote }}
-- one.yaml --
a: one
b: one
list: [3]
map: {x: one}
-- two.yaml --
b: two
c: two
---
d: two
`)
	file := func(name string) render.Values { return render.Values{File: filepath.Join(dir, name)} }
	got := data(t, dir, render.Options{
		Values: []render.Values{file("one.yaml"), file("two.yaml"), {Origin: "aksflow.yaml", Inline: map[string]any{
			"c": "inline", "gone": nil, "probe": map[string]any{"httpGet": nil, "exec": map[string]any{"command": []any{"true"}}},
		}}},
		Set: []string{"map.z=set,set=10000000", "list[1]=4"},
	})
	assert.JSONEq(t, `{"a": "one", "b": "two", "c": "inline", "d": "two", "list": [3, 4], "map": {"x": "one", "kept": "chart", "z": "set"},
		"probe": {"exec": {"command": ["true"]}}, "big": 12345678, "set": 10000000}`, got["all"].(string))
	assert.Equal(t, "1.2345678e+07", got["big"], "as Helm does: numbers of a file are floating-point numbers")
	assert.Equal(t, "10000000", got["set"], "as Helm does: numbers of --set are integers")
}

func TestChartRefuses(t *testing.T) {
	const schema = `
-- chart/values.schema.json --
{"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "required": ["host"], "additionalProperties": false,
 "properties": {"host": {"type": "string"}, "replicas": {"type": "integer", "minimum": 1}, "db": {}, "global": {},
  "ports": {"type": "array", "items": {"type": "integer"}}}}
`
	for name, test := range map[string]struct {
		files string
		o     render.Options
		says  []string
	}{
		"required":           {files: "-- chart/templates/a.yaml --\n# one\n\na: {{ required \"set a password\" .Values.password }}\n", says: []string{"/chart/templates/a.yaml:3: set a password"}},
		"required, included": {files: "-- chart/templates/_h.tpl --\n{{ define \"h\" }}\n{{ required \"set it\" .Values.a }}{{ end }}\n-- chart/templates/a.yaml --\na: {{ include \"h\" . }}\n", says: []string{"/chart/templates/a.yaml:1: set it"}},
		"nil pointer":        {files: "-- chart/templates/_h.tpl --\n{{ define \"h\" }}\n{{ .Values.a.b.c }}{{ end }}\n-- chart/templates/a.yaml --\n\na: {{ include \"h\" . }}\n", says: []string{"/chart/templates/a.yaml:2: executing", "/chart/templates/_h.tpl:2", "nil pointer evaluating interface {}.b"}},
		"no such function":   {files: "-- chart/templates/a.yaml --\n\n\n{{ foo }}\n", says: []string{`/chart/templates/a.yaml:3: function "foo" not defined`}},
		"not YAML":           {files: "-- chart/templates/a.yaml --\n{{/* c */}}\n---\napiVersion: v1\nkind: X\n a: b\n", says: []string{"/chart/templates/a.yaml as rendered:5 is not YAML"}},
		"schema, no value":   {files: schema, says: []string{"the values: missing property 'host' (values.schema.json of the chart shop)"}},
		"schema, a file": {files: schema + "-- v.yaml --\nhost: a\n\nreplicas: many\n", o: render.Options{Values: []render.Values{{File: "v.yaml"}}},
			says: []string{"v.yaml:3: replicas: got string, want integer (values.schema.json of the chart shop)"}},
		"schema, an item": {files: schema + "-- v.yaml --\nhost: a\nports:\n- 1\n- x\n", o: render.Options{Values: []render.Values{{File: "v.yaml"}}},
			says: []string{"v.yaml:4: ports.1: got string, want integer"}},
		"schema, --set": {files: schema + "-- v.yaml --\nhost: a\nreplicas: 1\n", o: render.Options{Values: []render.Values{{File: "v.yaml"}}, Set: []string{"replicas=0"}},
			says: []string{"--set replicas=0: replicas: minimum: got 0, want 1"}},
		"schema, unknown": {files: schema, o: render.Options{Values: []render.Values{{Inline: map[string]any{"host": "a", "hots": "b"}, Origin: "aksflow.yaml"}}},
			says: []string{"aksflow.yaml: hots: there is no such value"}},
		"schema of a subchart": {files: "-- chart/charts/db/Chart.yaml --\napiVersion: v2\nname: db\nversion: 1.0.0\n-- chart/charts/db/values.schema.json --\n{\"properties\": {\"size\": {\"type\": \"integer\"}}}\n-- v.yaml --\ndb:\n  size: big\n",
			o: render.Options{Values: []render.Values{{File: "v.yaml"}}}, says: []string{"v.yaml:2: db.size: got string, want integer (values.schema.json of the chart db)"}},
		"no values file":     {o: render.Options{Values: []render.Values{{File: "none.yaml"}}}, says: []string{"there is no values file", "none.yaml"}},
		"values are no YAML": {files: "-- v.yaml --\na: b\n\tc: d\n", o: render.Options{Values: []render.Values{{File: "v.yaml"}}}, says: []string{"v.yaml:2 is not YAML"}},
		"values are a list":  {files: "-- v.yaml --\n- a\n", o: render.Options{Values: []render.Values{{File: "v.yaml"}}}, says: []string{"v.yaml is not a values file"}},
		"--set":              {o: render.Options{Set: []string{"a"}}, says: []string{"--set a: ", "give KEY=VALUE"}},
		"release name":       {o: render.Options{ReleaseName: "Not A Name"}, says: []string{`the release name "Not A Name"`, "set releaseName"}},
		"Kubernetes version": {files: "-- chart/Chart.yaml --\napiVersion: v2\nname: shop\nversion: 1.0.0\nkubeVersion: \">=1.99.0-0\"\n", o: render.Options{Cluster: cluster{version: "v1.34.4"}},
			says: []string{"is for Kubernetes >=1.99.0-0 (kubeVersion in its Chart.yaml), and the cluster runs v1.34.4"}},
		"library chart": {files: "-- chart/Chart.yaml --\napiVersion: v2\nname: shop\nversion: 1.0.0\ntype: library\n", says: []string{"is a library chart"}},
		"lookup": {files: "-- chart/templates/a.yaml --\n{{ lookup \"v1\" \"Forbidden\" \"a\" \"b\" }}\n", o: render.Options{Cluster: cluster{version: "v1.34.4"}},
			says: []string{"/chart/templates/a.yaml:1: ", "forbidden: you may not read it"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := unpack(t, chartHead+test.files)
			for i, v := range test.o.Values {
				if v.File != "" {
					test.o.Values[i].File = filepath.Join(dir, v.File)
				}
			}
			_, err := render.Render(context.Background(), filepath.Join(dir, "chart"), test.o)
			for _, says := range test.says {
				require.ErrorContains(t, err, says)
			}
			assert.NotContains(t, err.Error(), "\n")
			assert.Equal(t, fault.ExitUsage, fault.ExitCode(err))
		})
	}
}

func TestChartAsHelmReadsIt(t *testing.T) {
	dir := unpack(t, `
-- chart/Chart.yaml --
apiVersion: v2
name: shop
version: 1.0.0
dependencies:
- {name: lib, version: 1.0.0}
- {name: db, version: 1.0.0, alias: store, condition: store.enabled}
- {name: unused, version: 1.0.0, condition: unused.enabled}
-- chart/values.yaml --
unused: {enabled: false}
store: {enabled: true, who: parent}
table: {a: {b: secret-value}}
-- chart/.helmignore --
ignored*
-- chart/files/conf.txt --
from {{ .Values.store.who }}
-- chart/files/ignored.txt --
no
-- chart/charts/lib/Chart.yaml --
apiVersion: v2
name: lib
version: 1.0.0
type: library
-- chart/charts/lib/templates/_lib.tpl --
{{ define "lib.name" }}library{{ end }}
-- chart/charts/db/Chart.yaml --
apiVersion: v2
name: db
version: 1.0.0
-- chart/charts/db/values.yaml --
who: itself
-- chart/charts/db/templates/db.yaml --
apiVersion: v1
kind: Service
metadata: {name: "{{ .Values.who }}"}
-- chart/charts/unused/Chart.yaml --
apiVersion: v2
name: unused
version: 1.0.0
-- chart/charts/unused/templates/unused.yaml --
apiVersion: v1
kind: Service
metadata: {name: unused}
-- chart/templates/cm.yaml --
# a comment
---apiVersion: v1
kind: ConfigMap
metadata: {name: "{{ include "lib.name" . }}"}
data:
  conf: {{ tpl (.Files.Get "files/conf.txt") . | trim | quote }}
  ignored: {{ .Files.Get "files/ignored.txt" | quote }}
--- # the next one
apiVersion: v1
kind: Secret
metadata: {name: second}
-- chart/templates/odd-name.conf --
apiVersion: v1
kind: Service
metadata: {name: odd}
-- chart/templates/blank.txt --
{{ if false }}x{{ end }}
-- chart/templates/NOTES.txt --
Thank you: {{ .Release.Name }}
`)
	assert.Equal(t, []string{"Service/parent", "ConfigMap/library", "Secret/second", "Service/odd"}, names(t, filepath.Join(dir, "chart"), render.Options{}))
	assert.Equal(t, map[string]any{"conf": "from parent", "ignored": ""}, data(t, dir, render.Options{}))

	// Helm says on its own that a table is in the way of a value, and prints the table.
	var warnings []string
	ctx := report.With(context.Background(), report.SinkFunc(func(e report.Event) { warnings = append(warnings, e.Message) }))
	text := printed(t, func() {
		_, err := render.Render(ctx, filepath.Join(dir, "chart"), render.Options{Set: []string{"table.a=x"}})
		require.NoError(t, err)
	})
	assert.Empty(t, text)
	assert.Contains(t, strings.Join(warnings, "\n"), "cannot overwrite table with non table for shop.table.a")
	assert.NotContains(t, strings.Join(warnings, "\n"), "secret-value")
}

func TestHooks(t *testing.T) {
	objects, err := render.Decode("h.yaml", []byte(`
{apiVersion: v1, kind: ConfigMap, metadata: {name: ordinary}}
---
{apiVersion: batch/v1, kind: Job, metadata: {name: late, annotations: {helm.sh/hook: "pre-install, Pre-Upgrade", helm.sh/hook-weight: "5", helm.sh/hook-delete-policy: "hook-succeeded,hook-failed"}}}
---
{apiVersion: batch/v1, kind: Job, metadata: {name: a, annotations: {helm.sh/hook: pre-install, helm.sh/hook-weight: "-5"}}}
---
{apiVersion: v1, kind: Secret, metadata: {name: z, annotations: {helm.sh/hook: "pre-install,post-upgrade", helm.sh/hook-weight: "-5"}}}
---
{apiVersion: batch/v1, kind: Job, metadata: {name: seed, annotations: {helm.sh/hook: "post-install,post-upgrade"}}}
---
{apiVersion: batch/v1, kind: Job, metadata: {name: both, annotations: {helm.sh/hook: "pre-upgrade,post-upgrade", helm.sh/hook-weight: no number}}}
---
{apiVersion: batch/v1, kind: Job, metadata: {name: drop, annotations: {helm.sh/hook: "pre-delete,post-delete"}}}
---
{apiVersion: batch/v1, kind: Job, metadata: {name: argo-drop, annotations: {argocd.argoproj.io/hook: PreDelete}}}
---
{apiVersion: batch/v1, kind: Job, metadata: {name: back, annotations: {helm.sh/hook: post-rollback}}}
---
{apiVersion: v1, kind: Pod, metadata: {name: check, annotations: {helm.sh/hook: test}}}
---
{apiVersion: batch/v1, kind: Job, metadata: {name: argo, annotations: {argocd.argoproj.io/hook: PreSync, argocd.argoproj.io/sync-wave: "3", argocd.argoproj.io/hook-delete-policy: HookSucceeded}}}
---
{apiVersion: batch/v1, kind: Job, metadata: {name: in-sync, annotations: {argocd.argoproj.io/hook: Sync}}}
---
{apiVersion: batch/v1, kind: Job, metadata: {name: on-failure, annotations: {argocd.argoproj.io/hook: SyncFail}}}
`))
	require.NoError(t, err)
	describe := func(event render.Event) (out []string) {
		rest, hooks := render.Hooks(objects, event)
		for _, h := range hooks {
			when := ""
			for _, flag := range []struct {
				set  bool
				text string
			}{{h.Before, " before"}, {h.After, " after"}, {h.DeleteFirst, " delete-first"}, {h.DeleteSucceeded, " delete-succeeded"}, {h.DeleteFailed, " delete-failed"}} {
				if flag.set {
					when += flag.text
				}
			}
			out = append(out, h.Object.GetName()+when)
		}
		for _, o := range rest {
			out = append(out, o.GetName())
		}
		return out
	}
	assert.Equal(t, []string{
		"z before delete-first", "a before delete-first", "seed after delete-first", "argo before delete-succeeded",
		"late before delete-succeeded delete-failed", "ordinary", "in-sync",
	}, describe(render.Install))
	assert.Equal(t, []string{
		"z after delete-first", "both before after delete-first", "seed after delete-first", "argo before delete-succeeded",
		"late before delete-succeeded delete-failed", "ordinary", "in-sync",
	}, describe(render.Upgrade))
	assert.Equal(t, []string{"back after delete-first", "argo before delete-succeeded", "ordinary", "in-sync"}, describe(render.Rollback))
	assert.Equal(t, []string{"argo-drop before delete-first", "drop before after delete-first", "ordinary", "in-sync"}, describe(render.Uninstall))
}

// Tests are not even rendered, so that nobody can apply them.
func TestChartWithoutHooksThatNeverRun(t *testing.T) {
	dir := unpack(t, chartHead)
	for _, hook := range []string{"test", "test-success", "crd-install", "pre-install", "post-upgrade"} {
		path := filepath.Join(dir, "chart", "templates", hook+".yaml")
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		text := "apiVersion: v1\nkind: Pod\nmetadata:\n  name: " + hook + "\n  annotations: {helm.sh/hook: \"" + hook + "\"}\n"
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	assert.Equal(t, []string{"Pod/post-upgrade", "Pod/pre-install"}, names(t, filepath.Join(dir, "chart"), render.Options{}))
}

func TestHookOfAMomentThatIsNot(t *testing.T) {
	const pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: NAME, annotations: {KEY: \"VALUE\"}}\n"
	text := func(name, key, value string) string {
		return strings.NewReplacer("NAME", name, "KEY", key, "VALUE", value).Replace(pod)
	}
	for path, dir := range map[string]string{
		"chart": unpack(t, chartHead+"-- chart/templates/a.yaml --\n"+text("a", "helm.sh/hook", "pre-instal,post-upgrade,test")),
		"plain": unpack(t, "-- plain/a.yaml --\n"+text("a", "argocd.argoproj.io/hook", "pre-instal")),
	} {
		var warnings []string
		ctx := report.With(context.Background(), report.SinkFunc(func(e report.Event) { warnings = append(warnings, e.Message) }))
		_, err := render.Render(ctx, filepath.Join(dir, path), render.Options{})
		require.NoError(t, err)
		assert.Equal(t, []string{`Pod/a is a hook for "pre-instal", and there is no such moment: it does not run then`}, warnings)
	}
}

// Argo CD's own example of a hook has no name: https://argo-cd.readthedocs.io/en/stable/user-guide/resource_hooks/
func TestHookWithAGeneratedName(t *testing.T) {
	const hook = "apiVersion: batch/v1\nkind: Job\nmetadata:\n  generateName: migrate-\n  annotations: {argocd.argoproj.io/hook: PreSync}\nspec: {template: {spec: {restartPolicy: Never}}}\n"
	dir := unpack(t, "-- plain/a.yaml --\n"+hook+"-- plain2/a.yaml --\n"+strings.Replace(hook, "Never", "OnFailure", 1)+
		"-- object/a.yaml --\n"+strings.Replace(hook, "  annotations: {argocd.argoproj.io/hook: PreSync}\n", "", 1))
	first := names(t, filepath.Join(dir, "plain"), render.Options{})
	require.Len(t, first, 1)
	assert.Regexp(t, `^Job/migrate-[0-9a-f]{10}$`, first[0])
	assert.Equal(t, first, names(t, filepath.Join(dir, "plain"), render.Options{}), "the next deploy finds it")
	assert.NotEqual(t, first, names(t, filepath.Join(dir, "plain2"), render.Options{}))
	_, err := render.Render(context.Background(), filepath.Join(dir, "object"), render.Options{})
	require.ErrorContains(t, err, "give it a name")
}
