package status

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// definition reads
//
//	status:
//	  conditions:
//	  - type: Established
//	    status: "True"
//	  - type: NamesAccepted          # False: another definition has the name
//	    status: "True"
func definition(o *unstructured.Unstructured) Status {
	conditions := conditionsOf(o)
	if c, ok := conditions["NamesAccepted"]; ok && c.status == "False" {
		return Status{Message: "its names are taken", Problems: []Problem{{Reason: c.reason, Message: c.message}}}
	}
	if conditions["Established"].status == "True" {
		return Status{Ready: true, Message: "established"}
	}
	return Status{Message: "not established yet"}
}

// custom reads what the API conventions ask of a custom resource's controller
//
//	metadata:
//	  generation: 2
//	status:
//	  observedGeneration: 2
//	  conditions:
//	  - type: Ready                  # or Available, Programmed, Succeeded; Reconciling and Stalled tell the opposite
//	    status: "False"              # Unknown while the controller is at work
//	    reason: InvalidSpec
//	    message: spec.size must be positive
//	    severity: Error              # Azure Service Operator's, and Cluster API's: Info is no fault, Error will not heal
//
// A resource without conditions is ready: most have no controller that writes any. One whose controller says that it is
// at work may take as long as it takes, a database in the cloud half an hour; one that is just not ready gets the time
// that a cloud needs for small things. What a status says that is still the one from before the deploy proves nothing.
func custom(o *unstructured.Unstructured, w *World) Status {
	unseen := Status{Message: "not looked at yet", Problems: []Problem{{
		Reason: "NotObserved", Message: "its controller has not looked at it: is it running?", Heals: Perhaps, Grace: w.cloudGrace(),
	}}}
	observed, found, _ := unstructured.NestedInt64(o.Object, "status", "observedGeneration")
	if found && observed < o.GetGeneration() {
		return unseen
	}
	conditions := conditionsOf(o)
	if c := conditions["Stalled"]; c.status == "True" && !w.Before.sameStatus(o) {
		return Status{Message: "stalled", Problems: []Problem{{Reason: c.reason, Message: c.message}}}
	}
	if c := conditions["Reconciling"]; c.status == "True" {
		return atWork("reconciling", c)
	}
	for _, positive := range []string{"Ready", "Available", "Programmed", "Succeeded"} {
		c, ok := conditions[positive]
		if !ok {
			continue
		}
		if c.outdated(o.GetGeneration()) {
			return unseen
		}
		return byCondition(o, positive, c, !found && c.observed == 0, w)
	}
	return Status{Ready: true}
}

// byCondition judges a custom resource by the condition that sums up the others. Undated says that nothing tells which
// generation it is about.
func byCondition(o *unstructured.Unstructured, kind string, c condition, undated bool, w *World) Status {
	not := "not " + kind + " yet"
	before := w.Before.sameStatus(o)
	switch {
	case c.status == "True" && undated && before:
		return Status{Message: not, Problems: []Problem{{
			Reason: "NotObserved", Message: "is " + kind + ", as it was before the change", Heals: Forgiven, Grace: w.Graces.Route,
		}}}
	case c.status == "True":
		return Status{Ready: true, Message: "is " + kind}
	case c.severity == "Info", c.severity == "" && (c.status == "Unknown" || isAtWork(c.reason)):
		return atWork(not, c)
	case !before && (c.severity == "Error" || kind == "Succeeded" && c.status == "False"):
		return Status{Message: not, Problems: []Problem{{Reason: c.reason, Message: text(c, c.reason)}}}
	}
	return Status{Message: not, Problems: []Problem{{
		Reason: c.reason, Message: text(c, "its controller does not say why"), Heals: Perhaps, Grace: w.cloudGrace(),
	}}}
}

// isAtWork reports whether a reason is one of the words by which controllers say that they need time:
// https://github.com/crossplane, https://cloudnative-pg.io and cert-manager use such.
func isAtWork(reason string) bool {
	return containsAny(reason, "Creating", "Provisioning", "Pending", "Progressing", "InProgress", "Reconciling", "Initializing",
		"Issuing", "Deploying", "Updating", "Upgrading", "Scaling", "Starting")
}

// atWork is the status of what needs nothing but time.
func atWork(message string, c condition) Status {
	return Status{Message: message, Problems: []Problem{{
		Reason: c.reason, Message: text(c, "its controller is at work"), Heals: Expected, Grace: operatorLimit,
	}}}
}

type condition struct {
	status, reason, message, severity string
	observed                          int64 // 0 where it is not said
}

// outdated reports whether the condition is about an older spec.
func (c condition) outdated(generation int64) bool { return c.observed > 0 && c.observed < generation }

func conditionsOf(o *unstructured.Unstructured) map[string]condition {
	status, _, _ := unstructured.NestedMap(o.Object, "status")
	return conditionsIn(status)
}

func conditionsIn(status map[string]any) map[string]condition {
	list, _, _ := unstructured.NestedSlice(status, "conditions")
	conditions := make(map[string]condition, len(list))
	for _, item := range list {
		fields, _ := item.(map[string]any)
		value := func(name string) string { s, _ := fields[name].(string); return s }
		observed, _ := fields["observedGeneration"].(int64)
		conditions[value("type")] = condition{value("status"), value("reason"), value("message"), value("severity"), observed}
	}
	return conditions
}

func text(c condition, fallback string) string {
	if c.message != "" {
		return c.message
	}
	return fallback
}

// stringAt returns the string at a path of an object, or "".
func stringAt(o *unstructured.Unstructured, path ...string) string {
	s, _, _ := unstructured.NestedString(o.Object, path...)
	return s
}
