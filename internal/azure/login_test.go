package azure_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/azure"
	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/localplatform/standin"
)

// without runs a test with a changed estate, and puts the estate back.
func without(t *testing.T, change func(*standin.Estate)) {
	t.Helper()
	before := cloud.Estate()
	cloud.Change(change)
	t.Cleanup(func() { cloud.Change(func(e *standin.Estate) { *e = before }) })
}

// identity changes the sample's identity, the only one.
func identity(change func(*standin.Identity)) func(*standin.Estate) {
	return func(e *standin.Estate) {
		i := e.Identities[0]
		change(&i)
		e.Identities = []standin.Identity{i}
	}
}

// logIn gets a registry's token, which needs one of Entra.
func logIn(t *testing.T, c *azure.Client) error {
	t.Helper()
	host := cloud.Registry(t)
	login, _ := c.Registry(host)
	require.NotNil(t, login, "no login is configured: %v", c.Choices())
	_, _, err := login.Login(t.Context())
	return err
}

// ids are the variables that name the sample's identity.
func ids(more map[string]string) map[string]string {
	all := map[string]string{"AZURE_CLIENT_ID": standin.SampleClient, "AZURE_TENANT_ID": standin.SampleTenant}
	maps.Copy(all, more)
	return all
}

func taken(c *azure.Client) string {
	for _, choice := range c.Choices() {
		if choice.Taken {
			return choice.Name
		}
	}
	return ""
}

func TestEachKindOfLogin(t *testing.T) {
	cert, key := certificate(t)
	const gitlab, pipelines = "project_path:team/vote:ref_type:branch:ref:main", "sc://team/vote/azure"
	without(t, identity(func(i *standin.Identity) {
		i.Secrets = []standin.Secret{{Value: "s3cret-value", Expires: time.Now().Add(time.Hour)}}
		i.Certificates, i.Managed = []string{string(cert)}, true
		i.Federated = append(i.Federated,
			standin.FederatedCredential{Issuer: standin.GitLabIssuer, Subject: gitlab, Audiences: []string{"api://AzureADTokenExchange"}},
			standin.FederatedCredential{Issuer: standin.AzureDevOpsIssuer + "/77777777-7777-7777-7777-777777777777", Subject: pipelines, Audiences: []string{"api://AzureADTokenExchange"}})
	}))
	file := func(content string) string {
		path := filepath.Join(t.TempDir(), "file")
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	table := &table{head: []string{"login", "to a registry"}}
	defer table.log(t)
	for name, variables := range map[string]map[string]string{
		"GitHub Actions": gitHub(standin.SampleSubject),
		"Azure Pipelines": {
			"SYSTEM_OIDCREQUESTURI": standin.PipelinesRequestURL, "SYSTEM_ACCESSTOKEN": cloud.Job(standin.AzureDevOpsIssuer, pipelines),
			"AZURESUBSCRIPTION_CLIENT_ID": standin.SampleClient, "AZURESUBSCRIPTION_TENANT_ID": standin.SampleTenant,
			"AZURESUBSCRIPTION_SERVICE_CONNECTION_ID": "connection",
		},
		"a token file":       ids(map[string]string{"AZURE_FEDERATED_TOKEN_FILE": file(cloud.IDToken(standin.GitLabIssuer, gitlab) + "\n")}),
		"a client secret":    ids(map[string]string{"AZURE_CLIENT_SECRET": "s3cret-value"}),
		"a certificate":      ids(map[string]string{"AZURE_CLIENT_CERTIFICATE_PATH": file(string(cert) + string(key))}),
		"a managed identity": {"AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential"},
	} {
		t.Run(name, func(t *testing.T) {
			c := client(variables)
			assert.Equal(t, name, taken(c))
			err := logIn(t, c)
			table.add(name, err)
			require.NoError(t, err)
		})
	}
}

// certificate makes a self-signed certificate and its key, as PEM.
func certificate(t *testing.T) (cert, key []byte) {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "vote"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	require.NoError(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

func TestWhichLoginIsTaken(t *testing.T) {
	both := gitHub(standin.SampleSubject)
	both["AZURE_CLIENT_SECRET"] = "x"
	for name, c := range map[string]struct {
		variables map[string]string
		taken     string
		lacks     string // of the first that is not taken
	}{
		"nothing":                  {map[string]string{}, "", "this is no job of GitHub Actions"},
		"the first of two":         {both, "GitHub Actions", ""},
		"no right to ID tokens":    {ids(map[string]string{"GITHUB_ACTIONS": "true"}), "", "give it `permissions: id-token: write`"},
		"no client":                {map[string]string{"ACTIONS_ID_TOKEN_REQUEST_URL": "https://x", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "t"}, "", "not AZURE_CLIENT_ID and AZURE_TENANT_ID"},
		"a selection":              {with(both, "AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential"), "a client secret", "AZURE_TOKEN_CREDENTIALS is EnvironmentCredential"},
		"a selection of no such":   {with(both, "AZURE_TOKEN_CREDENTIALS", "AzureCLICredential"), "", "AZURE_TOKEN_CREDENTIALS is AzureCLICredential"},
		"prod":                     {with(both, "AZURE_TOKEN_CREDENTIALS", "prod"), "GitHub Actions", ""},
		"no virtual machine asked": {ids(nil), "", "this is no job of GitHub Actions"},
	} {
		t.Run(name, func(t *testing.T) {
			c1 := client(c.variables)
			assert.Equal(t, c.taken, taken(c1))
			if c.lacks != "" {
				assert.Contains(t, c1.Choices()[0].Reason, c.lacks)
			}
		})
	}
}

func with(variables map[string]string, name, value string) map[string]string {
	all := maps.Clone(variables)
	all[name] = value
	return all
}

func TestWhatEntraRefuses(t *testing.T) {
	secret := ids(map[string]string{"AZURE_CLIENT_SECRET": "old"})
	expired := standin.Secret{Value: "old", Expires: time.Now().Add(-time.Hour)}
	unchanged := func(*standin.Identity) {}
	for name, c := range map[string]struct {
		change    func(*standin.Identity)
		variables map[string]string
		says      []string
	}{
		"another subject": {unchanged, gitHub("repo:aksflow/aksflow:ref:refs/heads/main"), []string{
			"AADSTS700213", `the subject "repo:aksflow/aksflow:ref:refs/heads/main"`, `"issuer": "https://token.actions.githubusercontent.com"`,
			"az identity federated-credential create", "az ad app federated-credential create --id " + standin.SampleClient,
		}},
		"another case": {unchanged, gitHub("repo:AksFlow/aksflow:environment:dev"), []string{"AADSTS7002138", "upper and lower case only"}},
		"no such client": {unchanged, with(gitHub(standin.SampleSubject), "AZURE_CLIENT_ID", "99999999-9999-9999-9999-999999999999"),
			[]string{"AADSTS700016", "check AZURE_CLIENT_ID"}},
		"no such tenant": {unchanged, with(gitHub(standin.SampleSubject), "AZURE_TENANT_ID", "99999999-9999-9999-9999-999999999999"),
			[]string{"AADSTS90002", "check AZURE_TENANT_ID"}},
		"secret wrong":   {unchanged, secret, []string{"AADSTS7000215", "az ad app credential reset --id " + standin.SampleClient}},
		"secret expired": {func(i *standin.Identity) { i.Secrets = []standin.Secret{expired} }, secret, []string{"AADSTS7000222", "AZURE_CLIENT_SECRET has expired"}},
		"conditional access": {func(i *standin.Identity) {
			i.Refused = "AADSTS53003: Access has been blocked by Conditional Access policies."
		},
			gitHub(standin.SampleSubject), []string{"AADSTS53003", "Conditional Access policy blocks it"}},
		"another tenant's user": {func(i *standin.Identity) {
			i.Refused = "AADSTS50020: User account from identity provider does not exist in tenant."
		}, gitHub(standin.SampleSubject), []string{"AADSTS50020", "az login --tenant " + standin.SampleTenant}},
		"a code without a remedy": {func(i *standin.Identity) { i.Refused = "AADSTS7000112: Application is disabled." },
			gitHub(standin.SampleSubject), []string{"(AADSTS7000112): Application is disabled."}},
	} {
		t.Run(name, func(t *testing.T) {
			without(t, identity(c.change))
			err := logIn(t, client(c.variables))
			require.Error(t, err)
			t.Log(err)
			assert.Equal(t, fault.ExitUsage, fault.ExitCode(err))
			for _, text := range c.says {
				assert.Contains(t, err.Error(), text)
			}
			assert.NotContains(t, err.Error(), "Trace ID")
		})
	}
}

func TestOldTokenFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(path, []byte("no token"), 0o600))
	err := logIn(t, client(ids(map[string]string{"AZURE_FEDERATED_TOKEN_FILE": path})))
	assert.ErrorContains(t, err, "holds no token")
}

// A federated credential that was just made is not found everywhere at once.
func TestNewCredentialIsWaitedFor(t *testing.T) {
	without(t, identity(func(i *standin.Identity) {
		i.Federated = []standin.FederatedCredential{i.Federated[0]}
		i.Federated[0].Spreading = 1
	}))
	require.NoError(t, logIn(t, client(gitHub(standin.SampleSubject))))
}

// One ID token a scope: what was fetched for the registry may be too old for the cluster.
func TestAssertionsAreFetchedWhenNeeded(t *testing.T) {
	asked := func() (n int) {
		for _, r := range cloud.Requests() {
			if strings.Contains(r, "/idtoken/") {
				n++
			}
		}
		return n
	}
	c := client(gitHub(standin.SampleSubject))
	before := asked()
	require.NoError(t, logIn(t, c))
	require.NoError(t, logIn(t, c))
	assert.Equal(t, before+1, asked(), "the registry's access token is kept")
	_, err := c.Cluster(devCluster).Token(t.Context())
	require.NoError(t, err)
	assert.Equal(t, before+2, asked())
}

func TestClouds(t *testing.T) {
	without(t, func(e *standin.Estate) {
		china := e.Registries[0]
		china.Login = standin.SampleRegistry + ".azurecr.cn"
		government := china
		government.Login = standin.SampleRegistry + ".azurecr.us"
		e.Registries = append(e.Registries, china, government)
	})
	cloud.Registry(t)
	table := &table{head: []string{"cloud", "login to a registry"}}
	defer table.log(t)
	for name, c := range map[string]struct {
		variables map[string]string
		domain    string
		asks      string // a request
	}{
		"public":                    {map[string]string{}, "io", "POST login.microsoftonline.com/"},
		"China by its login server": {map[string]string{"AZURE_AUTHORITY_HOST": "https://login.chinacloudapi.cn/"}, "cn", "POST login.chinacloudapi.cn/"},
		"China by name":             {map[string]string{"AZURE_ENVIRONMENT": "AzureChinaCloud"}, "cn", "GET management.chinacloudapi.cn/"},
		"US Government":             {map[string]string{"AZURE_AUTHORITY_HOST": "login.microsoftonline.us"}, "us", "GET management.usgovcloudapi.net/"},
		"a login server of its own": {map[string]string{"AZURE_AUTHORITY_HOST": "https://login.standin.example"}, "io", "POST login.standin.example/"},
	} {
		t.Run(name, func(t *testing.T) {
			variables := gitHub(standin.SampleSubject)
			maps.Copy(variables, c.variables)
			before := len(cloud.Requests())
			azure := client(variables)
			login, _ := azure.Registry(standin.SampleRegistry + ".azurecr." + c.domain)
			require.NotNil(t, login)
			_, _, err := login.Login(t.Context())
			table.add(name, err)
			require.NoError(t, err)
			azure.Cluster(devCluster).Unreachable(t.Context())
			assert.Contains(t, strings.Join(cloud.Requests()[before:], "\n"), c.asks)
		})
	}
	login, _ := client(gitHub(standin.SampleSubject)).Registry(standin.SampleRegistry + ".azurecr.cn")
	_, _, err := login.Login(t.Context())
	assert.ErrorContains(t, err, "is in another cloud")
}

// Nothing that the stand-in gave out is in an error: the tests above print theirs.
func TestErrorsHoldNoToken(t *testing.T) {
	without(t, func(e *standin.Estate) { e.Assignments = nil })
	c := client(gitHub(standin.SampleSubject))
	var all bytes.Buffer
	for _, err := range []error{
		logIn(t, c), func() error { _, _, err := c.Cluster(devCluster).Kubeconfig(t.Context()); return err }(),
		logIn(t, client(gitHub("repo:other/other:environment:dev"))),
	} {
		require.Error(t, err)
		all.WriteString(err.Error())
	}
	for _, token := range cloud.Issued() {
		assert.NotContains(t, all.String(), token)
		assert.NotContains(t, all.String(), token[strings.LastIndex(token, ".")+1:], "the signature alone")
	}
}
