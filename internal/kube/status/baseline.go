package status

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// Baseline is what stood in the cluster before a deploy changed anything. What is older than the deploy proves nothing
// about it. Which is older is told by uids and by the cluster's own counts, since the clocks of two machines differ. A nil
// Baseline is one without anything in it.
type Baseline struct {
	// Unchanged reports whether the deploy changed nothing at all. Then nothing on the way can heal what was wrong
	// before, and all of it counts.
	Unchanged bool
	// Pods are the uids of the pods that were there.
	Pods map[types.UID]bool
	// Objects are the objects of the release as they were.
	Objects map[types.UID]*unstructured.Unstructured
	// Covers reports whether an event happened before, and not once more since; nil for never.
	Covers func(*corev1.Event) bool
}

// isNew reports whether an event happened, or happened once more, since the baseline.
func (b *Baseline) isNew(event *corev1.Event) bool {
	return b == nil || b.Unchanged || b.Covers == nil || !b.Covers(event)
}

// hadPod reports whether a pod is older than the deploy.
func (b *Baseline) hadPod(uid types.UID) bool { return b != nil && !b.Unchanged && b.Pods[uid] }

// sameStatus reports whether an object's status is still the one that it had before the deploy changed its spec.
func (b *Baseline) sameStatus(o *unstructured.Unstructured) bool {
	if b == nil || b.Unchanged {
		return false
	}
	before := b.Objects[o.GetUID()]
	return before != nil && before.GetGeneration() < o.GetGeneration() &&
		equality.Semantic.DeepEqual(before.Object["status"], o.Object["status"])
}

// sameCondition reports whether a condition of an object was written before the deploy, which changed something.
func (b *Baseline) sameCondition(uid types.UID, kind string, updated metav1.Time) bool {
	if b == nil || b.Unchanged || b.Objects[uid] == nil {
		return false
	}
	list, _, _ := unstructured.NestedSlice(b.Objects[uid].Object, "status", "conditions")
	return slices.ContainsFunc(list, func(item any) bool {
		fields, _ := item.(map[string]any)
		return fields["type"] == kind && fields["lastUpdateTime"] == updated.UTC().Format(time.RFC3339)
	})
}

// occurrences is how often an event has happened. Those of events.k8s.io count in their series.
func occurrences(event *corev1.Event) int32 {
	count := max(event.Count, 1)
	if event.Series != nil {
		count = max(count, event.Series.Count)
	}
	return count
}
