package status

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

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
	switch p.Status.Phase {
	case corev1.PodSucceeded:
		return Status{Ready: true, Message: "succeeded"}
	case corev1.PodFailed:
		return Status{Message: "failed", Problems: append([]Problem{{Pod: p.Name, Reason: p.Status.Reason, Message: "the pod failed: " + p.Status.Message, Logs: true}},
			podProblems([]*corev1.Pod{p}, w)...)}
	}
	if isReady(p) {
		return Status{Ready: true, Message: "ready"}
	}
	return Status{Message: strings.ToLower(string(p.Status.Phase)), Problems: worstFirst(podProblems([]*corev1.Pod{p}, w))}
}

func isReady(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// podProblems reads from every pod that is not ready
//
//	status:
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
// and what only events tell: a volume that cannot be mounted, what a probe answered, what the autoscaler does. The problems
// come in the order of the pods' names, so that the first one is that of the same pod at each look.
func podProblems(pods []*corev1.Pod, w *World) []Problem {
	byName := func(a, b *corev1.Pod) int { return cmp.Compare(a.Name, b.Name) }
	var problems []Problem
	for _, pod := range slices.SortedFunc(slices.Values(pods), byName) {
		if isReady(pod) || pod.Status.Phase == corev1.PodSucceeded {
			continue
		}
		events := w.eventsOf(pod.UID)
		found := placement(pod, events, w)
		found = append(found, mounts(pod, events, w)...)
		containers := append(slices.Clone(pod.Status.InitContainerStatuses), pod.Status.ContainerStatuses...)
		for _, container := range containers {
			found = append(found, containerProblems(pod, container, events, w)...)
		}
		for i := range found {
			found[i].Pod = pod.Name
		}
		problems = append(problems, found...)
	}
	return problems
}

func placement(pod *corev1.Pod, events []*corev1.Event, w *World) []Problem {
	for _, condition := range pod.Status.Conditions {
		if condition.Type != corev1.PodScheduled || condition.Status != corev1.ConditionFalse || condition.Reason != corev1.PodReasonUnschedulable {
			continue
		}
		problem := Problem{Reason: condition.Reason, Message: "no node takes the pod: " + firstSentences(condition.Message)}
		switch {
		case containsAny(condition.Message, "unbound immediate PersistentVolumeClaims", "waiting for ephemeral volume controller"):
			problem.Heals, problem.Grace = Perhaps, w.cloudGrace()
			return []Problem{problem}
		case containsAny(condition.Message, "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable", "node.cloudprovider.kubernetes.io/uninitialized", "no nodes available"):
			// A node that is starting.
			problem.Heals, problem.Grace = Perhaps, w.Graces.Place
			return []Problem{problem}
		}
		scaler := w.Autoscaler
		for _, event := range events {
			switch event.Reason {
			case "TriggeredScaleUp", "Nominated":
				problem.Heals = Expected
				problem.Message += " (a node is being added: " + event.Message + ")"
				return []Problem{problem}
			case "NotTriggerScaleUp":
				scaler = Absent
				problem.Message += " (the autoscaler adds no node: " + event.Message + ")"
			}
		}
		switch scaler {
		case Present:
			problem.Heals = Expected
			problem.Message += " (waiting for the autoscaler to add a node)"
		case Unknown:
			problem.Heals, problem.Grace = Perhaps, w.Graces.Place
		case Absent:
			// The node that another pod is leaving may take it in a moment.
			problem.Heals, problem.Grace = Perhaps, min(w.Graces.Place, 2*time.Second)
		}
		return []Problem{problem}
	}
	return nil
}

// firstSentences drops the scheduler's account of what preemption would not have helped with.
func firstSentences(message string) string {
	message, _, _ = strings.Cut(message, " preemption:")
	message, _, _ = strings.Cut(message, " no new claims to deallocate")
	return strings.TrimRight(message, ". ,")
}

func mounts(pod *corev1.Pod, events []*corev1.Event, w *World) []Problem {
	if pod.Status.Phase != corev1.PodPending {
		return nil
	}
	for _, event := range events {
		if event.Reason != "FailedMount" && event.Reason != "FailedAttachVolume" {
			continue
		}
		if missing := missingObject(event.Message); missing != "" {
			return []Problem{{Reason: event.Reason, Message: missing + " is missing: create it, or add it to the manifests", Heals: Perhaps, Grace: w.Graces.Config}}
		}
		return []Problem{{Reason: event.Reason, Message: event.Message, Heals: Perhaps, Grace: w.cloudGrace()}}
	}
	return nil
}

var (
	missingPattern = regexp.MustCompile(`(?i)\b(secret|configmap)s? "([^"]+)" not found`)
	// couldn't find key PASSWORD in Secret vote-dev/redis
	missingKeyPattern = regexp.MustCompile(`(?i)couldn't find key (\S+) in (secret|configmap) (\S+)`)
	// references non-existent secret key: password
	missingFilePattern = regexp.MustCompile(`(?i)references non-existent (secret|config) key: (\S+)`)
)

// missingObject is what the kubelet does not find: `Secret "redis"`, `the key "PASSWORD" of Secret "vote-dev/redis"`, or "".
func missingObject(message string) string {
	if m := missingPattern.FindStringSubmatch(message); m != nil {
		return kindName(m[1]) + " " + quote(m[2])
	}
	if m := missingKeyPattern.FindStringSubmatch(message); m != nil {
		return "the key " + quote(m[1]) + " of " + kindName(m[2]) + " " + quote(strings.Trim(m[3], `"`))
	}
	if m := missingFilePattern.FindStringSubmatch(message); m != nil {
		return "the key " + quote(m[2]) + " of a " + kindName(m[1])
	}
	return ""
}

func kindName(word string) string {
	if strings.EqualFold(word, "secret") {
		return "Secret"
	}
	return "ConfigMap"
}

func quote(s string) string { return `"` + s + `"` }

func containerProblems(pod *corev1.Pod, c corev1.ContainerStatus, events []*corev1.Event, w *World) []Problem {
	problem := Problem{Container: c.Name}
	switch {
	case c.State.Waiting != nil:
		problem.Reason = c.State.Waiting.Reason
		if !waiting(&problem, c, events, w) {
			return nil
		}
	case c.State.Terminated != nil && c.State.Terminated.ExitCode != 0:
		crashed(&problem, c, c.State.Terminated, w)
	case c.State.Running != nil && c.RestartCount > 0 && c.LastTerminationState.Terminated != nil && !c.Ready:
		// Running again after a crash. Its last end is what counts until it is ready.
		crashed(&problem, c, c.LastTerminationState.Terminated, w)
		if problem.Heals == Never {
			problem.Heals, problem.Grace = Perhaps, w.Graces.Crash
		}
	case c.State.Running != nil && !c.Ready:
		if !probing(&problem, pod, c, events, w) {
			return nil
		}
	default:
		return nil
	}
	return []Problem{problem}
}

// waiting fills in the problem of a container that has not started, and says whether it has one.
func waiting(problem *Problem, c corev1.ContainerStatus, events []*corev1.Event, w *World) bool {
	message := c.State.Waiting.Message
	switch c.State.Waiting.Reason {
	case "", "ContainerCreating", "PodInitializing":
		return false
	case "InvalidImageName":
		problem.Message = fmt.Sprintf("%q is not an image name: %s", c.Image, message)
	case "ErrImageNeverPull":
		problem.Message = fmt.Sprintf("the image %s is not on the node, and imagePullPolicy is Never", c.Image)
	case "ErrImagePull", "ImagePullBackOff", "ImageInspectError", "RegistryUnavailable":
		pull(problem, c, message, events, w)
	case "CreateContainerConfigError":
		if missing := missingObject(message); missing != "" {
			problem.Message = missing + " is missing: create it, or add it to the manifests"
			problem.Heals, problem.Grace = Perhaps, w.Graces.Config
			break
		}
		problem.Message = "its configuration is wrong: " + message
		if strings.Contains(message, "failed to sync") {
			// The kubelet has not heard of an object that was made a moment ago.
			problem.Message = "the node does not see its configuration yet: " + message
			problem.Heals, problem.Grace = Perhaps, w.Graces.Pull
		}
	case reasonCrash:
		ended := c.LastTerminationState.Terminated
		if ended == nil {
			return false
		}
		crashed(problem, c, ended, w)
		problem.Reason = reasonCrash
	case "CreateContainerError", "RunContainerError", "StartError", "PostStartHookError":
		problem.Message, problem.Logs = "it cannot be started: "+message, true
		// A name that is still taken, a runtime that is being restarted.
		if c.RestartCount == 0 {
			problem.Heals, problem.Grace = Perhaps, min(w.Graces.Config, w.Graces.Crash)
		}
	default:
		problem.Message = strings.TrimSpace(c.State.Waiting.Reason + ": " + message)
		problem.Heals, problem.Grace = Perhaps, w.Graces.Crash
	}
	return true
}

// pull tells apart what a registry says for good from what a network says for now. Once the kubelet backs off, the
// container's own message repeats the name only, and the reason stands in an event.
func pull(problem *Problem, c corev1.ContainerStatus, message string, events []*corev1.Event, w *World) {
	problem.Reason = "ErrImagePull"
	answer := message
	if c.State.Waiting.Reason == "ImagePullBackOff" {
		for _, event := range events {
			if event.Reason == "Failed" && strings.Contains(event.Message, "ailed to pull image") && strings.Contains(event.Message, c.Image) {
				answer = event.Message
			}
		}
	}
	short := registryAnswer(answer)
	lower := strings.ToLower(answer)
	switch {
	case containsAny(lower, "401 unauthorized", "403 forbidden", "unauthorized", "authorization failed", "no basic auth credentials", "access denied", "insufficient_scope", "denied:"):
		problem.Message = fmt.Sprintf("the registry refuses the image %s (%s): attach the registry to the cluster, or correct the pod's imagePullSecrets", c.Image, short)
	case containsAny(lower, "not found", "manifest unknown", "name unknown", "does not exist", "no match for platform"):
		problem.Message = fmt.Sprintf("the image %s does not exist in its registry (%s): check that it was published", c.Image, short)
	case containsAny(lower, "invalid reference", "invalid checksum digest"):
		problem.Message = fmt.Sprintf("%q is not an image name: %s", c.Image, short)
	case containsAny(lower, "http response to https client", "certificate signed by unknown authority", "x509:"):
		problem.Message = fmt.Sprintf("the node does not trust the registry of %s: %s", c.Image, short)
	default:
		problem.Message = fmt.Sprintf("the image %s cannot be pulled right now: %s", c.Image, short)
		problem.Heals, problem.Grace = Perhaps, w.Graces.Pull
	}
}

// registryAnswer is the end of containerd's sentence, which repeats the image's name at every level.
func registryAnswer(message string) string {
	for _, marker := range []string{"failed to resolve reference ", "failed to copy: ", "failed to pull and unpack image "} {
		if i := strings.LastIndex(message, marker); i >= 0 {
			rest := message[i+len(marker):]
			if strings.HasPrefix(rest, `"`) {
				if j := strings.Index(rest, `": `); j >= 0 {
					rest = rest[j+3:]
				}
			}
			return rest
		}
	}
	return message
}

func containsAny(s string, parts ...string) bool {
	return slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(s, part) })
}

// crashed fills in a container that ended and should not have. Once may be bad luck with the order in which things
// start; twice is a crash.
func crashed(problem *Problem, c corev1.ContainerStatus, ended *corev1.ContainerStateTerminated, w *World) {
	problem.Logs = true
	if ended.ExitCode == 0 {
		problem.Message = "it ends, and should keep running (exit code 0)"
	} else {
		problem.Message = exitSentence(ended)
	}
	problem.Reason = reasonCrash
	if c.RestartCount == 0 {
		problem.Reason = reasonCrashed
		problem.Message += ", once so far"
		problem.Heals, problem.Grace = Perhaps, w.Graces.Crash
		return
	}
	problem.Message += fmt.Sprintf(", %d times", c.RestartCount+1)
}

func exitSentence(ended *corev1.ContainerStateTerminated) string {
	switch {
	case ended.Reason == "OOMKilled":
		return fmt.Sprintf("it was killed for using more memory than its limit (exit code %d)", ended.ExitCode)
	case ended.Reason == "ContainerCannotRun" || ended.Reason == "StartError":
		return "it cannot be started: " + ended.Message
	case ended.ExitCode > 128 && ended.Signal == 0:
		return fmt.Sprintf("it ended with exit code %d (signal %d)", ended.ExitCode, ended.ExitCode-128)
	}
	return fmt.Sprintf("it ended with exit code %d", ended.ExitCode)
}

// probing fills in a container that runs and is not ready, once its probe has said so. Its grace is what the probe
// itself allows: a container that is slow to start has a startupProbe, or a budget, that says how slow.
func probing(problem *Problem, pod *corev1.Pod, c corev1.ContainerStatus, events []*corev1.Event, w *World) bool {
	spec := containerSpec(pod, c.Name)
	if spec == nil {
		return false
	}
	probe, name := spec.ReadinessProbe, "readiness"
	if spec.StartupProbe != nil && (c.Started == nil || !*c.Started) {
		probe, name = spec.StartupProbe, "startup"
	}
	if probe == nil {
		return false
	}
	for _, event := range events {
		if event.Reason != "Unhealthy" || !strings.HasPrefix(strings.ToLower(event.Message), name) {
			continue
		}
		if path := event.InvolvedObject.FieldPath; path != "" && !strings.HasSuffix(path, "{"+c.Name+"}") {
			continue
		}
		problem.Reason, problem.Logs = reasonNotReady, true
		problem.Heals, problem.Grace, problem.Depends = Perhaps, max(budget(probe), w.Graces.Probe), true
		problem.Message = fmt.Sprintf("%s (%s is its time for that; a slow start wants a startupProbe, or --grace)", strings.TrimSpace(event.Message), problem.Grace)
		return true
	}
	return false
}

// budget is how long a probe may fail from its first failure on before the container counts as not ready.
func budget(probe *corev1.Probe) time.Duration {
	period, failures := probe.PeriodSeconds, probe.FailureThreshold
	if period == 0 {
		period = 10
	}
	if failures == 0 {
		failures = 3
	}
	return time.Duration(period*failures) * time.Second
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

// creationProblems reads the events of whatever should have made pods and was not let
//
//	reason: FailedCreate
//	message: 'create Pod redis-0 in StatefulSet redis failed error: pods "redis-0" is forbidden: exceeded quota: …'
func creationProblems(events []*corev1.Event, w *World) []Problem {
	for _, event := range events {
		if event.Reason == "FailedCreate" {
			return []Problem{refused(event.Reason, event.Message, w)}
		}
	}
	return nil
}

// refused explains why the API server takes no pod.
func refused(reason, message string, w *World) Problem {
	problem := Problem{Reason: reason}
	lower := strings.ToLower(message)
	switch {
	case strings.Contains(lower, "exceeded quota"):
		problem.Message = "the namespace's quota allows no further pod: " + afterForbidden(message)
	case containsAny(lower, "violates podsecurity"):
		problem.Message = "the namespace's Pod Security standard refuses the pod: " + afterForbidden(message)
	case containsAny(lower, "failed calling webhook", "status unknown for quota", "timeout", "connection refused", "try again"):
		problem.Message = message
		problem.Heals, problem.Grace = Perhaps, w.Graces.Refused
	case strings.Contains(lower, "serviceaccount") && strings.Contains(lower, "not found"):
		problem.Message = message
		problem.Heals, problem.Grace = Perhaps, w.Graces.Config
	default:
		problem.Message = "the API server refuses the pod: " + afterForbidden(message)
	}
	return problem
}

// afterForbidden drops the generated name of the pod.
func afterForbidden(message string) string {
	if _, rest, ok := strings.Cut(message, "is forbidden: "); ok {
		return rest
	}
	return message
}

func controlledBy(owners []metav1.OwnerReference, owner types.UID) bool {
	return slices.ContainsFunc(owners, func(r metav1.OwnerReference) bool { return r.UID == owner })
}

// worstFirst sorts by how little hope there is, and leaves one of each kind: ten pods fail for one reason.
func worstFirst(problems []Problem) []Problem {
	slices.SortStableFunc(problems, func(a, b Problem) int { return int(a.Heals) - int(b.Heals) })
	seen := map[string]bool{}
	return slices.DeleteFunc(problems, func(p Problem) bool {
		if seen[p.Key()] {
			return true
		}
		seen[p.Key()] = true
		return false
	})
}
