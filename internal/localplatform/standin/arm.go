package standin

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// armRoutes serves the parts of the Azure Resource Manager that aksflow and `az` call.
func (s *Server) armRoutes() http.Handler {
	mux := http.NewServeMux()
	const providers = "/subscriptions/{subscription}/resourceGroups/{group}/providers/"
	mux.HandleFunc("GET /subscriptions", s.subscriptions)
	mux.HandleFunc("GET /subscriptions/{subscription}/resources", s.resources)
	mux.HandleFunc("GET "+providers+"Microsoft.ContainerRegistry/registries/{name}", s.registry)
	mux.HandleFunc("GET "+providers+"Microsoft.ContainerService/managedClusters/{name}", s.cluster)
	mux.HandleFunc("POST "+providers+"Microsoft.ContainerService/managedClusters/{name}/listClusterUserCredential", s.clusterUserCredential)
	mux.HandleFunc("GET "+providers+"Microsoft.ManagedIdentity/userAssignedIdentities/{name}", s.identity)
	mux.HandleFunc("GET "+providers+"Microsoft.ManagedIdentity/userAssignedIdentities/{name}/federatedIdentityCredentials", s.federatedCredentials)
	mux.HandleFunc("GET /subscriptions/{subscription}/providers/Microsoft.Authorization/roleAssignments", s.roleAssignments)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		armError(w, http.StatusNotFound, "InvalidResourceType", "The stand-in for Azure does not know "+r.Method+" "+r.URL.Path)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The names of groups, providers and resource types are written in any case; the patterns know one.
		for _, word := range []string{"resourceGroups", "Microsoft.ContainerRegistry", "Microsoft.ContainerService", "Microsoft.ManagedIdentity"} {
			if i := strings.Index(strings.ToLower(r.URL.Path), "/"+strings.ToLower(word)+"/"); i >= 0 {
				r.URL.Path = r.URL.Path[:i+1] + word + r.URL.Path[i+1+len(word):]
			}
		}
		mux.ServeHTTP(w, r)
	})
}

func armError(w http.ResponseWriter, status int, code, message string) {
	writeJSON(w, status, map[string]any{"error": map[string]string{"code": code, "message": message}})
}

// caller checks the access token of a request, and answers where it is not good.
func (s *Server) caller(w http.ResponseWriter, r *http.Request) *Identity {
	estate := s.Estate()
	claims, err := s.entra.verify(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	switch {
	case r.Header.Get("Authorization") == "":
		w.Header().Set("WWW-Authenticate", `Bearer authorization_uri="https://login.microsoftonline.com/`+estate.Tenant+`"`)
		armError(w, http.StatusUnauthorized, "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing.")
	case err != nil:
		armError(w, http.StatusUnauthorized, "ExpiredAuthenticationToken", "The access token expiry UTC time is earlier than current UTC time.")
	case !strings.Contains(claim(claims, "aud"), "://management."):
		armError(w, http.StatusUnauthorized, "InvalidAuthenticationTokenAudience", "The access token has been obtained for wrong audience or resource '"+claim(claims, "aud")+"'.")
	case estate.principal(claim(claims, "oid")) == nil:
		armError(w, http.StatusUnauthorized, "InvalidAuthenticationToken", "The received access token is not valid.")
	default:
		return estate.principal(claim(claims, "oid"))
	}
	return nil
}

// allowed is caller with a right on a resource. Azure tells nobody without the right whether the resource exists.
func (s *Server) allowed(w http.ResponseWriter, r *http.Request, action, resource string) bool {
	identity := s.caller(w, r)
	if identity == nil {
		return false
	}
	estate := s.Estate()
	if !estate.may(identity.ObjectID, action, resource) {
		armError(w, http.StatusForbidden, "AuthorizationFailed", fmt.Sprintf(
			"The client '%s' with object id '%s' does not have authorization to perform action '%s' over scope '%s' or the scope is invalid. If access was recently granted, please refresh your credentials.",
			identity.ClientID, identity.ObjectID, action, resource))
		return false
	}
	return true
}

// subscriptions lists the subscription to those that have any right in it.
func (s *Server) subscriptions(w http.ResponseWriter, r *http.Request) {
	identity := s.caller(w, r)
	if identity == nil {
		return
	}
	estate, list := s.Estate(), []any{}
	for _, a := range estate.Assignments {
		if a.Principal == identity.ObjectID && len(list) == 0 {
			list = append(list, map[string]any{
				"id": "/subscriptions/" + estate.Subscription, "subscriptionId": estate.Subscription, "displayName": "standin", "state": "Enabled",
				"tenantId": estate.Tenant, "authorizationSource": "RoleBased",
				"subscriptionPolicies": map[string]string{"locationPlacementId": "Public", "quotaId": "PayAsYouGo", "spendingLimit": "Off"},
			})
		}
	}
	writeJSON(w, http.StatusOK, map[string]any{"value": list})
}

// resources lists the registries that the caller may read: `az acr` looks a registry up by its name.
func (s *Server) resources(w http.ResponseWriter, r *http.Request) {
	identity := s.caller(w, r)
	if identity == nil {
		return
	}
	estate, list := s.Estate(), []any{}
	for _, registry := range estate.Registries {
		if estate.may(identity.ObjectID, readRegistry, registry.ID) {
			list = append(list, map[string]any{
				"id": registry.ID, "name": lastPart(registry.ID), "type": "Microsoft.ContainerRegistry/registries", "location": "westeurope",
			})
		}
	}
	writeJSON(w, http.StatusOK, map[string]any{"value": list})
}

func lastPart(id string) string { return id[strings.LastIndex(id, "/")+1:] }

func (s *Server) registry(w http.ResponseWriter, r *http.Request) {
	if !s.allowed(w, r, readRegistry, r.URL.Path) {
		return
	}
	estate := s.Estate()
	registry := find(estate.Registries, func(g *Registry) bool { return strings.EqualFold(g.ID, r.URL.Path) })
	if registry == nil {
		notFound(w, r)
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"id": registry.ID, "name": lastPart(registry.ID), "type": "Microsoft.ContainerRegistry/registries", "location": "westeurope",
		"sku":        map[string]string{"name": "Premium", "tier": "Premium"},
		"properties": map[string]any{"loginServer": registry.Login, "provisioningState": "Succeeded", "adminUserEnabled": false},
	})
}

// identity gives a user-assigned identity.
func (s *Server) identity(w http.ResponseWriter, r *http.Request) {
	if !s.allowed(w, r, readIdentity, r.URL.Path) {
		return
	}
	estate := s.Estate()
	there := find(estate.Identities, func(i *Identity) bool { return strings.EqualFold(i.ResourceID, r.URL.Path) })
	if there == nil {
		notFound(w, r)
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"id": there.ResourceID, "name": lastPart(there.ResourceID), "type": IdentityKind, "location": "westeurope",
		"properties": map[string]string{"tenantId": estate.Tenant, "clientId": there.ClientID, "principalId": there.ObjectID},
	})
}

// federatedCredentials lists those of an identity.
func (s *Server) federatedCredentials(w http.ResponseWriter, r *http.Request) {
	id := strings.TrimSuffix(r.URL.Path, "/federatedIdentityCredentials")
	if !s.allowed(w, r, readIdentity, id) {
		return
	}
	estate := s.Estate()
	there := find(estate.Identities, func(i *Identity) bool { return strings.EqualFold(i.ResourceID, id) })
	if there == nil {
		notFound(w, r)
		return
	}
	list := []any{}
	for _, f := range there.Federated {
		list = append(list, map[string]any{
			"id": r.URL.Path + "/" + f.Name, "name": f.Name, "type": credentialKind,
			"properties": map[string]any{"issuer": f.Issuer, "subject": f.Subject, "audiences": f.Audiences},
		})
	}
	writeJSON(w, http.StatusOK, map[string]any{"value": list})
}

// assignedTo is the only filter that the list of role assignments knows.
var assignedTo = regexp.MustCompile(`^assignedTo\('([0-9a-f-]+)'\)$`)

// roleAssignments lists those of a principal, and of its groups, in the subscription.
func (s *Server) roleAssignments(w http.ResponseWriter, r *http.Request) {
	if !s.allowed(w, r, readAssignments, "/subscriptions/"+r.PathValue("subscription")) {
		return
	}
	filter := assignedTo.FindStringSubmatch(r.URL.Query().Get("$filter"))
	if filter == nil {
		armError(w, http.StatusBadRequest, "UnsupportedQuery", "The filter '"+r.URL.Query().Get("$filter")+"' is not supported.")
		return
	}
	estate, list := s.Estate(), []any{}
	of := estate.principal(filter[1])
	for _, a := range estate.Assignments {
		if of == nil || a.Principal != of.ObjectID && !slices.Contains(of.Groups, a.Principal) {
			continue
		}
		id := uuid.NewSHA1(uuid.NameSpaceURL, []byte(a.Principal+a.Role+a.Scope)).String()
		list = append(list, map[string]any{
			"id": a.Scope + "/providers/Microsoft.Authorization/roleAssignments/" + id, "name": id, "type": "Microsoft.Authorization/roleAssignments",
			"properties": map[string]string{
				"scope": a.Scope, "principalId": a.Principal, "principalType": "ServicePrincipal",
				"roleDefinitionId": "/subscriptions/" + estate.Subscription + "/providers/Microsoft.Authorization/roleDefinitions/" + a.Role,
			},
		})
	}
	writeJSON(w, http.StatusOK, map[string]any{"value": list})
}

func notFound(w http.ResponseWriter, r *http.Request) {
	armError(w, http.StatusNotFound, "ResourceNotFound", fmt.Sprintf("The Resource '%s' under resource group '%s' was not found.", lastPart(r.URL.Path), r.PathValue("group")))
}

func (s *Server) cluster(w http.ResponseWriter, r *http.Request) {
	if !s.allowed(w, r, readCluster, r.URL.Path) {
		return
	}
	cluster := s.clusterOf(r.URL.Path)
	if cluster == nil {
		notFound(w, r)
		return
	}
	properties := map[string]any{
		"provisioningState": "Succeeded", "kubernetesVersion": "1.36.4", "fqdn": cluster.FQDN(), "disableLocalAccounts": !cluster.LocalAccounts && !cluster.AdminCredential,
		"powerState":             map[string]string{"code": map[bool]string{false: "Running", true: "Stopped"}[cluster.Stopped]},
		"apiServerAccessProfile": map[string]any{"authorizedIPRanges": cluster.AuthorizedRanges, "enablePrivateCluster": cluster.Private},
	}
	if !cluster.LocalAccounts {
		properties["aadProfile"] = map[string]any{"managed": true, "enableAzureRBAC": cluster.AzureRBAC, "tenantID": s.Estate().Tenant}
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"id": cluster.ID, "name": cluster.Name(), "type": "Microsoft.ContainerService/ManagedClusters", "location": cluster.Location, "properties": properties,
	})
}

func (s *Server) clusterOf(id string) *Cluster {
	estate := s.Estate()
	return find(estate.Clusters, func(c *Cluster) bool { return strings.EqualFold(c.ID, id) })
}

// clusterUserCredential gives the kubeconfig for users. With Entra it holds no credential: an exec section runs kubelogin.
func (s *Server) clusterUserCredential(w http.ResponseWriter, r *http.Request) {
	id := strings.TrimSuffix(r.URL.Path, "/listClusterUserCredential")
	if !s.allowed(w, r, userCredential, id) {
		return
	}
	cluster := s.clusterOf(id)
	if cluster == nil {
		notFound(w, r)
		return
	}
	kubeconfig := cluster.UserKubeconfig
	if !cluster.LocalAccounts {
		ca, err := os.ReadFile(s.o.APIServerCA)
		if err != nil {
			armError(w, http.StatusInternalServerError, "InternalServerError", err.Error())
			return
		}
		kubeconfig = s.entraKubeconfig(*cluster, ca)
	}
	writeJSON(w, http.StatusOK, map[string]any{"kubeconfigs": []any{map[string]any{"name": "clusterUser", "value": kubeconfig}}})
}

func (s *Server) entraKubeconfig(c Cluster, ca []byte) []byte {
	user := "clusterUser_" + strings.Split(c.ID, "/")[4] + "_" + c.Name()
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters:
- name: %[1]s
  cluster: {server: "https://%[2]s:443", certificate-authority-data: %[3]q}
contexts:
- name: %[1]s
  context: {cluster: %[1]s, user: %[4]s}
current-context: %[1]s
users:
- name: %[4]s
  user:
    exec:
      apiVersion: client.authentication.k8s.io/v1beta1
      command: kubelogin
      args: [get-token, --environment, AzurePublicCloud, --server-id, %[5]s, --tenant-id, %[6]s, --login, devicecode]
      provideClusterInfo: false
`, c.Name(), c.FQDN(), base64Text(ca), user, clusterAudience, s.Estate().Tenant)
}
