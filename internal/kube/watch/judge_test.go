package watch_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/aksflow/aksflow/internal/kube/plan"
	"github.com/aksflow/aksflow/internal/kube/status"
	"github.com/aksflow/aksflow/internal/kube/watch"
)

var (
	web   = plan.Ref{Group: "apps", Kind: "Deployment", Namespace: "dev", Name: "web"}
	redis = plan.Ref{Group: "apps", Kind: "Deployment", Namespace: "dev", Name: "redis"}
	front = plan.Ref{Kind: "Service", Namespace: "dev", Name: "web"}
)

func unready(ref plan.Ref, problems ...status.Problem) watch.Observation {
	return watch.Observation{Ref: ref, Status: status.Status{Message: "on its way", Problems: problems}}
}

func ready(ref plan.Ref) watch.Observation {
	return watch.Observation{Ref: ref, Status: status.Status{Ready: true}}
}

// probe is a probe of a pod that failed and may pass within 30 s.
func probe(pod string) status.Problem {
	return status.Problem{Pod: pod, Container: "web", Reason: "NotReady", Message: "the probe failed", Heals: status.Perhaps, Grace: 30 * time.Second}
}

// TestEachPodHasItsClock is a rolling update whose pods each take 20 s, within a probe's 30 s.
func TestEachPodHasItsClock(t *testing.T) {
	var judge watch.Judge
	start := time.Now()
	at := func(seconds int, o watch.Observation) watch.Verdict {
		return judge.Look(start.Add(time.Duration(seconds)*time.Second), []watch.Observation{o})[0]
	}
	assert.False(t, at(0, unready(web, probe("web-1"))).Failed)
	assert.False(t, at(20, unready(web, probe("web-2"))).Failed)
	v := at(40, unready(web, probe("web-2")))
	assert.False(t, v.Failed, "the second pod has failed for 20 s, and the first one is ready")
	assert.Equal(t, 10*time.Second, v.Remaining)
	assert.True(t, at(50, unready(web, probe("web-2"))).Failed)
}

func TestAProblemThatGoesAwayIsForgotten(t *testing.T) {
	var judge watch.Judge
	start := time.Now()
	look := func(seconds int, o watch.Observation) bool {
		return judge.Look(start.Add(time.Duration(seconds)*time.Second), []watch.Observation{o})[0].Failed
	}
	assert.False(t, look(0, unready(web, probe("web-1"))))
	assert.False(t, look(20, unready(web)))
	assert.False(t, look(40, unready(web, probe("web-1"))))
	assert.True(t, look(70, unready(web, probe("web-1"))))
}

func TestGraceOfWhatDependsBeginsWhenNothingElseIsPending(t *testing.T) {
	waits := probe("web-1")
	waits.Depends = true
	var judge watch.Judge
	start := time.Now()
	look := func(seconds int, others ...watch.Observation) watch.Verdict {
		return judge.Look(start.Add(time.Duration(seconds)*time.Second), append([]watch.Observation{unready(web, waits)}, others...))[0]
	}
	assert.False(t, look(0, unready(redis)).Failed)
	assert.False(t, look(300, unready(redis)).Failed)
	assert.False(t, look(310, ready(redis), unready(front)).Failed, "no container waits for an address")
	assert.False(t, look(329, ready(redis)).Failed)
	v := look(340, ready(redis))
	assert.True(t, v.Failed)
	assert.Equal(t, waits, v.Problem)

	judge = watch.Judge{}
	other := probe("redis-1")
	other.Depends = true
	assert.False(t, look(0, unready(redis, other)).Failed)
	assert.True(t, look(30, unready(redis, other)).Failed, "two that wait for each other do not wait for ever")
}

func TestTheProblemThatDecidesIsNamed(t *testing.T) {
	slow := status.Problem{Pod: "web-1", Reason: "Slow", Heals: status.Expected}
	gone := status.Problem{Pod: "web-1", Reason: "Gone", Message: "no such image"}
	silent := status.Problem{Reason: "Silent", Message: "no Gateway answers", Heals: status.Forgiven, Grace: 10 * time.Second}
	var judge watch.Judge
	start := time.Now()
	v := judge.Look(start, []watch.Observation{unready(web, slow, gone)})[0]
	assert.True(t, v.Failed)
	assert.Equal(t, gone, v.Problem)

	v = judge.Look(start, []watch.Observation{unready(web, slow)})[0]
	assert.False(t, v.Failed)
	assert.Equal(t, slow, v.Problem)

	verdicts := judge.Look(start, []watch.Observation{unready(front, silent), ready(web)})
	assert.False(t, watch.Ready(verdicts))
	assert.Equal(t, 10*time.Second, watch.Remaining(verdicts))
	verdicts = judge.Look(start.Add(10*time.Second), []watch.Observation{unready(front, silent), ready(web)})
	assert.True(t, watch.Ready(verdicts), "forgiven")
	assert.Equal(t, "no Gateway answers", verdicts[0].Status.Message)
}
