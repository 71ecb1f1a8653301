package status

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// replicaSet reads a ReplicaSet that stands in the manifests by itself
//
//	spec: {replicas: 2}
//	status: {observedGeneration: 1, replicas: 2, availableReplicas: 2}
//
// A ReplicaSet replaces no pod: those that it has keep the template that made them.
func replicaSet(rs *appsv1.ReplicaSet, w *World) Status {
	if rs.Status.ObservedGeneration < rs.Generation {
		return Status{Message: "not looked at yet by the controller"}
	}
	want := w.wanted(rs.UID, rs.Spec.Replicas)
	pods := w.podsOf(rs.UID)
	status := Status{Message: fmt.Sprintf("%d of %d pods are available", rs.Status.AvailableReplicas, want), Progress: progressOf(pods)}
	if rs.Status.AvailableReplicas >= want {
		status.Ready = true
		if n := otherImages(pods, rs.Spec.Template.Spec); n > 0 {
			status.Message += fmt.Sprintf(", and %s, which nothing replaces: delete them, or use a Deployment", count(n, "has another image", "have another image"))
		}
		return settling(status, pods, want, rs.Spec.MinReadySeconds, w)
	}
	status.Problems = worstFirst(append(replicaFailure(rs, rollout{}, w), podProblems(pods, rollout{}, w)...))
	return status
}

// otherImages counts the pods that have a container with another image than a template gives it.
func otherImages(pods []*corev1.Pod, template corev1.PodSpec) (n int32) {
	images := map[string]string{}
	for _, c := range template.Containers {
		images[c.Name] = c.Image
	}
	for _, pod := range pods {
		for _, c := range pod.Spec.Containers {
			if image, ok := images[c.Name]; ok && image != c.Image {
				n++
				break
			}
		}
	}
	return n
}

// replicationController reads a ReplicationController, the form that ReplicaSets had before
//
//	spec: {replicas: 2}
//	status: {observedGeneration: 1, replicas: 2, availableReplicas: 2}
func replicationController(rc *corev1.ReplicationController, w *World) Status {
	rs := &appsv1.ReplicaSet{ObjectMeta: rc.ObjectMeta}
	rs.Spec = appsv1.ReplicaSetSpec{Replicas: rc.Spec.Replicas, MinReadySeconds: rc.Spec.MinReadySeconds, Selector: &metav1.LabelSelector{}}
	if rc.Spec.Template != nil {
		rs.Spec.Template = *rc.Spec.Template
	}
	rs.Status.ObservedGeneration, rs.Status.AvailableReplicas = rc.Status.ObservedGeneration, rc.Status.AvailableReplicas
	for _, c := range rc.Status.Conditions {
		rs.Status.Conditions = append(rs.Status.Conditions, appsv1.ReplicaSetCondition{
			Type: appsv1.ReplicaSetConditionType(c.Type), Status: c.Status, Reason: c.Reason, Message: c.Message,
		})
	}
	return replicaSet(rs, w)
}
