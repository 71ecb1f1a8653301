package doctor_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/doctor"
	"github.com/aksflow/aksflow/internal/flow"
	"github.com/aksflow/aksflow/internal/testing/registrytest"
)

const configuration = `
app: web
test: {unit: {target: test}}
environments:
  dev: {branches: [develop], registry: registry.example, manifests: manifests, cluster: {kubeconfig: none}}
`

// run looks at a repository with these files, and returns the checks by their parts and names.
func run(t *testing.T, files map[string]string, environments ...string) (*doctor.Result, map[string]delivery.Check) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644))
	}
	result := doctor.Run(t.Context(), doctor.Options{
		Request: flow.Request{
			Config: filepath.Join(dir, "aksflow.yaml"), ByRef: true, Ref: "main",
			Variables: func(string) (string, bool) { return "", false },
		},
		Environments: environments,
		Engine: func(context.Context) []delivery.Check {
			return []delivery.Check{delivery.Passed("engine", "there")}
		},
	})
	checks := map[string]delivery.Check{}
	for _, p := range result.Parts {
		for _, c := range p.Checks {
			checks[p.Name+": "+c.Name] = c
		}
	}
	return result, checks
}

func TestWithoutAConfiguration(t *testing.T) {
	result, checks := run(t, nil)
	assert.Equal(t, 1, result.Failed)
	assert.Equal(t, delivery.CheckOK, checks["engine: engine"].Status, "the engine is looked at all the same")
}

func TestStagesAndManifests(t *testing.T) {
	_, checks := run(t, map[string]string{"aksflow.yaml": configuration})
	assert.Equal(t, delivery.CheckFailed, checks["configuration: Dockerfile"].Status)
	assert.Equal(t, delivery.CheckFailed, checks["configuration: manifests of dev"].Status)

	_, checks = run(t, map[string]string{"aksflow.yaml": configuration, "Dockerfile": "FROM scratch AS app\n"})
	assert.Contains(t, checks["configuration: Dockerfile"].Message, "test.unit.target names the stage test")
	assert.Contains(t, checks["configuration: Dockerfile"].Remedy, "there are app")
}

// Only what matters to what is delivered fails: main is not delivered, so its registry and cluster are not asked.
func TestOnlyWhatIsDelivered(t *testing.T) {
	host := registrytest.Start(t)
	files := map[string]string{
		"aksflow.yaml": "app: web\nenvironments:\n  dev: {branches: [develop], registry: \"" + host + "\", manifests: manifests, cluster: {kubeconfig: none}}\n",
		"Dockerfile":   "FROM scratch\n", "manifests/a.yaml": "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: a, image: web}]}}\n",
	}
	result, _ := run(t, files)
	assert.Zero(t, result.Failed, "%+v", result)

	result, checks := run(t, files, "dev")
	assert.Equal(t, delivery.CheckOK, checks["dev: registry"].Status, "%+v", checks["dev: registry"])
	assert.Equal(t, delivery.CheckFailed, checks["dev: cluster"].Status)
	assert.Contains(t, checks["dev: cluster"].Message, "no kubeconfig at")
	assert.Equal(t, 1, result.Failed)
	assert.Equal(t, "1 object", checks["configuration: manifests of dev"].Message)

	files["manifests/a.yaml"] = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}\n"
	_, checks = run(t, files)
	assert.Contains(t, checks["configuration: manifests of dev"].Message, "no image to set")
}

// What a build would miss is said before the build, and nothing else is.
func TestWhatABuildReads(t *testing.T) {
	files := map[string]string{
		"aksflow.yaml": "app: web\nbuild: {args: {TAG: '3'}}\n",
		"Dockerfile": "ARG BASE\nARG TAG\nFROM alpine:${TAG} AS tools\nCOPY tools/* /\nCOPY --from=busybox:1 /bin/sh /sh\nFROM ${BASE}\n" +
			"RUN --mount=type=bind,source=list.txt,target=/list.txt cat /list.txt\nCOPY target/app.jar *.lock made/ /app/\nCOPY docs/kept.md docs/ /docs/\nCOPY --from=tools /x /x\nCOPY <<EOF /e\ntext\nEOF\n",
		".dockerignore": "list.txt\ndocs\n!docs/kept.md\nmade\n", "list.txt": "", "docs/kept.md": "", "docs/other.md": "", "made/a": "",
	}
	_, checks := run(t, files)
	assert.Equal(t, delivery.CheckOK, checks["configuration: Dockerfile"].Status)
	assert.Equal(t, "FROM ${BASE} names no image: the argument has no value", checks["configuration: base image"].Message)
	all := ""
	result, _ := run(t, files)
	for _, c := range result.Parts[0].Checks {
		all += c.Message + "\n"
	}
	assert.Regexp(t, `the Dockerfile reads \*\.lock, target/app\.jar, tools/\*, which /\S+ does not have`, all)
	assert.Contains(t, all, "the Dockerfile reads list.txt, made, which .dockerignore leaves out")

	files["aksflow.yaml"] = "app: web\nbuild: {args: {TAG: '3', BASE: alpine}}\n"
	for _, name := range []string{"tools/a", "target/app.jar", "go.lock"} {
		files[name] = ""
	}
	files[".dockerignore"] = "\ufeff# \r\n**/*.md\r\n!docs/kept.md\r\n"
	result, _ = run(t, files)
	assert.Len(t, result.Parts[0].Checks, 2, "%+v", result.Parts[0].Checks)
}
