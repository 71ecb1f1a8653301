package plan

import (
	"encoding/json"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Autoscaler is the kind of what sets the number of a workload's pods: KEDA's ScaledObjects make such objects, too.
var Autoscaler = schema.GroupKind{Group: "autoscaling", Kind: "HorizontalPodAutoscaler"}

// Scales says whether autoscaler, an object of any kind, sets the number of o's pods.
func Scales(autoscaler, o *unstructured.Unstructured) bool {
	if autoscaler.GroupVersionKind().GroupKind() != Autoscaler || autoscaler.GetNamespace() != o.GetNamespace() {
		return false
	}
	target, _, _ := unstructured.NestedMap(autoscaler.Object, "spec", "scaleTargetRef")
	kind, name := o.GetKind(), o.GetName()
	return target["kind"] == kind && target["name"] == name
}

// Replicas is the number of pods that a workload is to have. Without the field it is the API's default.
func Replicas(workload *unstructured.Unstructured) int64 {
	if n, found, _ := unstructured.NestedInt64(workload.Object, "spec", "replicas"); found {
		return n
	}
	return 1
}

// ScaledByController says whether the number of a workload's pods is what the controllers of the cluster last wrote
// through its scale subresource, as the autoscalers do. A server-side apply that leaves the field out leaves it alone
// then.
func ScaledByController(live *unstructured.Unstructured) bool {
	for _, entry := range live.GetManagedFields() {
		if entry.Manager != "kube-controller-manager" || entry.Subresource != "scale" || entry.FieldsV1 == nil {
			continue
		}
		var owned struct {
			Spec map[string]any `json:"f:spec"`
		}
		if json.Unmarshal(entry.FieldsV1.GetRawBytes(), &owned) != nil {
			continue
		}
		if _, ok := owned.Spec["f:replicas"]; ok {
			return true
		}
	}
	return false
}
