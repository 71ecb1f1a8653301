package status

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// statefulSet reads
//
//	metadata:
//	  generation: 2
//	spec:
//	  replicas: 3
//	  updateStrategy:
//	    type: RollingUpdate        # with OnDelete the pods are replaced when somebody deletes them
//	    rollingUpdate:
//	      partition: 0             # pods below it stay as they are
//	status:
//	  observedGeneration: 2
//	  updatedReplicas: 1
//	  readyReplicas: 3
//	  currentRevision: redis-7d9
//	  updateRevision: redis-5c4    # the label controller-revision-hash of the new pods
func statefulSet(s *appsv1.StatefulSet, w *World) Status {
	if s.Status.ObservedGeneration < s.Generation {
		return Status{Message: "not looked at yet by the StatefulSet controller"}
	}
	want := int32(1)
	if s.Spec.Replicas != nil {
		want = *s.Spec.Replicas
	}
	updated := want
	if rolling := s.Spec.UpdateStrategy.RollingUpdate; rolling != nil && rolling.Partition != nil {
		updated = max(0, want-*rolling.Partition)
	}
	if s.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType {
		updated = 0
	}
	message := fmt.Sprintf("%d of %d pods are ready", s.Status.ReadyReplicas, want)
	switch {
	case s.Status.UpdatedReplicas < updated && s.Status.UpdateRevision != s.Status.CurrentRevision:
		message = fmt.Sprintf("%d of %d pods are new", s.Status.UpdatedReplicas, updated)
	case s.Status.ReadyReplicas >= want && s.Status.Replicas <= want:
		return Status{Ready: true, Message: message}
	}
	var pods []*corev1.Pod
	for _, pod := range w.podsOf(s.UID) {
		if pod.Labels[appsv1.ControllerRevisionHashLabelKey] == s.Status.UpdateRevision {
			pods = append(pods, pod)
		}
	}
	problems := append(creationProblems(w.eventsOf(s.UID), w), podProblems(pods, w)...)
	return Status{Message: message, Problems: worstFirst(problems)}
}
