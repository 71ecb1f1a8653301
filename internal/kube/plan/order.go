package plan

import (
	"cmp"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Stage is a place in the order in which objects are applied. Within a stage they are applied in parallel.
type Stage int

// The stages, in their order. An object comes after what it needs.
const (
	Namespaces  Stage = iota
	Definitions       // CustomResourceDefinitions; the deploy waits until they are established
	Access            // service accounts, roles, bindings, classes
	Config            // ConfigMaps, Secrets, quotas, network policies
	Storage           // classes, volumes, claims
	Services          // before the pods, so that their names resolve when the pods start
	Data              // StatefulSets, which Jobs and workloads talk to
	Jobs              // migrations; the deploy waits until they are complete
	Workloads         // Deployments, DaemonSets, Pods
	Rest              // autoscalers, budgets, routes, and every kind not named here
)

var stages = [...]string{"namespaces", "definitions", "access", "config", "storage", "services", "data", "jobs", "workloads", "the rest"}

func (s Stage) String() string { return stages[s] }

var stageOf = map[schema.GroupKind]Stage{
	{Kind: "Namespace"}: Namespaces,

	{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}: Definitions,

	{Kind: "ServiceAccount"}:                                         Access,
	{Group: "rbac.authorization.k8s.io", Kind: "ClusterRole"}:        Access,
	{Group: "rbac.authorization.k8s.io", Kind: "ClusterRoleBinding"}: Access,
	{Group: "rbac.authorization.k8s.io", Kind: "Role"}:               Access,
	{Group: "rbac.authorization.k8s.io", Kind: "RoleBinding"}:        Access,
	{Group: "scheduling.k8s.io", Kind: "PriorityClass"}:              Access,
	{Group: "node.k8s.io", Kind: "RuntimeClass"}:                     Access,
	{Group: "networking.k8s.io", Kind: "IngressClass"}:               Access,
	{Kind: "ConfigMap"}:     Config,
	{Kind: "Secret"}:        Config,
	{Kind: "ResourceQuota"}: Config,
	{Kind: "LimitRange"}:    Config,
	{Group: "networking.k8s.io", Kind: "NetworkPolicy"}: Config,
	{Group: "storage.k8s.io", Kind: "StorageClass"}:     Storage,
	{Kind: "PersistentVolume"}:                          Storage,
	{Kind: "PersistentVolumeClaim"}:                     Storage,
	{Kind: "Service"}:                                   Services,
	{Kind: "Endpoints"}:                                 Services,
	{Group: "discovery.k8s.io", Kind: "EndpointSlice"}:  Services,
	{Group: "apps", Kind: "StatefulSet"}:                Data,
	{Group: "batch", Kind: "Job"}:                       Jobs,
	{Group: "apps", Kind: "Deployment"}:                 Workloads,
	{Group: "apps", Kind: "DaemonSet"}:                  Workloads,
	{Group: "apps", Kind: "ReplicaSet"}:                 Workloads,
	{Kind: "ReplicationController"}:                     Workloads,
	{Kind: "Pod"}:                                       Workloads,
	{Group: "batch", Kind: "CronJob"}:                   Workloads,
}

// StageOf is the stage of a kind.
func StageOf(kind schema.GroupKind) Stage {
	if stage, ok := stageOf[kind]; ok {
		return stage
	}
	return Rest
}

// Group is the objects of one stage of one wave.
type Group struct {
	Wave    int
	Stage   Stage
	Objects []*unstructured.Unstructured
}

// Groups puts objects into their waves and stages. Empty ones are left out; the order within a stage is that of objects.
func Groups(objects []*unstructured.Unstructured) []Group {
	type place struct {
		wave  int
		stage Stage
	}
	by := map[place][]*unstructured.Unstructured{}
	for _, object := range objects {
		wave, _ := WaveOf(object) // Normalize has refused the others
		at := place{wave, StageOf(object.GroupVersionKind().GroupKind())}
		by[at] = append(by[at], object)
	}
	groups := make([]Group, 0, len(by))
	for at, objects := range by {
		groups = append(groups, Group{Wave: at.wave, Stage: at.stage, Objects: objects})
	}
	slices.SortFunc(groups, func(a, b Group) int { return cmp.Or(cmp.Compare(a.Wave, b.Wave), int(a.Stage-b.Stage)) })
	return groups
}
