//go:build linux

package server

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/aksflow/aksflow/internal/localplatform"
	"github.com/aksflow/aksflow/internal/localplatform/process"
	"github.com/aksflow/aksflow/internal/localplatform/standin"
)

// Ports inside the namespaces: of the stand-in's TLS listener, which the API server asks for keys, and of the registry that
// takes the stand-in's tokens.
const azurePort, azureRegistryPort = 9443, 9500

// azureServer makes the stand-in for Azure before the cluster is prepared: the API server trusts its tokens, and has the names
// of its clusters.
func (s *supervisor) azureServer() error {
	cp := s.controlPlane()
	server, err := standin.New(standin.Options{
		Dir: s.State.run("azure"), Estate: standin.Sample(), AssertionLifetime: s.AzureTokens,
		Registry:  "127.0.0.1:" + strconv.Itoa(azureRegistryPort),
		APIServer: "127.0.0.1:" + strconv.Itoa(cp.APIPort), APIServerCA: cp.File("ca.crt"),
	})
	if err != nil {
		return err
	}
	s.standin = server
	if s.authentication, err = server.AuthenticationConfig("127.0.0.1:" + strconv.Itoa(azurePort)); err != nil {
		return fmt.Errorf("configuring the API server: %w", err)
	}
	return write(s.State.azureKeyFile(), []byte(server.ControlKey()))
}

// azure returns the tasks that serve the stand-in for Azure, and a registry with the platform's images that asks for its
// tokens. The node pulls them from the platform's own registry, as a kubelet's identity does that has AcrPull.
func (s *supervisor) azure() ([]task, error) {
	auth, err := s.standin.RegistryConfig()
	if err != nil {
		return nil, err
	}
	type object = map[string]any
	address := "127.0.0.1:" + strconv.Itoa(azureRegistryPort)
	file := s.State.run("azure", "registry.yml")
	if err := writeYAML(file, object{
		"version": "0.1", "auth": auth, "log": object{"level": "warn", "accesslog": object{"disabled": true}},
		"storage": object{"filesystem": object{"rootdirectory": s.State.Path("registry")}},
		"http":    object{"addr": address, "relativeurls": true, "secret": s.GitPassword},
	}); err != nil {
		return nil, err
	}
	mirror := fmt.Sprintf("[host.\"http://localhost:%d\"]\ncapabilities = [\"pull\", \"resolve\"]\n", s.Ports[registryListener])
	for _, registry := range s.standin.Estate().Registries {
		if err := write(s.State.run("registries", registry.Login, "hosts.toml"), []byte(mirror)); err != nil {
			return nil, err
		}
	}
	if err := write(s.State.azureEnvFile(), s.azureEnvironment()); err != nil {
		return nil, err
	}
	return []task{
		s.serve(process.Spec{
			Name: "azure registry", Path: s.Programs["registry"], Args: []string{"serve", file},
			Env: []string{"OTEL_TRACES_EXPORTER=none"}, Ready: listens(address),
		}),
		{name: azureListener, run: func(context.Context) error {
			inside, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(azurePort))
			if err != nil {
				return fmt.Errorf("serving the stand-in for Azure: %w", err)
			}
			go func() {
				s.fail(fmt.Errorf("serving the stand-in for Azure: %w", s.standin.Serve(inside, s.inherited[azureListener])))
			}()
			return nil
		}},
	}, nil
}

// azureEnvironment is the file that makes a shell a job of a workflow in the environment dev.
func (s *supervisor) azureEnvironment() []byte {
	proxy := fmt.Sprintf("http://127.0.0.1:%d", s.Ports[azureListener])
	var b strings.Builder
	for _, v := range [][2]string{
		{"HTTPS_PROXY", proxy}, {"NO_PROXY", "localhost,127.0.0.1"}, {"SSL_CERT_FILE", s.standin.CAFile()}, {"REQUESTS_CA_BUNDLE", s.standin.CAFile()},
		{"AZURE_TENANT_ID", standin.SampleTenant}, {"AZURE_CLIENT_ID", standin.SampleClient}, {"AZURE_SUBSCRIPTION_ID", standin.SampleSubscription},
		{"ACTIONS_ID_TOKEN_REQUEST_URL", standin.GitHubRequestURL}, {"ACTIONS_ID_TOKEN_REQUEST_TOKEN", s.standin.Job(standin.GitHubIssuer, standin.SampleSubject)},
	} {
		fmt.Fprintf(&b, "export %s='%s'\n", v[0], v[1])
	}
	return []byte(b.String())
}

// azureInfo tells where the stand-in for Azure is.
func (c *config) azureInfo() *localplatform.AzureInfo {
	return &localplatform.AzureInfo{
		Proxy: fmt.Sprintf("http://127.0.0.1:%d", c.Ports[azureListener]), CAFile: c.State.run("azure", "ca.crt"),
		EnvFile: c.State.azureEnvFile(), KeyFile: c.State.azureKeyFile(), Registry: standin.SampleRegistry + ".azurecr.io",
	}
}
