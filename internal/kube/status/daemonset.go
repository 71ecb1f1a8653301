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
//	    type: RollingUpdate
//	status:
//	  observedGeneration: 2
//	  desiredNumberScheduled: 3
//	  updatedNumberScheduled: 1
//	  numberAvailable: 2
func daemonSet(d *appsv1.DaemonSet, w *World) Status {
	if d.Status.ObservedGeneration < d.Generation {
		return Status{Message: "not looked at yet by the DaemonSet controller"}
	}
	want := d.Status.DesiredNumberScheduled
	message := fmt.Sprintf("%d of %d pods are available", d.Status.NumberAvailable, want)
	onDelete := d.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType
	switch {
	case d.Status.UpdatedNumberScheduled < want && !onDelete:
		message = fmt.Sprintf("%d of %d pods are new", d.Status.UpdatedNumberScheduled, want)
	case d.Status.NumberAvailable >= want:
		return Status{Ready: true, Message: message}
	}
	// The pods carry the generation of the template that made them.
	newest := d.Annotations[appsv1.DeprecatedTemplateGeneration]
	var pods []*corev1.Pod
	for _, pod := range w.podsOf(d.UID) {
		if pod.Labels["pod-template-generation"] == newest || d.Status.UpdatedNumberScheduled >= want {
			pods = append(pods, pod)
		}
	}
	problems := append(creationProblems(w.eventsOf(d.UID), w), podProblems(pods, w)...)
	return Status{Message: message, Problems: worstFirst(problems)}
}
