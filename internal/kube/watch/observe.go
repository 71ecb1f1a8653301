package watch

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/kube/status"
)

// Observer reports what happens to the pods of objects, and what the cluster's events say of both, for what is written after
// the run. What stood in the cluster before the deploy is left out. The zero value has seen nothing.
type Observer struct {
	states map[types.UID]string // the last that was reported of a pod
	events map[types.UID]string // the resource version of an event that was reported
}

// Look reports what is new. Owners are the objects, by uid, under the names that they are reported with.
func (o *Observer) Look(ctx context.Context, world *status.World, owners map[types.UID]string) {
	if o.states == nil {
		o.states, o.events = map[types.UID]string{}, map[types.UID]string{}
	}
	parents := map[types.UID]string{} // of pods
	for uid, name := range owners {
		parents[uid] = name
	}
	for _, rs := range world.ReplicaSets {
		if name := owners[ownerOf(rs.OwnerReferences)]; name != "" {
			parents[rs.UID] = name
		}
	}
	names := map[types.UID][2]string{} // the object of an event, and what that is a part of
	for uid, name := range owners {
		names[uid] = [2]string{name, ""}
	}
	for _, pod := range world.Pods {
		parent := parents[ownerOf(pod.OwnerReferences)]
		if parent == "" {
			continue
		}
		name := "Pod/" + pod.Name
		names[pod.UID] = [2]string{name, parent}
		o.observe(ctx, world.Before, pod, name, parent)
	}
	for _, e := range slices.SortedFunc(slices.Values(world.Events), byTime) {
		object, known := names[e.InvolvedObject.UID]
		if !known || o.events[e.UID] == e.ResourceVersion || world.Before != nil && world.Before.Covers != nil && world.Before.Covers(e) {
			continue
		}
		o.events[e.UID] = e.ResourceVersion
		report.Emit(ctx, report.Event{
			Kind: report.Observation, Object: object[0], PartOf: object[1], Message: fmt.Sprintf("%s: %s", e.Reason, strings.TrimSpace(e.Message)),
		})
	}
}

// observe reports the state of a pod if that is another one than before.
func (o *Observer) observe(ctx context.Context, before *status.Baseline, pod *corev1.Pod, name, parent string) {
	state, last := podState(pod), o.states[pod.UID]
	o.states[pod.UID] = state
	if state == last || last == "" && before != nil && before.Pods[pod.UID] && pod.DeletionTimestamp == nil {
		return
	}
	report.Emit(ctx, report.Event{Kind: report.Observation, Object: name, PartOf: parent, Message: state})
}

// ownerOf is the uid of the controller.
func ownerOf(owners []metav1.OwnerReference) types.UID {
	for _, owner := range owners {
		if owner.Controller != nil && *owner.Controller {
			return owner.UID
		}
	}
	return ""
}

func byTime(a, b *corev1.Event) int {
	return cmp.Or(a.LastTimestamp.Compare(b.LastTimestamp.Time), cmp.Compare(a.ResourceVersion, b.ResourceVersion))
}

// podState is how far a pod is, in the words of kubectl.
func podState(pod *corev1.Pod) string {
	if pod.DeletionTimestamp != nil {
		return "terminating"
	}
	restarts := int32(0)
	for _, c := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		restarts += c.RestartCount
		switch {
		case c.State.Waiting != nil && c.State.Waiting.Reason != "" && c.State.Waiting.Reason != "PodInitializing":
			return again(c.State.Waiting.Reason, c.RestartCount)
		case c.State.Terminated != nil && c.State.Terminated.ExitCode != 0:
			return again(fmt.Sprintf("container %s ended with exit code %d", c.Name, c.State.Terminated.ExitCode), c.RestartCount)
		}
	}
	conditions := map[corev1.PodConditionType]corev1.ConditionStatus{}
	for _, c := range pod.Status.Conditions {
		conditions[c.Type] = c.Status
	}
	switch {
	case pod.Status.Phase == corev1.PodSucceeded:
		return "completed"
	case pod.Status.Phase == corev1.PodFailed:
		return cmp.Or(pod.Status.Reason, "failed")
	case conditions[corev1.PodReady] == corev1.ConditionTrue:
		return again("ready", restarts)
	case pod.Status.Phase == corev1.PodRunning:
		return again("running, not ready", restarts)
	case conditions[corev1.PodScheduled] != corev1.ConditionTrue:
		return "not scheduled yet"
	}
	return "starting"
}

func again(state string, restarts int32) string {
	if restarts == 0 {
		return state
	}
	return state + ", " + report.Count(int(restarts), "restart")
}
