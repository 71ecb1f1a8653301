package status

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// starting says what a pod waits for that has no fault. In this order: a scheduler, its node, its init containers, its
// images and volumes, its readiness gates.
//
//	spec:
//	  nodeName: node-1                         # set by the scheduler
//	  schedulerName: default-scheduler
//	  readinessGates: [{conditionType: example.com/lb}]
//	status:
//	  conditions:
//	  - {type: PodReadyToStartContainers, status: "False"}   # no sandbox or volumes yet
//	  - {type: ContainersReady, status: "True"}
//	  - {type: example.com/lb, status: "True"}               # a readiness gate; absent until somebody sets it
func starting(pod *corev1.Pod, events []*corev1.Event, w *World) Problem {
	if pod.Spec.NodeName == "" {
		return unscheduled(pod, w)
	}
	if down := nodeDown(pod.Spec.NodeName, w); down != "" {
		return Problem{Reason: "NodeNotReady", Message: down, Heals: Expected}
	}
	if len(pod.Status.ContainerStatuses) == 0 && len(pod.Status.InitContainerStatuses) == 0 {
		return Problem{Reason: "NotStarted", Message: "the kubelet of node " + pod.Spec.NodeName + " has not started the pod yet", Heals: Expected}
	}
	if p, found := initializing(pod); found {
		return p
	}
	if p, found := creating(pod, events, w); found {
		return p
	}
	if p, found := gated(pod, w); found {
		return p
	}
	return Problem{Reason: reasonNotReady, Message: "the pod is not ready yet", Heals: Expected}
}

// unscheduled explains a pod that no scheduler has said anything about.
func unscheduled(pod *corev1.Pod, w *World) Problem {
	name := cmp.Or(pod.Spec.SchedulerName, corev1.DefaultSchedulerName)
	p := Problem{Reason: "NotScheduled", Message: "the scheduler has not looked at the pod yet", Heals: Perhaps, Grace: w.cloudGrace()}
	if name != corev1.DefaultSchedulerName {
		p.Message = fmt.Sprintf("no scheduler named %s has looked at the pod: is it installed? (spec.schedulerName)", name)
		p.Grace = w.Graces.Place
	}
	return p
}

// nodeDown says that a node does not answer, or "".
func nodeDown(name string, w *World) string {
	node, known := w.find(Nodes, "", name)
	if !known {
		return ""
	}
	if node == nil {
		return "node " + name + " is gone"
	}
	if ready := conditionsOf(node)["Ready"]; ready.status != "" && ready.status != "True" {
		return fmt.Sprintf("node %s is not ready: %s", name, text(ready, ready.reason))
	}
	return ""
}

// initializing says which init container a pod is at.
func initializing(pod *corev1.Pod) (Problem, bool) {
	statuses := pod.Status.InitContainerStatuses
	for i, c := range statuses {
		if isSidecar(containerSpec(pod, c.Name)) && c.Started != nil && *c.Started || c.State.Terminated != nil && c.State.Terminated.ExitCode == 0 {
			continue
		}
		p := Problem{Container: c.Name, Reason: "Initializing", Heals: Expected, Depends: true}
		which := fmt.Sprintf("init container %s (%d of %d)", c.Name, i+1, len(statuses))
		switch {
		case c.State.Running != nil:
			p.Message, p.Since, p.Logs = which+" is running", c.State.Running.StartedAt.Time, true
		case c.State.Waiting != nil && i == 0:
			return Problem{}, false // it is being created, as the first of them
		default:
			p.Message = which + " is being started"
		}
		return p, true
	}
	return Problem{}, false
}

// creating says what a container that is being created waits for.
func creating(pod *corev1.Pod, events []*corev1.Event, w *World) (Problem, bool) {
	for _, c := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if c.State.Waiting == nil {
			continue
		}
		p := Problem{Reason: "ContainerCreating", Message: "its containers are being created", Heals: Expected}
		ready := podCondition(pod, "PodReadyToStartContainers")
		if ready != nil && ready.Status == corev1.ConditionFalse {
			p.Message = "its network and volumes are being set up"
			if volumes := volumesOf(pod); volumes != "" {
				p.Message += " (" + volumes + ")"
			}
		}
		if image := pulling(events); image != "" {
			p.Message = "the node pulls the image " + image
		}
		for _, event := range slices.Backward(events) {
			if event.Reason == "FailedCreatePodSandBox" && !setUp(pod, events, event) {
				return sandbox(pod, event, w), true
			}
		}
		return p, true
	}
	return Problem{}, false
}

// setUp reports whether a pod has its volumes and its network by now, though an event says that they failed. The kubelet
// pulls no image and starts no container before that, and takes no event back.
func setUp(pod *corev1.Pod, events []*corev1.Event, failed *corev1.Event) bool {
	if ready := podCondition(pod, "PodReadyToStartContainers"); ready != nil && ready.Status == corev1.ConditionTrue {
		return true
	}
	for _, c := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if c.State.Running != nil || c.State.Terminated != nil {
			return true
		}
	}
	return slices.ContainsFunc(events, func(e *corev1.Event) bool {
		return slices.Contains([]string{"Pulling", "Pulled", "Created", "Started"}, e.Reason) && !lastSeen(e).Before(lastSeen(failed))
	})
}

// noRuntime is what containerd, and CRI-O, say of a RuntimeClass whose handler the node does not have.
var noRuntime = regexp.MustCompile(`no runtime for "[^"]*" is configured|failed to find runtime handler`)

// sandbox explains why a node cannot make the frame around a pod's containers.
func sandbox(pod *corev1.Pod, event *corev1.Event, w *World) Problem {
	p := Problem{Reason: event.Reason, Message: "its network cannot be set up: " + event.Message, Heals: Perhaps, Grace: w.cloudGrace()}
	if noRuntime.MatchString(event.Message) && pod.Spec.RuntimeClassName != nil {
		p.Message = fmt.Sprintf("node %s does not have the container runtime of RuntimeClass %q (spec.runtimeClassName): %s", pod.Spec.NodeName, *pod.Spec.RuntimeClassName, event.Message)
		p.Grace = w.Graces.Config
	}
	return p
}

// volumesOf names the claims that a pod mounts.
func volumesOf(pod *corev1.Pod) string {
	var names []string
	for _, v := range pod.Spec.Volumes {
		if v.PersistentVolumeClaim != nil {
			names = append(names, "PersistentVolumeClaim/"+v.PersistentVolumeClaim.ClaimName)
		}
	}
	return strings.Join(names, ", ")
}

// pulling returns the image that the kubelet has begun to pull, and not finished
//
//	reason: Pulling
//	message: Pulling image "registry.example/shop@sha256:…"
func pulling(events []*corev1.Event) string {
	begun, done := map[string]bool{}, map[string]bool{}
	for _, event := range events {
		_, rest, _ := strings.Cut(event.Message, `image "`)
		image, _, _ := strings.Cut(rest, `"`)
		switch event.Reason {
		case "Pulling":
			begun[image] = true
		case "Pulled", "Failed":
			done[image] = true
		}
	}
	for image := range begun {
		if !done[image] {
			return image
		}
	}
	return ""
}

// gated explains readiness gates that nobody has set.
func gated(pod *corev1.Pod, w *World) (Problem, bool) {
	for _, gate := range pod.Spec.ReadinessGates {
		c := podCondition(pod, gate.ConditionType)
		if c != nil && c.Status == corev1.ConditionTrue {
			continue
		}
		message := fmt.Sprintf("readiness gate %s is not set: is its controller running?", gate.ConditionType)
		if c != nil {
			message = fmt.Sprintf("readiness gate %s is %s: %s", gate.ConditionType, c.Status, strings.TrimSuffix(c.Reason+": "+c.Message, ": "))
		}
		return Problem{Reason: "ReadinessGate", Message: message, Heals: Perhaps, Grace: w.cloudGrace()}, true
	}
	return Problem{}, false
}
