package status

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// daemonSet reads
//
//	metadata:
//	  generation: 2
//	  annotations:
//	    deprecated.daemonset.template.generation: "2"   # the label pod-template-generation of the new pods
//	spec:
//	  updateStrategy:
//	    type: RollingUpdate              # with OnDelete the pods are replaced when somebody deletes them
//	status:
//	  observedGeneration: 2
//	  desiredNumberScheduled: 3
//	  currentNumberScheduled: 3
//	  updatedNumberScheduled: 1
//	  numberAvailable: 2
//
// All of its pods have to be new and available: maxUnavailable only says in what steps they are replaced. A pod on a node
// that does not answer is not waited for.
func daemonSet(d *appsv1.DaemonSet, w *World) Status {
	if d.Status.ObservedGeneration < d.Generation {
		return Status{Message: "not looked at yet by the DaemonSet controller"}
	}
	want := d.Status.DesiredNumberScheduled
	status := Status{Message: fmt.Sprintf("%d of %d pods are available", d.Status.NumberAvailable, want)}
	onDelete := d.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType
	// The pods carry the generation of the template that made them.
	newest := d.Annotations[appsv1.DeprecatedTemplateGeneration]
	all := w.podsOf(d.UID)
	var pods []*corev1.Pod
	for _, pod := range all {
		if pod.Labels["pod-template-generation"] == newest || d.Status.UpdatedNumberScheduled >= want {
			pods = append(pods, pod)
		}
	}
	status.Progress = progressOf(pods)
	switch {
	case d.Status.UpdatedNumberScheduled < want && !onDelete:
		status.Message = fmt.Sprintf("%d of %d pods are new", d.Status.UpdatedNumberScheduled, want)
	case d.Status.NumberAvailable >= want:
		status.Ready = true
		if want == 0 {
			status.Message = "has no pods: no node fits its nodeSelector, affinity and tolerations"
		}
		return settling(status, pods, want, d.Spec.MinReadySeconds, w)
	}
	problems := podProblems(pods, rollout{}, w)
	if len(all) < int(want) {
		status.Message = waitsForOld(w, d.Namespace, status.Message)
		problems = append(problems, creationProblems(d.Namespace, all, w.eventsOf(d.UID), rollout{}, w)...)
	}
	if lost := onLostNodes(all, w); len(problems) == 0 || lost == int(want-d.Status.NumberAvailable) {
		for i := range problems {
			if problems[i].Reason == "NodeNotReady" {
				problems[i].Heals, problems[i].Grace = Forgiven, w.Graces.Place
			}
		}
	}
	status.Problems = worstFirst(problems)
	return status
}

// onLostNodes counts the pods that are not ready because their node does not answer.
func onLostNodes(pods []*corev1.Pod, w *World) int {
	lost := 0
	for _, pod := range pods {
		if !IsReady(pod) && pod.Spec.NodeName != "" && nodeDown(pod.Spec.NodeName, w) != "" {
			lost++
		}
	}
	return lost
}
