package status

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// settleTime is how long a container without a probe has to run before it counts as one that stays. After a restart it is
// how much longer than before it has to run.
const settleTime = 3 * time.Second

// settledAge is how old a container is that was started a while ago, whatever the clocks and the kubelet's delays are.
const settledAge = 15 * time.Second

// settling holds back a workload that is ready when one of its containers has no probe and was started a moment ago: such a
// container counts as ready whenever it runs, and one that cannot work runs for a moment, too. With minReadySeconds the
// cluster waits by itself.
//
//	status:
//	  containerStatuses:
//	  - name: web
//	    ready: true
//	    restartCount: 1
//	    state: {running: {startedAt: "2026-11-26T12:50:27Z"}}
//	    lastState: {terminated: {exitCode: 1, startedAt: "…", finishedAt: "…"}}
//
// Pods are those of the newest template, of which want are to be ready. A workload's own status lags behind them.
func settling(status Status, pods []*corev1.Pod, want, minReadySeconds int32, w *World) Status {
	var ready int32
	for _, pod := range byName(pods) {
		if !IsReady(pod) {
			continue
		}
		ready++
		if minReadySeconds == 0 && !w.Before.hadPod(pod.UID) {
			status.Problems = append(status.Problems, unsettledContainers(pod, w)...)
		}
	}
	if ready < want && len(pods) >= int(want) {
		status.Problems = worstFirst(append(podProblems(pods, rollout{}, w), status.Problems...))
	}
	status.Ready = len(status.Problems) == 0
	return status
}

func unsettledContainers(pod *corev1.Pod, w *World) []Problem {
	var problems []Problem
	for _, c := range pod.Status.ContainerStatuses {
		spec := containerSpec(pod, c.Name)
		if c.State.Running == nil || spec == nil || spec.ReadinessProbe != nil || spec.StartupProbe != nil {
			continue
		}
		if p, found := unsettled(c, spec, w); found {
			p.Pod, p.Container, p.Heals = pod.Name, c.Name, Forgiven
			problems = append(problems, p)
		}
	}
	return problems
}

// unsettled returns why a container without a probe does not count as ready yet, if so.
func unsettled(c corev1.ContainerStatus, spec *corev1.Container, w *World) (Problem, bool) {
	if last := c.LastTerminationState.Terminated; c.RestartCount > 0 && last != nil {
		ran := max(0, last.FinishedAt.Sub(last.StartedAt.Time))
		return Problem{
			Reason: fmt.Sprintf("Restarted %d", c.RestartCount), Grace: min(ran+settleTime, w.Graces.Crash), Logs: true,
			Message: "it runs again after it ended, and has no readiness probe: whether it stays is waited for (" + exitSentence(last, spec) + ")",
		}, true
	}
	settled := !w.Now.IsZero() && w.Now.Sub(c.State.Running.StartedAt.Time) >= settledAge
	return Problem{
		Reason: "Settling", Grace: settleTime, Message: "it runs, and has no readiness probe: whether it stays is waited for",
	}, !settled
}
