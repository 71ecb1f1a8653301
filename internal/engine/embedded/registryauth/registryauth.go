// Package registryauth keeps the credentials that a session's programs give for registries, before those of Docker's
// configuration.
package registryauth

import (
	"context"
	"io"
	"strings"
	"sync"

	"github.com/distribution/reference"
	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/types"
	"github.com/moby/buildkit/session/auth/authprovider"
)

// Login gives the credentials for a registry's host; empty where it has none.
type Login func(ctx context.Context, host string) (username, password string, err error)

// Credentials are those of a session.
type Credentials struct {
	docker authprovider.AuthConfigProvider
	login  Login
	mu     sync.Mutex
	given  map[string]types.AuthConfig // by host
}

// New returns credentials that are those of login, which may be nil, else those of Docker's configuration.
func New(login Login) *Credentials {
	return &Credentials{
		login:  login,
		docker: authprovider.LoadAuthConfig(config.LoadDefaultConfigFile(io.Discard)),
		given:  map[string]types.AuthConfig{},
	}
}

// Set gives the credentials for the registry of an address: HOST, or an image's name.
func (c *Credentials) Set(address, username, password string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.given[Host(address)] = types.AuthConfig{Username: username, Password: password}
}

// Remove takes them back.
func (c *Credentials) Remove(address string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.given, Host(address))
}

// Given returns the credentials that Set gave for a host; empty if it gave none.
func (c *Credentials) Given(host string) (username, password string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.given[host]
	return a.Username, a.Password
}

// Provide implements [authprovider.AuthConfigProvider].
func (c *Credentials) Provide(ctx context.Context, host string, scopes []string, expired authprovider.ExpireCachedAuthCheck) (types.AuthConfig, error) {
	c.mu.Lock()
	a, ok := c.given[host]
	c.mu.Unlock()
	if ok {
		return a, nil
	}
	if c.login != nil {
		username, password, err := c.login(ctx, host)
		if err != nil || password != "" {
			return types.AuthConfig{Username: username, Password: password}, err
		}
	}
	return c.docker(ctx, host, scopes, expired)
}

// Host returns the host that serves the images of an address.
func Host(address string) string {
	address = strings.TrimPrefix(strings.TrimPrefix(address, "https://"), "http://")
	host, _, isImage := strings.Cut(address, "/")
	if named, err := reference.ParseNormalizedNamed(address); isImage && err == nil {
		host = reference.Domain(named)
	}
	switch host {
	case "docker.io", "index.docker.io", "registry.hub.docker.com":
		return authprovider.DockerHubRegistryHost
	}
	return host
}
