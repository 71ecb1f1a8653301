package standin

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
)

// AuthorizePath is where kube-apiserver asks, as a webhook, for rights that Kubernetes' own Roles do not give.
const AuthorizePath = "/aks/authorize"

// inCluster are the actions of a role for what is in a cluster. Roles, bindings, quotas and the objects of custom resource
// definitions are in none, and a reader sees no Secrets.
// https://learn.microsoft.com/azure/aks/manage-azure-rbac
func inCluster(verbs ...string) []string {
	var actions []string
	for _, kind := range []string{
		"apps/controllerrevisions", "apps/daemonsets", "apps/deployments", "apps/replicasets", "apps/statefulsets",
		"autoscaling/horizontalpodautoscalers", "batch/cronjobs", "batch/jobs", "configmaps", "coordination.k8s.io/leases", "endpoints",
		"networking.k8s.io/ingresses", "networking.k8s.io/networkpolicies", "persistentvolumeclaims", "pods", "policy/poddisruptionbudgets",
		"replicationcontrollers", "secrets", "serviceaccounts", "services",
	} {
		if kind == "secrets" && len(verbs) == 1 {
			continue
		}
		for _, verb := range verbs {
			actions = append(actions, inClusterPrefix+kind+"/"+verb)
		}
	}
	for _, kind := range []string{"events", "limitranges", "namespaces", "resourcequotas"} {
		actions = append(actions, inClusterPrefix+kind+"/read")
	}
	return actions
}

const inClusterPrefix = "Microsoft.ContainerService/managedClusters/"

// authorize answers as the webhook of AKS does: by the role assignments on a cluster, or on a namespace of it. One API
// server stands behind all clusters, so a role on any cluster that is set so counts.
func (s *Server) authorize(w http.ResponseWriter, r *http.Request) {
	var review struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Spec       struct {
			User               string `json:"user"`
			ResourceAttributes *struct{ Namespace, Verb, Group, Resource string }
		} `json:"spec"`
	}
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	estate, allowed := s.Estate(), false
	if asked := review.Spec.ResourceAttributes; asked != nil {
		action := inClusterPrefix + strings.TrimPrefix(asked.Group+"/", "/") + asked.Resource + "/" + clusterVerb(asked.Verb)
		allowed = slices.ContainsFunc(estate.Clusters, func(c Cluster) bool {
			return c.AzureRBAC && estate.may(review.Spec.User, action, strings.TrimSuffix(c.ID+"/namespaces/"+asked.Namespace, "/namespaces/"))
		})
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"apiVersion": review.APIVersion, "kind": review.Kind, "status": map[string]any{"allowed": allowed, "reason": "by the role assignments in Azure"},
	})
}

// clusterVerb is the verb of an action for one of Kubernetes.
func clusterVerb(verb string) string {
	switch verb {
	case "get", "list", "watch":
		return "read"
	case "create", "update", "patch":
		return "write"
	case "delete", "deletecollection":
		return "delete"
	}
	return verb + "/action"
}
