package status

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// creationProblems reads the events of a controller that should have made pods and was not let
//
//	reason: FailedCreate
//	message: 'create Pod redis-0 in StatefulSet redis failed error: pods "redis-0" is forbidden: exceeded quota: …'
//
// They count only while pods are missing, none was made since, and for a moment: the controller may have spoken of the
// template before.
func creationProblems(namespace string, pods []*corev1.Pod, events []*corev1.Event, r rollout, w *World) []Problem {
	var last *corev1.Event
	for _, event := range events {
		switch {
		case event.Reason == "FailedCreate":
			last = event
		case event.Reason == "SuccessfulCreate" && last != nil && lastSeen(event).After(lastSeen(last)):
			last = nil
		}
	}
	if last == nil || slices.ContainsFunc(pods, func(p *corev1.Pod) bool { return madeSince(p, last) }) {
		return nil
	}
	p := refused(namespace, last.Reason, last.Message, r, w)
	if p.Heals == Never {
		p.Heals, p.Grace = Perhaps, min(w.Graces.Config, eventGrace)
	}
	return []Problem{p}
}

// madeSince reports whether a pod is the one that could not be made, which a StatefulSet's controller names, or a later one.
// Times of events and pods are whole seconds.
func madeSince(pod *corev1.Pod, failed *corev1.Event) bool {
	return pod.DeletionTimestamp == nil &&
		(strings.Contains(failed.Message, "pods "+quote(pod.Name)) || pod.CreationTimestamp.After(lastSeen(failed)))
}

// eventGrace is how long a controller that has seen a new template may take to try it.
const eventGrace = 2 * time.Second

// refused explains why the API server takes no pod.
func refused(namespace, reason, message string, r rollout, w *World) Problem {
	p := Problem{Reason: reason, Retry: createRetry}
	lower := strings.ToLower(message)
	switch {
	case strings.Contains(lower, "exceeded quota"):
		p.Message, p.Depends = "the namespace's quota allows no further pod: "+afterForbidden(message), true
		if leaving := w.freeing(namespace, r); leaving != "" {
			p.Message += " (" + leaving + ")"
			p.Heals = Expected
		}
	case containsAny(lower, "violates podsecurity"):
		p.Message = "the namespace's Pod Security standard refuses the pod: " + afterForbidden(message)
	case containsAny(lower, "failed calling webhook", "status unknown for quota", "timeout", "connection refused", "try again", "object is being deleted", "already exists"):
		p.Message = message
		p.Heals, p.Grace, p.Depends = Perhaps, w.Graces.Refused, true
	case strings.Contains(lower, "serviceaccount") && strings.Contains(lower, "not found"):
		p.Message = message
		p.Heals, p.Grace = Perhaps, w.Graces.Config
		if strings.Contains(lower, `serviceaccount "default" not found`) {
			p.Message += ": " + controllerManager + " should make it"
			p.Grace = max(p.Grace, makerLimit)
		}
	default:
		p.Message = "the API server refuses the pod: " + afterForbidden(message)
	}
	return p
}

// afterForbidden drops the generated name of the pod.
func afterForbidden(message string) string {
	if _, rest, ok := strings.Cut(message, "is forbidden: "); ok {
		return rest
	}
	return message
}
