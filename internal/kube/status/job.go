package status

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// job reads
//
//	spec:
//	  completions: 1
//	  parallelism: 1
//	  backoffLimit: 2
//	  activeDeadlineSeconds: 600
//	  suspend: false
//	status:
//	  active: 1
//	  succeeded: 0
//	  failed: 1
//	  conditions:
//	  - type: Failed                  # or Complete; FailureTarget comes first, while pods are being ended
//	    status: "True"
//	    reason: BackoffLimitExceeded  # or DeadlineExceeded, PodFailurePolicy, FailedIndexes
//	    message: Job has reached the specified backoff limit
func job(j *batchv1.Job, w *World) Status {
	want := replicas(j.Spec.Completions)
	status := Status{
		Message:  fmt.Sprintf("%d of %d completed", j.Status.Succeeded, want),
		Limit:    jobLimit,
		Progress: int(j.Status.Succeeded),
	}
	if j.Spec.Suspend != nil && *j.Spec.Suspend {
		return suspended(j)
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
	if j.Spec.ActiveDeadlineSeconds != nil {
		// The Job's own controller ends it first.
		status.Limit = time.Duration(*j.Spec.ActiveDeadlineSeconds)*time.Second + time.Minute
	}
	pods := w.podsOf(j.UID)
	active := slices.DeleteFunc(slices.Clone(pods), func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
	problems := podProblems(active, rollout{}, w)
	for i := range problems {
		// A Job's own backoffLimit says how many crashes are too many.
		if p := &problems[i]; p.Reason == reasonCrash || p.Reason == reasonCrashed || p.Reason == reasonKilled {
			p.Heals, p.Grace = Expected, 0
		}
	}
	problems = append(problems, triesFailed(j, pods)...)
	if j.Status.Active < min(replicas(j.Spec.Parallelism), want-j.Status.Succeeded) {
		problems = append(problems, creationProblems(j.Namespace, pods, w.eventsOf(j.UID), rollout{}, w)...)
	}
	status.Problems = worstFirst(problems)
	return status
}

// queueLabel is set on Jobs that Kueue lets run when there is room.
const queueLabel = "kueue.x-k8s.io/queue-name"

// suspended is the status of a Job that somebody else starts. The manifests ask for that, and nothing is to be waited for;
// one that stands in a queue is waited for.
func suspended(j *batchv1.Job) Status {
	if queue := j.Labels[queueLabel]; queue != "" {
		return Status{Message: "suspended", Problems: []Problem{{
			Reason: "Queued", Message: "it waits in the queue " + queue + " of Kueue", Heals: Expected, Grace: jobLimit,
		}}}
	}
	return Status{Ready: true, Message: "suspended"}
}

// triesFailed tells of pods that failed while the Job goes on: it makes another one after a pause.
func triesFailed(j *batchv1.Job, pods []*corev1.Pod) []Problem {
	if j.Status.Failed == 0 {
		return nil
	}
	limit := int32(6) // the default
	if j.Spec.BackoffLimit != nil {
		limit = *j.Spec.BackoffLimit
	}
	p := Problem{Reason: "TryFailed", Heals: Expected, Message: fmt.Sprintf("%s of at most %d", count(j.Status.Failed, "try has failed", "tries have failed"), limit+1)}
	if pod, c, ended := lastFailure(pods); ended != nil {
		p.Pod, p.Container, p.Logs = pod.Name, c, true
		spec := containerSpec(pod, c)
		p.Message += ": " + exitSentence(ended, spec) + lastWords(ended, spec)
	}
	return []Problem{p}
}

// jobFailed names the pod whose output tells why.
func jobFailed(j *batchv1.Job, w *World, condition batchv1.JobCondition) Problem {
	problem := Problem{Reason: condition.Reason, Message: "the Job failed: " + cmp.Or(condition.Message, condition.Reason)}
	if pod, c, ended := lastFailure(w.podsOf(j.UID)); ended != nil {
		problem.Pod, problem.Container, problem.Logs = pod.Name, c, true
		spec := containerSpec(pod, c)
		problem.Message = "the Job failed: " + exitSentence(ended, spec) + lastWords(ended, spec)
		if condition.Reason != batchv1.JobReasonBackoffLimitExceeded && condition.Message != "" {
			problem.Message += " (" + condition.Message + ")"
		}
	}
	return problem
}

// lastFailure returns the container that ended with a fault last.
func lastFailure(pods []*corev1.Pod) (in *corev1.Pod, container string, end *corev1.ContainerStateTerminated) {
	for _, pod := range byName(pods) {
		for _, c := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
			ended := c.State.Terminated
			if ended == nil {
				ended = c.LastTerminationState.Terminated
			}
			if ended != nil && ended.ExitCode != 0 && (end == nil || ended.FinishedAt.After(end.FinishedAt.Time)) {
				in, container, end = pod, c.Name, ended
			}
		}
	}
	return in, container, end
}

// jobGone judges a Job that is not there any more by how it was last seen: its own ttlSecondsAfterFinished removes it
// when it is done, and then only events tell how it ended.
//
//	reason: Completed              # BackoffLimitExceeded, DeadlineExceeded, FailedIndexes, PodFailurePolicy
func jobGone(last *unstructured.Unstructured, w *World) (Status, bool) {
	if _, found, _ := unstructured.NestedInt64(last.Object, "spec", "ttlSecondsAfterFinished"); !found || last.GetKind() != "Job" {
		return Status{}, false
	}
	before := last.DeepCopy() // as it was before it began to be deleted
	before.SetDeletionTimestamp(nil)
	if s := Of(before, w); s.Ready || len(s.Problems) > 0 && s.Problems[0].Heals == Never {
		return s, true
	}
	for _, event := range w.eventsOf(last.GetUID()) {
		switch event.Reason {
		case "Completed":
			return Status{Ready: true, Message: "complete, and removed by its ttlSecondsAfterFinished"}, true
		case batchv1.JobReasonBackoffLimitExceeded, batchv1.JobReasonDeadlineExceeded, batchv1.JobReasonPodFailurePolicy,
			batchv1.JobReasonFailedIndexes, batchv1.JobReasonMaxFailedIndexesExceeded:
			return Status{Message: "failed", Problems: []Problem{{Reason: event.Reason, Message: "the Job failed: " + event.Message}}}, true
		}
	}
	return Status{Message: "gone", Problems: []Problem{{
		Reason: "Removed", Heals: Perhaps, Grace: w.Graces.Refused,
		Message: "it was removed before its end was seen: give it a longer ttlSecondsAfterFinished",
	}}}, true
}
