package status

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/aksflow/aksflow/internal/core/report"
)

// reasonKilled is our word for a container that the kubelet ended because of a probe.
const reasonKilled = "KilledByProbe"

// probing fills in a container that runs and is not ready, and reports whether a probe is what it waits for. It may be
// so for as long as the probe itself allows: a container that is slow to start has a startupProbe, or a budget, that says
// how slow. That counts from when it is seen to run, whether or not an event tells of a failure: the kubelet sends 25 events
// about a pod, and then one every five minutes.
func probing(problem *Problem, pod *corev1.Pod, spec *corev1.Container, c corev1.ContainerStatus, events []*corev1.Event, w *World) bool {
	probe, name := spec.ReadinessProbe, "readiness"
	if spec.StartupProbe != nil && (c.Started == nil || !*c.Started) {
		probe, name = spec.StartupProbe, "startup"
	}
	if kills := killsOf(spec, events); kills > 0 {
		// It is being ended, which takes up to its terminationGracePeriodSeconds.
		kill, hopeless := killSentence(spec, c, events)
		problem.Reason, problem.Message, problem.Logs, problem.Depends = reasonKilled, kill, true, !hopeless
		problem.Attempt, problem.Retry = int(c.RestartCount)+1, crashRetry(c.RestartCount)
		if !hopeless && kills < 2 {
			problem.Heals, problem.Grace = Perhaps, w.Graces.Crash
		}
		return true
	}
	if probe == nil {
		return false
	}
	if port := unnamedPort(probe, spec); port != "" {
		problem.Reason = reasonNotReady
		problem.Message = fmt.Sprintf("its %s probe is for the port %q, and the container has no port of that name: add it to the container's ports, or give the probe a number", name, port)
		return true
	}
	problem.Reason, problem.Logs = reasonNotReady, true
	problem.Heals, problem.Grace, problem.Depends = Perhaps, max(budget(probe), w.Graces.Probe), true
	problem.Since = c.State.Running.StartedAt.Time
	if ready := podCondition(pod, corev1.ContainersReady); ready != nil && ready.LastTransitionTime.After(problem.Since) {
		problem.Since = ready.LastTransitionTime.Time
	}
	if name == "readiness" && spec.StartupProbe != nil {
		// Nothing says when the startup probe succeeded, and readiness is not probed before. A failure proves that it is.
		if first := firstFailure(c.Name, name, events); first.After(problem.Since) {
			problem.Since = first
		} else if first.IsZero() {
			problem.Grace += budget(spec.StartupProbe)
		}
	}
	recent := probeAnswer(c.Name, name, events)
	answer := recent
	if answer == "" {
		answer = probeAnswer(c.Name, name, w.allEventsOf(pod.UID)) // an event of before explains, and is not final
	}
	if name == "readiness" && spec.StartupProbe == nil && !problem.Since.After(c.State.Running.StartedAt.Time) && !listening.MatchString(answer) {
		problem.Grace = max(problem.Grace, startLimit(spec))
	}
	if answer == "" {
		problem.Message = fmt.Sprintf("its %s probe (%s) has not succeeded since %s", name, describe(probe), clock(problem.Since))
		return true
	}
	if strings.Contains(recent, "executable file not found") {
		problem.Heals, problem.Depends, problem.Logs = Never, false, false
		problem.Message = answer
		return true
	}
	problem.Message = fmt.Sprintf("%s (not ready since %s; it may take %s, and a slow start needs a startupProbe with a larger failureThreshold)",
		answer, clock(problem.Since), report.Span(problem.Grace))
	return true
}

// unnamedPort returns the name of a probe's port that the container does not have, or "". The API server accepts such a probe, and
// the kubelet can never carry it out.
func unnamedPort(probe *corev1.Probe, spec *corev1.Container) string {
	var port intstr.IntOrString
	switch {
	case probe.HTTPGet != nil:
		port = probe.HTTPGet.Port
	case probe.TCPSocket != nil:
		port = probe.TCPSocket.Port
	}
	if _, err := strconv.Atoi(port.StrVal); port.Type != intstr.String || err == nil {
		return ""
	}
	if slices.ContainsFunc(spec.Ports, func(p corev1.ContainerPort) bool { return p.Name == port.StrVal }) {
		return ""
	}
	return port.StrVal
}

// listening is what a probe says of an app that listens, and answers that it is not ready.
var listening = regexp.MustCompile(`statuscode: \d{3}|service unhealthy|rpc error: code = Unimplemented`)

// startLimit is how long a container may take until an app in it answers, where no startupProbe says it: as long as the
// liveness probe lets it live, and at least as long as a probe allows that sets nothing. A readiness probe with a short period
// is there to see soon that an app which runs does not serve; Kubernetes ends no container that becomes ready later than it allows.
func startLimit(spec *corev1.Container) time.Duration {
	limit := budget(&corev1.Probe{})
	if spec.LivenessProbe != nil {
		limit = max(limit, budget(spec.LivenessProbe))
	}
	return limit
}

// clock prints a time of day by the cluster's clock.
func clock(t time.Time) string { return t.UTC().Format("15:04:05") + " UTC" }

// probeAnswer is what a probe of a container has answered last
//
//	reason: Unhealthy
//	involvedObject: {fieldPath: 'spec.containers{web}'}
//	message: 'Readiness probe failed: HTTP probe failed with statuscode: 503'
func probeAnswer(container, probe string, events []*corev1.Event) string {
	var last *corev1.Event
	for _, event := range probeFailures(container, probe, events) {
		if last == nil || !lastSeen(event).Before(lastSeen(last)) {
			last = event
		}
	}
	if last == nil {
		return ""
	}
	return strings.TrimSpace(last.Message)
}

// probeFailures returns the events about failures of a probe of a container.
func probeFailures(container, probe string, events []*corev1.Event) (failures []*corev1.Event) {
	for _, event := range events {
		if event.Reason == "Unhealthy" && strings.HasPrefix(strings.ToLower(event.Message), probe) && concerns(event, container) {
			failures = append(failures, event)
		}
	}
	return failures
}

// firstFailure is when a probe of a container failed first, as far as events tell.
func firstFailure(container, probe string, events []*corev1.Event) (first time.Time) {
	for _, event := range probeFailures(container, probe, events) {
		seen := event.FirstTimestamp.Time
		if seen.IsZero() {
			seen = event.EventTime.Time
		}
		if !seen.IsZero() && (first.IsZero() || seen.Before(first)) {
			first = seen
		}
	}
	return first
}

// concerns reports whether an event of a pod is about a container.
func concerns(event *corev1.Event, container string) bool {
	path := event.InvolvedObject.FieldPath
	return path == "" || strings.HasSuffix(path, "{"+container+"}")
}

// lastSeen is when an event happened last.
func lastSeen(e *corev1.Event) time.Time {
	last := e.LastTimestamp.Time
	if e.Series != nil && e.Series.LastObservedTime.After(last) {
		last = e.Series.LastObservedTime.Time
	}
	if e.EventTime.After(last) {
		last = e.EventTime.Time
	}
	return last
}

// budget is how long a container may take from its start until a probe counts as failed.
func budget(probe *corev1.Probe) time.Duration {
	period, failures := probe.PeriodSeconds, probe.FailureThreshold
	if period == 0 {
		period = 10
	}
	if failures == 0 {
		failures = 3
	}
	return time.Duration(probe.InitialDelaySeconds+period*failures) * time.Second
}

// describe prints what a probe does.
func describe(probe *corev1.Probe) string {
	switch {
	case probe.HTTPGet != nil:
		return fmt.Sprintf("HTTP GET %s on port %s", probe.HTTPGet.Path, probe.HTTPGet.Port.String())
	case probe.TCPSocket != nil:
		return "TCP port " + probe.TCPSocket.Port.String()
	case probe.GRPC != nil:
		return fmt.Sprintf("gRPC port %d", probe.GRPC.Port)
	case probe.Exec != nil:
		return "exec " + strings.Join(probe.Exec.Command, " ")
	}
	return "no action"
}

// killing is what the kubelet says when a probe makes it end a container
//
//	reason: Killing
//	message: Container web failed liveness probe, will be restarted
var killing = regexp.MustCompile(`^(?:Init )?[Cc]ontainer (\S+) failed (liveness|startup) probe`)

// killsOf counts how often the kubelet has ended a container because of a probe, as far as events tell.
func killsOf(spec *corev1.Container, events []*corev1.Event) int {
	kills := 0
	for _, event := range events {
		if m := killing.FindStringSubmatch(event.Message); m != nil && event.Reason == "Killing" && m[1] == spec.Name {
			kills += int(occurrences(event))
		}
	}
	return kills
}

// killedBy explains the end of a container that a probe caused, or returns "". Hopeless reports whether the probe's
// answer proves that another try will fail as well.
//
// Without an event, a container that was killed after it ran as long as its probe allows was killed by that.
func killedBy(pod *corev1.Pod, spec *corev1.Container, c corev1.ContainerStatus, ended *corev1.ContainerStateTerminated, events []*corev1.Event) (sentence string, hopeless bool) {
	if killsOf(spec, events) > 0 {
		return killSentence(spec, c, events)
	}
	if ended.Reason == reasonOOM || ended.ExitCode != 137 && ended.ExitCode != 143 {
		return "", false
	}
	ran := ended.FinishedAt.Sub(ended.StartedAt.Time)
	for _, candidate := range []struct {
		probe *corev1.Probe
		name  string
	}{{spec.StartupProbe, "startup"}, {spec.LivenessProbe, "liveness"}} {
		if candidate.probe == nil || ran < shortest(candidate.probe) {
			continue
		}
		return fmt.Sprintf("it was killed (exit code %d) %s after its start, as a failed %s probe (%s) does", ended.ExitCode, report.Span(ran.Round(time.Second)), candidate.name, describe(candidate.probe)), false
	}
	return "", false
}

// shortest is the least time from a container's start until a probe has failed often enough: the first try is made after
// the delay, and the last needs no pause behind it.
func shortest(probe *corev1.Probe) time.Duration {
	period := max(probe.PeriodSeconds, 1)
	return budget(probe) - time.Duration(period)*time.Second
}

// killSentence names the probe that the events blame, with its answer.
func killSentence(spec *corev1.Container, c corev1.ContainerStatus, events []*corev1.Event) (sentence string, hopeless bool) {
	name := ""
	for _, event := range events {
		if m := killing.FindStringSubmatch(event.Message); m != nil && event.Reason == "Killing" && m[1] == spec.Name {
			name = m[2]
		}
	}
	answer := probeAnswer(c.Name, name, events)
	sentence = fmt.Sprintf("its %s probe failed, and the kubelet kills it", name)
	if answer != "" {
		sentence += ": " + answer
	}
	return sentence, clientError.MatchString(answer)
}

// clientError is the answer of an app that runs and does not have what the probe asks for.
var clientError = regexp.MustCompile(`statuscode: 4\d\d|rpc error: code = Unimplemented|executable file not found`)
