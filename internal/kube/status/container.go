package status

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// containerProblems reads what is wrong with the containers of a pod.
func containerProblems(pod *corev1.Pod, events []*corev1.Event, w *World) []Problem {
	var problems []Problem
	for _, c := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		spec := containerSpec(pod, c.Name)
		if spec == nil {
			continue
		}
		problem := Problem{Container: c.Name}
		if containerProblem(&problem, pod, spec, c, events, w) {
			problems = append(problems, problem)
		}
	}
	waitForSiblings(problems, pod)
	return problems
}

// waitForSiblings lets a crash heal while another container of the same pod is still starting: a proxy that the app needs.
func waitForSiblings(problems []Problem, pod *corev1.Pod) {
	for i := range problems {
		p := &problems[i]
		// One that runs again after a crash is noted too: this attempt, which began before the other was ready, says nothing
		// when it ends. One that has not ended yet has the time that its probe allows.
		again := p.Heals == Perhaps && p.Attempt > 0
		if p.Heals != Never && !again || !p.Depends {
			continue
		}
		for _, c := range pod.Status.ContainerStatuses {
			starting := !c.Ready && c.RestartCount == 0 && (c.State.Running != nil || c.State.Waiting != nil && c.State.Waiting.Reason == "ContainerCreating")
			if c.Name != p.Container && starting {
				p.Heals, p.Grace = Expected, 0
			}
		}
	}
}

// containerProblem fills in the problem of one container, and reports whether it has one.
func containerProblem(problem *Problem, pod *corev1.Pod, spec *corev1.Container, c corev1.ContainerStatus, events []*corev1.Event, w *World) bool {
	runsOn := isSidecar(spec) || slices.ContainsFunc(pod.Spec.Containers, func(o corev1.Container) bool { return o.Name == c.Name })
	last := c.LastTerminationState.Terminated
	switch {
	case c.State.Waiting != nil:
		return waiting(problem, pod, spec, c, events, w)
	case c.State.Terminated != nil:
		if c.State.Terminated.ExitCode == 0 && (!runsOn || !restarts(pod, spec)) {
			return false
		}
		crashed(problem, pod, spec, c, c.State.Terminated, events, w)
		return true
	case c.State.Running == nil || c.Ready || !runsOn && last == nil:
		return false
	case c.RestartCount > 0 && last != nil:
		// It runs again. Its last end is what counts until it is ready.
		crashed(problem, pod, spec, c, last, events, w)
		if hopeless := problem.Reason == reasonKilled && !problem.Depends; problem.Heals == Never && !hopeless && killsOf(spec, events) < 2 {
			problem.Heals, problem.Grace = Perhaps, w.Graces.Crash
		}
		return true
	}
	return probing(problem, pod, spec, c, events, w)
}

// restarts reports whether the kubelet starts a container again that has ended well.
func restarts(pod *corev1.Pod, spec *corev1.Container) bool {
	if isSidecar(spec) {
		return true
	}
	return pod.Spec.RestartPolicy == corev1.RestartPolicyAlways || pod.Spec.RestartPolicy == ""
}

// waiting fills in the problem of a container that has not started, and reports whether it has one.
func waiting(problem *Problem, pod *corev1.Pod, spec *corev1.Container, c corev1.ContainerStatus, events []*corev1.Event, w *World) bool {
	problem.Reason = c.State.Waiting.Reason
	message := c.State.Waiting.Message
	switch c.State.Waiting.Reason {
	case "", "ContainerCreating", "PodInitializing":
		return false
	case "InvalidImageName":
		problem.Message = fmt.Sprintf("%q is not an image name: %s", c.Image, message)
	case "ErrImageNeverPull":
		problem.Message = fmt.Sprintf("the image %s is not on the node, and imagePullPolicy is Never", c.Image)
	case "ErrImagePull", "ImagePullBackOff", "ImageInspectError", "RegistryUnavailable", "SignatureValidationFailed":
		pull(problem, pod, c, events, w)
	case "CreateContainerConfigError":
		misconfigured(problem, pod, message, w)
	case reasonCrash:
		ended := c.LastTerminationState.Terminated
		if ended == nil {
			return false
		}
		crashed(problem, pod, spec, c, ended, events, w)
		problem.Reason = reasonCrash
	case "CreateContainerError", "RunContainerError", "StartError", "PostStartHookError":
		problem.Message, problem.Logs, problem.Retry = "it cannot be started: "+message, true, configRetry
		// A name that is still taken, a runtime that is being restarted.
		if c.RestartCount == 0 && !cannotStart(message) {
			problem.Heals, problem.Grace = Perhaps, min(w.Graces.Config, w.Graces.Crash)
			if strings.Contains(message, "context deadline exceeded") || strings.Contains(message, "is reserved for") {
				problem.Grace = w.Graces.Crash // a runtime that is slow
			}
		}
	default:
		problem.Message = strings.TrimSpace(c.State.Waiting.Reason + ": " + message)
		problem.Heals, problem.Grace = Perhaps, w.Graces.Crash
	}
	return true
}

// misconfigured explains a CreateContainerConfigError.
func misconfigured(problem *Problem, pod *corev1.Pod, message string, w *World) {
	switch {
	case missingObject(message) != "":
		missing(problem, pod, message, w)
	case strings.Contains(message, "failed to sync"):
		// The kubelet has not heard of an object that was made a moment ago.
		problem.Message = "the node does not see its configuration yet: " + message
		problem.Heals, problem.Grace = Perhaps, w.Graces.Pull
	default:
		problem.Message = "its configuration is wrong: " + message
	}
}

// cannotStart reports whether a program cannot be executed at all, whatever happens around it.
func cannotStart(message string) bool {
	return containsAny(strings.ToLower(message), "executable file not found", "exec format error", "no such file or directory", "permission denied",
		"is a directory", "not a directory", "memory limit too low")
}

// crashed fills in a container that ended and should not have. Once may be bad luck with the order in which things
// start; twice is a crash, unless another object of the release is still on its way.
func crashed(problem *Problem, pod *corev1.Pod, spec *corev1.Container, c corev1.ContainerStatus, ended *corev1.ContainerStateTerminated, events []*corev1.Event, w *World) {
	problem.Logs, problem.Depends = true, true
	problem.Attempt, problem.Retry = int(c.RestartCount)+1, crashRetry(c.RestartCount)
	problem.Since = ended.FinishedAt.Time
	problem.Reason = reasonCrash
	kill, hopeless := killedBy(pod, spec, c, ended, events)
	switch {
	case kill != "":
		problem.Message, problem.Reason = kill, reasonKilled
		if !hopeless && killsOf(spec, events) < 2 && c.RestartCount == 0 {
			problem.Heals, problem.Grace = Perhaps, w.Graces.Crash
		}
		problem.Depends = !hopeless
		return
	case ended.ExitCode == 0:
		problem.Message = "it ends, and should keep running (exit code 0)"
	default:
		problem.Message = exitSentence(ended, spec)
	}
	if cannotStart(ended.Message) && isStartError(ended) {
		problem.Depends = false
		problem.Message = explainStart(ended.Message, pod, w)
		return
	}
	if ended.Reason == reasonOOM {
		problem.Depends = false
	}
	ends := c.RestartCount + 1
	if c.State.Running != nil {
		ends = c.RestartCount
	}
	if ends <= 1 {
		problem.Reason = reasonCrashed
		problem.Message += ", once so far" + lastWords(ended, spec)
		problem.Heals, problem.Grace = Perhaps, w.Graces.Crash
		return
	}
	problem.Message += fmt.Sprintf(", %d times", ends) + lastWords(ended, spec)
}

// maxLastWords is how much of a termination message is shown, in bytes.
const maxLastWords = 400

// lastWords returns what a container wrote into its termination message, with a colon before it, or "". The end of its output,
// which may stand there instead, is shown anyway.
//
//	terminated: {exitCode: 2, message: "/etc/app.yaml: unknown key prot"}
func lastWords(ended *corev1.ContainerStateTerminated, spec *corev1.Container) string {
	said := strings.Join(strings.Fields(ended.Message), " ")
	if said == "" || isStartError(ended) || spec != nil && spec.TerminationMessagePolicy == corev1.TerminationMessageFallbackToLogsOnError {
		return ""
	}
	if len(said) > maxLastWords {
		said = strings.ToValidUTF8(said[:maxLastWords], "") + "…"
	}
	return ": " + said
}

// reasonOOM is what the kubelet says of a container that used more memory than it may.
const reasonOOM = "OOMKilled"

func isStartError(ended *corev1.ContainerStateTerminated) bool {
	return ended.Reason == "ContainerCannotRun" || ended.Reason == "StartError"
}

func explainStart(message string, pod *corev1.Pod, w *World) string {
	if strings.Contains(strings.ToLower(message), "exec format error") {
		return fmt.Sprintf("its program is not one for %s (exec format error): build the image for that platform", nodePlatform(pod, w))
	}
	return "it cannot be started: " + message
}

func exitSentence(ended *corev1.ContainerStateTerminated, spec *corev1.Container) string {
	switch {
	case ended.Reason == reasonOOM:
		limit := ""
		if spec != nil && !spec.Resources.Limits.Memory().IsZero() {
			limit = " of " + spec.Resources.Limits.Memory().String()
		}
		return fmt.Sprintf("it was killed for using more memory than its limit%s (exit code %d)", limit, ended.ExitCode)
	case isStartError(ended):
		return "it cannot be started: " + ended.Message
	case ended.ExitCode > 128 && ended.Signal == 0:
		return fmt.Sprintf("it ended with exit code %d (signal %d)", ended.ExitCode, ended.ExitCode-128)
	}
	return fmt.Sprintf("it ended with exit code %d", ended.ExitCode)
}
