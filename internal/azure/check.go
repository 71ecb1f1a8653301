package azure

import (
	"context"
	"fmt"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/containerservice/armcontainerservice/v6"

	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/image/ref"
)

// Check finds out what a delivery to the environment needs of Azure: a login, and the cluster with the right to it. Whether
// the registry takes a push is for the registry to say. It returns nothing for an environment that is not in Azure.
func (c *Client) Check(ctx context.Context, env *delivery.Environment) []delivery.Check {
	aks := env.Cluster.AKS
	registry := isRegistry(ref.Read(env.Repository).Host()) && env.RegistryLogin == nil
	if aks == nil && !registry {
		return nil
	}
	checks := []delivery.Check{c.checkLogin(ctx, aks == nil)}
	switch {
	case aks == nil:
		return checks
	case checks[0].Status == delivery.CheckFailed:
		return append(checks, delivery.Check{Name: "AKS", Status: delivery.CheckSkipped, Message: "the login comes first"})
	}
	return append(checks, c.checkCluster(ctx, *aks)...)
}

// checkLogin gets a token, and says which login was taken and what each other one lacks. Without a cluster there, Docker's
// own login may do.
func (c *Client) checkLogin(ctx context.Context, optional bool) delivery.Check {
	const name = "login to Azure"
	l, err := c.chosen()
	if err != nil {
		check := delivery.NewCheck(name, "", err)
		if optional {
			check.Status = delivery.CheckWarning
		}
		return check
	}
	if _, err := c.token(ctx, l.managementScope()); err != nil {
		return delivery.NewCheck(name, "", err)
	}
	who := l.kind.name
	if l.client != "" {
		who += " as " + l.client
	}
	lines := []string{who + ": " + l.reason}
	for _, choice := range c.Choices() {
		if !choice.Taken {
			lines = append(lines, "not "+choice.Name+": "+choice.Reason)
		}
	}
	return delivery.Passed(name, strings.Join(lines, "\n"))
}

// managementScope is the scope of tokens for the resource manager.
func (l *login) managementScope() string {
	return strings.TrimSuffix(l.cloud.configuration.Services["resourceManager"].Audience, "/") + "/.default"
}

// checkCluster asks for the kubeconfig, and looks at how the cluster lets people in.
func (c *Client) checkCluster(ctx context.Context, aks config.AKS) []delivery.Check {
	asked := &cluster{c, aks}
	_, useToken, err := asked.Kubeconfig(ctx)
	checks := []delivery.Check{delivery.NewCheck("AKS", "may get the kubeconfig of "+aks.Name, err)}
	api, l, apiErr := asked.api()
	if err != nil || apiErr != nil {
		return checks
	}
	answer, err := api.Get(ctx, aks.ResourceGroup, aks.Name, nil)
	if err != nil || answer.Properties == nil {
		return append(checks, delivery.Check{
			Name: "AKS settings", Status: delivery.CheckWarning, Message: "may not be read, so that neither local accounts nor authorized IP ranges are known",
			Remedy: assign(c.objectID(ctx, l), clusterUserRole, asked.id()),
		})
	}
	return append(checks, asked.checkAccounts(answer.Properties, useToken), asked.checkAddress(answer.Properties))
}

// checkAccounts looks for ways into the cluster that Entra does not guard.
func (c *cluster) checkAccounts(p *armcontainerservice.ManagedClusterProperties, entra bool) delivery.Check {
	const name = "AKS accounts"
	update := fmt.Sprintf("az aks update --subscription %s --resource-group %s --name %s ", c.Subscription, c.ResourceGroup, c.Name)
	switch {
	case !entra:
		return delivery.Check{Name: name, Status: delivery.CheckWarning, Message: "the cluster does not use Entra: its kubeconfig for users is an administrator's",
			Remedy: update + "--enable-aad --disable-local-accounts"}
	case !isTrue(p.DisableLocalAccounts):
		return delivery.Check{Name: name, Status: delivery.CheckWarning, Message: "local accounts are on: whoever may list the cluster's admin credential is its administrator, past Entra",
			Remedy: update + "--disable-local-accounts"}
	case p.AADProfile != nil && isTrue(p.AADProfile.EnableAzureRBAC):
		return delivery.Passed(name, "Entra only; rights are those of Kubernetes' Roles, and of Azure roles on "+c.id()+"/namespaces/NAMESPACE")
	}
	return delivery.Passed(name, "Entra only; rights are those of Kubernetes' Roles")
}

// checkAddress says from where the API server can be reached.
func (c *cluster) checkAddress(p *armcontainerservice.ManagedClusterProperties) delivery.Check {
	const name = "AKS address"
	if state := p.PowerState; state != nil && state.Code != nil && *state.Code == armcontainerservice.CodeStopped {
		return delivery.Check{Name: name, Status: delivery.CheckFailed, Message: "the cluster is stopped",
			Remedy: fmt.Sprintf("az aks start --subscription %s --resource-group %s --name %s", c.Subscription, c.ResourceGroup, c.Name)}
	}
	access := p.APIServerAccessProfile
	switch {
	case access != nil && isTrue(access.EnablePrivateCluster):
		return delivery.Passed(name, "private: only machines in its virtual network reach the API server; others deliver by pull (target: pull)")
	case access != nil && len(access.AuthorizedIPRanges) > 0:
		return delivery.Passed(name, "the API server answers these addresses only, so a runner needs one of them: "+joined(access.AuthorizedIPRanges))
	}
	return delivery.Passed(name, "the API server answers all addresses")
}

func isTrue(b *bool) bool { return b != nil && *b }

// joined lists what is set.
func joined(list []*string) string {
	var all []string
	for _, s := range list {
		if s != nil {
			all = append(all, *s)
		}
	}
	return strings.Join(all, ", ")
}
