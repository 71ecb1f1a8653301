package azure_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/kube"
	"github.com/aksflow/aksflow/internal/localplatform/standin"
)

// remove takes a role from the sample's identity.
func remove(role string) func(*standin.Estate) {
	return func(e *standin.Estate) {
		e.Assignments = slices.DeleteFunc(slices.Clone(e.Assignments), func(a standin.Assignment) bool { return a.Role == role })
	}
}

// Each right taken away, and what is printed.
func TestEachRightTakenAway(t *testing.T) {
	registry := standin.ResourceID(standin.RegistryKind, standin.SampleRegistry)
	give := func(role string) func(*standin.Estate) {
		return func(e *standin.Estate) {
			remove(standin.AcrPush)(e)
			e.Assignments = append(e.Assignments, standin.Assignment{Principal: standin.SampleObject, Role: role, Scope: registry})
		}
	}
	byRepository := func(change func(*standin.Estate)) func(*standin.Estate) {
		return func(e *standin.Estate) {
			change(e)
			e.Registries = slices.Clone(e.Registries)
			e.Registries[0].Repositories = true
		}
	}
	table := &table{head: []string{"taken away, or given in place", "message"}}
	defer table.log(t)
	for name, c := range map[string]struct {
		change func(*standin.Estate)
		says   []string // nothing: it works
	}{
		"all there":                     {func(*standin.Estate) {}, nil},
		"no role on the registry":       {remove(standin.AcrPush), []string{"refuses the login by GitHub Actions as " + standin.SampleClient, "needs the role AcrPush", "az role assignment create --assignee-object-id " + standin.SampleObject}},
		"pull only":                     {give(standin.AcrPull), []string{"the registry refuses access", "it needs another role there: AcrPush to push"}},
		"AcrPush in a registry of ABAC": {byRepository(func(*standin.Estate) {}), []string{"Container Registry Repository Writer"}},
		"writer in a registry of ABAC":  {byRepository(give(standin.RepositoryWriter)), nil},
		"reader in a registry of ABAC":  {byRepository(give(standin.RepositoryReader)), []string{"Container Registry Repository Writer"}},
	} {
		t.Run(name, func(t *testing.T) {
			without(t, c.change)
			err := push(t, client(gitHub(standin.SampleSubject)), "vote-"+strings.ToLower(strings.ReplaceAll(name, " ", "-")))
			table.add(name, err)
			expect(t, err, c.says)
		})
	}
	t.Run("no role on the vault", func(t *testing.T) {
		without(t, remove(standin.CryptoUser))
		_, err := client(gitHub(standin.SampleSubject)).Key(t.Context(), "https://"+sampleVault+"/keys/"+standin.SampleKey)
		table.add("no role on the vault", err)
		expect(t, err, []string{"it needs the role Key Vault Crypto User there", "--role 'Key Vault Crypto User'"})
	})
	t.Run("no role to read the subscription", func(t *testing.T) {
		_, err := client(gitHub(standin.SampleSubject)).Compare(t.Context(), sampleSetup(t, false))
		table.add("no role to read the subscription", err)
		expect(t, err, []string{"it needs the role Reader on the subscription", "--role 'Reader' --scope /subscriptions/" + standin.SampleSubscription})
	})
	t.Run("no role on the cluster", func(t *testing.T) {
		without(t, remove(standin.ClusterUser))
		_, _, err := client(gitHub(standin.SampleSubject)).Cluster(devCluster).Kubeconfig(t.Context())
		table.add("no role on the cluster", err)
		expect(t, err, []string{
			"it needs the role Azure Kubernetes Service Cluster User Role there",
			"--assignee-object-id " + standin.SampleObject, "--scope " + standin.ResourceID(standin.ClusterKind, "aks-dev"),
		})
	})
}

// table collects what a test saw, for its log.
type table struct {
	head []string
	rows [][]string
}

// add adds a row; nil means that it worked.
func (a *table) add(what string, err error) {
	message := "it works"
	if err != nil {
		message = strings.Join(strings.Fields(err.Error()), " ")
	}
	a.rows = append(a.rows, []string{what, message})
}

func (a *table) log(t *testing.T) {
	t.Helper()
	slices.SortFunc(a.rows, slices.Compare)
	var b strings.Builder
	for _, row := range append([][]string{a.head}, a.rows...) {
		b.WriteString("\n| " + strings.Join(row, " | ") + " |")
	}
	t.Log(b.String())
}

func expect(t *testing.T, err error, says []string) {
	t.Helper()
	if says == nil {
		require.NoError(t, err)
		return
	}
	require.Error(t, err)
	t.Log(err)
	for _, text := range says {
		assert.Contains(t, err.Error(), text)
	}
}

func TestThrottledRegistry(t *testing.T) {
	without(t, func(e *standin.Estate) {
		e.Registries = slices.Clone(e.Registries)
		e.Registries[0].Throttled = 2
	})
	require.NoError(t, logIn(t, client(gitHub(standin.SampleSubject))))
}

func TestLockedRepository(t *testing.T) {
	without(t, func(e *standin.Estate) {
		e.Registries = slices.Clone(e.Registries)
		e.Registries[0].Locked = []string{"team/locked"}
	})
	c := client(gitHub(standin.SampleSubject))
	require.NoError(t, push(t, c, "team/open"))
	expect(t, push(t, c, "team/locked"), []string{
		"The operation is disallowed on this registry", "is locked, or the registry is full",
		"`az acr repository show --name " + standin.SampleRegistry + " --repository team/locked`", "`--image team/locked:TAG` in place of the repository",
	})
}

// A cluster that does not answer from here says why.
func TestUnreachableCluster(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*standin.Cluster)
		says   string
	}{
		"private":           {func(c *standin.Cluster) { c.Private = true }, "the cluster aks-dev is private"},
		"authorized ranges": {func(c *standin.Cluster) { c.AuthorizedRanges = []string{"10.0.0.0/8"} }, "answers the addresses 10.0.0.0/8 only; deliver by pull"},
		"neither":           {func(*standin.Cluster) {}, "may this machine reach it?"},
	} {
		t.Run(name, func(t *testing.T) {
			without(t, func(e *standin.Estate) {
				e.Clusters = slices.Clone(e.Clusters)
				e.Clusters[0].Unreachable = true
				c.change(&e.Clusters[0])
			})
			cloud.SetAPIServerCA(t)
			_, err := kube.Connect(t.Context(), kube.Options{Access: client(gitHub(standin.SampleSubject)).Cluster(devCluster)})
			require.ErrorContains(t, err, c.says)
		})
	}
}

// Microsoft's own client accepts the stand-in: what it passes, Azure is likely to pass.
func TestAzureCLI(t *testing.T) {
	az := azureCLI(t)
	host := cloud.Registry(t)
	cloud.SetAPIServerCA(t)
	without(t, func(e *standin.Estate) { // `az acr` looks the registry up by its name
		e.Assignments = append(slices.Clone(e.Assignments), standin.Assignment{Principal: standin.SampleObject, Role: standin.Reader, Scope: "/subscriptions/" + standin.SampleSubscription})
	})
	var login struct{ LoginServer, AccessToken string }
	require.NoError(t, json.Unmarshal([]byte(az("acr", "login", "--name", standin.SampleRegistry, "--expose-token", "--output", "json")), &login))
	assert.Equal(t, host, login.LoginServer)
	assert.Contains(t, cloud.Issued(), login.AccessToken)
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	az("aks", "get-credentials", "--resource-group", standin.SampleGroup, "--name", "aks-dev", "--file", kubeconfig)
	content, err := os.ReadFile(kubeconfig)
	require.NoError(t, err)
	assert.Contains(t, string(content), "aks-dev-standin.hcp.westeurope.azmk8s.io")
}

// azureCLI logs Microsoft's own client in, and returns a function that runs it.
func azureCLI(t *testing.T) func(args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("az"); err != nil {
		t.Skip("needs the Azure CLI: apt-get install azure-cli")
	}
	for name, value := range map[string]string{"AZURE_CONFIG_DIR": t.TempDir(), "AZURE_CORE_COLLECT_TELEMETRY": "no", "REQUESTS_CA_BUNDLE": cloud.CAFile()} {
		t.Setenv(name, value)
	}
	az := func(args ...string) string {
		t.Helper()
		var stderr strings.Builder
		cmd := exec.CommandContext(t.Context(), "az", args...)
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		require.NoError(t, err, "az %s: %s", args[0], stderr.String())
		return string(out)
	}
	token := cloud.IDToken(standin.GitHubIssuer, standin.SampleSubject)
	az("login", "--service-principal", "--username", standin.SampleClient, "--tenant", standin.SampleTenant, "--federated-token", token, "--output", "none")
	return az
}
