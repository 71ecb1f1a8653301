package status

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

const revisionAnnotation = "deployment.kubernetes.io/revision"

// deployment reads
//
//	metadata:
//	  generation: 3
//	  annotations:
//	    deployment.kubernetes.io/revision: "2"   # of its newest ReplicaSet
//	spec:
//	  replicas: 3
//	status:
//	  observedGeneration: 3                      # below generation: the rest is about an older spec
//	  replicas: 4
//	  updatedReplicas: 2
//	  availableReplicas: 3
//	  conditions:
//	  - type: Progressing
//	    status: "False"
//	    reason: ProgressDeadlineExceeded
//	  - type: ReplicaFailure                     # quota, admission
//	    status: "True"
//	    message: 'pods "vote-5d…" is forbidden: exceeded quota: …'
func deployment(d *appsv1.Deployment, w *World) Status {
	if d.Status.ObservedGeneration < d.Generation {
		return Status{Message: "not looked at yet by the Deployment controller"}
	}
	want := int32(1)
	if d.Spec.Replicas != nil {
		want = *d.Spec.Replicas
	}
	if d.Spec.Paused {
		return Status{Message: "paused"}
	}
	s := d.Status
	switch {
	case s.UpdatedReplicas < want:
		return notReady(d, w, fmt.Sprintf("%d of %d pods are new", s.UpdatedReplicas, want))
	case s.Replicas > s.UpdatedReplicas:
		return notReady(d, w, fmt.Sprintf("old pods still there: %d", s.Replicas-s.UpdatedReplicas))
	case s.AvailableReplicas < want:
		return notReady(d, w, fmt.Sprintf("%d of %d pods are available", s.AvailableReplicas, want))
	}
	return Status{Ready: true, Message: fmt.Sprintf("%d of %d pods are available", s.AvailableReplicas, want)}
}

func notReady(d *appsv1.Deployment, w *World, message string) Status {
	status := Status{Message: message}
	for _, condition := range d.Status.Conditions {
		switch {
		case condition.Type == appsv1.DeploymentReplicaFailure && condition.Status == corev1.ConditionTrue:
			status.Problems = append(status.Problems, refused(condition.Reason, condition.Message, w))
		case condition.Type == appsv1.DeploymentProgressing && condition.Status == corev1.ConditionFalse && condition.Reason == "ProgressDeadlineExceeded":
			status.Problems = append(status.Problems, Problem{
				Reason:  condition.Reason,
				Message: fmt.Sprintf("no progress within its progressDeadlineSeconds (%s)", deadline(d)),
			})
		}
	}
	for _, rs := range w.ReplicaSets {
		if controlledBy(rs.OwnerReferences, d.UID) && rs.Annotations[revisionAnnotation] == d.Annotations[revisionAnnotation] {
			status.Problems = append(status.Problems, podProblems(w.podsOf(rs.UID), w)...)
		}
	}
	status.Problems = worstFirst(status.Problems)
	return status
}

func deadline(d *appsv1.Deployment) time.Duration {
	if d.Spec.ProgressDeadlineSeconds == nil {
		return 10 * time.Minute
	}
	return time.Duration(*d.Spec.ProgressDeadlineSeconds) * time.Second
}
