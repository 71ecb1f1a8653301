package azure

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/containerservice/armcontainerservice/v6"
	"sigs.k8s.io/yaml"

	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/report"
)

// clusterUserRole lets an identity get a cluster's kubeconfig, and read its settings.
const clusterUserRole = "Azure Kubernetes Service Cluster User Role"

// Cluster returns the way to an AKS cluster. Nothing is sent yet.
func (c *Client) Cluster(aks config.AKS) delivery.ClusterAccess { return &cluster{c, aks} }

// cluster is one AKS cluster.
type cluster struct {
	client *Client
	config.AKS
}

func (c *cluster) id() string {
	return fmt.Sprintf("/subscriptions/%s/resourceGroups/%s/providers/Microsoft.ContainerService/managedClusters/%s", c.Subscription, c.ResourceGroup, c.Name)
}

func (c *cluster) api() (*armcontainerservice.ManagedClustersClient, *login, error) {
	l, err := c.client.chosen()
	if err != nil {
		return nil, nil, err
	}
	api, err := armcontainerservice.NewManagedClustersClient(c.Subscription, &explaining{c.client}, l.cloud.armOptions())
	return api, l, err
}

// Kubeconfig implements delivery.ClusterAccess. useToken is false for a cluster that does not use Entra: its kubeconfig
// for users holds an administrator's certificate.
func (c *cluster) Kubeconfig(ctx context.Context) (content []byte, useToken bool, err error) {
	api, l, err := c.api()
	if err != nil {
		return nil, false, err
	}
	answer, err := api.ListClusterUserCredentials(ctx, c.ResourceGroup, c.Name, &armcontainerservice.ManagedClustersClientListClusterUserCredentialsOptions{
		Format: to.Ptr(armcontainerservice.FormatExec),
	})
	if err != nil {
		return nil, false, c.explain(ctx, l, err)
	}
	if len(answer.Kubeconfigs) == 0 || answer.Kubeconfigs[0] == nil {
		return nil, false, fmt.Errorf("Azure gives no kubeconfig for the cluster %s", c.Name)
	}
	content = answer.Kubeconfigs[0].Value
	if useToken, err = usesEntra(content); err != nil {
		return nil, false, fmt.Errorf("the kubeconfig that Azure gives for the cluster %s: %w", c.Name, err)
	}
	if !useToken {
		report.Warn(ctx, "the cluster %s does not use Entra: its kubeconfig for users is an administrator's. `az aks update --resource-group %s --name %s --enable-aad --disable-local-accounts` changes that", c.Name, c.ResourceGroup, c.Name)
	}
	return content, useToken, nil
}

// usesEntra reports whether a kubeconfig's user logs in by a program (kubelogin), and not with what the file holds.
func usesEntra(kubeconfig []byte) (bool, error) {
	var file struct {
		Users []struct {
			User struct {
				Exec         *struct{ Command string } `json:"exec"`
				AuthProvider *struct{ Name string }    `json:"auth-provider"`
			} `json:"user"`
		} `json:"users"`
	}
	if err := yaml.Unmarshal(kubeconfig, &file); err != nil {
		return false, err
	}
	for _, u := range file.Users {
		if u.User.Exec != nil || u.User.AuthProvider != nil {
			return true, nil
		}
	}
	return false, nil
}

// Token implements delivery.ClusterAccess.
func (c *cluster) Token(ctx context.Context) (string, error) {
	token, err := c.client.token(ctx, clusterScope)
	if err != nil {
		return "", fmt.Errorf("logging in to the cluster %s: %w", c.Name, err)
	}
	return token, nil
}

func (c *cluster) explain(ctx context.Context, l *login, err error) error {
	var answer *azcore.ResponseError
	var explained *explainedError
	switch {
	case errors.As(err, &explained):
		return fmt.Errorf("getting the kubeconfig of the cluster %s: %w", c.Name, explained.error)
	case forbidden(err):
		return fault.Usagef("%s may not get the kubeconfig of the cluster %s, or there is no such cluster: it needs the role %s there. A new assignment takes minutes to arrive:\n%s",
			l.as(), c.Name, clusterUserRole, assign(c.client.objectID(ctx, l), clusterUserRole, c.id()))
	case errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound:
		return fault.Usagef("there is no cluster %s in the resource group %s of the subscription %s: check cluster.aks in aksflow.yaml", c.Name, c.ResourceGroup, c.Subscription)
	case errors.As(err, &answer):
		return fmt.Errorf("getting the kubeconfig of the cluster %s: Azure answers %d %s", c.Name, answer.StatusCode, answer.ErrorCode)
	}
	return fmt.Errorf("getting the kubeconfig of the cluster %s: %w", c.Name, transportError(err))
}

// objectID returns the object ID of the identity that is logged in, OBJECT_ID where it is not known.
func (c *Client) objectID(ctx context.Context, l *login) string {
	token, err := c.token(ctx, l.managementScope())
	if err != nil {
		return "OBJECT_ID"
	}
	return cmp.Or(readClaims(token).Object, "OBJECT_ID")
}

// Unreachable implements delivery.ClusterAccess: why the API server may not answer this machine; "" when nothing is known.
func (c *cluster) Unreachable(ctx context.Context) string {
	api, _, err := c.api()
	if err != nil {
		return ""
	}
	answer, err := api.Get(ctx, c.ResourceGroup, c.Name, nil)
	if err != nil || answer.Properties == nil || answer.Properties.APIServerAccessProfile == nil {
		return ""
	}
	const inside = "deliver by pull (target: pull), which needs no way to the API server, or run where the cluster can be reached"
	switch access := answer.Properties.APIServerAccessProfile; {
	case isTrue(access.EnablePrivateCluster):
		return fmt.Sprintf("the cluster %s is private: its API server has an address in its virtual network only; %s", c.Name, inside)
	case len(access.AuthorizedIPRanges) > 0:
		return fmt.Sprintf("the cluster %s answers the addresses %s only; %s", c.Name, joined(access.AuthorizedIPRanges), inside)
	}
	if state := answer.Properties.PowerState; state != nil && state.Code != nil && *state.Code == armcontainerservice.CodeStopped {
		return fmt.Sprintf("the cluster %s is stopped: `az aks start --resource-group %s --name %s`", c.Name, c.ResourceGroup, c.Name)
	}
	return ""
}
