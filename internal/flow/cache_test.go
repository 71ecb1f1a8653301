package flow

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/flow/resolve"
)

func TestBuildCache(t *testing.T) {
	const text = `app: vote
build: {cache: registry}
environments:
  dev: {branches: [develop], registry: "${DEV}", manifests: manifests}
  staging: {branches: ["release/*"], registry: staging.example, manifests: manifests}
  production: {branches: [main], tags: ["v*"], registry: production.example, manifests: manifests}
`
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "aksflow.yaml"), []byte(text), 0o600))
	cache := func(t *testing.T, env, gitRef string, variables map[string]string) *delivery.BuildCache {
		t.Helper()
		d, err := open(t.Context(), Request{
			Config: filepath.Join(dir, "aksflow.yaml"), Env: env, Ref: gitRef, Set: resolve.Settings{Username: "u", PasswordEnv: "P"},
			Variables: func(name string) (string, bool) { value, ok := variables[name]; return value, ok },
		}, []namedTarget{{"push", fake{}}})
		require.NoError(t, err)
		c, err := d.buildCache(t.Context())
		require.NoError(t, err)
		return c
	}
	known := map[string]string{"DEV": "dev.example", "P": "secret"}

	released := cache(t, "staging", "refs/heads/release/1.2.0", known)
	assert.Equal(t, "staging.example/vote:cache-release-1.2.0", released.Export)
	assert.Equal(t, []string{released.Export, "staging.example/vote:cache-develop", "staging.example/vote:cache-main"}, released.Imports)
	assert.Equal(t, "staging.example", released.Host)
	user, password, err := released.Login.Login(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []string{"u", "secret"}, []string{user, password})

	main := cache(t, "production", "main", known)
	assert.Equal(t, "production.example/vote:cache-main", main.Export)
	assert.Equal(t, []string{main.Export, "production.example/vote:cache-develop"}, main.Imports)

	for _, readOnly := range []string{"refs/pull/12/merge", "refs/tags/v1.2.0"} {
		c := cache(t, "production", readOnly, known)
		assert.Empty(t, c.Export, readOnly)
		assert.Equal(t, []string{"production.example/vote:cache-develop", "production.example/vote:cache-main"}, c.Imports)
	}

	feature := cache(t, "", "refs/heads/feature/x", known)
	assert.Equal(t, "dev.example/vote:cache-feature-x", feature.Export, "without an environment: the first registry that is known")
	assert.Equal(t, "staging.example", cache(t, "", "refs/heads/feature/x", nil).Host)
}
