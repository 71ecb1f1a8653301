package standin

import (
	"fmt"
	"os"
	"path/filepath"
)

// The sample estate's names.
const (
	SampleTenant       = "11111111-1111-1111-1111-111111111111"
	SampleSubscription = "44444444-4444-4444-4444-444444444444"
	SampleGroup        = "vote"
	SampleRegistry     = "aksflowvote"
	SampleVault        = "aksflowvote"
	SampleKey          = "delivery" // in the vault
	SampleClient       = "22222222-2222-2222-2222-222222222222"
	SampleObject       = "33333333-3333-3333-3333-333333333333"
	// SampleSubject is what a workflow's job of this repository is, in the environment dev.
	SampleSubject = "repo:aksflow/aksflow:environment:dev"
)

// ResourceID is the ID of a resource in the sample's resource group: "Microsoft.ContainerService/managedClusters", "aks-dev".
func ResourceID(kind, name string) string {
	return fmt.Sprintf("/subscriptions/%s/resourceGroups/%s/providers/%s/%s", SampleSubscription, SampleGroup, kind, name)
}

// Kinds of resources, for ResourceID.
const (
	RegistryKind = "Microsoft.ContainerRegistry/registries"
	ClusterKind  = "Microsoft.ContainerService/managedClusters"
	IdentityKind = "Microsoft.ManagedIdentity/userAssignedIdentities"
	VaultKind    = "Microsoft.KeyVault/vaults"
)

// Sample is an estate with a registry, a vault with a key, the clusters aks-dev, aks-staging and aks-production, and one
// identity that may push to all of them and sign with the key, from a workflow in the environment of the same name.
func Sample() Estate {
	e := Estate{
		Tenant: SampleTenant, Subscription: SampleSubscription,
		Vaults:     []Vault{{ID: ResourceID(VaultKind, SampleVault), Host: SampleVault + ".vault.azure.net", Keys: []VaultKey{sampleKey()}}},
		Registries: []Registry{{ID: ResourceID(RegistryKind, SampleRegistry), Login: SampleRegistry + ".azurecr.io"}},
		Identities: []Identity{{
			ResourceID: ResourceID(IdentityKind, "vote-ci"), ClientID: SampleClient, ObjectID: SampleObject,
		}},
		Assignments: []Assignment{
			{Principal: SampleObject, Role: AcrPush, Scope: ResourceID(RegistryKind, SampleRegistry)},
			{Principal: SampleObject, Role: CryptoUser, Scope: ResourceID(VaultKind, SampleVault)},
		},
	}
	for _, environment := range []string{"dev", "staging", "production"} {
		cluster := ResourceID(ClusterKind, "aks-"+environment)
		e.Clusters = append(e.Clusters, Cluster{ID: cluster, Location: "westeurope"})
		e.Assignments = append(e.Assignments, Assignment{Principal: SampleObject, Role: ClusterUser, Scope: cluster})
		e.Identities[0].Federated = append(e.Identities[0].Federated, FederatedCredential{
			Name: environment, Issuer: GitHubIssuer, Subject: "repo:aksflow/aksflow:environment:" + environment, Audiences: []string{exchangeAudience},
		})
	}
	return e
}

func sampleKey() VaultKey {
	key, err := NewKey(SampleKey, "P-256")
	if err != nil { // only a kind that is not known
		panic(err)
	}
	return key
}

// APIServerHosts are the names that the certificate of the kube-apiserver behind the estate's clusters must be for.
func (e Estate) APIServerHosts() []string {
	var names []string
	for _, c := range e.Clusters {
		names = append(names, c.FQDN())
	}
	return names
}

// AuthenticationConfig writes the file for kube-apiserver's --authentication-config that makes it trust this tenant, as AKS
// does with Entra. The address is the host:port at which kube-apiserver reaches the TLS listener of Serve.
func (s *Server) AuthenticationConfig(address string) (path string, err error) {
	ca, err := os.ReadFile(s.CAFile())
	if err != nil {
		return "", err
	}
	tenant := s.Estate().Tenant
	path = filepath.Join(s.o.Dir, "authentication.yaml")
	return path, os.WriteFile(path, fmt.Appendf(nil, `apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
jwt:
- issuer:
    url: https://sts.windows.net/%[1]s/
    discoveryURL: https://%[2]s/%[1]s/.well-known/openid-configuration
    audiences: [%[3]s]
    certificateAuthority: %[4]q
  claimMappings:
    username: {claim: oid, prefix: ""}
    groups: {claim: groups, prefix: ""}
`, tenant, address, clusterAudience, ca), 0o600)
}
