package standin

import (
	"slices"
	"strings"
	"time"
)

// Estate is what exists in the stand-in's Azure.
type Estate struct {
	Tenant       string
	Subscription string
	Registries   []Registry
	Clusters     []Cluster
	Vaults       []Vault
	Identities   []Identity
	Assignments  []Assignment
	// AssertionsFrom makes ID tokens that were issued before this time count as expired.
	AssertionsFrom time.Time
}

// Registry is an Azure container registry.
type Registry struct {
	ID    string // of the resource
	Login string // NAME.azurecr.io
	// Repositories turns on attribute-based access: rights are those of the repository roles, and AcrPush and AcrPull give
	// none. https://learn.microsoft.com/azure/container-registry/container-registry-rbac-abac-repository-permissions
	Repositories bool
	// NoARMTokens refuses tokens for ARM's audience in the exchange, as the policy azureADAuthenticationAsArmPolicy does.
	NoARMTokens bool
	// Throttled is how many of the next requests are answered with 429.
	Throttled int
	// Locked are repositories that take no manifest, as `az acr repository update --write-enabled false` makes them.
	Locked []string
	// LockedTags are tags that do not move, as REPOSITORY:TAG.
	LockedTags []string
}

// Cluster is an AKS cluster.
type Cluster struct {
	ID       string
	Location string
	// LocalAccounts means that Entra is not used: the kubeconfig for users holds an administrator's certificate, which is
	// UserKubeconfig.
	LocalAccounts  bool
	UserKubeconfig []byte
	// AdminCredential means that local accounts are on beside Entra.
	AdminCredential bool
	// AzureRBAC means that roles of Azure on the cluster, or on its namespaces, give rights in it.
	AzureRBAC bool
	Stopped   bool
	// AuthorizedRanges are CIDRs, and Private means that the API server has a private address only. Unreachable makes the
	// proxy refuse its name, as both do from elsewhere.
	AuthorizedRanges []string
	Private          bool
	Unreachable      bool
}

// Name is the last part of a resource's ID.
func (c Cluster) Name() string { return c.ID[strings.LastIndex(c.ID, "/")+1:] }

// FQDN is the name of the cluster's API server.
func (c Cluster) FQDN() string {
	return strings.ToLower(c.Name()) + "-standin.hcp." + c.Location + ".azmk8s.io"
}

// Identity is a service principal: a user-assigned identity, or an application.
type Identity struct {
	ResourceID string // of a user-assigned identity; "" for an application
	ClientID   string
	ObjectID   string
	Groups     []string // object IDs
	Federated  []FederatedCredential
	Secrets    []Secret
	// Certificates are the PEM of those that sign its assertions.
	Certificates []string
	// Managed means that this machine's metadata service gives its tokens.
	Managed bool
	// Refused is an error of Entra, "AADSTS53003: …", that answers each request.
	Refused string
}

// FederatedCredential lets whoever has a token of the issuer with this subject and audience be the identity. All three are
// compared as they are.
type FederatedCredential struct {
	Name      string
	Issuer    string
	Subject   string
	Audiences []string
	// Spreading is how many of the next requests do not find it yet.
	Spreading int
}

// Secret is a password of an application.
type Secret struct {
	Value   string
	Expires time.Time
}

// Assignment gives a role to a principal (its object ID, or that of a group) on a resource and all below it. The stand-in
// knows no conditions: Deploy refuses a template that has one.
type Assignment struct {
	Principal string
	Role      string // the role definition's GUID
	Scope     string
}

// The built-in roles that the stand-in knows. https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
const (
	Reader           = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
	AcrPush          = "8311e382-0749-4cb8-b61a-304f252e45ec"
	AcrPull          = "7f951dda-4ed3-4680-a7ca-43fe172d538d"
	RepositoryWriter = "2a1e307c-b015-4ebd-883e-5b7698a07328"
	RepositoryReader = "b93aa761-3e63-49ed-ac28-beffa264f7ac"
	ClusterUser      = "4abbcc35-e782-43d8-92f1-2d3f1bd2253f"
	CryptoUser       = "12338af0-0e69-4776-bea7-57ae8d297424"
	CryptoOfficer    = "14b46e9e-c2b7-41b4-b07b-48a6ebf60603"
	ClusterReader    = "7f6c6a51-bcf8-42ba-9220-52d62157d7db" // Azure Kubernetes Service RBAC Reader
	ClusterWriter    = "a7ffa36f-339b-4b5c-8bdf-e2c188b2c0eb" // Azure Kubernetes Service RBAC Writer
)

// The actions that calls need.
const (
	readRegistry    = "Microsoft.ContainerRegistry/registries/read"
	pullRegistry    = "Microsoft.ContainerRegistry/registries/pull/read"
	pushRegistry    = "Microsoft.ContainerRegistry/registries/push/write"
	readRepository  = "Microsoft.ContainerRegistry/registries/repositories/content/read"
	writeRepository = "Microsoft.ContainerRegistry/registries/repositories/content/write"
	writeMetadata   = "Microsoft.ContainerRegistry/registries/repositories/metadata/write"
	readCluster     = "Microsoft.ContainerService/managedClusters/read"
	userCredential  = "Microsoft.ContainerService/managedClusters/listClusterUserCredential/action"
	readIdentity    = "Microsoft.ManagedIdentity/userAssignedIdentities/read"
	readAssignments = "Microsoft.Authorization/roleAssignments/read"
	createVaultKey  = "Microsoft.KeyVault/vaults/keys/create/action"
	readVaultKey    = "Microsoft.KeyVault/vaults/keys/read"
	signVaultKey    = "Microsoft.KeyVault/vaults/keys/sign/action"
)

// roles lists the actions of each role, of those above.
var roles = map[string][]string{
	Reader:           {readRegistry, readCluster, readIdentity, readAssignments},
	AcrPush:          {pullRegistry, pushRegistry},
	AcrPull:          {pullRegistry},
	RepositoryWriter: {readRepository, writeRepository, writeMetadata},
	RepositoryReader: {readRepository},
	ClusterUser:      {readCluster, userCredential},
	CryptoUser:       {readVaultKey, signVaultKey},
	CryptoOfficer:    {createVaultKey, readVaultKey, signVaultKey},
	ClusterReader:    inCluster("read"),
	ClusterWriter:    inCluster("read", "write", "delete"),
}

func (e Estate) clone() Estate {
	e.Registries, e.Clusters, e.Vaults = slices.Clone(e.Registries), slices.Clone(e.Clusters), slices.Clone(e.Vaults)
	e.Identities, e.Assignments = slices.Clone(e.Identities), slices.Clone(e.Assignments)
	return e
}

// principal returns the identity with this object ID.
func (e *Estate) principal(objectID string) *Identity {
	return find(e.Identities, func(i *Identity) bool { return i.ObjectID == objectID })
}

// may reports whether an identity, or a group that it is in, has a role with the action on a resource.
func (e *Estate) may(objectID, action, resource string) bool {
	identity := e.principal(objectID)
	return identity != nil && slices.ContainsFunc(e.Assignments, func(a Assignment) bool {
		return (a.Principal == objectID || slices.Contains(identity.Groups, a.Principal)) &&
			slices.Contains(roles[a.Role], action) && covers(a.Scope, resource)
	})
}

// covers reports whether a scope is a resource or one above it. Azure does not distinguish case in resource IDs.
func covers(scope, resource string) bool {
	scope, resource = strings.ToLower(strings.TrimSuffix(scope, "/")), strings.ToLower(resource)
	return resource == scope || strings.HasPrefix(resource, scope+"/")
}

// find returns the first element for which match is true, as a pointer into the slice; nil for none.
func find[T any](list []T, match func(*T) bool) *T {
	for i := range list {
		if match(&list[i]) {
			return &list[i]
		}
	}
	return nil
}
