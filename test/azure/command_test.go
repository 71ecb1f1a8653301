package azure

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/localplatform/standin"
)

// aksflow runs the command in a directory as a job of a workflow in the environment dev: with the variables of the file that
// `aksflow up azure` prints.
func aksflow(t *testing.T, dir string, args ...string) (out string, err error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "aksflow"), args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "AKSFLOW_STATE="+state, "AKSFLOW_BIN="+bin, "AKSFLOW_ENGINE=embedded", "DOCKER_CONFIG="+t.TempDir())
	for line := range strings.Lines(readFile(t, local.Azure.EnvFile)) {
		name, value, found := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "export "), "=")
		require.True(t, found, line)
		cmd.Env = append(cmd.Env, name+"="+strings.Trim(value, "'"))
	}
	text, err := cmd.CombinedOutput()
	return string(text), err
}

// The command by itself, without a workflow: an image on a private base of the registry, doctor, a static kubeconfig, and what
// init compares.
func TestCommand(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "aksflow.yaml"), `app: small
build:
  context: .
  args: {BASE: `+local.Azure.Registry+`/library/debian:trixie-slim}
environments:
  dev:
    registry: `+local.Azure.Registry+`
    manifests: manifests
    namespace: small-dev
    cluster:
      aks: {subscription: `+standin.SampleSubscription+`, resourceGroup: `+standin.SampleGroup+`, name: aks-dev}
`)
	write(t, filepath.Join(dir, "Dockerfile"), "ARG BASE\nFROM $BASE\nRUN echo small > /small\nUSER 10001\nCMD [\"sleep\", \"infinity\"]\n")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "manifests"), 0o755))
	write(t, filepath.Join(dir, "manifests/all.yaml"), `apiVersion: apps/v1
kind: Deployment
metadata: {name: small}
spec:
  replicas: 1
  selector: {matchLabels: {app: small}}
  template:
    metadata: {labels: {app: small}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: small, image: `+local.Azure.Registry+`/small}]
`)
	kubectl(t, "create", "namespace", "small-dev")
	kubectl(t, "apply", "-n", "small-dev", "-f", "../../manifests/rbac/deployer.yaml")
	kubectl(t, "create", "rolebinding", "-n", "small-dev", "azure", "--role=deployer", "--user="+standin.SampleObject)

	t.Run("deliver, on a private base image", func(t *testing.T) {
		out, err := aksflow(t, dir, "deliver", "--env", "dev", "--target", "push")
		require.NoError(t, err, out)
		var requests []string
		control(t, http.MethodGet, "/requests", nil, &requests)
		assert.Contains(t, strings.Join(requests, "\n"), local.Azure.Registry+"/v2/library/debian/manifests/", "the base came from the registry of Azure")
		assert.Contains(t, kubectl(t, "get", "deployment", "-n", "small-dev", "small", "-o", "jsonpath={.spec.template.spec.containers[0].image}"), local.Azure.Registry+"/small")
	})
	t.Run("doctor", func(t *testing.T) {
		out, err := aksflow(t, dir, "doctor", "--env", "dev")
		require.NoError(t, err, out)
		for _, line := range []string{
			"login to Azure: GitHub Actions as " + standin.SampleClient, "not a client secret: AZURE_CLIENT_SECRET is not set",
			"AKS: may get the kubeconfig of aks-dev", "AKS accounts: Entra only", "AKS address: the API server answers all addresses",
		} {
			assert.Contains(t, out, line)
		}
	})
	t.Run("kubeconfig", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "kubeconfig")
		out, err := aksflow(t, dir, "kubeconfig", "--env", "dev", "--output-file", file)
		require.NoError(t, err, out)
		cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "kubectl"), "--kubeconfig", file, "get", "deployment", "-n", "small-dev", "-o", "name")
		cmd.Env = append(os.Environ(), "HTTPS_PROXY="+local.Azure.Proxy)
		text, err := cmd.CombinedOutput()
		require.NoError(t, err, string(text))
		assert.Contains(t, string(text), "deployment.apps/small")
	})
	t.Run("init azure --diff", func(t *testing.T) {
		var before standin.Estate
		control(t, http.MethodGet, "/estate", nil, &before)
		compare := func() (string, int) {
			out, err := aksflow(t, dir, "init", "azure", "--repository", "aksflow/aksflow", "--diff")
			var ended *exec.ExitError
			if err != nil {
				require.ErrorAs(t, err, &ended, out)
				return out, ended.ExitCode()
			}
			return out, 0
		}
		out, code := compare()
		assert.Equal(t, 2, code, out)
		assert.Contains(t, out, "it needs the role Reader on the subscription")
		defer control(t, http.MethodPut, "/estate", before, nil) // not a cleanup: the test's context ends before those
		after := before
		after.Assignments = append(after.Assignments, standin.Assignment{Principal: standin.SampleObject, Role: standin.Reader, Scope: "/subscriptions/" + standin.SampleSubscription})
		control(t, http.MethodPut, "/estate", after, nil)
		out, code = compare()
		assert.Equal(t, 1, code, out)
		assert.Contains(t, out, "missing    the identity: Delivers small to the environment dev")
	})
	t.Run("no token is in a file", func(t *testing.T) {
		var issued []string
		control(t, http.MethodGet, "/issued", nil, &issued)
		searchFiles(t, state, issued)
	})
}
