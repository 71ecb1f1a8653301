package azure

import (
	"cmp"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/aksflow/aksflow/internal/core/fault"
)

// The variables that configure an identity.
const (
	varClient     = "AZURE_CLIENT_ID"
	varTenant     = "AZURE_TENANT_ID"
	varSecret     = "AZURE_CLIENT_SECRET"
	varCert       = "AZURE_CLIENT_CERTIFICATE_PATH"
	varCertSecret = "AZURE_CLIENT_CERTIFICATE_PASSWORD"
	varCertChain  = "AZURE_CLIENT_SEND_CERTIFICATE_CHAIN"
	varTokenFile  = "AZURE_FEDERATED_TOKEN_FILE"
	varSelect     = "AZURE_TOKEN_CREDENTIALS"

	varGitHub      = "GITHUB_ACTIONS"
	varGitHubURL   = "ACTIONS_ID_TOKEN_REQUEST_URL"
	varGitHubToken = "ACTIONS_ID_TOKEN_REQUEST_TOKEN"

	varPipelinesURL        = "SYSTEM_OIDCREQUESTURI"
	varPipelinesToken      = "SYSTEM_ACCESSTOKEN"
	varPipelinesClient     = "AZURESUBSCRIPTION_CLIENT_ID"
	varPipelinesTenant     = "AZURESUBSCRIPTION_TENANT_ID"
	varPipelinesConnection = "AZURESUBSCRIPTION_SERVICE_CONNECTION_ID"

	varIdentityEndpoint = "IDENTITY_ENDPOINT" // App Service, Container Apps, Arc
	varMSIEndpoint      = "MSI_ENDPOINT"      // the older name
)

// kind is a way to log in.
type kind struct {
	name string
	// credentials are the names that AZURE_TOKEN_CREDENTIALS has for it.
	credentials []string
	// ambient means that it is this machine's user who is logged in, not the run that is configured.
	ambient bool
	// lacks says what is missing to use it; "" when it is configured.
	lacks func(*Client) string
	make  func(*Client, *login) error
}

// kinds are the ways to log in. The first that is configured is taken. AZURE_TOKEN_CREDENTIALS chooses among them: the
// name of a credential of the Azure SDK, dev (the ambient ones) or prod (the others).
func kinds() []kind {
	return []kind{
		{name: "GitHub Actions", credentials: []string{"WorkloadIdentityCredential"}, lacks: lacksGitHub, make: byAssertion((*Client).gitHubToken)},
		{name: "Azure Pipelines", credentials: []string{"AzurePipelinesCredential"}, lacks: lacksPipelines, make: byPipelines},
		{name: tokenFile, credentials: []string{"WorkloadIdentityCredential"}, lacks: lacksFile, make: byAssertion((*Client).fileToken)},
		{name: "a client secret", credentials: []string{"EnvironmentCredential"}, lacks: needs(varSecret, varClient, varTenant), make: bySecret},
		{name: "a certificate", credentials: []string{"EnvironmentCredential"}, lacks: needs(varCert, varClient, varTenant), make: byCertificate},
		{name: "a managed identity", credentials: []string{managedIdentity}, lacks: lacksManaged, make: byManagedIdentity},
		{name: "Azure CLI", credentials: []string{"AzureCLICredential"}, ambient: true, lacks: lacksProgram("az", "az login"), make: byCLI},
		{name: "Azure Developer CLI", credentials: []string{"AzureDeveloperCLICredential"}, ambient: true, lacks: lacksProgram("azd", "azd auth login"), make: byDeveloperCLI},
	}
}

const (
	tokenFile       = "a token file"
	managedIdentity = "ManagedIdentityCredential"
)

// Choice is a way to log in, and what became of it.
type Choice struct {
	Name string `json:"name"`
	// Taken is true for one at most.
	Taken bool `json:"taken"`
	// Reason says why it was taken, or what it lacks.
	Reason string `json:"reason"`
}

// Choices lists the ways to log in, in the order in which they are tried, with what each lacks.
func (c *Client) Choices() []Choice {
	var all []Choice
	taken := false
	for _, k := range kinds() {
		choice := Choice{Name: k.name, Reason: c.unselected(k)}
		if choice.Reason == "" {
			choice.Reason = k.lacks(c)
		}
		switch {
		case choice.Reason != "":
		case taken:
			choice.Reason = "configured, but one before it is taken"
		default:
			taken, choice.Taken = true, true
			choice.Reason = "the first that is configured"
			if c.env.get(varSelect) != "" {
				choice.Reason = fmt.Sprintf("%s is %s", varSelect, c.env.get(varSelect))
			}
		}
		all = append(all, choice)
	}
	return all
}

// unselected says that AZURE_TOKEN_CREDENTIALS leaves a kind out; "" when it does not.
func (c *Client) unselected(k kind) string {
	selected := c.env.get(varSelect)
	switch {
	case selected == "", strings.EqualFold(selected, "dev") && k.ambient, strings.EqualFold(selected, "prod") && !k.ambient:
		return ""
	case slices.ContainsFunc(k.credentials, func(name string) bool { return strings.EqualFold(name, selected) }):
		return ""
	}
	return fmt.Sprintf("%s is %s", varSelect, selected)
}

// checkSelection refuses a value of AZURE_TOKEN_CREDENTIALS that selects nothing.
func (c *Client) checkSelection() error {
	names := []string{"dev", "prod"}
	for _, k := range kinds() {
		names = append(names, k.credentials...)
	}
	slices.Sort(names[2:])
	names = slices.Compact(names)
	selected := c.env.get(varSelect)
	if selected == "" || slices.ContainsFunc(names, func(name string) bool { return strings.EqualFold(name, selected) }) {
		return nil
	}
	return fault.Usagef("the variable %s is %q: want %s", varSelect, selected, strings.Join(names, ", "))
}

// choose makes the credential of the first kind that is configured.
func (c *Client) choose() (*login, error) {
	if err := c.checkSelection(); err != nil {
		return nil, err
	}
	cloud, err := c.env.cloud()
	if err != nil {
		return nil, err
	}
	cloud.transport = c.transport
	choices := c.Choices()
	for i, choice := range choices {
		if !choice.Taken {
			continue
		}
		l := &login{kind: kinds()[i], reason: choice.Reason, cloud: cloud, client: c.env.get(varClient), tenant: c.env.get(varTenant)}
		if err := l.kind.make(c, l); err != nil {
			return nil, fault.Usage(fmt.Errorf("logging in to Azure by %s: %w", choice.Name, err))
		}
		return l, nil
	}
	var lacks []string
	for _, choice := range choices {
		lacks = append(lacks, fmt.Sprintf("  %s: %s", choice.Name, choice.Reason))
	}
	return nil, fault.Usagef("no login to Azure is configured:\n%s", strings.Join(lacks, "\n"))
}

// needs returns what is missing of some variables; nothing is said of the others while the first is not set.
func needs(names ...string) func(*Client) string {
	return func(c *Client) string {
		if c.env.get(names[0]) == "" {
			return names[0] + " is not set"
		}
		var missing []string
		for _, name := range names[1:] {
			if c.env.get(name) == "" {
				missing = append(missing, name)
			}
		}
		if len(missing) == 0 {
			return ""
		}
		return names[0] + " is set, but not " + strings.Join(missing, " and ")
	}
}

func lacksGitHub(c *Client) string {
	switch {
	case c.env.get(varGitHub) != "true" && c.env.get(varGitHubURL) == "":
		return "this is no job of GitHub Actions"
	case c.env.get(varGitHubURL) == "" || c.env.get(varGitHubToken) == "":
		return "the job may not ask for ID tokens: give it `permissions: id-token: write` (a pull request of a fork never gets them)"
	}
	return needs(varGitHubURL, varClient, varTenant)(c)
}

// pipelinesClient and pipelinesTenant are set by the tasks of Azure Pipelines that take a service connection, such as
// AzureCLI@2; a script sets the usual names.
func (e environment) pipelinesClient() string {
	return cmp.Or(e.get(varPipelinesClient), e.get(varClient))
}
func (e environment) pipelinesTenant() string {
	return cmp.Or(e.get(varPipelinesTenant), e.get(varTenant))
}

func lacksPipelines(c *Client) string {
	switch {
	case c.env.get(varPipelinesURL) == "":
		return "this is no job of Azure Pipelines"
	case c.env.get(varPipelinesToken) == "":
		return varPipelinesToken + " is not set: pass it on with `env: {" + varPipelinesToken + ": $(System.AccessToken)}`"
	case c.env.get(varPipelinesConnection) == "":
		return varPipelinesConnection + " is not set: it is the ID of an Azure Resource Manager service connection with workload identity federation"
	case c.env.pipelinesClient() == "" || c.env.pipelinesTenant() == "":
		return varPipelinesClient + " and " + varPipelinesTenant + " are not both set"
	}
	return ""
}

func lacksFile(c *Client) string { return needs(varTokenFile, varClient, varTenant)(c) }

// lacksManaged wants a managed identity to be configured: asking each machine's metadata service would find the identity
// of a virtual machine that nobody meant.
func lacksManaged(c *Client) string {
	if strings.EqualFold(c.env.get(varSelect), managedIdentity) || c.env.get(varIdentityEndpoint) != "" || c.env.get(varMSIEndpoint) != "" {
		return ""
	}
	return fmt.Sprintf("neither %s=%s (a virtual machine) nor %s (App Service, Container Apps) is set", varSelect, managedIdentity, varIdentityEndpoint)
}

func lacksProgram(name, logIn string) func(*Client) string {
	return func(c *Client) string {
		if _, err := c.lookPath(name); err != nil {
			return fmt.Sprintf("%s is not on PATH; with it, `%s`", name, logIn)
		}
		return ""
	}
}

// byAssertion makes a credential that presents an ID token.
func byAssertion(fetch func(*Client, context.Context) (string, error)) func(*Client, *login) error {
	return func(c *Client, l *login) error {
		l.assertion = &assertion{fetch: func(ctx context.Context) (string, error) { return fetch(c, ctx) }}
		credential, err := azidentity.NewClientAssertionCredential(l.tenant, l.client, l.assertion.get, &azidentity.ClientAssertionCredentialOptions{
			ClientOptions: l.cloud.clientOptions(), DisableInstanceDiscovery: !l.cloud.known,
		})
		return l.set(credential, err)
	}
}

func byPipelines(c *Client, l *login) error {
	l.client, l.tenant = c.env.pipelinesClient(), c.env.pipelinesTenant()
	return byAssertion((*Client).pipelinesToken)(c, l)
}

func bySecret(c *Client, l *login) error {
	credential, err := azidentity.NewClientSecretCredential(l.tenant, l.client, c.env.get(varSecret), &azidentity.ClientSecretCredentialOptions{
		ClientOptions: l.cloud.clientOptions(), DisableInstanceDiscovery: !l.cloud.known,
	})
	return l.set(credential, err)
}

func byCertificate(c *Client, l *login) error {
	path := c.env.get(varCert)
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("the file that the variable %s names cannot be read: %w", varCert, err)
	}
	certs, key, err := parseCertificate(data, []byte(c.env.get(varCertSecret)))
	if err != nil {
		return fmt.Errorf("the file that the variable %s names, %s: %w", varCert, path, err)
	}
	credential, err := azidentity.NewClientCertificateCredential(l.tenant, l.client, certs, key, &azidentity.ClientCertificateCredentialOptions{
		ClientOptions: l.cloud.clientOptions(), DisableInstanceDiscovery: !l.cloud.known,
		SendCertificateChain: c.env.get(varCertChain) == "1" || strings.EqualFold(c.env.get(varCertChain), "true"),
	})
	return l.set(credential, err)
}

func parseCertificate(data, password []byte) ([]*x509.Certificate, crypto.PrivateKey, error) {
	if len(password) == 0 {
		password = nil
	}
	certs, key, err := azidentity.ParseCertificates(data, password)
	if err != nil {
		return nil, nil, errors.New("want a certificate with its private key, as PEM or PKCS#12; " + err.Error())
	}
	return certs, key, nil
}

func byManagedIdentity(_ *Client, l *login) error {
	o := &azidentity.ManagedIdentityCredentialOptions{ClientOptions: l.cloud.clientOptions()}
	if l.client != "" {
		o.ID = azidentity.ClientID(l.client)
	}
	credential, err := azidentity.NewManagedIdentityCredential(o)
	return l.set(credential, err)
}

func byCLI(_ *Client, l *login) error {
	l.client = "" // who is logged in is for `az` to say
	credential, err := azidentity.NewAzureCLICredential(&azidentity.AzureCLICredentialOptions{TenantID: l.tenant})
	return l.set(credential, err)
}

func byDeveloperCLI(_ *Client, l *login) error {
	l.client = ""
	credential, err := azidentity.NewAzureDeveloperCLICredential(&azidentity.AzureDeveloperCLICredentialOptions{TenantID: l.tenant})
	return l.set(credential, err)
}

func (l *login) set(credential azcore.TokenCredential, err error) error {
	l.credential = credential
	return err
}
