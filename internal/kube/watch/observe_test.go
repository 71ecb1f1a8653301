package watch_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/kube/status"
	"github.com/aksflow/aksflow/internal/kube/watch"
)

func TestObserver(t *testing.T) {
	owned := func(by types.UID) []metav1.OwnerReference {
		controller := true
		return []metav1.OwnerReference{{UID: by, Controller: &controller}}
	}
	old := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "vote-1-a", UID: "old", OwnerReferences: owned("rs")}}
	old.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "vote-2-b", UID: "new", OwnerReferences: owned("rs")}}
	other := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "else", UID: "else", OwnerReferences: owned("other")}}
	event := func(uid, object types.UID, version, message string) *corev1.Event {
		return &corev1.Event{ObjectMeta: metav1.ObjectMeta{UID: uid, ResourceVersion: version}, InvolvedObject: corev1.ObjectReference{UID: object}, Reason: "BackOff", Message: message}
	}
	world := &status.World{
		Pods:        []*corev1.Pod{old, pod, other},
		ReplicaSets: []*appsv1.ReplicaSet{{ObjectMeta: metav1.ObjectMeta{UID: "rs", OwnerReferences: owned("deployment")}}},
		Events:      []*corev1.Event{event("1", "new", "1", "of long ago"), event("2", "new", "2", "restarting failed container"), event("3", "else", "3", "of another app")},
		Before:      &status.Baseline{Pods: map[types.UID]bool{"old": true}, Covers: func(e *corev1.Event) bool { return e.UID == "1" }},
	}
	var said []string
	ctx := report.With(context.Background(), report.SinkFunc(func(e report.Event) {
		assert.Equal(t, report.Observation, e.Kind)
		assert.Equal(t, "Deployment/vote", e.PartOf)
		said = append(said, e.Object+" "+e.Message)
	}))
	observer := &watch.Observer{}
	look := func() []string {
		said = nil
		observer.Look(ctx, world, map[types.UID]string{"deployment": "Deployment/vote"})
		return said
	}
	assert.Equal(t, []string{"Pod/vote-2-b not scheduled yet", "Pod/vote-2-b BackOff: restarting failed container"}, look())
	assert.Empty(t, look(), "nothing is new")

	pod.Status.Phase = corev1.PodRunning
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "vote", RestartCount: 2, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}}}
	old.DeletionTimestamp = &metav1.Time{}
	world.Events[1].ResourceVersion = "7"
	assert.Equal(t, []string{
		"Pod/vote-1-a terminating", "Pod/vote-2-b CrashLoopBackOff, 2 restarts", "Pod/vote-2-b BackOff: restarting failed container",
	}, look())
}
