package status

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/aksflow/aksflow/internal/core/report"
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
//	  minReadySeconds: 10                        # a pod counts as available when it has been ready for so long
//	  paused: false
//	status:
//	  observedGeneration: 3                      # below generation: the rest is about an older spec
//	  replicas: 4
//	  updatedReplicas: 2
//	  readyReplicas: 4
//	  availableReplicas: 3
//	  conditions:
//	  - type: Progressing
//	    status: "False"
//	    reason: ProgressDeadlineExceeded
//	  - type: ReplicaFailure                     # quota, admission
//	    status: "True"
//	    message: 'pods "vote-5d…" is forbidden: exceeded quota: …'
func deployment(d *appsv1.Deployment, w *World) Status {
	status := Status{Limit: deadline(d) + 30*time.Second} // Kubernetes' own word comes first
	if d.Status.ObservedGeneration < d.Generation {
		status.Message = "not looked at yet by the Deployment controller"
		return status
	}
	want := w.wanted(d.UID, d.Spec.Replicas)
	s := d.Status
	switch {
	case s.UpdatedReplicas < want && d.Spec.Paused:
		return Status{Message: "paused", Problems: []Problem{{
			Reason: "Paused", Message: "spec.paused keeps its pods from being replaced: take it out of the manifests, or resume the Deployment",
		}}}
	case s.UpdatedReplicas < want:
		status.Message = fmt.Sprintf("%d of %d pods are new", s.UpdatedReplicas, want)
	case s.Replicas > s.UpdatedReplicas:
		status.Message = count(s.Replicas-s.UpdatedReplicas, "old pod still runs", "old pods still run")
	case s.AvailableReplicas < want:
		status.Message = fmt.Sprintf("%d of %d pods are available", s.AvailableReplicas, want)
		if d.Spec.MinReadySeconds > 0 && s.ReadyReplicas >= want {
			status.Message += fmt.Sprintf(" (all are ready, not yet for minReadySeconds: %d)", d.Spec.MinReadySeconds)
		}
	default:
		status.Message, status.Ready = fmt.Sprintf("%d of %d pods are available", s.AvailableReplicas, want), true
	}
	newest, r := w.replicaSetsOf(d)
	if newest != nil {
		pods := w.podsOf(newest.UID)
		status.Progress = progressOf(pods) + int(s.UpdatedReplicas)
		if status.Ready {
			return settling(status, pods, want, d.Spec.MinReadySeconds, w)
		}
		status.Problems = append(status.Problems, podProblems(pods, r, w)...)
	}
	if !status.Ready {
		status.Problems = append(status.Problems, notCreated(d, newest, r, w)...)
		status.Problems = overdue(d, worstFirst(status.Problems), w)
		if s.UpdatedReplicas == 0 && len(status.Problems) == 0 && d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
			status.Message = waitsForOld(w, d.Namespace, status.Message)
		}
	}
	return status
}

// waitsForOld says of a workload whose old pods go first how far that is.
func waitsForOld(w *World, namespace, message string) string {
	if leaving := w.freeing(namespace, rollout{}); leaving != "" {
		return message + " (" + leaving + ")"
	}
	return message
}

// replicaSetsOf returns a Deployment's newest ReplicaSet, nil when it is not known, and what becomes of the others.
func (w *World) replicaSetsOf(d *appsv1.Deployment) (newest *appsv1.ReplicaSet, r rollout) {
	var old []*appsv1.ReplicaSet
	for _, rs := range w.ReplicaSets {
		switch {
		case !controlledBy(rs.OwnerReferences, d.UID):
		case rs.Annotations[revisionAnnotation] == d.Annotations[revisionAnnotation]:
			newest = rs
		default:
			old = append(old, rs)
			r.old = append(r.old, w.podsOf(rs.UID)...)
		}
	}
	if newest != nil {
		r.shrinks = shrinks(d, newest, old)
	}
	return newest, r
}

// shrinks reports whether the Deployment controller is about to end old pods without waiting for new ones: the sum that
// it does itself (k8s.io/kubernetes/pkg/controller/deployment/rolling.go, reconcileOldReplicaSets).
func shrinks(d *appsv1.Deployment, newest *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) bool {
	var before, all int32
	for _, rs := range old {
		before += replicas(rs.Spec.Replicas)
	}
	if before == 0 {
		return false
	}
	if d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		return true
	}
	all = before + replicas(newest.Spec.Replicas)
	unavailable := replicas(newest.Spec.Replicas) - newest.Status.AvailableReplicas
	return all-(replicas(d.Spec.Replicas)-maxUnavailable(d))-unavailable > 0
}

// maxUnavailable is how many pods of a Deployment may be missing: a quarter by default, rounded down, and 1 when neither
// that nor maxSurge allows a step.
func maxUnavailable(d *appsv1.Deployment) int32 {
	want := int(replicas(d.Spec.Replicas))
	quarter := intstr.FromString("25%")
	unavailable, surge := &quarter, &quarter
	if rolling := d.Spec.Strategy.RollingUpdate; rolling != nil {
		if rolling.MaxUnavailable != nil {
			unavailable = rolling.MaxUnavailable
		}
		if rolling.MaxSurge != nil {
			surge = rolling.MaxSurge
		}
	}
	u, err := intstr.GetScaledValueFromIntOrPercent(unavailable, want, false)
	if err != nil {
		return 0
	}
	if s, err := intstr.GetScaledValueFromIntOrPercent(surge, want, true); u == 0 && s == 0 && err == nil {
		return 1
	}
	return int32(min(u, want)) // at most want
}

// notCreated returns what keeps the newest ReplicaSet from making pods. The Deployment's own condition may be of an older
// one, and counts only where the ReplicaSet is not known.
//
//	status:
//	  observedGeneration: 1
//	  conditions:
//	  - {type: ReplicaFailure, status: "True", reason: FailedCreate, message: '…'}
func notCreated(d *appsv1.Deployment, newest *appsv1.ReplicaSet, r rollout, w *World) []Problem {
	if newest == nil {
		for _, c := range d.Status.Conditions {
			if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
				return []Problem{refused(d.Namespace, c.Reason, c.Message, r, w)}
			}
		}
		return nil
	}
	return replicaFailure(newest, r, w)
}

func replicaFailure(rs *appsv1.ReplicaSet, r rollout, w *World) []Problem {
	if rs.Status.ObservedGeneration < rs.Generation {
		return nil
	}
	for _, c := range rs.Status.Conditions {
		if c.Type == appsv1.ReplicaSetReplicaFailure && c.Status == corev1.ConditionTrue {
			return []Problem{refused(rs.Namespace, c.Reason, c.Message, r, w)}
		}
	}
	return nil
}

// overdue adds the Deployment's own verdict, with the reason that its pods have.
func overdue(d *appsv1.Deployment, problems []Problem, w *World) []Problem {
	for _, c := range d.Status.Conditions {
		if c.Type != appsv1.DeploymentProgressing || c.Status != corev1.ConditionFalse || c.Reason != "ProgressDeadlineExceeded" {
			continue
		}
		if w.Before.sameCondition(d.UID, string(c.Type), c.LastUpdateTime) {
			continue
		}
		p := Problem{Reason: c.Reason, Message: fmt.Sprintf("no progress within its progressDeadlineSeconds (%s)", report.Span(deadline(d)))}
		if len(problems) > 0 {
			why := problems[0]
			p.Pod, p.Container, p.Logs, p.Since = why.Pod, why.Container, why.Logs, why.Since
			p.Message += ": " + why.Message
		}
		return append([]Problem{p}, problems...)
	}
	return problems
}

func deadline(d *appsv1.Deployment) time.Duration {
	if d.Spec.ProgressDeadlineSeconds == nil {
		return DefaultLimit
	}
	return time.Duration(*d.Spec.ProgressDeadlineSeconds) * time.Second
}

func replicas(n *int32) int32 {
	if n == nil {
		return 1
	}
	return *n
}

// count prints a number with its noun.
func count(n int32, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
