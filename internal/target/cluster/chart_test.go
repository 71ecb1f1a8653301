package cluster_test

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/tools/txtar"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aksflow/aksflow/internal/render"
	"github.com/aksflow/aksflow/internal/target/cluster"
)

// writeChart writes the files of a txtar archive into a chart called shop, and returns its directory.
func writeChart(t *testing.T, files string) string {
	t.Helper()
	dir := t.TempDir()
	archive := txtar.Parse([]byte("-- Chart.yaml --\napiVersion: v2\nname: shop\nversion: 1.0.0\n" + files))
	for _, f := range archive.Files {
		path := filepath.Join(dir, f.Name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, f.Data, 0o600))
	}
	return dir
}

// chartRelease renders a chart as the app shop in a namespace.
func chartRelease(ctx context.Context, t *testing.T, c *cluster.Cluster, path, namespace string, o render.Options) cluster.Release {
	t.Helper()
	o.Namespace = namespace
	objects, err := c.Render(ctx, "shop", path, o)
	require.NoError(t, err)
	return cluster.Release{App: "shop", Namespace: namespace, Objects: objects, User: "tester"}
}

func TestChartIsToldAboutTheClusterAndTheRevision(t *testing.T) {
	t.Parallel()
	c, s := connect(t), testServer(t)
	ctx, log := events(t)
	newNamespace(t, s, "facts")
	chart := writeChart(t, `
-- templates/all.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: "{{ .Release.Name }}-facts", namespace: "{{ .Release.Namespace }}"}
data:
  kube: {{ .Capabilities.KubeVersion.Version }}
  cronjob: {{ .Capabilities.APIVersions.Has "batch/v1/CronJob" | quote }}
  route: {{ .Capabilities.APIVersions.Has "gateway.networking.k8s.io/v9/HTTPRoute" | quote }}
  unknown: {{ lookup "example.com/v1" "Thing" "" "x" | toJson | quote }}
  namespaces: {{ gt (len (lookup "v1" "Namespace" "" "").items) 2 | quote }}
  revision: {{ .Release.Revision | quote }}
  upgrade: {{ .Release.IsUpgrade | quote }}
  color: {{ .Values.color | default "red" }}
`)
	deploy := func(set ...string) (*cluster.Result, map[string]string) {
		result, err := c.Deploy(ctx, chartRelease(ctx, t, c, chart, "facts", render.Options{Set: set}))
		require.NoError(t, err, log)
		facts, err := s.Client.CoreV1().ConfigMaps("facts").Get(ctx, "shop-facts", metav1.GetOptions{})
		require.NoError(t, err)
		return result, facts.Data
	}
	_, facts := deploy()
	assert.Equal(t, map[string]string{
		"kube": c.Kube().Version(), "cronjob": "true", "route": "false", "unknown": "{}", "namespaces": "true",
		"revision": "1", "upgrade": "false", "color": "red",
	}, facts)

	again, facts := deploy()
	assert.False(t, again.Changed(), "the same chart is the same revision: %v", again.Objects)
	assert.Equal(t, "1", facts["revision"])

	other, facts := deploy("color=blue")
	assert.Equal(t, 2, other.Revision)
	assert.Equal(t, "2", facts["revision"])
	assert.Equal(t, "true", facts["upgrade"])

	again, _ = deploy("color=blue")
	assert.False(t, again.Changed(), again.Objects)
}

func TestRandomValuesOfAChartStay(t *testing.T) {
	t.Parallel()
	c, s := connect(t), testServer(t)
	ctx, log := events(t)
	newNamespace(t, s, "random")
	chart := writeChart(t, `
-- templates/secret.yaml --
apiVersion: v1
kind: Secret
metadata: {name: db}
data: {password: {{ randAlphaNum 20 | b64enc | quote }}}
stringData: {url: "db://{{ randAlphaNum 20 }}"}
-- templates/web.yaml --
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata:
      labels: {app: web}
      annotations:
        checksum/secret: {{ include (print $.Template.BasePath "/secret.yaml") . | sha256sum }}
        rollme: {{ randAlphaNum 5 | quote }}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: web, image: "vote:v1", env: [{name: ID, value: "{{ uuidv4 }}"}]}]
`)
	_, err := c.Deploy(ctx, chartRelease(ctx, t, c, chart, "random", render.Options{}))
	require.NoError(t, err, log)
	secret, err := s.Client.CoreV1().Secrets("random").Get(ctx, "db", metav1.GetOptions{})
	require.NoError(t, err)

	diff, err := c.Diff(ctx, chartRelease(ctx, t, c, chart, "random", render.Options{}))
	require.NoError(t, err)
	assert.Empty(t, diff)
	again, err := c.Deploy(ctx, chartRelease(ctx, t, c, chart, "random", render.Options{}))
	require.NoError(t, err, log)
	assert.False(t, again.Changed(), again.Objects)
	after, err := s.Client.CoreV1().Secrets("random").Get(ctx, "db", metav1.GetOptions{})
	require.NoError(t, err)
	assert.Equal(t, secret.Data, after.Data)
}

const hookChart = `
-- templates/web.yaml --
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}, annotations: {v: "{{ .Values.v }}"}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: web, image: "vote:v1"}]
-- templates/hooks.yaml --
{{- range $name, $hook := dict "migrate" "pre-install,pre-upgrade" "seed" "post-install,post-upgrade" "first" "pre-install" "drop" "pre-delete,post-delete" "back" "post-rollback" }}
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ $name }}
  annotations:
    helm.sh/hook: {{ $hook }}
    helm.sh/hook-weight: {{ eq $name "first" | ternary "-5" "0" | quote }}
    {{- if eq $name "migrate" }}
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
    {{- end }}
spec:
  backoffLimit: 0
  template: {spec: {restartPolicy: Never, containers: [{name: run, image: "vote:v{{ $.Values.v }}{{ if eq $name $.Values.fail }}-fail{{ end }}"}]}}
---
{{- end }}
apiVersion: v1
kind: Secret
metadata:
  name: once
  annotations: {helm.sh/hook: pre-install, helm.sh/hook-weight: "-10"}
stringData: {key: once}
---
apiVersion: v1
kind: Pod
metadata:
  name: smoke
  annotations: {helm.sh/hook: test}
spec: {restartPolicy: Never, containers: [{name: run, image: "vote:v1"}]}
---
apiVersion: v1
kind: Pod
metadata:
  name: check
  annotations: {helm.sh/hook: post-upgrade, helm.sh/hook-weight: "1"}
spec: {restartPolicy: Never, containers: [{name: run, image: "vote:v1"}]}
`

func TestHooksRunAtTheirMoments(t *testing.T) {
	t.Parallel()
	c, s := connect(t), testServer(t)
	newNamespace(t, s, "hooks")
	chart := writeChart(t, hookChart)
	// deploy returns the objects in the order in which they were applied or found finished.
	deploy := func(set string) (order string, result *cluster.Result, err error) {
		ctx, log := events(t)
		result, err = c.Deploy(ctx, chartRelease(ctx, t, c, chart, "hooks", render.Options{Set: []string{set}}))
		var names []string
		for _, m := range regexp.MustCompile(`(?m)^\w+/(\w+) (created|configured|complete|succeeded|restored)$`).FindAllStringSubmatch(log.String(), -1) {
			names = append(names, m[1]+" "+m[2])
		}
		return strings.Join(names, ", "), result, err
	}
	jobs := func() (names []string) {
		list, err := s.Client.BatchV1().Jobs("hooks").List(context.Background(), metav1.ListOptions{})
		require.NoError(t, err)
		for _, job := range list.Items {
			names = append(names, job.Name+" "+job.Spec.Template.Spec.Containers[0].Image)
		}
		return names
	}

	order, _, err := deploy("v=1,fail=none")
	require.NoError(t, err, order)
	assert.Regexp(t, `^once created, first created, first complete, migrate created, migrate complete, web created, seed created, seed complete$`, order)
	assert.Equal(t, []string{"first vote:v1", "seed vote:v1"}, jobs(), "migrate is deleted when it has succeeded; delete, test and rollback hooks do not run")

	order, result, err := deploy("v=1,fail=none")
	require.NoError(t, err)
	assert.Empty(t, order, "the same chart runs no hook again")
	assert.False(t, result.Changed())

	diff := func(set string) string {
		ctx, _ := events(t)
		text, err := c.Diff(ctx, chartRelease(ctx, t, c, chart, "hooks", render.Options{Set: []string{set}}))
		require.NoError(t, err)
		return text
	}
	assert.Empty(t, diff("v=1,fail=none"))
	onlyHook := diff("v=1,fail=seed")
	assert.Contains(t, onlyHook, "Job/hooks/seed")
	assert.Contains(t, onlyHook, "vote:v1-fail")
	assert.NotContains(t, onlyHook, "Deployment")

	order, result, err = deploy("v=2,fail=none")
	require.NoError(t, err, order)
	assert.Regexp(t, `^migrate created, migrate complete, web configured, seed configured, seed complete, check created, check succeeded$`, order)
	assert.Equal(t, []string{"first vote:v1", "seed vote:v2"}, jobs())
	assert.NotContains(t, statuses(result), "Secret/once", "a hook of another moment is not pruned")
	_, err = s.Client.CoreV1().Secrets("hooks").Get(context.Background(), "once", metav1.GetOptions{})
	require.NoError(t, err)

	_, result, err = deploy("v=3,fail=seed")
	require.ErrorContains(t, err, "the hook Job/seed: container run of pod seed-")
	assert.True(t, result.RolledBack)
	assert.Equal(t, 2, result.Revision)
	d, err := s.Client.AppsV1().Deployments("hooks").Get(context.Background(), "web", metav1.GetOptions{})
	require.NoError(t, err)
	assert.Equal(t, "2", d.Spec.Template.Annotations["v"])

	_, _, err = deploy("v=3,fail=migrate")
	require.ErrorContains(t, err, "the hook Job/migrate: container run of pod migrate-")

	ctx, log := events(t)
	of := cluster.App{Name: "shop", Namespace: "hooks", User: "tester"}
	_, err = c.Rollback(ctx, of, 1)
	require.EqualError(t, err, "revision 1 of shop may not fit what later ones did, which a rollback does not undo: "+
		"Job/migrate of revision 2, Job/seed of revision 2: go back all the same with --past-jobs")
	of.PastJobs = true
	_, err = c.Rollback(ctx, of, 1)
	require.NoError(t, err)
	assert.Contains(t, log.String(), "what these did is not undone: Job/migrate of revision 2, Job/seed of revision 2")
	assert.Contains(t, jobs(), "back vote:v1")
	_, err = s.Client.BatchV1().Jobs("hooks").Get(ctx, "drop", metav1.GetOptions{})
	assert.True(t, apierrors.IsNotFound(err))
}

func TestHooksOfUninstall(t *testing.T) {
	t.Parallel()
	c, s := connect(t), testServer(t)
	newNamespace(t, s, "hooks-of-uninstall")
	chart := writeChart(t, hookChart)
	ctx, log := events(t)
	deploy := func(set string) {
		t.Helper()
		_, err := c.Deploy(ctx, chartRelease(ctx, t, c, chart, "hooks-of-uninstall", render.Options{Set: []string{set}}))
		require.NoError(t, err, log)
	}
	of := cluster.App{Name: "shop", Namespace: "hooks-of-uninstall", User: "tester"}
	deploy("v=1,fail=drop")
	_, err := c.Uninstall(ctx, of)
	require.ErrorContains(t, err, "the hook Job/drop: container run of pod drop-")
	require.ErrorContains(t, err, "nothing was deleted; --no-hooks uninstalls without its hooks")
	assert.NotNil(t, get(t, c, "apps/v1", "Deployment", "hooks-of-uninstall", "web"))

	deploy("v=2,fail=none")
	log.Reset()
	result, err := c.Uninstall(ctx, of)
	require.NoError(t, err, log)
	assert.Equal(t, cluster.Pruned, statuses(result)["Deployment/web"])
	assert.Regexp(t, `(?s)Job/drop complete.*Deployment/web pruned.*Job/drop complete`, log.String())
	assert.Regexp(t, `these are left: .*Job/drop.*Secret/once`, log.String())
	assert.NotContains(t, log.String(), "Pod/smoke")

	deploy("v=1,fail=drop")
	of.NoHooks = true
	_, err = c.Uninstall(ctx, of)
	require.NoError(t, err, log)
}
