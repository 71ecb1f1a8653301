package plan

import (
	"encoding/json"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Autoscaler is the kind of what sets the number of a workload's pods: KEDA's ScaledObjects make such objects, too.
var Autoscaler = schema.GroupKind{Group: "autoscaling", Kind: "HorizontalPodAutoscaler"}

// IsAutoscaler says whether o is of that kind.
func IsAutoscaler(o *unstructured.Unstructured) bool {
	return o.GroupVersionKind().GroupKind() == Autoscaler
}

// Scales says whether an autoscaler sets the number of o's pods.
func Scales(autoscaler, o *unstructured.Unstructured) bool {
	target, _, _ := unstructured.NestedMap(autoscaler.Object, "spec", "scaleTargetRef")
	return autoscaler.GetNamespace() == o.GetNamespace() && target["kind"] == o.GetKind() && target["name"] == o.GetName()
}

// Replicas is the number of pods that a workload is to have. Without the field it is the API's default.
func Replicas(workload *unstructured.Unstructured) int64 {
	if n, found, _ := unstructured.NestedInt64(workload.Object, "spec", "replicas"); found {
		return n
	}
	return 1
}

// ScaledByController says whether the number of a workload's pods is what the controllers of the cluster last wrote
// through its scale subresource, as the autoscalers do.
func ScaledByController(live *unstructured.Unstructured) bool {
	return ownsReplicas(live, func(entry metav1.ManagedFieldsEntry) bool {
		return entry.Manager == "kube-controller-manager" && entry.Subresource == "scale"
	})
}

// AppliedReplicas says whether manager has applied the number of a workload's pods. If so an apply that leaves the field
// out gives it back to its default, 1, unless another owns it too. If not, that leaves it alone.
func AppliedReplicas(live *unstructured.Unstructured, manager string) bool {
	return ownsReplicas(live, func(entry metav1.ManagedFieldsEntry) bool {
		return entry.Manager == manager && entry.Operation == metav1.ManagedFieldsOperationApply && entry.Subresource == ""
	})
}

func ownsReplicas(live *unstructured.Unstructured, is func(metav1.ManagedFieldsEntry) bool) bool {
	for _, entry := range live.GetManagedFields() {
		if !is(entry) || entry.FieldsV1 == nil {
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
