package status

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// pull tells apart what a registry says for good from what a network says for now. Once the kubelet backs off, the
// container's own message repeats the name only, and the reason stands in an event.
//
//	state:
//	  waiting:
//	    reason: ErrImagePull      # then ImagePullBackOff
//	    message: 'failed to pull and unpack image "r/x:1": failed to resolve reference "r/x:1": r/x:1: not found'
func pull(problem *Problem, pod *corev1.Pod, c corev1.ContainerStatus, events []*corev1.Event, w *World) {
	problem.Reason, problem.Retry = "ErrImagePull", pullRetry
	answer := c.State.Waiting.Message
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
	case strings.Contains(lower, "no match for platform"):
		problem.Message = fmt.Sprintf("the image %s exists, but has no variant for %s: build it for that platform", c.Image, nodePlatform(pod, w))
	case containsAny(lower, "401 unauthorized", "403 forbidden", "unauthorized", "authorization failed", "no basic auth credentials", "access denied", "insufficient_scope", "denied:"):
		problem.Message = fmt.Sprintf("the registry refuses the image %s (%s): attach the registry to the cluster, or correct the pod's imagePullSecrets", c.Image, short)
		lateSecret(problem, pod, events, w)
	case containsAny(lower, "not found", "manifest unknown", "name unknown", "does not exist"):
		problem.Message = fmt.Sprintf("the image %s does not exist in its registry (%s): check that it was published", c.Image, short)
		if w.Published[c.Image] {
			problem.Message = fmt.Sprintf("the registry has the image %s, and does not give it to the node yet (%s): is it replicated to the node's region?", c.Image, short)
			problem.Heals, problem.Grace = Perhaps, w.cloudGrace()
		}
	case containsAny(lower, "invalid reference", "invalid checksum digest"):
		problem.Message = fmt.Sprintf("%q is not an image name: %s", c.Image, short)
	case containsAny(lower, "http response to https client", "certificate signed by unknown authority", "x509:"):
		problem.Message = fmt.Sprintf("the node does not trust the registry of %s: %s", c.Image, short)
	case strings.Contains(lower, "no such host"):
		problem.Message = fmt.Sprintf("the node does not know the registry of %s: %s", c.Image, short)
		problem.Heals, problem.Grace = Perhaps, min(w.Graces.Pull, 5*time.Second)
	case containsAny(lower, "connection refused", "no route to host", "network is unreachable"):
		// The kubelet tries again after 10 s: two answers of that kind are a registry that is not there.
		problem.Message = fmt.Sprintf("nothing answers at the registry of %s: %s", c.Image, short)
		problem.Heals, problem.Grace = Perhaps, min(w.Graces.Pull, 15*time.Second)
	default:
		problem.Message = fmt.Sprintf("the image %s cannot be pulled right now: %s", c.Image, short)
		problem.Heals, problem.Grace = Perhaps, w.Graces.Pull
	}
}

// oneTry is longer than a pull that is refused takes, and shorter than the kubelet's pause before the next one.
const oneTry = 5 * time.Second

var pullSecretEvent = regexp.MustCompile(`Unable to retrieve some image pull secrets \(([^)]*)\)`)

// lateSecret lets a refusal heal while a pull secret that the pod names is on its way
//
//	reason: FailedToRetrieveImagePullSecret
//	message: Unable to retrieve some image pull secrets (regcred); attempting to pull the image may not succeed.
func lateSecret(problem *Problem, pod *corev1.Pod, events []*corev1.Event, w *World) {
	without := map[string]bool{}
	var missed, failed time.Time // the last of each
	for _, event := range events {
		if event.Reason == "Failed" && lastSeen(event).After(failed) {
			failed = lastSeen(event)
		}
		if m := pullSecretEvent.FindStringSubmatch(event.Message); m != nil {
			missed = lastSeen(event)
			for _, name := range strings.Split(m[1], ",") {
				without[strings.TrimSpace(name)] = true
			}
		}
	}
	if failed.Sub(missed) > oneTry {
		return // the last try had the secret
	}
	for _, ref := range pod.Spec.ImagePullSecrets {
		object, known := w.find(Secrets, pod.Namespace, ref.Name)
		switch {
		case known && object != nil && without[ref.Name]:
			problem.Message = fmt.Sprintf("pull secret %q is there now: the node tries the image again", ref.Name)
			problem.Heals, problem.Grace = Expected, cloudLimit
		case known && object == nil, !known && without[ref.Name]:
			w.absent(problem, fmt.Sprintf("Secret %q, which the pod names as a pull secret,", ref.Name), pod.Namespace, ref.Name)
		}
	}
}

// nodePlatform names the platform that a pod's node wants: "linux/amd64, the platform of node node-1".
func nodePlatform(pod *corev1.Pod, w *World) string {
	node, _ := w.find(Nodes, "", pod.Spec.NodeName)
	if node == nil {
		return "the platform of node " + cmp.Or(pod.Spec.NodeName, "the pod's node")
	}
	os, arch := stringAt(node, "status", "nodeInfo", "operatingSystem"), stringAt(node, "status", "nodeInfo", "architecture")
	return fmt.Sprintf("%s/%s, the platform of node %s", cmp.Or(os, "linux"), arch, node.GetName())
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

// ExplainOutput adds to a problem of a pod in a namespace what the last lines of its container's output prove. A binary of
// another platform is started all the same, and only its output says so.
func ExplainOutput(p Problem, namespace string, lines []string, w *World) Problem {
	if !slices.ContainsFunc(lines, func(line string) bool { return strings.Contains(strings.ToLower(line), "exec format error") }) {
		return p
	}
	for _, pod := range w.Pods {
		if pod.Namespace == namespace && pod.Name == p.Pod {
			p.Message = fmt.Sprintf("its program is not one for %s, or is a script without #! (exec format error): build the image for that platform", nodePlatform(pod, w))
		}
	}
	return p
}
