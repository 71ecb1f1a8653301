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
//	    status: "False"
//	    reason: InvalidSpec
//	    message: spec.size must be positive
//	    severity: Error              # Azure Service Operator's, and Cluster API's: Info is no fault, Error will not heal
//
// A resource without conditions is ready: most have no controller that writes any. One whose controller says that it is
// at work may take as long as it takes, a database in the cloud half an hour; one that is just not ready gets the time
// that a cloud needs for small things.
func custom(o *unstructured.Unstructured, w *World) Status {
	waits := func(message, problem, reason string) Status {
		return Status{Message: message, Problems: []Problem{{Reason: reason, Message: problem, Heals: Perhaps, Grace: w.cloudGrace()}}}
	}
	unseen := waits("not looked at yet by its controller", "is it running?", "NotObserved")
	observed, found, _ := unstructured.NestedInt64(o.Object, "status", "observedGeneration")
	if found && observed < o.GetGeneration() {
		return unseen
	}
	conditions := conditionsOf(o)
	if c := conditions["Stalled"]; c.status == "True" {
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
		switch {
		case c.outdated(o.GetGeneration()):
			return unseen
		case c.status == "True":
			return Status{Ready: true, Message: "is " + positive}
		}
		not := "not " + positive + " yet"
		switch c.severity {
		case "Info":
			return atWork(not, c)
		case "Error":
			return Status{Message: not, Problems: []Problem{{Reason: c.reason, Message: text(c, c.reason)}}}
		}
		return waits(not, text(c, "its controller does not say why"), c.reason)
	}
	return Status{Ready: true}
}

// atWork is the status of what needs nothing but time.
func atWork(message string, c condition) Status {
	return Status{Message: message, Problems: []Problem{{Reason: c.reason, Message: text(c, "its controller is at work"), Heals: Expected}}}
}

type condition struct {
	status, reason, message, severity string
	observed                          int64 // 0 where it is not said
}

// outdated says that the condition is about an older spec.
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
