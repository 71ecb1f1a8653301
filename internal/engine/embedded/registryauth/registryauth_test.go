package registryauth_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/engine/embedded/registryauth"
)

func TestHost(t *testing.T) {
	for address, want := range map[string]string{
		"ghcr.io":                      "ghcr.io",
		"ghcr.io/me/app:tag":           "ghcr.io",
		"https://ghcr.io":              "ghcr.io",
		"localhost:5000":               "localhost:5000",
		"127.0.0.1:5000/app@sha256:00": "127.0.0.1:5000",
		"docker.io":                    "registry-1.docker.io",
		"docker.io/me/app":             "registry-1.docker.io",
		"me/app":                       "registry-1.docker.io",
		"https://index.docker.io/v1/":  "registry-1.docker.io",
	} {
		assert.Equal(t, want, registryauth.Host(address), address)
	}
}

func TestGivenGoesBeforeDockers(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	c := registryauth.New()
	c.Set("r.example/app", "me", "secret")
	got, err := c.Provide(t.Context(), "r.example", nil, nil)
	require.NoError(t, err)
	assert.Equal(t, "me", got.Username)
	c.Remove("r.example/other")
	got, err = c.Provide(t.Context(), "r.example", nil, nil)
	require.NoError(t, err)
	assert.Empty(t, got.Username)
}
