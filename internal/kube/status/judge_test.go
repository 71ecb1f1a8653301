package status_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/aksflow/aksflow/internal/kube/status"
)

var (
	deployments = schema.GroupKind{Group: "apps", Kind: "Deployment"}
	services    = schema.GroupKind{Kind: "Service"}
	began       = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
)

// at is a moment of a rollout: what each object is like, and what a Judge is to say of the first.
type at struct {
	seconds float64
	objects []status.Look
	want    string // "waits", "ready" or "failed"
	why     string // part of the message
}

func judge(t *testing.T, moments []at) {
	t.Helper()
	j := status.NewJudge()
	for _, m := range moments {
		verdicts := j.Look(began.Add(time.Duration(m.seconds*float64(time.Second))), m.objects)
		v, next := verdicts[0], false
		for _, verdict := range verdicts {
			next = next || verdict.Next > 0
		}
		got := "waits"
		switch {
		case v.Ready:
			got = "ready"
		case v.Failed:
			got = "failed"
		}
		require.Equal(t, m.want, got, "after %v s: %+v", m.seconds, v)
		assert.Contains(t, v.Message, m.why, "after %v s", m.seconds)
		if got == "waits" {
			assert.True(t, next, "no wait is without a limit")
		}
	}
}

func look(id string, problems ...status.Problem) status.Look {
	return status.Look{ID: id, Kind: deployments, Status: status.Status{Message: "0 of 1 pods are available", Problems: problems}}
}

func progressed(l status.Look, n int) status.Look {
	l.Status.Progress = n
	return l
}

func ready(id string) status.Look {
	return status.Look{ID: id, Kind: deployments, Status: status.Status{Ready: true, Message: "1 of 1 pods are available"}}
}

// crash is a container that has ended so many times; running is the same one while it runs again.
func crash(pod string, n int) status.Problem {
	return status.Problem{Pod: pod, Container: "api", Reason: "CrashLoopBackOff", Message: "it crashed", Depends: true, Attempt: n, Retry: 40 * time.Second}
}

func running(pod string, n int) status.Problem {
	p := crash(pod, n+1)
	p.Heals, p.Grace = status.Perhaps, time.Minute
	return p
}

func notReady(pod string) status.Problem {
	return status.Problem{Pod: pod, Container: "web", Reason: "NotReady", Message: "Readiness probe failed", Heals: status.Perhaps, Grace: 3 * time.Second, Depends: true}
}

func TestCrashWaitsForOthers(t *testing.T) {
	db := look("db", status.Problem{Pod: "db-1", Container: "db", Reason: "NotReady", Message: "Readiness probe failed", Heals: status.Perhaps, Grace: 30 * time.Second, Depends: true})
	t.Run("until they are ready and once more", func(t *testing.T) {
		for _, objects := range [][]status.Look{{db}, {look("db")}} { // with and without a reason of its own
			other := objects[0]
			judge(t, []at{
				{1, []status.Look{look("api", crash("api-1", 2)), other}, "waits", "it crashed"},
				{8, []status.Look{look("api", crash("api-1", 2)), other}, "waits", ""},
				{9, []status.Look{look("api", crash("api-1", 2)), ready("db")}, "waits", ""},
				{18, []status.Look{look("api", running("api-1", 2)), ready("db")}, "waits", ""},
				{19, []status.Look{ready("api"), ready("db")}, "ready", ""},
			})
		}
	})
	t.Run("and is a crash when the next start fails as well", func(t *testing.T) {
		judge(t, []at{
			{1, []status.Look{look("api", crash("api-1", 2)), db}, "waits", ""},
			{9, []status.Look{look("api", crash("api-1", 2)), ready("db")}, "waits", ""},
			{18, []status.Look{look("api", running("api-1", 2)), ready("db")}, "waits", ""},
			{19, []status.Look{look("api", crash("api-1", 3)), ready("db")}, "failed", "it crashed"},
		})
	})
	t.Run("a start from before counts for the time before", func(t *testing.T) {
		judge(t, []at{
			{1, []status.Look{look("api", running("api-1", 2)), db}, "waits", ""},
			{9, []status.Look{look("api", crash("api-1", 3)), ready("db")}, "waits", ""},
			{30, []status.Look{look("api", running("api-1", 3)), ready("db")}, "waits", ""},
			{31, []status.Look{look("api", crash("api-1", 4)), ready("db")}, "failed", ""},
		})
	})
	t.Run("without a readiness probe it is gone between two crashes", func(t *testing.T) {
		judge(t, []at{
			{1, []status.Look{look("api", crash("api-1", 2)), db}, "waits", ""},
			{8, []status.Look{look("api"), db}, "waits", ""},
			{9, []status.Look{look("api", crash("api-1", 2)), ready("db")}, "waits", ""},
		})
	})
	t.Run("alone it is one", func(t *testing.T) {
		judge(t, []at{{1, []status.Look{look("api", crash("api-1", 2))}, "failed", "it crashed"}})
		judge(t, []at{{1, []status.Look{look("api", crash("api-1", 2)), ready("db")}, "failed", "it crashed"}})
	})
	t.Run("two that crash do not wait for each other", func(t *testing.T) {
		judge(t, []at{{1, []status.Look{look("api", crash("api-1", 2)), look("web", crash("web-1", 2))}, "failed", ""}})
		judge(t, []at{
			{1, []status.Look{look("web", running("web-1", 1)), look("api", crash("api-1", 2))}, "waits", ""},
			{2, []status.Look{look("web", crash("web-1", 2)), look("api", crash("api-1", 2))}, "failed", ""},
		})
	})
	t.Run("nor for an address", func(t *testing.T) {
		address := look("Service/web")
		address.Kind = services
		judge(t, []at{{1, []status.Look{look("api", crash("api-1", 2)), address}, "failed", ""}})
	})
	t.Run("what depends on nothing waits for nobody", func(t *testing.T) {
		missing := crash("api-1", 1)
		missing.Depends = false
		judge(t, []at{{1, []status.Look{look("api", missing), db}, "failed", ""}})
	})
}

func TestGraceIsCountedOnce(t *testing.T) {
	t.Run("for a pod that replaces another", func(t *testing.T) {
		judge(t, []at{
			{0, []status.Look{look("web", notReady("web-1"))}, "waits", ""},
			{2, []status.Look{look("web", notReady("web-2"))}, "waits", ""},
			{3, []status.Look{look("web", notReady("web-2"))}, "failed", "Readiness probe failed"},
		})
	})
	t.Run("for a message that changes", func(t *testing.T) {
		other := notReady("web-1")
		other.Message = "Readiness probe failed: 503"
		judge(t, []at{
			{0, []status.Look{look("web", notReady("web-1"))}, "waits", ""},
			{3, []status.Look{look("web", other)}, "failed", "503"},
		})
	})
	t.Run("anew for the next pod of a rolling update", func(t *testing.T) {
		judge(t, []at{
			{0, []status.Look{look("web", notReady("web-1"))}, "waits", ""},
			{2, []status.Look{progressed(look("web", notReady("web-2")), 1)}, "waits", ""},
			{4, []status.Look{progressed(look("web", notReady("web-2")), 1)}, "waits", ""},
			{5, []status.Look{progressed(look("web", notReady("web-2")), 1)}, "failed", ""},
		})
	})
	t.Run("each pod by its own clock", func(t *testing.T) {
		judge(t, []at{
			{0, []status.Look{look("web", notReady("web-1"))}, "waits", ""},
			{2, []status.Look{look("web", notReady("web-1"), notReady("web-2"))}, "waits", ""},
			{2.5, []status.Look{look("web", notReady("web-2"))}, "waits", ""},
			{4, []status.Look{look("web", notReady("web-2"))}, "waits", ""},
			{5, []status.Look{look("web", notReady("web-2"))}, "failed", ""},
		})
	})
	t.Run("anew for one that comes back", func(t *testing.T) {
		judge(t, []at{
			{0, []status.Look{look("web", notReady("web-1"))}, "waits", ""},
			{2, []status.Look{look("web")}, "waits", ""},
			{4, []status.Look{look("web", notReady("web-1"))}, "waits", ""},
		})
	})
	t.Run("from when the others are ready", func(t *testing.T) {
		judge(t, []at{
			{0, []status.Look{look("web", notReady("web-1")), look("db")}, "waits", ""},
			{60, []status.Look{look("web", notReady("web-1")), look("db")}, "waits", ""},
			{61, []status.Look{look("web", notReady("web-1")), ready("db")}, "waits", ""},
			{64, []status.Look{look("web", notReady("web-1")), ready("db")}, "failed", ""},
		})
	})
}

// What is freed heals, and the cluster gets the time to try again.
func TestRetryAfterWhatWasHeld(t *testing.T) {
	leaving := status.Problem{Reason: "FailedCreate", Message: "quota (pod web-1 is still terminating)", Heals: status.Expected, Retry: 30 * time.Second}
	quota := status.Problem{Reason: "FailedCreate", Message: "quota", Retry: 30 * time.Second}
	judge(t, []at{{0, []status.Look{look("web", quota)}, "failed", "quota"}})
	judge(t, []at{
		{0, []status.Look{look("web", leaving)}, "waits", "still terminating"},
		{20, []status.Look{look("web", leaving)}, "waits", ""},
		{21, []status.Look{look("web", quota)}, "waits", ""},
		{49, []status.Look{look("web", quota)}, "waits", ""},
		{51, []status.Look{look("web", quota)}, "failed", ""},
	})
	room := status.Problem{Pod: "web-2", Reason: "Unschedulable", Message: "no node takes the pod", Heals: status.Perhaps, Grace: 2 * time.Second, Retry: 20 * time.Second}
	held := room
	held.Heals, held.Grace = status.Expected, 0
	judge(t, []at{
		{0, []status.Look{look("web", held)}, "waits", ""},
		{8, []status.Look{look("web", held)}, "waits", ""},
		{11, []status.Look{look("web", room)}, "waits", ""},
		{29, []status.Look{look("web", room)}, "failed", ""},
	})
}

// A crash beside a container that was still starting says nothing: the next attempt counts. The one that was running when the
// other became ready began without it.
func TestCrashBesideOneThatStarts(t *testing.T) {
	beside := func(attempt int) status.Problem {
		p := crash("web-1", attempt)
		p.Heals, p.Grace = status.Expected, 0
		return p
	}
	judge(t, []at{
		{0, []status.Look{look("web", beside(2))}, "waits", ""},
		{10, []status.Look{look("web", beside(3))}, "waits", ""}, // it runs, then the other is ready
		{11, []status.Look{look("web", crash("web-1", 3))}, "waits", ""},
		{30, []status.Look{look("web", crash("web-1", 4))}, "failed", ""},
	})
}

// A pod in CrashLoopBackOff that was there before the deploy has to fail once more.
func TestStaleProblems(t *testing.T) {
	stale := crash("api-1", 9)
	stale.Stale = true
	again := crash("api-1", 10)
	again.Stale = true
	judge(t, []at{
		{0, []status.Look{look("api", stale)}, "waits", ""},
		{20, []status.Look{look("api", stale)}, "waits", ""},
		{21, []status.Look{look("api", again)}, "failed", ""},
	})
	judge(t, []at{
		{0, []status.Look{look("api", stale)}, "waits", ""},
		{41, []status.Look{look("api", stale)}, "failed", ""},
	})
}

func TestNoWaitIsWithoutALimit(t *testing.T) {
	starting := status.Problem{Pod: "web-1", Reason: "ContainerCreating", Message: "the node pulls the image", Heals: status.Expected}
	judge(t, []at{
		{0, []status.Look{look("web")}, "waits", ""},
		{599, []status.Look{look("web")}, "waits", ""},
		{600, []status.Look{look("web")}, "failed", "no progress for 10m: 0 of 1 pods"},
	})
	judge(t, []at{
		{0, []status.Look{look("web", starting)}, "waits", ""},
		{500, []status.Look{progressed(look("web", starting), 1)}, "waits", ""},
		{1099, []status.Look{progressed(look("web", starting), 1)}, "waits", ""},
		{1100, []status.Look{progressed(look("web", starting), 1)}, "failed", "the node pulls the image (no progress for 10m)"},
	})
}

// Two that wait for each other do not wait for ever.
func TestNoDeadlock(t *testing.T) {
	other := notReady("db-1")
	judge(t, []at{
		{0, []status.Look{look("web", notReady("web-1")), look("db", other)}, "waits", ""},
		{2.9, []status.Look{look("web", notReady("web-1")), look("db", other)}, "waits", ""},
		{3, []status.Look{look("web", notReady("web-1")), look("db", other)}, "failed", ""},
	})
	waiting := status.Problem{Pod: "p", Container: "wait", Reason: "Initializing", Message: "init container wait is running", Heals: status.Expected, Depends: true}
	judge(t, []at{
		{0, []status.Look{look("web", waiting), look("db", waiting)}, "waits", ""},
		{600, []status.Look{look("web", waiting), look("db", waiting)}, "failed", "init container wait is running (no progress"},
	})
}

func TestTheReasonShownIsTheOneThatDecided(t *testing.T) {
	slow := status.Problem{Pod: "web-1", Container: "web", Reason: "NotReady", Message: "slow", Heals: status.Perhaps, Grace: time.Minute}
	short := status.Problem{Pod: "web-2", Container: "web", Reason: "Config", Message: "short", Heals: status.Perhaps, Grace: 3 * time.Second}
	judge(t, []at{
		{0, []status.Look{look("web", slow, short)}, "waits", "slow"},
		{3, []status.Look{look("web", slow, short)}, "failed", "short"},
	})
}

func TestForgiven(t *testing.T) {
	silent := status.Problem{Reason: "Silent", Message: "nothing answers", Heals: status.Forgiven, Grace: 10 * time.Second}
	judge(t, []at{
		{0, []status.Look{look("route", silent)}, "waits", ""},
		{10, []status.Look{look("route", silent)}, "ready", "nothing answers"},
	})
}
