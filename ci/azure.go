package main

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/aksflow/aksflow/ci/internal/dagger"
)

// Where the aksflow program's container has what it needs for Azure.
const (
	azureTokenPath = "/run/secrets/azure-token"
	azureCAPath    = "/run/azure-ca.crt"
	azureProxy     = "azure-proxy"
)

// Log in to Azure: to its registries, and to the clusters that aksflow.yaml names by cluster.aks
//
// Each job gives what proves its identity: GitHub Actions and Azure Pipelines by the variables named below, others by a token.
// Other variables, such as AZURE_AUTHORITY_HOST, go into --variables.
func (m *AksFlow) WithAzure(
	// The client ID of the identity or application: $AZURE_CLIENT_ID
	client string,
	// The tenant's ID: $AZURE_TENANT_ID
	tenant string,
	// Where the job asks for ID tokens: $ACTIONS_ID_TOKEN_REQUEST_URL, or $SYSTEM_OIDCREQUESTURI of Azure Pipelines
	// +optional
	requestUrl string,
	// What it asks with: env:ACTIONS_ID_TOKEN_REQUEST_TOKEN, or env:SYSTEM_ACCESSTOKEN of Azure Pipelines
	// +optional
	requestToken *dagger.Secret,
	// The service connection's ID, in Azure Pipelines
	// +optional
	connection string,
	// An ID token, in place of the two: file:$AZURE_FEDERATED_TOKEN_FILE, or env:NAME
	// +optional
	token *dagger.Secret,
	// The client secret of an application, in place of a token: env:AZURE_CLIENT_SECRET
	// +optional
	secret *dagger.Secret,
	// The HTTPS proxy on the way to Azure, if only you can reach it: tcp://localhost:3128
	// +optional
	proxy *dagger.Service,
	// The certificates of authorities to trust, where a proxy has its own
	// +optional
	certificates *dagger.File,
) (*AksFlow, error) {
	given := 0
	for _, set := range []bool{requestToken != nil, token != nil, secret != nil} {
		if set {
			given++
		}
	}
	switch {
	case given != 1:
		return nil, errors.New("with-azure: give one of --request-token, --token and --secret")
	case (requestUrl == "") != (requestToken == nil):
		return nil, errors.New("with-azure: --request-url and --request-token go together")
	}
	with := *m
	with.AzureClient, with.AzureTenant, with.AzureRequestURL, with.AzureRequestToken = client, tenant, requestUrl, requestToken
	with.AzureConnection, with.AzureToken, with.AzureSecret = connection, token, secret
	with.AzureProxy, with.AzureCertificates = proxy, certificates
	return &with, nil
}

// withAzure gives the container the login to Azure, under the names that the aksflow command reads.
func (m *AksFlow) withAzure(ctx context.Context, c *dagger.Container) (*dagger.Container, error) {
	if m.AzureClient == "" {
		return c, nil
	}
	c = c.WithEnvVariable("AZURE_CLIENT_ID", m.AzureClient).WithEnvVariable("AZURE_TENANT_ID", m.AzureTenant)
	switch {
	case m.AzureToken != nil:
		c = c.WithMountedSecret(azureTokenPath, m.AzureToken).WithEnvVariable("AZURE_FEDERATED_TOKEN_FILE", azureTokenPath)
	case m.AzureSecret != nil:
		c = c.WithSecretVariable("AZURE_CLIENT_SECRET", m.AzureSecret)
	case m.AzureConnection != "":
		c = c.WithEnvVariable("SYSTEM_OIDCREQUESTURI", m.AzureRequestURL).WithSecretVariable("SYSTEM_ACCESSTOKEN", m.AzureRequestToken).
			WithEnvVariable("AZURESUBSCRIPTION_SERVICE_CONNECTION_ID", m.AzureConnection)
	default:
		c = c.WithEnvVariable("ACTIONS_ID_TOKEN_REQUEST_URL", m.AzureRequestURL).WithSecretVariable("ACTIONS_ID_TOKEN_REQUEST_TOKEN", m.AzureRequestToken)
	}
	if m.AzureCertificates != nil {
		c = c.WithFile(azureCAPath, m.AzureCertificates).WithEnvVariable("SSL_CERT_FILE", azureCAPath)
	}
	if m.AzureProxy == nil {
		return c, nil
	}
	endpoint, err := m.AzureProxy.Endpoint(ctx)
	if err != nil {
		return nil, fmt.Errorf("the proxy on the way to Azure: %w", err)
	}
	_, port, err := net.SplitHostPort(endpoint)
	if err != nil {
		return nil, fmt.Errorf("the proxy on the way to Azure is at %q: want HOST:PORT", endpoint)
	}
	return c.WithServiceBinding(azureProxy, m.AzureProxy).WithEnvVariable("HTTPS_PROXY", "http://"+net.JoinHostPort(azureProxy, port)), nil
}
