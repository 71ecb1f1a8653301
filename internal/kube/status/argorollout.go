package status

import (
	"cmp"
	"strconv"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// argoRollout reads a Rollout of Argo Rollouts, whose condition Available is about the pods of the version before, too
// (https://github.com/argoproj/argo-rollouts/blob/v1.8.3/pkg/apis/rollouts/v1alpha1/types.go)
//
//	metadata:
//	  generation: 3
//	spec:
//	  strategy: {canary: {steps: [{setWeight: 20}, {pause: {}}]}}
//	status:
//	  observedGeneration: "3"      # a text
//	  phase: Progressing           # or Paused, Degraded, Healthy
//	  message: more replicas need to be updated
//	  currentStepIndex: 1
//
// One that waits at a step for somebody to promote it is as far as a deploy brings it.
func argoRollout(o *unstructured.Unstructured, w *World) Status {
	phase, message := stringAt(o, "status", "phase"), stringAt(o, "status", "message")
	observed, err := strconv.ParseInt(stringAt(o, "status", "observedGeneration"), 10, 64)
	switch {
	case phase == "", err == nil && observed < o.GetGeneration():
		return Status{Message: "not looked at yet", Problems: []Problem{{
			Reason: "NotObserved", Message: "its controller, Argo Rollouts, has not looked at it: is it running?", Heals: Perhaps, Grace: w.cloudGrace(),
		}}}
	case phase == "Healthy":
		return Status{Ready: true, Message: "is Healthy"}
	case phase == "Paused" && !pausesFor(o):
		return Status{Ready: true, Message: "is paused at a step of its own, and goes on when somebody promotes it: " + message}
	case phase == "Degraded" && !w.Before.sameStatus(o):
		return Status{Message: "is Degraded", Problems: []Problem{{Reason: phase, Message: cmp.Or(message, "Argo Rollouts does not say why")}}}
	}
	return Status{Message: "is " + phase, Problems: []Problem{{
		Reason: phase, Message: cmp.Or(message, "Argo Rollouts is at work"), Heals: Expected, Grace: operatorLimit,
	}}}
}

// pausesFor reports whether the step that a canary is at ends by itself.
func pausesFor(o *unstructured.Unstructured) bool {
	at, _, _ := unstructured.NestedInt64(o.Object, "status", "currentStepIndex")
	steps, _, _ := unstructured.NestedSlice(o.Object, "spec", "strategy", "canary", "steps")
	if at < 0 || at >= int64(len(steps)) {
		return false
	}
	step, _ := steps[at].(map[string]any)
	_, found, _ := unstructured.NestedFieldNoCopy(step, "pause", "duration")
	return found
}
