package status

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// terminating is the status of an object that is being deleted
//
//	metadata:
//	  deletionTimestamp: "2026-11-26T12:50:27Z"
//	  finalizers: [example.com/cleanup]     # it stays until they are gone
//
// It does not count as there: whoever applied it has to make it anew when it is gone.
func terminating(o *unstructured.Unstructured, w *World) Status {
	if s, done := jobGone(o, w); done && s.Problems == nil {
		return s // its ttlSecondsAfterFinished removes it
	}
	message := "it is being deleted by somebody else"
	if finalizers := o.GetFinalizers(); len(finalizers) > 0 {
		message += ", and waits for its finalizers: " + strings.Join(finalizers, ", ")
	}
	return Status{Message: "terminating", Problems: []Problem{{Reason: "Terminating", Message: message, Heals: Perhaps, Grace: w.cloudGrace()}}}
}

// Gone returns the status of an object that was applied and is not there any more. Last is how it was seen last; nil when
// it was never seen.
func Gone(last *unstructured.Unstructured, w *World) Status {
	if last == nil {
		return Status{Message: "not there yet"}
	}
	if s, done := jobGone(last, w); done {
		return s
	}
	return Status{Message: "gone", Problems: []Problem{{
		Reason: "Deleted", Heals: Perhaps, Grace: w.Graces.Refused,
		Message: fmt.Sprintf("somebody deleted it while it was waited for (uid %s)", last.GetUID()),
	}}}
}
