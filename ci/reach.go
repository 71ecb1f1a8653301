package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/aksflow/aksflow/ci/internal/dagger"
	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/image/ref"
)

// A server that only the caller can reach comes in as a service. The program connects to the service where it would connect
// to the server, so that names, certificates and host keys stay what they are: aksflow --connect-to HOST:PORT:ENDPOINT.

// serve makes a service reachable under a name, in place of the hosts that are listed as HOST:PORT; no port means any.
func (c *command) serve(ctx context.Context, name string, server *dagger.Service, hosts []string) error {
	if server == nil {
		return nil
	}
	endpoint, err := server.Endpoint(ctx)
	if err != nil {
		return fmt.Errorf("the service for the %s: %w", name, err)
	}
	_, port, err := net.SplitHostPort(endpoint)
	if err != nil {
		return fmt.Errorf("the service for the %s is at %q: want HOST:PORT", name, endpoint)
	}
	c.container = c.container.WithServiceBinding(name, server)
	slices.Sort(hosts)
	for _, host := range slices.Compact(hosts) {
		if !strings.Contains(host, ":") || strings.HasSuffix(host, "]") {
			host += ":"
		}
		c.flags = append(c.flags, "--connect-to", host+":"+net.JoinHostPort(name, port))
	}
	return nil
}

// onlyHere returns an error for hosts that only the caller's machine can reach: it names the function that gives a service. A
// kubeconfig may list clusters that are not used, so it is none if one of the hosts is another.
func onlyHere(function string, hosts ...string) error {
	if slices.ContainsFunc(hosts, func(host string) bool { return !loopback(host) }) {
		return nil
	}
	return fmt.Errorf("%s is on your machine, and a container cannot reach it there: add `%s --server=tcp://%s`", hosts[0], function, hosts[0])
}

// reachServices lets the command reach the registries and git servers of aksflow.yaml that come in as services, and further
// registries.
func (m *AksFlow) reachServices(ctx context.Context, c *command, cfg *config.Config, registries []string) error {
	var gitServers []string
	for _, name := range cfg.Names() {
		expanded, err := m.expanded(cfg, name)
		if err != nil {
			continue // an environment that lacks a variable is not delivered to
		}
		env := expanded.Environments[name]
		if env.Registry != "" {
			registries = append(registries, ref.Read(env.Registry+"/"+cfg.Image).Host())
		}
		if env.GitOps.Repo != "" {
			gitServers = append(gitServers, gitHost(env.GitOps.Repo))
		}
	}
	return errors.Join(
		c.serve(ctx, "registry", m.RegistryServer, registries),
		c.serve(ctx, "git-server", m.GitServer, gitServers))
}

// unreachable returns an error for a server of what is planned that a container cannot reach.
func (m *AksFlow) unreachable(p planned) error {
	if p.Repository != "" && m.RegistryServer == nil {
		if err := onlyHere("with-registry", ref.Read(p.Repository).Host()); err != nil {
			return err
		}
	}
	if p.GitRepository != "" && m.GitServer == nil {
		return onlyHere("with-git", gitHost(p.GitRepository))
	}
	return nil
}

// loopback reports whether HOST or HOST:PORT means the machine that asks, which in a container is the container.
func loopback(address string) bool {
	host := address
	if h, _, err := net.SplitHostPort(address); err == nil {
		host = h
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// gitHost returns HOST or HOST:PORT of a URL, or of git's short form for SSH: user@host:path.
func gitHost(repository string) string {
	if u, err := url.Parse(repository); err == nil && u.Host != "" {
		return u.Host
	}
	host, _, _ := strings.Cut(repository, ":")
	return host[strings.LastIndex(host, "@")+1:]
}

// reachCluster lets the command reach the API servers of the kubeconfig.
func (m *AksFlow) reachCluster(ctx context.Context, c *command) error {
	if m.Kubeconfig == nil {
		return nil
	}
	text, err := m.Kubeconfig.Plaintext(ctx)
	if err != nil {
		return fmt.Errorf("the kubeconfig: %w", err)
	}
	hosts, err := apiServers([]byte(text))
	if err != nil {
		return err
	}
	if m.ClusterServer == nil {
		return onlyHere("with-cluster", hosts...)
	}
	return c.serve(ctx, "api-server", m.ClusterServer, hosts)
}

// apiServers returns HOST:PORT of the servers in a kubeconfig.
func apiServers(text []byte) ([]string, error) {
	var kubeconfig struct {
		Clusters []struct {
			Cluster struct {
				Server string `yaml:"server"`
			} `yaml:"cluster"`
		} `yaml:"clusters"`
	}
	if err := yaml.Unmarshal(text, &kubeconfig); err != nil {
		return nil, fmt.Errorf("the kubeconfig is no YAML: %w", err) // the parser's messages name lines, and quote no values
	}
	var hosts []string
	for _, c := range kubeconfig.Clusters {
		u, err := url.Parse(c.Cluster.Server)
		if err != nil || u.Host == "" {
			return nil, fmt.Errorf("the kubeconfig has the server %q: want https://HOST:PORT", c.Cluster.Server)
		}
		hosts = append(hosts, u.Host)
	}
	if len(hosts) == 0 {
		return nil, fmt.Errorf("the kubeconfig has no clusters")
	}
	return hosts, nil
}
