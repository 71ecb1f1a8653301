package module

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/engine"
	"github.com/aksflow/aksflow/internal/localplatform/standin"
	"github.com/aksflow/aksflow/internal/testing/registrytest"
)

// TestModuleInAzure logs in to the stand-in for Azure from the container of the aksflow program, which reaches it by the
// proxy that comes in as a service.
func TestModuleInAzure(t *testing.T) {
	if testing.Short() {
		t.Skip("runs containers")
	}
	if runtime.GOOS != "linux" || os.Getuid() != 0 {
		t.Skip("the embedded engine needs Linux and root")
	}
	azure, proxy := startAzure(t)
	root := t.TempDir()
	write(t, root, map[string]string{
		"aksflow.yaml": "app: vote\nbuild: {context: .}\nenvironments:\n  dev:\n    registry: " + standin.SampleRegistry + ".azurecr.io\n    manifests: manifests\n    namespace: vote\n" +
			"    cluster:\n      aks: {subscription: " + standin.SampleSubscription + ", resourceGroup: " + standin.SampleGroup + ", name: aks-dev}\n",
		"Dockerfile":         "FROM scratch\nCOPY aksflow.yaml /\n",
		"manifests/all.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n",
	})
	s, err := engine.Connect(t.Context(), engine.Options{Engine: engine.Embedded, Env: os.Environ()})
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	m := &module{
		binary:  compile(t, s.Client()),
		session: serve(t, s.Client(), &recorder{}),
		given:   call{Root: root, Aksflow: program(t)},
	}
	tarball := filepath.Join(t.TempDir(), "image.tar")
	m.call(t, call{Function: "build", Output: tarball})

	login := call{AzureClient: standin.SampleClient, AzureTenant: standin.SampleTenant, AzureProxy: proxy, AzureCertificates: azure.CAFile()}
	gitHub, file, pipelines, refused := login, login, login, login
	gitHub.AzureRequestURL, gitHub.AzureRequestToken = standin.GitHubRequestURL, azure.Job(standin.GitHubIssuer, standin.SampleSubject)
	file.AzureToken = azure.IDToken(standin.GitHubIssuer, standin.SampleSubject)
	pipelines.AzureRequestURL, pipelines.AzureRequestToken, pipelines.AzureConnection = standin.PipelinesRequestURL, azure.Job(standin.AzureDevOpsIssuer, pipelinesSubject), "connection"
	refused.AzureSecret = "no secret of it"
	for name, c := range map[string]struct {
		call call
		says string // about the registry; "" for a login that is good
	}{
		"GitHub Actions": {gitHub, ""}, "a token": {file, ""}, "Azure Pipelines": {pipelines, ""},
		"a wrong secret": {refused, "AADSTS7000215"},
	} {
		t.Run(name, func(t *testing.T) {
			c.call.Function, c.call.Env = "history", "dev"
			_, err := m.try(c.call)
			require.Error(t, err, "no API server is behind the cluster")
			if c.says != "" {
				assert.ErrorContains(t, err, c.says)
			} else {
				assert.ErrorContains(t, err, "the API server https://aks-dev-standin.hcp.westeurope.azmk8s.io", "ARM gave the kubeconfig, so the login was good")
			}
			for _, token := range azure.Issued() {
				assert.NotContains(t, err.Error(), token[strings.LastIndex(token, ".")+1:])
			}
		})
	}
	t.Run("publish", func(t *testing.T) {
		c := refused
		c.Function, c.Image, c.Repository = "publish", tarball, standin.SampleRegistry+".azurecr.io/vote"
		_, err := m.try(c)
		assert.ErrorContains(t, err, "logging in to the registry "+standin.SampleRegistry+".azurecr.io")
		assert.ErrorContains(t, err, "AADSTS7000215", "it is the program that logs in")
	})
	t.Run("publish to a registry that aksflow.yaml does not name", func(t *testing.T) {
		host := registrytest.Start(t)
		c := gitHub
		c.Function, c.Image, c.Repository, c.RegistryServer = "publish", tarball, "10.9.9.9:5000/vote", host
		said := m.call(t, c)
		assert.Equal(t, "10.9.9.9:5000/vote@"+digestOf(t, tarball), said)
		pushed, err := crane.Digest(host + "/vote@" + digestOf(t, tarball))
		require.NoError(t, err)
		assert.Equal(t, digestOf(t, tarball), pushed)
	})
}

const pipelinesSubject = "sc://team/vote/azure"

// startAzure starts the stand-in for Azure, and returns the address of its proxy.
func startAzure(t *testing.T) (s *standin.Server, proxy string) {
	t.Helper()
	dir := t.TempDir()
	estate := standin.Sample()
	estate.Identities[0].Federated = append(estate.Identities[0].Federated, standin.FederatedCredential{
		Name: "pipelines", Issuer: standin.AzureDevOpsIssuer + "/77777777-7777-7777-7777-777777777777", Subject: pipelinesSubject, Audiences: []string{"api://AzureADTokenExchange"},
	})
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := nobody.Addr().String()
	require.NoError(t, nobody.Close())
	s, err = standin.New(standin.Options{Dir: dir, Estate: estate, Registry: address, APIServer: address, APIServerCA: filepath.Join(dir, "ca.crt"), AssertionLifetime: time.Hour})
	require.NoError(t, err)
	var listeners [2]net.Listener
	for i := range listeners {
		listeners[i], err = new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		t.Cleanup(func() { _ = listeners[i].Close() })
	}
	go func() { _ = s.Serve(listeners[0], listeners[1]) }()
	return s, listeners[1].Addr().String()
}
