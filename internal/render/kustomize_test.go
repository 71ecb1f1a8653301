package render_test

import (
	"context"
	"io"
	"log"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/render"
)

// printed returns what do writes to standard error, also by way of the standard logger.
func printed(t *testing.T, do func()) string {
	t.Helper()
	reader, writer, err := os.Pipe()
	require.NoError(t, err)
	stderr, logger := os.Stderr, log.Writer()
	os.Stderr = writer
	log.SetOutput(writer)
	do()
	assert.Same(t, writer, os.Stderr, "standard error is put back")
	assert.Equal(t, io.Writer(writer), log.Writer(), "the logger is put back")
	os.Stderr = stderr
	log.SetOutput(logger)
	require.NoError(t, writer.Close())
	text, err := io.ReadAll(reader)
	require.NoError(t, err)
	return string(text)
}

const kustomizationOfEveryKind = `
-- kustomization.yaml --
namePrefix: dev-
commonLabels: {team: red}
bases: [base]
components: [comp]
configMapGenerator:
- name: settings
  literals: [A=1, "B=x=y"]
  files: [app.conf, renamed.txt=app.conf]
  envs: [my.env]
- name: fixed
  literals: [A=1]
  options: {disableNameSuffixHash: true}
secretGenerator:
- {name: creds, literals: [password=hunter2], type: Opaque}
images:
- {name: shop, newName: localhost:5000/shop, newTag: v1}
patchesStrategicMerge: [p.yaml]
patchesJson6902:
- target: {version: v1, kind: ConfigMap, name: holder}
  patch: '[{"op": "add", "path": "/data/added", "value": "yes"}]'
vars:
- {name: NEVER_USED, objref: {kind: ConfigMap, name: holder, apiVersion: v1}}
replacements:
- source: {kind: ConfigMap, name: settings, fieldPath: metadata.name}
  targets: [{select: {kind: ConfigMap, name: holder}, fieldPaths: [data.cm]}]
sortOptions: {order: fifo}
-- my.env --
# comment
C=3
-- app.conf --
key = value
-- p.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: holder}
data: {patched: "yes"}
-- comp/kustomization.yaml --
apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
resources: [extra.yaml]
-- comp/extra.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: extra}
data: {a: b}
-- base/kustomization.yaml --
resources: [web.yaml]
-- base/web.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: holder}
data: {cm: ""}
---
apiVersion: v1
kind: Namespace
metadata: {name: last-in-fifo-order}
`

func TestKustomizationPrintsNothing(t *testing.T) {
	dir := unpack(t, kustomizationOfEveryKind)
	var warnings []string
	ctx := report.With(context.Background(), report.SinkFunc(func(e report.Event) { warnings = append(warnings, e.Message) }))
	var got []string
	text := printed(t, func() { got = names(t, dir, render.Options{}) })
	assert.Empty(t, text)
	assert.Equal(t, []string{
		"ConfigMap/dev-holder", "Namespace/last-in-fifo-order", "ConfigMap/dev-settings-626m62fc8t", "ConfigMap/dev-fixed",
		"Secret/dev-creds-cf85kd65mm", "ConfigMap/dev-extra",
	}, got)

	objects, err := render.Render(ctx, dir, render.Options{})
	require.NoError(t, err)
	assert.Equal(t, map[string]any{"cm": "dev-settings", "patched": "yes", "added": "yes"}, objects[0].Object["data"])
	assert.Equal(t, []string{"well-defined vars that were never replaced: NEVER_USED"}, warnings, "what a user can mend is passed on, deprecations are not")
}

func TestKustomizationTakesWhatKustomizeTakes(t *testing.T) {
	dir := unpack(t, `
-- kustomization.yaml --
configMapGenerator:
- &settings
  name: one
  literals: [A=1]
  options: {disableNameSuffixHash: true}
- <<: *settings
  name: two
`)
	assert.Equal(t, []string{"ConfigMap/one", "ConfigMap/two"}, names(t, filepath.Join(dir, "kustomization.yaml"), render.Options{}))
}

func TestKustomizationBelowPlainManifests(t *testing.T) {
	dir := unpack(t, "-- a.yaml --\n{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}\n-- base/kustomization.yaml --\nresources: []\n")
	_, err := render.Render(context.Background(), dir, render.Options{})
	require.EqualError(t, err, dir+"/base/kustomization.yaml is a kustomization in a directory of plain manifests: give the path "+dir+"/base instead, or add a kustomization.yaml to "+dir+" that names what is deployed")
}
