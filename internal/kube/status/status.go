// Package status reads from objects how far they have come: ready, on their way, or failed and why. It knows no
// network and no clock: everything that it looks at stands in a [World]. A [Judge] compares one look with the next and
// decides which problem has lasted too long.
//
// Each kind has a file of its own, with a sample of the fields that it reads.
package status

import (
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// Status is how far one object has come.
type Status struct {
	// Ready reports whether the object does what it is there for.
	Ready bool
	// Message is a few words for a table: "2 of 3 pods are ready".
	Message string
	// Problems are the reasons why it is not ready, the worst first.
	Problems []Problem
	// Progress grows while the object gets closer to being ready: pods, containers, completions. Only its growth counts.
	Progress int
	// Limit is how long the object may stay without progress; 0 for DefaultLimit.
	Limit time.Duration
}

// Problem is one reason why an object is not ready.
type Problem struct {
	// Pod and Container are set when the problem is in a pod.
	Pod, Container string
	// Reason is the cluster's own word: ErrImagePull, CrashLoopBackOff, FailedCreate.
	Reason string
	// Message says what is wrong and what to do.
	Message string
	// Heals reports whether waiting may help.
	Heals Healing
	// Grace is how long to wait: from the first look that showed the problem for Perhaps and Forgiven, from the object's
	// last progress for Expected, where 0 stands for the object's Limit. It is not used for Never.
	Grace time.Duration
	// Depends reports whether another object of the release, while it is not ready, may be the cause.
	Depends bool
	// Retry is how long after its cause is gone the cluster may take to try again.
	Retry time.Duration
	// Attempt counts the tries that failed or are under way; 0 when they cannot be counted.
	Attempt int
	// Stale reports whether the problem may be from before the deploy.
	Stale bool
	// Since is the time from which on it is known, by the cluster's clock; zero when that is unknown.
	Since time.Time
	// Logs reports whether the container's output tells more.
	Logs bool
}

// Healing reports whether a Problem may go away by itself.
type Healing int

const (
	// Never means that the deploy fails now.
	Never Healing = iota
	// Perhaps means that the deploy fails after the Problem's Grace.
	Perhaps
	// Expected means that something is at work on it: a node that is being added, a pod that is still terminating.
	Expected
	// Forgiven means that after the Problem's Grace the object counts as ready all the same.
	Forgiven
)

// Key identifies a problem of a pod from one look to the next, though its message changes.
func (p Problem) Key() string { return p.Container + "\x00" + p.Reason }

// Autoscaler reports whether something adds nodes.
type Autoscaler int

// What may be known about it.
const (
	Unknown Autoscaler = iota
	Absent
	Present
)

// World is what is known about the cluster around an object.
type World struct {
	Pods        []*corev1.Pod // those that are terminating, too
	ReplicaSets []*appsv1.ReplicaSet
	Events      []*corev1.Event
	Autoscaler  Autoscaler
	Graces      Graces
	// Before is what stood in the cluster before the deploy changed it; nil when that is unknown, so that all counts.
	Before *Baseline
	// Now is the time by the cluster's clock; zero when it is unknown.
	Now time.Time
	// Applied are the objects that are waited for, as the API server returned them when they were applied.
	Applied map[types.UID]*unstructured.Unstructured
	// Release are the objects of the release.
	Release []*unstructured.Unstructured
	// Published are the image references that the registry is known to have.
	Published map[string]bool
	// Find returns an object by name, nil when there is none. Known is false while nobody has looked, or may look.
	// A nil Find knows nothing.
	Find func(kind schema.GroupVersionKind, namespace, name string) (object *unstructured.Unstructured, known bool)
	// Leaving returns how many pods of all namespaces are terminating, or are about to with their namespace, without those
	// whose time to end is long over. Known is as for Find, and so is nil.
	Leaving func() (pods int, known bool)
}

// Kinds that Find is asked for.
var (
	StorageClasses = schema.GroupVersionKind{Group: "storage.k8s.io", Version: "v1", Kind: "StorageClass"}
	CSIDrivers     = schema.GroupVersionKind{Group: "storage.k8s.io", Version: "v1", Kind: "CSIDriver"}
	Nodes          = schema.GroupVersionKind{Version: "v1", Kind: "Node"}
	Secrets        = schema.GroupVersionKind{Version: "v1", Kind: "Secret"}
	ConfigMaps     = schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}
	Claims         = schema.GroupVersionKind{Version: "v1", Kind: "PersistentVolumeClaim"}
)

// Of returns how far an object has come.
func Of(object *unstructured.Unstructured, w *World) Status {
	if object.GetDeletionTimestamp() != nil {
		return terminating(object, w)
	}
	gvk := object.GroupVersionKind()
	read, ok := readers[gvk.GroupKind()]
	if !ok && isBuiltin(gvk.Group) {
		return Status{Ready: true}
	}
	if !ok {
		read = custom
	}
	return read(object, w)
}

// Watched reports whether an object has a status worth waiting for. A ConfigMap is there or it is not, and so is a
// Service that waits for no address. Whatever is being deleted has to be waited for.
func Watched(object *unstructured.Unstructured) bool {
	gvk := object.GroupVersionKind()
	if object.GetDeletionTimestamp() != nil {
		return true
	}
	if gvk.Group == "" && gvk.Kind == "Service" {
		kind, _, _ := unstructured.NestedString(object.Object, "spec", "type")
		return kind == string(corev1.ServiceTypeLoadBalancer)
	}
	if _, ok := readers[gvk.GroupKind()]; ok {
		return true
	}
	return !isBuiltin(gvk.Group)
}

// HoldsOthers reports whether a container may have to wait for objects of a kind. An address, a route and an autoscaler
// are nothing that a container waits for.
func HoldsOthers(kind schema.GroupKind) bool {
	switch kind.Group {
	case "apps", "batch":
		return true
	case "":
		return kind.Kind == "Pod" || kind.Kind == "ReplicationController"
	case "gateway.networking.k8s.io":
		return false
	}
	return !isBuiltin(kind.Group)
}

type reader func(*unstructured.Unstructured, *World) Status

var readers = map[schema.GroupKind]reader{
	{Group: "apps", Kind: "Deployment"}:                               typed(deployment),
	{Group: "apps", Kind: "ReplicaSet"}:                               typed(replicaSet),
	{Kind: "ReplicationController"}:                                   typed(replicationController),
	{Group: "apps", Kind: "StatefulSet"}:                              typed(statefulSet),
	{Group: "apps", Kind: "DaemonSet"}:                                typed(daemonSet),
	{Group: "batch", Kind: "Job"}:                                     typed(job),
	{Kind: "Pod"}:                                                     typed(barePod),
	{Kind: "PersistentVolumeClaim"}:                                   typed(claim),
	{Kind: "Service"}:                                                 typed(service),
	{Group: "autoscaling", Kind: "HorizontalPodAutoscaler"}:           typed(autoscaler),
	{Group: "networking.k8s.io", Kind: "Ingress"}:                     typed(ingress),
	{Group: "argoproj.io", Kind: "Rollout"}:                           argoRollout,
	{Group: "gateway.networking.k8s.io", Kind: "HTTPRoute"}:           route,
	{Group: "gateway.networking.k8s.io", Kind: "GRPCRoute"}:           route,
	{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}: func(o *unstructured.Unstructured, _ *World) Status { return definition(o) },
}

// builtinGroups are the groups whose other kinds are ready as soon as they are stored.
var builtinGroups = map[string]struct{}{
	"": {}, "apps": {}, "batch": {}, "autoscaling": {}, "policy": {}, "rbac.authorization.k8s.io": {},
	"networking.k8s.io": {}, "storage.k8s.io": {}, "scheduling.k8s.io": {}, "node.k8s.io": {}, "coordination.k8s.io": {},
	"discovery.k8s.io": {}, "admissionregistration.k8s.io": {}, "events.k8s.io": {}, "flowcontrol.apiserver.k8s.io": {},
	"certificates.k8s.io": {}, "apiextensions.k8s.io": {}, "resource.k8s.io": {},
}

func isBuiltin(group string) bool {
	_, builtin := builtinGroups[group]
	return builtin
}

// typed lets a reader work on the API's own type.
func typed[T any](read func(*T, *World) Status) reader {
	return func(o *unstructured.Unstructured, w *World) Status {
		into := new(T)
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, into); err != nil {
			return Status{Message: "its status cannot be read: " + err.Error()}
		}
		return read(into, w)
	}
}

// wanted is how many pods of a workload are waited for: those that it is to have, and not what an autoscaler, or
// somebody, has added since it was applied.
func (w *World) wanted(uid types.UID, spec *int32) int32 {
	now := replicas(spec)
	applied := w.Applied[uid]
	if applied == nil {
		return now
	}
	if then, found, _ := unstructured.NestedInt64(applied.Object, "spec", "replicas"); found {
		return min(now, int32(then))
	}
	return now
}

// podsOf returns the pods of an owner that are not terminating.
func (w *World) podsOf(owner types.UID) []*corev1.Pod {
	var pods []*corev1.Pod
	for _, pod := range w.Pods {
		if pod.DeletionTimestamp == nil && controlledBy(pod.OwnerReferences, owner) {
			pods = append(pods, pod)
		}
	}
	return pods
}

// eventsOf returns the events of an object that are of this deploy.
func (w *World) eventsOf(object types.UID) []*corev1.Event {
	return slices.DeleteFunc(w.allEventsOf(object), func(e *corev1.Event) bool { return !w.Before.isNew(e) })
}

// allEventsOf returns the events of an object, the last one last, those of before the deploy included: they explain, and
// prove no fault.
func (w *World) allEventsOf(object types.UID) []*corev1.Event {
	var events []*corev1.Event
	for _, event := range w.Events {
		if event.InvolvedObject.UID == object {
			events = append(events, event)
		}
	}
	slices.SortStableFunc(events, func(a, b *corev1.Event) int { return lastSeen(a).Compare(lastSeen(b)) })
	return events
}

// find asks Find.
func (w *World) find(kind schema.GroupVersionKind, namespace, name string) (object *unstructured.Unstructured, known bool) {
	if w.Find == nil {
		return nil, false
	}
	return w.Find(kind, namespace, name)
}
