package status

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// placement reads why no node takes a pod
//
//	status:
//	  conditions:
//	  - type: PodScheduled
//	    status: "False"
//	    reason: Unschedulable          # SchedulingGated: spec.schedulingGates are to be removed by somebody first
//	    message: '0/1 nodes are available: 1 node(s) didn''t have free ports for the requested pod ports. …'
func placement(pod *corev1.Pod, events []*corev1.Event, r rollout, w *World) []Problem {
	c := podCondition(pod, corev1.PodScheduled)
	if c == nil || c.Status != corev1.ConditionFalse {
		return nil
	}
	switch c.Reason {
	case corev1.PodReasonSchedulingGated:
		var gates []string
		for _, gate := range pod.Spec.SchedulingGates {
			gates = append(gates, gate.Name)
		}
		return []Problem{{
			Reason: c.Reason, Message: "the pod is gated by " + strings.Join(gates, ", ") + ": it is scheduled when somebody removes that from spec.schedulingGates",
			Heals: Perhaps, Grace: w.cloudGrace(), Since: c.LastTransitionTime.Time,
		}}
	case corev1.PodReasonUnschedulable:
		return []Problem{unschedulable(pod, c.Message, events, r, w)}
	}
	return nil
}

var (
	claimMissing  = regexp.MustCompile(`persistentvolumeclaim "([^"]+)" (not found|is being deleted)`)
	noProvisioner = "node(s) didn't find available persistent volumes to bind"
)

// unschedulable decides what may still make room for a pod: a volume that is coming, a node that is starting or added, a
// pod that leaves.
func unschedulable(pod *corev1.Pod, message string, events []*corev1.Event, r rollout, w *World) Problem {
	p := Problem{Reason: corev1.PodReasonUnschedulable, Message: "no node takes the pod: " + firstSentences(message), Retry: placeRetry}
	if m := claimMissing.FindStringSubmatch(message); m != nil {
		return missingClaim(pod, m[1], m[2] != "not found", w)
	}
	switch {
	case containsAny(message, "unbound immediate PersistentVolumeClaims", noProvisioner, "waiting for ephemeral volume controller"):
		if claim := deadClaim(pod, w); claim != "" {
			p.Message, p.Heals, p.Grace = claim, Perhaps, w.Graces.Config
			return p
		}
		p.Heals, p.Grace = Perhaps, w.cloudGrace()
		return p
	case containsAny(message, "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable", "node.cloudprovider.kubernetes.io/uninitialized", "no nodes available"):
		p.Heals, p.Grace = Perhaps, w.Graces.Place // a node that is starting
		return p
	}
	if leaving := w.freeing(pod.Namespace, r); leaving != "" && needsRoom(message) {
		p.Heals = Expected
		p.Message += " (" + leaving + ")"
		return p
	}
	if needsRoom(message) && w.Leaving != nil {
		if n, known := w.Leaving(); known && n > 0 {
			p.Heals, p.Grace = Expected, leavingLimit
			p.Message += fmt.Sprintf(" (pods elsewhere that are still terminating: %d)", n)
			return p
		}
	}
	p.Depends = needsRoom(message)
	scaler := w.Autoscaler
	for _, event := range events {
		switch event.Reason {
		case "TriggeredScaleUp", "Nominated":
			p.Heals, p.Grace = Expected, nodeLimit
			p.Message += " (a node is being added: " + event.Message + ")"
			return p
		case "NotTriggerScaleUp":
			scaler = Absent
			p.Message += " (the autoscaler adds no node: " + event.Message + ")"
		}
	}
	switch scaler {
	case Present:
		p.Heals, p.Grace = Expected, nodeLimit
		p.Message += " (waiting for the autoscaler to add a node)"
	case Unknown:
		p.Heals, p.Grace = Perhaps, w.Graces.Place
	case Absent:
		// A pod that another namespace's workload is about to end cannot be seen.
		p.Heals, p.Grace = Perhaps, min(w.Graces.Place, 2*time.Second)
	}
	return p
}

// notHelpful is how the scheduler says, since Kubernetes 1.31, that on so many of its nodes the pod would not fit without any
// other pod either: it asks for more than the node has.
// https://github.com/kubernetes/kubernetes/blob/v1.34.4/pkg/scheduler/framework/plugins/noderesources/fit.go
var notHelpful = regexp.MustCompile(`preemption: 0/(\d+) nodes are available: (\d+) Preemption is not helpful for scheduling`)

// needsRoom reports whether a pod that leaves a node may make room for another one: what a node is by its labels, its taints
// and its size does not change by that.
func needsRoom(message string) bool {
	if m := notHelpful.FindStringSubmatch(message); m != nil && m[1] == m[2] {
		return false
	}
	return containsAny(message, "Insufficient ", "free ports", "Too many pods", "anti-affinity", "topology spread", "exceed max volume count",
		"ReadWriteOncePod", "volume node affinity conflict", "no available disk")
}

// freeing says what is about to give back what it holds in a namespace, or "". A pod that should have ended a while ago
// gives nothing back.
func (w *World) freeing(namespace string, r rollout) string {
	n, name := 0, ""
	for _, pod := range w.Pods {
		if pod.Namespace != namespace || pod.DeletionTimestamp == nil || w.isStuck(pod) {
			continue
		}
		n++
		name = pod.Name
	}
	switch {
	case n == 1:
		return "pod " + name + " is still terminating"
	case n > 1:
		return fmt.Sprintf("%d pods are still terminating", n)
	case r.shrinks:
		return "an old pod is about to be ended"
	}
	return ""
}

// isStuck reports whether a pod is still there though its time to end is over: its node does not answer, or a finalizer
// holds it. The deletionTimestamp of a pod is when it should be gone.
func (w *World) isStuck(pod *corev1.Pod) bool {
	return !w.Now.IsZero() && w.Now.After(pod.DeletionTimestamp.Add(clockTolerance))
}

// missingClaim explains a claim that is not there, or that is being deleted while a pod still uses it.
func missingClaim(pod *corev1.Pod, name string, deleted bool, w *World) Problem {
	p := Problem{Reason: "MissingClaim", Heals: Perhaps, Grace: w.Graces.Config, Retry: placeRetry}
	p.Message = fmt.Sprintf("PersistentVolumeClaim %q is missing: create it, or add it to the manifests", name)
	object, known := w.find(Claims, pod.Namespace, name)
	switch {
	case deleted:
		p.Message = fmt.Sprintf("PersistentVolumeClaim %q is being deleted", name)
		p.Grace = w.cloudGrace()
		if leaving := w.freeing(pod.Namespace, rollout{}); leaving != "" {
			p.Message += " (" + leaving + ")"
			p.Heals, p.Grace = Expected, 0
		}
	case known && object != nil, ownsClaim(pod, name):
		p.Message = fmt.Sprintf("the scheduler does not see PersistentVolumeClaim %q yet", name)
		p.Heals, p.Grace = Expected, cloudLimit
	}
	return p
}

// ownsClaim reports whether a StatefulSet's controller makes the claim together with the pod: NAME-POD.
func ownsClaim(pod *corev1.Pod, claim string) bool {
	for _, owner := range pod.OwnerReferences {
		if owner.Kind == "StatefulSet" && strings.HasSuffix(claim, "-"+pod.Name) {
			return true
		}
	}
	return false
}

// deadClaim explains why a claim that a pod mounts gets no volume, when nothing can change that, or "".
func deadClaim(pod *corev1.Pod, w *World) string {
	for _, v := range pod.Spec.Volumes {
		if v.PersistentVolumeClaim == nil {
			continue
		}
		o, _ := w.find(Claims, pod.Namespace, v.PersistentVolumeClaim.ClaimName)
		if o == nil {
			continue
		}
		class := stringAt(o, "spec", "storageClassName")
		if class == "" || stringAt(o, "status", "phase") == string(corev1.ClaimBound) {
			continue
		}
		if found, known := w.find(StorageClasses, "", class); known && found == nil {
			return fmt.Sprintf("PersistentVolumeClaim %q gets no volume: there is no StorageClass %q in the cluster", v.PersistentVolumeClaim.ClaimName, class)
		}
	}
	return ""
}

// firstSentences drops the scheduler's account of what preemption would not have helped with.
func firstSentences(message string) string {
	message, _, _ = strings.Cut(message, " preemption:")
	message, _, _ = strings.Cut(message, " no new claims to deallocate")
	return strings.TrimRight(message, ". ,")
}
