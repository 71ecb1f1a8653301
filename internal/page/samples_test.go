package page

import (
	"errors"
	"strings"
	"time"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/manifest"
	"github.com/aksflow/aksflow/internal/core/report"
)

const (
	digest     = "sha256:c9d679eea6ed0c5dc4b3f3c3b3ed3f4a5b6c7d8e9f0a1b2c3d4e5f60718293a4"
	repository = "myregistry.azurecr.io/team/vote"
)

var began = time.Date(2026, 11, 26, 21, 5, 0, 0, time.UTC)

// clock makes events at moments after the beginning of a run.
type clock struct{ events []report.Event }

func (c *clock) at(after float64, e report.Event) {
	e.Time = began.Add(time.Duration(after * float64(time.Second)))
	c.events = append(c.events, e)
}

func (c *clock) progress(after float64, step, object, message string) {
	c.at(after, report.Event{Kind: report.Progress, Step: step, Object: object, Message: message})
}

func (c *clock) observe(after float64, pod, message string) {
	c.at(after, report.Event{Kind: report.Observation, Step: "deploy", Object: pod, PartOf: "Deployment/vote", Message: message})
}

// early are the events of the steps before a deploy.
func early() *clock {
	c := &clock{}
	c.at(0, report.Event{Kind: report.Warning, Message: "app has changes that are not committed"})
	c.at(0, report.Event{Kind: report.StepStarted, Step: "build"})
	c.progress(0.1, "build", "[base 2/3] RUN apt-get update && apt-get install -y --no-install-recommends gunicorn", "cached")
	c.progress(4, "build", "[runtime 2/2] COPY vote vote", "done in 0.2s")
	c.at(5, report.Event{Kind: report.StepStarted, Step: "test"})
	c.progress(5.1, "test", "redis", "ready")
	c.progress(12, "test", "unit", "30 passed")
	c.at(12, report.Event{Kind: report.Log, Step: "test", Object: "unit", Message: "30 passed in 0.9s"})
	c.at(14, report.Event{Kind: report.StepStarted, Step: "publish"})
	c.progress(16, "publish", "c9d679eea6ed", "pushed, 12.1 MiB")
	c.at(17, report.Event{Kind: report.StepStarted, Step: "deploy"})
	c.progress(17.5, "deploy", "Deployment/vote", "configured")
	return c
}

func tested() *delivery.Tested {
	d := &delivery.Tested{Summary: "2 passed"}
	for _, name := range []string{"tests.unit.test_ballot.test_counts", "tests.unit.test_page.test_title"} {
		d.Tests = append(d.Tests, delivery.Test{Suite: "unit", Name: "unit: " + name, Status: "passed", Seconds: 0.03})
	}
	return d
}

func built() *delivery.Built {
	return &delivery.Built{Digest: digest, Layers: []delivery.Layer{
		{Digest: "sha256:" + strings.Repeat("a1", 32), Size: 29_780_000, CreatedBy: "debian:trixie-slim"},
		{Digest: "sha256:" + strings.Repeat("b2", 32), Size: 18_900_000, CreatedBy: "RUN apt-get update && apt-get install -y --no-install-recommends gunicorn python3-flask python3-redis"},
		{Digest: "sha256:" + strings.Repeat("c3", 32), Size: 6_200, CreatedBy: "COPY vote vote"},
	}}
}

// delivered is a run that went well.
func delivered() *Run {
	c := early()
	c.observe(17.8, "Pod/vote-6d9f7c-x2x4v", "not scheduled yet")
	c.observe(18, "Pod/vote-6d9f7c-x2x4v", "Scheduled: assigned to aks-pool-1")
	c.observe(19, "Pod/vote-6d9f7c-x2x4v", "ContainerCreating")
	c.observe(22, "Pod/vote-6d9f7c-x2x4v", "running, not ready")
	c.observe(24, "Pod/vote-6d9f7c-x2x4v", "ready")
	c.observe(24.5, "Pod/vote-58b4fd-k9k2p", "terminating")
	c.progress(18, "deploy", "Deployment/vote", "0 of 1 pods ready")
	c.progress(24, "deploy", "Deployment/vote", "ready")
	return &Run{
		App: "vote", Verb: "deliver", Environment: "dev", Target: "push", Reason: "branch develop", Delivered: true, Changed: true,
		Image: repository + "@" + digest, Version: "1.4.0-dev", Tags: []string{"1a2b3c4d5e6f", "develop"},
		Source: delivery.Source{Commit: "1a2b3c4d5e6f7a8b9c0d1a2b3c4d5e6f7a8b9c0d", Dirty: true}, Revision: 7,
		Began: began, Elapsed: 25 * time.Second, User: "kim@laptop", RunURL: "https://github.com/team/vote/actions/runs/7",
		Events: c.events,
		Proofs: []Proof{
			{Kind: "provenance", By: "https://github.com/team/vote/.github/workflows/deliver.yml@refs/heads/develop", Verified: true},
			{Kind: "SBOM", By: "https://github.com/team/vote/.github/workflows/deliver.yml@refs/heads/develop", Message: "117 packages", Verified: true},
			{Kind: "tests", Message: "passed: 2 passed, 2026-02-03 10:00 UTC; it does not count: it is not signed"},
			{Kind: "record of dev", By: "ci.pub", Message: "proved at 2026-02-03 10:01 UTC: deploy", Verified: true},
		},
		Steps: []Step{
			{Name: "build", Status: delivery.Done, Seconds: 5, Message: report.ShortDigest(digest), Detail: built()},
			{Name: "test", Status: delivery.Done, Seconds: 9, Message: "2 passed", Detail: tested()},
			{Name: "publish", Status: delivery.Done, Seconds: 3, Message: repository + "@" + digest},
			{Name: "deploy", Status: delivery.Done, Seconds: 8, Message: "revision 7, 2 objects", Detail: &delivery.Deployed{
				Revision: 7, Objects: []delivery.Object{{Ref: "ConfigMap/vote", Status: "unchanged"}, {Ref: "Deployment/vote", Status: "configured"}},
				Diff: "--- live/Deployment/vote-dev/vote\n+++ new/Deployment/vote-dev/vote\n@@ -20,7 +20,7 @@\n       containers:\n" +
					"-      - image: " + repository + "@sha256:0c5dc4\n+      - image: " + repository + "@sha256:c9d679\n",
			}},
		},
	}
}

// failedRollout is a run whose pods crash.
func failedRollout() *Run {
	r := delivered()
	c := early()
	c.observe(18, "Pod/vote-6d9f7c-x2x4v", "Scheduled: assigned to aks-pool-1")
	c.observe(20, "Pod/vote-6d9f7c-x2x4v", "CrashLoopBackOff, 2 restarts")
	c.progress(20, "deploy", "Deployment/vote", "0 of 1 pods ready: container vote crashes")
	c.progress(24, "deploy", "Deployment/vote", "restored")
	r.Events, r.Delivered, r.RolledBack, r.Revision = c.events, false, true, 6
	r.Err = errors.New("deploy: Deployment/vote: container vote of pod vote-6d9f7c-x2x4v: it exits with 1\n    | KeyError: 'REDIS'")
	deploy := &r.Steps[3]
	deploy.Status, deploy.Message = delivery.Failed, "revision 6 is back"
	deploy.Reasons = []delivery.Reason{{
		Object: "Deployment/vote", Reason: "CrashLoopBackOff", Message: "it exits with 1", Pod: "vote-6d9f7c-x2x4v", Container: "vote",
		Logs: []string{"Traceback (most recent call last):", `  File "/app/vote/settings.py", line 12, in load`, "KeyError: 'REDIS'"},
	}}
	deploy.Detail = &delivery.Deployed{Revision: 6, RolledBack: true, Objects: []delivery.Object{
		{Ref: "Deployment/vote", Status: "failed", Message: "it exits with 1"},
	}}
	return r
}

// failedTests is a run that ended with its tests.
func failedTests() *Run {
	r := delivered()
	r.Err = errors.New("test: 1 of 3 tests failed:\n  unit: tests.unit.test_page.test_color (app/tests/unit/test_page.py:41): assert 'red' == 'blue'")
	r.Image, r.Delivered, r.Changed, r.Revision, r.Tags = "", false, false, 0, nil
	d := tested()
	d.Summary = "2 passed, 1 failed"
	d.Tests = append(d.Tests, delivery.Test{
		Suite: "unit", Name: "unit: tests.unit.test_page.test_color", Status: "failed", Seconds: 0.02,
		Message: "assert 'red' == 'blue'", File: "app/tests/unit/test_page.py", Line: 41,
		Detail: "    def test_color(page):\n>       assert page.color == 'blue'\nE       assert 'red' == 'blue'\n\napp/tests/unit/test_page.py:41: AssertionError",
	})
	r.Steps[1] = Step{Name: "test", Status: delivery.Failed, Seconds: 9, Message: "2 passed, 1 failed", Detail: d, Reasons: []delivery.Reason{{
		Object: "unit: tests.unit.test_page.test_color", Reason: "failed", Message: "assert 'red' == 'blue'", File: "app/tests/unit/test_page.py", Line: 41,
	}}}
	for i := 2; i < len(r.Steps); i++ {
		r.Steps[i] = Step{Name: r.Steps[i].Name, Status: delivery.Skipped}
	}
	return r
}

// proposed is a run by pull that ended with a pull request.
func proposed() *Run {
	r := delivered()
	r.Environment, r.Target, r.Delivered, r.Revision = "production", "pull", false, 0
	r.PullRequest, r.Commit = "https://github.com/team/config/pull/7", "3c1f0292015e5e5e"
	r.Steps[3] = Step{Name: "bump", Status: delivery.Done, Seconds: 1.2, Message: "pull request 7", Detail: &delivery.Bumped{
		Changes: []manifest.Change{{File: "apps/vote/kustomization.yaml", Line: 12, From: "vote@sha256:0c5dc4", To: "vote@" + digest}},
	}}
	return r
}
