// Package status reads from objects how far they have come: ready, on their way, or failed and why. It knows no
// network and no clock: everything that it looks at stands in a [World].
//
// Each kind has a file of its own, with a sample of the fields that it reads.
package status

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

// Status is how far one object has come.
type Status struct {
	// Ready says that the object does what it is there for.
	Ready bool
	// Message is a few words for a table: "2 of 3 pods are ready".
	Message string
	// Problems are what keeps it from being ready, the worst first.
	Problems []Problem
}

// Problem is one reason why an object is not ready.
type Problem struct {
	// Pod and Container say where, when it is in a pod.
	Pod, Container string
	// Reason is the cluster's own word: ErrImagePull, CrashLoopBackOff, FailedCreate.
	Reason string
	// Message says what is wrong and what to do.
	Message string
	// Heals says whether waiting may help.
	Heals Healing
	// Grace is how long to wait for that; zero for Never.
	Grace time.Duration
	// Depends says that the container may be waiting for another workload of the release.
	Depends bool
	// Logs says that the container's output tells more.
	Logs bool
}

// Healing says whether a Problem may go away by itself.
type Healing int

const (
	// Never: the deploy fails now.
	Never Healing = iota
	// Perhaps: the deploy fails after the Problem's Grace.
	Perhaps
	// Expected: something is at work on it, as an autoscaler is; only the deploy's own time limit ends the wait.
	Expected
	// Forgiven: after the Problem's Grace the object counts as ready all the same.
	Forgiven
)

// Key identifies a problem from one look to the next, though its message changes and its pod is replaced by another.
func (p Problem) Key() string { return p.Container + "\x00" + p.Reason }

// Graces are the defaults for reasons that may heal.
type Graces struct {
	Config  time.Duration // a ConfigMap or Secret that is missing
	Pull    time.Duration // a registry that does not answer
	Crash   time.Duration // a container that crashed once
	Probe   time.Duration // a probe that fails, when longer than what the probe itself allows
	Place   time.Duration // a pod that no node has room for
	Refused time.Duration // a webhook or a quota's controller that cannot be asked, a Gateway that refuses a route
	Route   time.Duration // a route that no Gateway answers for
}

// DefaultGraces are used when the user sets no --grace.
var DefaultGraces = Graces{
	Config:  3 * time.Second,
	Pull:    30 * time.Second,
	Crash:   60 * time.Second,
	Place:   30 * time.Second,
	Refused: 20 * time.Second,
	Route:   10 * time.Second,
}

// cloudGrace is the least that what a cloud does behind the scenes gets: an address, a disk that moves to another node.
const cloudGrace = 5 * time.Minute

func (w *World) cloudGrace() time.Duration { return max(w.Graces.Place, cloudGrace) }

// AllGraces is the same grace for every reason.
func AllGraces(d time.Duration) Graces { return Graces{d, d, d, d, d, d, d} }

// Autoscaler says whether something adds nodes.
type Autoscaler int

// What may be known about it.
const (
	Unknown Autoscaler = iota
	Absent
	Present
)

// World is what is known about the cluster around an object.
type World struct {
	Pods        []*corev1.Pod
	ReplicaSets []*appsv1.ReplicaSet
	Events      []*corev1.Event // of this deploy only; older ones must not fail it
	Autoscaler  Autoscaler
	Graces      Graces
}

// Of says how far object has come.
func Of(object *unstructured.Unstructured, w *World) Status {
	gvk := object.GroupVersionKind()
	if read, ok := readers[kind{gvk.Group, gvk.Kind}]; ok {
		return read(object, w)
	}
	return custom(object, w)
}

// Watched says whether an object has a status worth waiting for. A ConfigMap is there or it is not, and so is a Service
// that waits for no address.
func Watched(object *unstructured.Unstructured) bool {
	gvk := object.GroupVersionKind()
	if gvk.Group == "" && gvk.Kind == "Service" {
		kind, _, _ := unstructured.NestedString(object.Object, "spec", "type")
		return kind == string(corev1.ServiceTypeLoadBalancer)
	}
	if _, ok := readers[kind{gvk.Group, gvk.Kind}]; ok {
		return true
	}
	_, builtin := builtinGroups[gvk.Group]
	return !builtin
}

type kind struct{ group, name string }

type reader func(*unstructured.Unstructured, *World) Status

var readers = map[kind]reader{
	{"apps", "Deployment"}:                               typed(deployment),
	{"apps", "StatefulSet"}:                              typed(statefulSet),
	{"apps", "DaemonSet"}:                                typed(daemonSet),
	{"batch", "Job"}:                                     typed(job),
	{"", "Pod"}:                                          typed(barePod),
	{"", "PersistentVolumeClaim"}:                        typed(claim),
	{"", "Service"}:                                      typed(service),
	{"autoscaling", "HorizontalPodAutoscaler"}:           typed(autoscaler),
	{"gateway.networking.k8s.io", "HTTPRoute"}:           route,
	{"gateway.networking.k8s.io", "GRPCRoute"}:           route,
	{"apiextensions.k8s.io", "CustomResourceDefinition"}: func(o *unstructured.Unstructured, _ *World) Status { return definition(o) },
}

// builtinGroups are the groups whose other kinds are ready as soon as they are stored.
var builtinGroups = map[string]struct{}{
	"": {}, "apps": {}, "batch": {}, "autoscaling": {}, "policy": {}, "rbac.authorization.k8s.io": {},
	"networking.k8s.io": {}, "storage.k8s.io": {}, "scheduling.k8s.io": {}, "node.k8s.io": {}, "coordination.k8s.io": {},
	"discovery.k8s.io": {}, "admissionregistration.k8s.io": {}, "events.k8s.io": {}, "flowcontrol.apiserver.k8s.io": {},
	"certificates.k8s.io": {}, "apiextensions.k8s.io": {}, "resource.k8s.io": {},
}

// typed lets a reader work on the API's own type.
func typed[T any](read func(*T, *World) Status) reader {
	return func(o *unstructured.Unstructured, w *World) Status {
		into := new(T)
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, into); err != nil {
			return Status{Message: "unreadable status: " + err.Error()}
		}
		return read(into, w)
	}
}

func (w *World) podsOf(owner types.UID) []*corev1.Pod {
	var pods []*corev1.Pod
	for _, pod := range w.Pods {
		if pod.DeletionTimestamp != nil {
			continue
		}
		for _, reference := range pod.OwnerReferences {
			if reference.UID == owner {
				pods = append(pods, pod)
			}
		}
	}
	return pods
}

func (w *World) eventsOf(object types.UID) []*corev1.Event {
	var events []*corev1.Event
	for _, event := range w.Events {
		if event.InvolvedObject.UID == object {
			events = append(events, event)
		}
	}
	return events
}
