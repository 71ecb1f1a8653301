package status

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// mounts reads from events why the kubelet cannot give a pod its volumes
//
//	reason: FailedMount            # or FailedAttachVolume
//	message: 'MountVolume.SetUp failed for volume "tls" : secret "tls" not found'
func mounts(pod *corev1.Pod, events []*corev1.Event, r rollout, w *World) []Problem {
	if pod.Status.Phase != corev1.PodPending {
		return nil
	}
	var last *corev1.Event
	for _, event := range events {
		if event.Reason == "FailedMount" || event.Reason == "FailedAttachVolume" {
			last = event
		}
	}
	if last == nil || setUp(pod, events, last) {
		return nil
	}
	p := Problem{Reason: last.Reason, Heals: Perhaps, Retry: configRetry}
	switch {
	case missingObject(last.Message) != "":
		missing(&p, pod, last.Message, w)
	case strings.Contains(last.Message, "Multi-Attach error"):
		attached(&p, pod, last.Message, r, w)
	case cannotMount(last.Message, w):
		p.Message, p.Grace = "the volume cannot be mounted: "+mountAnswer(last.Message), mountGrace(w)
	default:
		p.Message, p.Grace = mountAnswer(last.Message), w.cloudGrace()
	}
	return []Problem{p}
}

// mountGrace is long enough for the kubelet to try four times: its pauses are 0.5, 1, 2 and 4 s.
func mountGrace(w *World) time.Duration { return min(w.Graces.Place, 8*time.Second) }

// noDriver is what the kubelet says of a CSI driver that has no plugin on the node.
var noDriver = regexp.MustCompile(`driver name (\S+) not found in the list of registered CSI drivers`)

// cannotMount reports whether a mount fails for a reason that trying again does not take away. One that does not get an
// answer, or that waits for a disk, may work later.
func cannotMount(message string, w *World) bool {
	if m := noDriver.FindStringSubmatch(message); m != nil {
		// The plugin of a driver that is installed may be starting on this node.
		driver, known := w.find(CSIDrivers, "", m[1])
		return known && driver == nil
	}
	lower := strings.ToLower(message)
	if containsAny(lower, "timed out", "timeout", "deadline exceeded", "connection refused", "temporarily", "try again", "unreachable", "in progress") {
		return false
	}
	return containsAny(lower, "hostpath type check failed", "wrong fs type", "bad option", "bad superblock", "unknown filesystem type",
		"no such file or directory", "not a directory", "no such device", "special device", "permission denied", "access denied",
		"invalid argument", "sharenotfound", "statuscode=404", "statuscode=403", "no volume plugin matched")
}

// mountAnswer drops the kubelet's frame around what the mount said.
func mountAnswer(message string) string {
	if i := strings.Index(message, "mount failed: "); i >= 0 {
		return strings.Join(strings.Fields(message[i:]), " ")
	}
	return message
}

var attachedTo = regexp.MustCompile(`used by pod\(s\) (.+)$`)

// attached explains a disk that another node still has. It moves when the pod that uses it there is gone; an old pod that
// a rolling update keeps until the new one is ready never goes.
//
//	Multi-Attach error for volume "pvc-1" Volume is already used by pod(s) db-7c98
//	Multi-Attach error for volume "pvc-1" Volume is already exclusively attached to one node and can't be attached to another
func attached(p *Problem, pod *corev1.Pod, message string, r rollout, w *World) {
	p.Message, p.Grace, p.Retry = message, w.cloudGrace(), detachRetry
	if leaving := w.freeing(pod.Namespace, r); leaving != "" {
		p.Message = "the volume is still attached to another node (" + leaving + ")"
		p.Heals, p.Grace = Expected, 0
		return
	}
	m := attachedTo.FindStringSubmatch(strings.TrimSpace(message))
	if m == nil {
		return
	}
	for _, name := range strings.Split(m[1], ",") {
		for _, old := range r.old {
			if old.Name == strings.TrimSpace(name) {
				p.Heals, p.Grace = Never, 0
				p.Message = fmt.Sprintf("the volume is attached to the node of pod %s, which is kept until this pod is ready: a volume of one node wants strategy.type Recreate", old.Name)
				return
			}
		}
	}
}

var (
	missingPattern = regexp.MustCompile(`(?i)\b(secretproviderclass|secret|configmap)[a-z0-9.-]* "([^"]+)" not found`)
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

// missing fills in the problem of a pod whose ConfigMap or Secret the kubelet does not find. The kubelet says so until it
// tries again, so that an object which is there by now only needs time.
func missing(p *Problem, pod *corev1.Pod, message string, w *World) {
	what := missingObject(message)
	p.Retry = configRetry
	m := missingPattern.FindStringSubmatch(message)
	if m == nil {
		w.absent(p, what, pod.Namespace, "")
		return
	}
	kind := Secrets
	if kindName(m[1]) == "ConfigMap" {
		kind = ConfigMaps
	}
	if object, known := w.find(kind, pod.Namespace, m[2]); known && object != nil {
		p.Message = what + " is there now: the node tries again"
		p.Heals, p.Grace, p.Depends = Expected, cloudLimit, true
		return
	}
	w.absent(p, what, pod.Namespace, m[2])
}

// absent fills in the problem of a pod without an object that it needs: how long the object may take to appear, and what
// to do. The name is empty when only a part of the object is missing.
func (w *World) absent(p *Problem, what, namespace, name string) {
	p.Message = what + " is missing: create it, or add it to the manifests"
	p.Heals, p.Grace, p.Depends = Perhaps, w.Graces.Config, true
	if name == "" {
		return
	}
	if maker := w.maker(namespace, name); maker != "" {
		p.Message = what + " is missing: " + maker + " should make it"
		p.Grace = max(p.Grace, makerLimit)
	}
}

// controllerManager makes, in each new namespace, the ServiceAccount "default" and a ConfigMap with the certificate
// authority of the API server (KEP 1205), which admission adds to each pod.
const controllerManager = "kube-controller-manager"

// clusterAuthority is the name of that ConfigMap.
const clusterAuthority = "kube-root-ca.crt"

// maker returns who is to make an object of a name, or "" when the user is: kube-controller-manager; a custom resource of
// the release that has the name itself, as a SealedSecret does, or that names it, as an ExternalSecret or a Certificate
// may; or a controller of the cluster, when nothing of the release names the object, so that it was admission or an
// operator that put the name into the pod. The sidecar of Istio mounts the ConfigMap istio-ca-root-cert, which istiod makes
// once it has seen the namespace.
func (w *World) maker(namespace, name string) string {
	if name == clusterAuthority {
		return controllerManager
	}
	for _, o := range w.Release {
		if isBuiltin(o.GroupVersionKind().Group) || o.GetNamespace() != "" && o.GetNamespace() != namespace {
			continue
		}
		if o.GetName() == name || names(o.Object["spec"], name) {
			return o.GetKind() + "/" + o.GetName()
		}
	}
	if len(w.Release) > 0 && !w.releaseNames(name) {
		return "a controller of the cluster, since no manifest names it,"
	}
	return ""
}

// releaseNames reports whether an object of the release has a name or holds it in a field, other than in its status.
func (w *World) releaseNames(name string) bool {
	for _, o := range w.Release {
		if o.GetName() == name {
			return true
		}
		for key, value := range o.Object {
			if key != "metadata" && key != "status" && names(value, name) {
				return true
			}
		}
	}
	return false
}

// names reports whether a string stands anywhere in a value.
func names(value any, name string) bool {
	switch v := value.(type) {
	case string:
		return v == name
	case map[string]any:
		for _, item := range v {
			if names(item, name) {
				return true
			}
		}
	case []any:
		for _, item := range v {
			if names(item, name) {
				return true
			}
		}
	}
	return false
}

func kindName(word string) string {
	switch strings.ToLower(word) {
	case "secret":
		return "Secret"
	case "secretproviderclass":
		return "SecretProviderClass"
	}
	return "ConfigMap"
}

func quote(s string) string { return `"` + s + `"` }
