package registryauth_test

import (
	"context"
	"errors"
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
	c := registryauth.New(nil)
	c.Set("r.example/app", "me", "secret")
	got, err := c.Provide(t.Context(), "r.example", nil, nil)
	require.NoError(t, err)
	assert.Equal(t, "me", got.Username)
	c.Remove("r.example/other")
	got, err = c.Provide(t.Context(), "r.example", nil, nil)
	require.NoError(t, err)
	assert.Empty(t, got.Username)
}

func TestLoginGoesBeforeDockers(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	c := registryauth.New(func(_ context.Context, host string) (username, password string, err error) {
		switch host {
		case "r.azurecr.io":
			return "token", "secret", nil
		case "refused.azurecr.io":
			return "", "", errors.New("no role")
		}
		return "", "", nil
	})
	got, err := c.Provide(t.Context(), "r.azurecr.io", nil, nil)
	require.NoError(t, err)
	assert.Equal(t, "secret", got.Password)
	_, err = c.Provide(t.Context(), "refused.azurecr.io", nil, nil)
	require.EqualError(t, err, "no role")
	got, err = c.Provide(t.Context(), "ghcr.io", nil, nil)
	require.NoError(t, err)
	assert.Empty(t, got.Username, "Docker's configuration has none")
}
