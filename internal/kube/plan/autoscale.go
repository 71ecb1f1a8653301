package plan

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// Autoscaler is the kind of object that sets the number of a workload's pods. KEDA's ScaledObjects create such objects too.
var Autoscaler = schema.GroupKind{Group: "autoscaling", Kind: "HorizontalPodAutoscaler"}

// IsAutoscaler reports whether o is of that kind.
func IsAutoscaler(o *unstructured.Unstructured) bool {
	return o.GroupVersionKind().GroupKind() == Autoscaler
}

// Scales reports whether an autoscaler sets the number of o's pods.
func Scales(autoscaler, o *unstructured.Unstructured) bool {
	target, _, _ := unstructured.NestedMap(autoscaler.Object, "spec", "scaleTargetRef")
	return autoscaler.GetNamespace() == o.GetNamespace() && target["kind"] == o.GetKind() && target["name"] == o.GetName()
}

// Replicas is the number of pods that a workload should have. Without the field it is the API's default, 1.
func Replicas(workload *unstructured.Unstructured) int64 {
	if n, found, _ := unstructured.NestedInt64(workload.Object, "spec", "replicas"); found {
		return n
	}
	return 1
}

// ScaledByController reports whether the controllers of the cluster wrote the number of a workload's pods last, through
// its scale subresource, as autoscalers do.
func ScaledByController(live *unstructured.Unstructured) bool {
	return ownsReplicas(live, func(entry metav1.ManagedFieldsEntry) bool {
		return entry.Manager == "kube-controller-manager" && entry.Subresource == "scale"
	})
}

// AppliedReplicas reports whether manager applied the number of a workload's pods. If so, an apply that leaves the field
// out resets it to its default, 1, unless another manager owns it too. If not, such an apply does not change it.
func AppliedReplicas(live *unstructured.Unstructured, manager string) bool {
	return ownsReplicas(live, func(entry metav1.ManagedFieldsEntry) bool { return isApply(entry, manager) })
}

var replicasPath = fieldpath.MakePathOrDie("spec", "replicas")

func ownsReplicas(live *unstructured.Unstructured, pred func(metav1.ManagedFieldsEntry) bool) bool {
	for _, entry := range live.GetManagedFields() {
		if !pred(entry) {
			continue
		}
		if owned := fieldsOf(entry); owned != nil && owned.Has(replicasPath) {
			return true
		}
	}
	return false
}
