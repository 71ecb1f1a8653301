package main

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/aksflow/aksflow/ci/internal/dagger"
	"github.com/aksflow/aksflow/internal/core/image/ref"
)

// A server that only the caller can reach comes in as a service. The program connects to the service where it would connect
// to the server, so that names, certificates and host keys stay what they are: aksflow --connect-to HOST:PORT:ENDPOINT.

// bind makes a service reachable under a name, in place of the hosts that are listed as HOST:PORT; no port means any.
// Without a service, a host that a container cannot reach is an error that names the function that gives one.
func (c *command) bind(ctx context.Context, name, function string, server *dagger.Service, hosts ...string) error {
	if server == nil {
		if slices.ContainsFunc(hosts, func(host string) bool { return !loopback(host) }) {
			return nil // a kubeconfig may list clusters that are not used
		}
		return fmt.Errorf("%s is on your machine, and a container cannot reach it there: add `%s --server=tcp://%s`", hosts[0], function, hosts[0])
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
	for _, host := range hosts {
		if !strings.Contains(host, ":") || strings.HasSuffix(host, "]") {
			host += ":"
		}
		c.flags = append(c.flags, "--connect-to", host+":"+net.JoinHostPort(name, port))
	}
	return nil
}

// reach lets the command reach the servers of what is planned.
func (m *AksFlow) reach(ctx context.Context, c *command, p planned) error {
	if p.Repository != "" {
		if err := c.bind(ctx, "registry", "with-registry", m.RegistryServer, ref.Read(p.Repository).Host()); err != nil {
			return err
		}
	}
	if p.GitRepository == "" {
		return nil
	}
	return c.bind(ctx, "git-server", "with-git", m.GitServer, gitHost(p.GitRepository))
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
	return c.bind(ctx, "api-server", "with-cluster", m.ClusterServer, hosts...)
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
