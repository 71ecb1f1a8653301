package azure_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/azure"
	"github.com/aksflow/aksflow/internal/localplatform/standin"
)

// ambient is a client that finds the programs of this machine, and nothing else.
func ambient() *azure.Client {
	return azure.New(azure.Options{Lookup: func(string) (string, bool) { return "", false }, LookPath: exec.LookPath})
}

// The login of Microsoft's own client is taken where nothing else is configured. It keeps the ID token that it was given: the
// order that most workflows have (log in, build, test, ask for the next token) fails with it, and works without it.
func TestAzureCLIIsTheLogin(t *testing.T) {
	azureCLI(t)
	require.Equal(t, "Azure CLI", taken(ambient()))
	require.NoError(t, logIn(t, ambient()))

	without(t, func(e *standin.Estate) { e.AssertionsFrom = time.Now().Add(time.Second) })
	_, err := ambient().Cluster(devCluster).Token(t.Context())
	expect(t, err, []string{"Microsoft Entra refuses the login by Azure CLI (AADSTS700024)", "leave azure/login out", "id-token: write"})
	time.Sleep(time.Until(cloud.Estate().AssertionsFrom.Add(time.Second))) // ID tokens say in whole seconds when they were made
	_, err = client(gitHub(standin.SampleSubject)).Cluster(devCluster).Token(t.Context())
	require.NoError(t, err, "an ID token that is fetched when it is needed")
}

// A program with the protocol of the Azure Developer CLI: `azd auth token --output json --scope SCOPE`.
func TestAzureDeveloperCLIIsTheLogin(t *testing.T) {
	dir := t.TempDir()
	assertion := filepath.Join(dir, "assertion")
	require.NoError(t, os.WriteFile(assertion, []byte(cloud.IDToken(standin.GitHubIssuer, standin.SampleSubject)), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "azd"), fmt.Appendf(nil, `#!/bin/sh
[ "$1 $2" = "auth token" ] || { echo "azd: unknown command $*" >&2; exit 1; }
scope=
while [ $# -gt 0 ]; do
  [ "$1" = --scope ] && scope=$2
  shift
done
answer=$(curl -sS --cacert '%s' --proxy '%s' 'https://login.microsoftonline.com/%s/oauth2/v2.0/token' \
  -d grant_type=client_credentials -d client_id='%s' -d client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer \
  --data-urlencode "scope=$scope" --data-urlencode 'client_assertion@%s') || exit 1
case $answer in
*error_description*) printf '{"type":"consoleMessage","data":{"message":"ERROR: fetching token: %%s"}}\n' "$(echo "$answer" | grep -o 'AADSTS[0-9]*' | head -1)" >&2; exit 1;;
esac
printf '{"token":"%%s","expiresOn":"%%s"}\n' "$(echo "$answer" | sed 's/.*"access_token":"\([^"]*\)".*/\1/')" "$(date -u -d '+1 hour' +%%Y-%%m-%%dT%%H:%%M:%%SZ)"
`, cloud.CAFile(), cloud.Proxy, standin.SampleTenant, standin.SampleClient, assertion), 0o755))
	t.Setenv("PATH", dir+":/usr/bin:/bin")
	developer := func() *azure.Client {
		return azure.New(azure.Options{LookPath: exec.LookPath, Lookup: func(name string) (string, bool) {
			return "AzureDeveloperCLICredential", name == "AZURE_TOKEN_CREDENTIALS"
		}})
	}
	require.Equal(t, "Azure Developer CLI", taken(developer()))
	_, err := developer().Cluster(devCluster).Token(t.Context())
	require.NoError(t, err)
	without(t, func(e *standin.Estate) {
		e.Identities = slices.Clone(e.Identities)
		e.Identities[0].Federated = nil
	})
	_, err = developer().Cluster(devCluster).Token(t.Context())
	expect(t, err, []string{"Microsoft Entra refuses the login by Azure Developer CLI (AADSTS700213)"})
}
