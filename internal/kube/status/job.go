package status

import (
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// job reads
//
//	spec:
//	  completions: 1
//	  backoffLimit: 2
//	  suspend: false
//	status:
//	  active: 1
//	  succeeded: 0
//	  failed: 1
//	  conditions:
//	  - type: Failed                  # or Complete; FailureTarget comes first, while pods are being ended
//	    status: "True"
//	    reason: BackoffLimitExceeded
//	    message: Job has reached the specified backoff limit
func job(j *batchv1.Job, w *World) Status {
	want := int32(1)
	if j.Spec.Completions != nil {
		want = *j.Spec.Completions
	}
	status := Status{Message: fmt.Sprintf("%d of %d completed", j.Status.Succeeded, want)}
	if j.Spec.Suspend != nil && *j.Spec.Suspend {
		return Status{Ready: true, Message: "suspended"}
	}
	for _, condition := range j.Status.Conditions {
		if condition.Status != corev1.ConditionTrue {
			continue
		}
		switch condition.Type {
		case batchv1.JobComplete, batchv1.JobSuccessCriteriaMet:
			return Status{Ready: true, Message: "complete"}
		case batchv1.JobFailed, batchv1.JobFailureTarget:
			return Status{Message: "failed", Problems: []Problem{jobFailed(j, w, condition)}}
		}
	}
	problems := creationProblems(w.eventsOf(j.UID), w)
	for _, problem := range podProblems(w.podsOf(j.UID), w) {
		// A Job's own backoffLimit says how many crashes are too many.
		if problem.Reason == reasonCrash || problem.Reason == reasonCrashed {
			problem.Heals, problem.Grace = Expected, 0
		}
		problems = append(problems, problem)
	}
	status.Problems = worstFirst(problems)
	return status
}

// jobFailed names the pod whose output tells why.
func jobFailed(j *batchv1.Job, w *World, condition batchv1.JobCondition) Problem {
	problem := Problem{Reason: condition.Reason, Message: "the Job failed: " + condition.Message}
	for _, pod := range w.podsOf(j.UID) {
		for _, container := range append(append([]corev1.ContainerStatus{}, pod.Status.InitContainerStatuses...), pod.Status.ContainerStatuses...) {
			ended := container.State.Terminated
			if ended == nil {
				ended = container.LastTerminationState.Terminated
			}
			if ended != nil && ended.ExitCode != 0 {
				problem.Pod, problem.Container, problem.Logs = pod.Name, container.Name, true
				problem.Message = "the Job failed: " + exitSentence(ended)
			}
		}
	}
	return problem
}
