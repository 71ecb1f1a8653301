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
//	  minReadySeconds: 10
//	  podManagementPolicy: OrderedReady   # Parallel does not wait for the pod before
//	  updateStrategy:
//	    type: RollingUpdate        # with OnDelete the pods are replaced when somebody deletes them
//	    rollingUpdate:
//	      partition: 0             # pods below it stay as they are
//	status:
//	  observedGeneration: 2
//	  updatedReplicas: 1
//	  readyReplicas: 3
//	  availableReplicas: 2
//	  currentRevision: redis-7d9
//	  updateRevision: redis-5c4    # the label controller-revision-hash of the new pods
func statefulSet(s *appsv1.StatefulSet, w *World) Status {
	if s.Status.ObservedGeneration < s.Generation {
		return Status{Message: "not looked at yet by the StatefulSet controller"}
	}
	want := w.wanted(s.UID, s.Spec.Replicas)
	updated := want
	if rolling := s.Spec.UpdateStrategy.RollingUpdate; rolling != nil && rolling.Partition != nil {
		updated = max(0, want-*rolling.Partition)
	}
	if s.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType {
		updated = 0
	}
	ready, adjective := s.Status.ReadyReplicas, "ready"
	if s.Spec.MinReadySeconds > 0 {
		ready, adjective = s.Status.AvailableReplicas, fmt.Sprintf("ready for %d s (minReadySeconds)", s.Spec.MinReadySeconds)
	}
	status := Status{Message: fmt.Sprintf("%d of %d pods are %s", ready, want, adjective)}
	pods := w.podsOf(s.UID)
	var newer, older []*corev1.Pod
	for _, pod := range pods {
		if pod.Labels[appsv1.ControllerRevisionHashLabelKey] == s.Status.UpdateRevision {
			newer = append(newer, pod)
		} else {
			older = append(older, pod)
		}
	}
	status.Progress = progressOf(newer)
	switch {
	case s.Status.UpdatedReplicas < updated && s.Status.UpdateRevision != s.Status.CurrentRevision:
		status.Message = fmt.Sprintf("%d of %d pods are new", s.Status.UpdatedReplicas, updated)
	case ready >= want && s.Status.Replicas <= replicas(s.Spec.Replicas):
		status.Ready = true
		if updated == 0 && len(older) > 0 {
			status.Message += ", and keep their revision (updateStrategy)"
		}
		return settling(status, newer, updated, s.Spec.MinReadySeconds, w)
	}
	r := rollout{peers: s.Spec.PodManagementPolicy == appsv1.ParallelPodManagement}
	problems := podProblems(newer, r, w)
	if len(pods) < int(want) {
		status.Message = waitsForOld(w, s.Namespace, status.Message)
		problems = append(problems, creationProblems(s.Namespace, pods, w.eventsOf(s.UID), r, w)...)
	}
	if len(problems) == 0 {
		problems = blockedBy(older, r, w)
	}
	status.Problems = worstFirst(problems)
	return status
}

// blockedBy explains a pod of the revision before that is not ready: the controller waits for it before it replaces any.
func blockedBy(older []*corev1.Pod, r rollout, w *World) []Problem {
	problems := podProblems(older, r, w)
	for i := range problems {
		p := &problems[i]
		p.Message = "the StatefulSet's controller waits for this pod of the revision before: " + p.Message
		if p.Heals != Expected {
			p.Heals, p.Grace = Perhaps, max(p.Grace, w.Graces.Place)
		}
	}
	return problems
}
