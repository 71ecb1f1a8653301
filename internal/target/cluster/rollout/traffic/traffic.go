// Package traffic makes the objects that split requests between two versions of an app: the second Deployment beside
// the one in the manifests, the Services that select one of the two, the routes with weights. It reaches no network.
//
// The manifests' own Deployment stays the stable version until the end and then becomes the new one, so that afterwards
// its name, its HorizontalPodAutoscaler and its PodDisruptionBudget are the same for every strategy. The pods of the second
// Deployment have all labels of the first one's pods, so that network policies and spread constraints apply to them too,
// and one more label. Where the two versions get separate traffic, each has a budget of its own.
package traffic

import (
	"fmt"
	"math"

	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Label distinguishes the second version's pods from those of the first. Its value is a Track.
const Label = "aksflow.dev/track"

// hashLabel is the label by which the Deployment's controller distinguishes the pods of different templates.
const hashLabel = "pod-template-hash"

// Track names a second version, and is the ending of its objects' names.
type Track string

// The tracks.
const (
	Canary Track = "canary"
	Next   Track = "next" // of a blue-green release
)

// Second returns the Deployment of the new version that runs beside deployment, the one in the manifests.
func Second(deployment *unstructured.Unstructured, track Track, replicas int64) *unstructured.Unstructured {
	second := deployment.DeepCopy()
	second.SetName(Name(deployment.GetName(), track))
	addLabel(second.Object, track, "metadata", "labels")
	addLabel(second.Object, track, "spec", "selector", "matchLabels")
	addLabel(second.Object, track, "spec", "template", "metadata", "labels")
	_ = unstructured.SetNestedField(second.Object, replicas, "spec", "replicas")
	return second
}

// Name returns the name of a second object.
func Name(first string, track Track) string { return first + "-" + string(track) }

func addLabel(object map[string]any, track Track, path ...string) {
	_ = unstructured.SetNestedField(object, string(track), append(path, Label)...)
}

// SecondService returns a Service that selects the new version's pods only. It uses no address of the cloud, and no port of
// the nodes.
func SecondService(service *unstructured.Unstructured, track Track) *unstructured.Unstructured {
	second := service.DeepCopy()
	second.SetName(Name(service.GetName(), track))
	second.SetAnnotations(nil)
	addLabel(second.Object, track, "metadata", "labels")
	addLabel(second.Object, track, "spec", "selector")
	_ = unstructured.SetNestedField(second.Object, "ClusterIP", "spec", "type")
	for _, field := range []string{
		"clusterIP", "clusterIPs", "externalIPs", "externalName", "externalTrafficPolicy", "healthCheckNodePort",
		"loadBalancerClass", "loadBalancerIP", "loadBalancerSourceRanges", "allocateLoadBalancerNodePorts",
	} {
		unstructured.RemoveNestedField(second.Object, "spec", field)
	}
	ports, _, _ := unstructured.NestedSlice(second.Object, "spec", "ports")
	for _, port := range ports {
		if fields, ok := port.(map[string]any); ok {
			delete(fields, "nodePort")
		}
	}
	_ = unstructured.SetNestedSlice(second.Object, ports, "spec", "ports")
	return second
}

// ToHash returns the Service or PodDisruptionBudget with a selector for the pods of one template of the first Deployment.
// The pods have that label already, so no pod is replaced and no request is affected.
func ToHash(o *unstructured.Unstructured, hash string) *unstructured.Unstructured {
	turned := o.DeepCopy()
	selector := []string{"spec", "selector"}
	if isBudget(o) {
		selector = append(selector, "matchLabels")
	}
	_ = unstructured.SetNestedField(turned.Object, hash, append(selector, hashLabel)...)
	return turned
}

// ToTrack returns the Service with a selector for the second Deployment's pods.
func ToTrack(service *unstructured.Unstructured, track Track) *unstructured.Unstructured {
	turned := service.DeepCopy()
	addLabel(turned.Object, track, "spec", "selector")
	return turned
}

// Selects reports whether a Service sends requests to the pods of a Deployment.
func Selects(service, deployment *unstructured.Unstructured) bool {
	selector, found, _ := unstructured.NestedStringMap(service.Object, "spec", "selector")
	if !found || len(selector) == 0 || service.GetKind() != "Service" || service.GetNamespace() != deployment.GetNamespace() {
		return false
	}
	template, _, _ := unstructured.NestedStringMap(deployment.Object, "spec", "template", "metadata", "labels")
	for key, value := range selector {
		if template[key] != value {
			return false
		}
	}
	return true
}

func isBudget(o *unstructured.Unstructured) bool { return o.GetKind() == "PodDisruptionBudget" }

// Guards reports whether a PodDisruptionBudget counts the pods of a Deployment.
func Guards(budget, deployment *unstructured.Unstructured) bool {
	if !isBudget(budget) || budget.GetNamespace() != deployment.GetNamespace() {
		return false
	}
	fields, found, _ := unstructured.NestedMap(budget.Object, "spec", "selector")
	if !found {
		return false
	}
	var selector metav1.LabelSelector
	if runtime.DefaultUnstructuredConverter.FromUnstructured(fields, &selector) != nil {
		return false
	}
	matches, err := metav1.LabelSelectorAsSelector(&selector)
	template, _, _ := unstructured.NestedStringMap(deployment.Object, "spec", "template", "metadata", "labels")
	return err == nil && matches.Matches(labels.Set(template))
}

// SecondBudget returns a PodDisruptionBudget for the new version's pods only, of which there are replicas. A budget for the
// pods of both versions would allow to evict all pods that serve while those of the other version serve nothing. It allows
// at least one eviction: a minimum that is meant for all pods would block the drain of a node with one of the few new ones.
func SecondBudget(budget *unstructured.Unstructured, track Track, replicas int64) *unstructured.Unstructured {
	second := budget.DeepCopy()
	second.SetName(Name(budget.GetName(), track))
	second.SetAnnotations(nil)
	addLabel(second.Object, track, "metadata", "labels")
	addLabel(second.Object, track, "spec", "selector", "matchLabels")
	var spec policyv1.PodDisruptionBudgetSpec
	fields, _, _ := unstructured.NestedMap(budget.Object, "spec")
	if runtime.DefaultUnstructuredConverter.FromUnstructured(fields, &spec) != nil || spec.MinAvailable == nil {
		return second
	}
	if least, err := intstr.GetScaledValueFromIntOrPercent(spec.MinAvailable, int(replicas), true); err == nil && int64(least) >= replicas {
		_ = unstructured.SetNestedField(second.Object, replicas-1, "spec", "minAvailable")
	}
	return second
}

// Replicas returns how many pods of the new version get percent of the requests beside stable pods of the old one, which
// all stay: at least one. Where a route has weights, there need only be enough pods to serve that part.
func Replicas(stable int64, percent int, weighted bool) int64 {
	share := float64(stable) * float64(percent) / float64(100-percent)
	if weighted {
		share = math.Ceil(float64(stable) * float64(percent) / 100)
	}
	return max(1, int64(math.Round(share)))
}

// Share returns the part of the requests, in percent, that second pods get beside stable ones.
func Share(second, stable int64) int {
	return int(math.Round(100 * float64(second) / float64(second+stable)))
}

// IsRoute reports whether an object is a Gateway API route whose backends have weights.
func IsRoute(o *unstructured.Unstructured) bool {
	return o.GetKind() == "HTTPRoute" || o.GetKind() == "GRPCRoute"
}

// Routes reports whether a Gateway API route sends requests to a Service.
func Routes(route *unstructured.Unstructured, service string) bool {
	_, n := weigh(route, service, "", 0)
	return n > 0
}

// Weigh returns the route with percent of the requests for service sent to second instead.
func Weigh(route *unstructured.Unstructured, service, second string, percent int) *unstructured.Unstructured {
	weighed, _ := weigh(route, service, second, percent)
	return weighed
}

func weigh(route *unstructured.Unstructured, service, second string, percent int) (*unstructured.Unstructured, int) {
	if !IsRoute(route) {
		return nil, 0
	}
	route = route.DeepCopy()
	found := 0
	rules, _, _ := unstructured.NestedSlice(route.Object, "spec", "rules")
	for _, item := range rules {
		rule, _ := item.(map[string]any)
		backends, _ := rule["backendRefs"].([]any)
		var out []any
		for _, item := range backends {
			backend, _ := item.(map[string]any)
			kind, group := backend["kind"], backend["group"]
			if backend["name"] != service || kind != nil && kind != "Service" || group != nil && group != "" {
				out = append(out, item)
				continue
			}
			found++
			whole, ok := backend["weight"].(int64)
			if !ok {
				whole = 1
			}
			other := unstructured.Unstructured{Object: backend}
			copied := other.DeepCopy().Object
			// In hundredths of the backend's present weight, so that its share beside other backends stays.
			backend["weight"] = whole * int64(100-percent)
			copied["weight"], copied["name"] = whole*int64(percent), second
			out = append(out, backend, copied)
		}
		for _, item := range out {
			backend, _ := item.(map[string]any)
			name := backend["name"]
			if weight, ok := backend["weight"].(int64); ok && name != service && name != second {
				backend["weight"] = weight * 100
			} else if !ok && len(out) > 1 {
				backend["weight"] = int64(100)
			}
		}
		if rule != nil && backends != nil {
			rule["backendRefs"] = out
		}
	}
	_ = unstructured.SetNestedSlice(route.Object, rules, "spec", "rules")
	return route, found
}

// Describe returns in a few words where the requests go.
func Describe(percent int, weighted bool, second, stable int64) string {
	if weighted {
		return fmt.Sprintf("%d%% of the requests, by the route's weights", percent)
	}
	return fmt.Sprintf("%d%% of the requests, by %d new of %d pods", Share(second, stable), second, second+stable)
}
