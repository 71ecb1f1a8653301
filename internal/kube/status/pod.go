package status

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Reasons that are ours, where the cluster has none.
const (
	reasonCrash    = "CrashLoopBackOff"
	reasonCrashed  = "Crashed" // once, so far
	reasonNotReady = "NotReady"
)

// barePod reads a Pod that stands in the manifests by itself
//
//	status:
//	  phase: Running               # Succeeded and Failed end it
//	  conditions:
//	  - type: Ready
//	    status: "True"
func barePod(p *corev1.Pod, w *World) Status {
	pods := []*corev1.Pod{p}
	status := Status{Message: strings.ToLower(string(p.Status.Phase)), Progress: progressOf(pods)}
	switch {
	case p.Status.Phase == corev1.PodSucceeded:
		return Status{Ready: true, Message: "succeeded"}
	case p.Status.Phase == corev1.PodFailed:
		status.Problems = []Problem{podFailed(p)}
	case IsReady(p):
		return settling(Status{Ready: true, Message: "ready"}, pods, 1, 0, w)
	default:
		status.Problems = worstFirst(podProblems(pods, rollout{}, w))
	}
	return status
}

// podFailed explains a pod that has ended for good and that nobody replaces.
func podFailed(p *corev1.Pod) Problem {
	problem := Problem{Pod: p.Name, Reason: cmp.Or(p.Status.Reason, "Failed"), Message: "the pod failed", Logs: true}
	if p.Status.Message != "" {
		problem.Message += ": " + p.Status.Message
	}
	for _, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		if ended := c.State.Terminated; ended != nil && ended.ExitCode != 0 {
			problem.Container = c.Name
			spec := containerSpec(p, c.Name)
			problem.Message += ": " + exitSentence(ended, spec) + lastWords(ended, spec)
			break
		}
	}
	return problem
}

// IsReady reports whether a pod is ready.
func IsReady(p *corev1.Pod) bool {
	ready := podCondition(p, corev1.PodReady)
	return ready != nil && ready.Status == corev1.ConditionTrue
}

func podCondition(p *corev1.Pod, kind corev1.PodConditionType) *corev1.PodCondition {
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == kind {
			return &p.Status.Conditions[i]
		}
	}
	return nil
}

// rollout is what a workload's controller is about to do beside its new pods.
type rollout struct {
	// old are pods of earlier templates that are not terminating.
	old []*corev1.Pod
	// shrinks reports whether the controller is about to end some of them without waiting for the new ones.
	shrinks bool
	// peers reports whether the pods find each other, so that one may crash until another is there.
	peers bool
}

// podProblems reads from every pod that is not ready
//
//	status:
//	  phase: Pending
//	  conditions:
//	  - type: PodScheduled
//	    status: "False"
//	    reason: Unschedulable
//	    message: '0/1 nodes are available: 1 Insufficient cpu. …'
//	  initContainerStatuses: [...]
//	  containerStatuses:
//	  - name: web
//	    restartCount: 1
//	    started: true
//	    ready: false
//	    state:                      # one of three
//	      waiting:    {reason: ErrImagePull, message: 'failed to pull and unpack image …: not found'}
//	      running:    {startedAt: "…"}
//	      terminated: {exitCode: 1, reason: Error}
//	    lastState:
//	      terminated: {exitCode: 1, reason: OOMKilled}
//
// and events, for what a status does not say: a volume that cannot be mounted, what a probe answered, what the autoscaler
// does. The kubelet sends few of them, so that no verdict depends on an event alone. Each pod that is not ready has at least
// one reason. They come in the order of the pods' names, so that the first one is of the same pod at each look.
func podProblems(pods []*corev1.Pod, r rollout, w *World) []Problem {
	var problems, lost []Problem
	live := 0
	starting := 0
	for _, pod := range byName(pods) {
		switch {
		case pod.Status.Phase == corev1.PodFailed:
			lost = append(lost, podLost(pod))
			continue
		case pod.Status.Phase == corev1.PodSucceeded:
			continue
		case IsReady(pod):
			live++
			continue
		}
		live++
		found := unreadyPod(pod, r, w)
		if len(found) == 0 || found[0].Heals == Expected {
			starting++
		}
		problems = append(problems, found...)
	}
	if r.peers && starting > 0 {
		for i := range problems {
			if problems[i].Depends && problems[i].Heals == Never {
				problems[i].Heals, problems[i].Grace = Expected, 0
			}
		}
	}
	return append(problems, lostPods(lost, live, w)...)
}

// unreadyPod returns the reasons why one pod is not ready.
func unreadyPod(pod *corev1.Pod, r rollout, w *World) []Problem {
	events := w.eventsOf(pod.UID)
	stale := w.Before.hadPod(pod.UID)
	found := placement(pod, events, r, w)
	if len(found) == 0 {
		found = append(found, mounts(pod, events, r, w)...)
		found = append(found, containerProblems(pod, events, w)...)
	}
	if len(found) == 0 {
		found = append(found, starting(pod, events, w))
	}
	for i := range found {
		found[i].Pod, found[i].Stale = pod.Name, stale
	}
	return found
}

func byName(pods []*corev1.Pod) []*corev1.Pod {
	return slices.SortedFunc(slices.Values(pods), func(a, b *corev1.Pod) int { return cmp.Compare(a.Name, b.Name) })
}

// podLost explains a pod that has ended and that its controller replaces: one that was evicted, preempted, or that its
// node did not take
//
//	status: {phase: Failed, reason: Evicted, message: 'The node was low on resource: memory. …'}
func podLost(pod *corev1.Pod) Problem {
	message := cmp.Or(pod.Status.Message, "it ended")
	return Problem{Pod: pod.Name, Reason: cmp.Or(pod.Status.Reason, "Failed"), Message: "the pod was ended and is replaced: " + message, Heals: Expected}
}

// lostPods returns what counts of pods that were lost: nothing as long as those that replace them live.
func lostPods(lost []Problem, live int, w *World) []Problem {
	const endless = 3
	switch {
	case len(lost) == 0, live > 0 && len(lost) < endless:
		return nil
	case len(lost) >= endless:
		// The controller makes one after the other, and each is lost.
		lost[0].Heals, lost[0].Grace = Perhaps, w.Graces.Place
		lost[0].Message = fmt.Sprintf("%d pods have been ended, the last: %s", len(lost), strings.TrimPrefix(lost[0].Message, "the pod was ended and is replaced: "))
	}
	return lost[:1]
}

// progressOf counts the steps that pods have made towards being ready: scheduled, each init container, each container.
func progressOf(pods []*corev1.Pod) int {
	steps := 0
	for _, pod := range pods {
		if pod.Status.Phase == corev1.PodFailed {
			continue
		}
		if pod.Spec.NodeName != "" {
			steps++
		}
		for _, c := range pod.Status.InitContainerStatuses {
			if c.Ready || c.State.Terminated != nil && c.State.Terminated.ExitCode == 0 {
				steps++
			}
		}
		for _, c := range pod.Status.ContainerStatuses {
			if c.Ready {
				steps++
			}
		}
		if IsReady(pod) {
			steps++
		}
	}
	return steps
}

func containsAny(s string, parts ...string) bool {
	return slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(s, part) })
}

func containerSpec(pod *corev1.Pod, name string) *corev1.Container {
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}

// isSidecar reports whether an init container keeps running beside the others.
func isSidecar(c *corev1.Container) bool {
	return c != nil && c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

func controlledBy(owners []metav1.OwnerReference, owner types.UID) bool {
	return slices.ContainsFunc(owners, func(r metav1.OwnerReference) bool { return r.UID == owner })
}

// worstFirst sorts by how little hope there is.
func worstFirst(problems []Problem) []Problem {
	slices.SortStableFunc(problems, func(a, b Problem) int { return int(a.Heals) - int(b.Heals) })
	return problems
}
