package flow

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/fault"
)

func TestValidate(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"aksflow.yaml": "app: vote\nenvironments:\n" +
			"  dev: {registry: \"${REGISTRY}\", manifests: dev}\n" +
			"  local: {platform: local, manifests: dev}\n" +
			"  chart: {registry: registry.example, manifests: chart}\n" +
			"  elsewhere: {target: pull, registry: registry.example, manifests: elsewhere, gitops: {repo: \"https://git.example/config.git\"}}\n",
		"dev/all.yaml":                "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, image: vote}]}\n",
		"chart/Chart.yaml":            "apiVersion: v2\nname: vote\nversion: 1.0.0\n",
		"chart/templates/config.yaml": "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, image: vote}]}\n",
	} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	r := Request{
		Config: filepath.Join(dir, "aksflow.yaml"),
		Variables: func(name string) (string, bool) {
			value, ok := map[string]string{"REGISTRY": "registry.example"}[name]
			return value, ok
		},
	}
	validated, err := Validate(t.Context(), r)
	require.NoError(t, err)
	assert.Equal(t, []delivery.ValidEnvironment{{Name: "dev", Objects: 1}, {Name: "local", Objects: 1}, {Name: "chart", Objects: 1}, {Name: "elsewhere"}},
		validated.Environments)

	require.NoError(t, os.WriteFile(filepath.Join(dir, "dev", "all.yaml"),
		[]byte("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, image: other}]}\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "chart", "templates", "config.yaml"), []byte("a: {{ .Values.x.y }}\n"), 0o600))
	validated, err = Validate(t.Context(), r)
	assert.ErrorContains(t, err, "dev: setting the image in "+filepath.Join(dir, "dev")+": no container runs vote; the images there are: other")
	assert.ErrorContains(t, err, "chart: ")
	assert.Equal(t, fault.ExitUsage, fault.ExitCode(err))
	assert.Equal(t, []delivery.ValidEnvironment{{Name: "elsewhere"}}, validated.Environments)

	r.Env, r.Options.Replace = "dev", []string{"other"}
	validated, err = Validate(t.Context(), r)
	require.NoError(t, err)
	assert.Equal(t, []delivery.ValidEnvironment{{Name: "dev", Objects: 1}}, validated.Environments)

	r.Env = "nowhere"
	_, err = Validate(t.Context(), r)
	assert.ErrorContains(t, err, "--env nowhere: ")
}

// Flux renders a kustomization with the whole repository at hand; Argo CD and a push do not.
func TestValidateOfFilesBesideTheKustomization(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		".git/HEAD": "ref: refs/heads/main\n",
		"deploy/aksflow.yaml": "app: vote\nenvironments:\n" +
			"  flux: {target: pull, registry: registry.example, manifests: dev, gitops: {repo: \"https://git.example/r.git\", operator: flux}}\n" +
			"  argocd: {target: pull, registry: registry.example, manifests: dev, gitops: {repo: \"https://git.example/r.git\"}}\n" +
			"  push: {registry: registry.example, manifests: dev, gitops: {operator: flux}}\n",
		"deploy/dev/kustomization.yaml": "resources: [../../shared/pod.yaml]\n",
		"shared/pod.yaml":               "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, image: vote}]}\n",
	} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	validated, err := Validate(t.Context(), Request{Config: filepath.Join(dir, "deploy/aksflow.yaml")})
	assert.Equal(t, []delivery.ValidEnvironment{{Name: "flux", Objects: 1}}, validated.Environments)
	assert.ErrorContains(t, err, "argocd: rendering the kustomization")
	assert.ErrorContains(t, err, "push: rendering the kustomization")
	assert.NotContains(t, err.Error(), "flux: ")
}
