package azure_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/azure"
	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/localplatform/standin"
)

// checked returns what Check says about the sample's environment dev, a line for each check.
func checked(t *testing.T, c *azure.Client) string {
	t.Helper()
	env := &delivery.Environment{Repository: standin.SampleRegistry + ".azurecr.io/vote"}
	aks := devCluster
	env.Cluster.AKS = &aks
	var b strings.Builder
	for _, check := range c.Check(t.Context(), env) {
		fmt.Fprintf(&b, "%s %s: %s\n%s\n", check.Status, check.Name, check.Message, check.Remedy)
	}
	t.Log(b.String())
	return b.String()
}

// cluster changes the first cluster of the sample.
func cluster(change func(*standin.Cluster)) func(*standin.Estate) {
	return func(e *standin.Estate) {
		e.Clusters = slices.Clone(e.Clusters)
		change(&e.Clusters[0])
	}
}

func TestCheck(t *testing.T) {
	cloud.SetAPIServerCA(t)
	unchanged := func(*standin.Estate) {}
	good := gitHub(standin.SampleSubject)
	for name, c := range map[string]struct {
		change    func(*standin.Estate)
		variables map[string]string
		says      []string
	}{
		"all there": {unchanged, good, []string{
			"ok login to Azure: GitHub Actions as " + standin.SampleClient + ": the first that is configured",
			"not Azure Pipelines: this is no job of Azure Pipelines", "not a client secret: AZURE_CLIENT_SECRET is not set", "not Azure CLI: az is not on PATH",
			"ok AKS: may get the kubeconfig of aks-dev", "ok AKS accounts: Entra only", "ok AKS address: the API server answers all addresses",
		}},
		"no login":             {unchanged, nil, []string{"failed login to Azure: no login to Azure is configured", "skipped AKS"}},
		"refused login":        {unchanged, gitHub("repo:other/other:environment:dev"), []string{"failed login to Azure", "AADSTS700213", "skipped AKS"}},
		"no role":              {remove(standin.ClusterUser), good, []string{"ok login", "failed AKS", "az role assignment create --assignee-object-id " + standin.SampleObject}},
		"no Entra":             {cluster(func(c *standin.Cluster) { c.LocalAccounts = true }), good, []string{"warning AKS accounts: the cluster does not use Entra", "--enable-aad --disable-local-accounts"}},
		"local accounts":       {cluster(func(c *standin.Cluster) { c.AdminCredential = true }), good, []string{"warning AKS accounts: local accounts are on", "az aks update --subscription " + standin.SampleSubscription + " --resource-group vote --name aks-dev --disable-local-accounts"}},
		"roles of Azure":       {cluster(func(c *standin.Cluster) { c.AzureRBAC = true }), good, []string{"ok AKS accounts: Entra only; rights are those of Kubernetes' Roles, and of Azure roles on /subscriptions/", "/managedClusters/aks-dev/namespaces/NAMESPACE"}},
		"authorized ranges":    {cluster(func(c *standin.Cluster) { c.AuthorizedRanges = []string{"10.0.0.0/8", "192.0.2.1/32"} }), good, []string{"ok AKS address: the API server answers these addresses only", "10.0.0.0/8, 192.0.2.1/32"}},
		"a private cluster":    {cluster(func(c *standin.Cluster) { c.Private = true }), good, []string{"ok AKS address: private", "target: pull"}},
		"a cluster that stops": {cluster(func(c *standin.Cluster) { c.Stopped = true }), good, []string{"failed AKS address: the cluster is stopped", "az aks start"}},
	} {
		t.Run(name, func(t *testing.T) {
			without(t, c.change)
			text := checked(t, client(c.variables))
			for _, says := range c.says {
				assert.Contains(t, text, says)
			}
		})
	}
	t.Run("not in Azure", func(t *testing.T) {
		require.Empty(t, client(good).Check(t.Context(), &delivery.Environment{Repository: "registry.example/vote"}))
	})
	t.Run("a registry only", func(t *testing.T) {
		found := client(nil).Check(t.Context(), &delivery.Environment{Repository: standin.SampleRegistry + ".azurecr.io/vote"})
		require.Len(t, found, 1)
		assert.Equal(t, delivery.CheckWarning, found[0].Status, "Docker's own login may do")
	})
}
