package watch

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/kube"
	"github.com/aksflow/aksflow/internal/kube/status"
)

// RolloutError reports objects that did not get ready, and why.
type RolloutError struct {
	// Failures are the objects that failed, or that were not ready when the time was up.
	Failures []Failure
	// TimedOut is set when the context ended the wait.
	TimedOut error
}

// Failure is one object that did not get ready, and the reason that decided.
type Failure struct {
	Ref       string `json:"ref"` // Deployment/vote
	Pod       string `json:"pod,omitempty"`
	Container string `json:"container,omitempty"`
	Reason    string `json:"reason,omitempty"` // the cluster's own word
	Message   string `json:"message"`
	// Logs are the last lines of the container that failed, those of its previous run first.
	Logs []string `json:"logs,omitempty"`
}

func (e *RolloutError) Error() string {
	lines := make([]string, 0, len(e.Failures))
	for _, f := range e.Failures {
		line := f.Ref + ": " + Describe(f.Ref, status.Problem{Pod: f.Pod, Container: f.Container, Message: f.Message})
		for _, log := range f.Logs {
			line += "\n    | " + log
		}
		lines = append(lines, line)
	}
	if e.TimedOut != nil {
		return fmt.Sprintf("not ready in time (%v): %s", e.TimedOut, strings.Join(lines, "\n  "))
	}
	return strings.Join(lines, "\n  ")
}

func (e *RolloutError) Unwrap() error { return e.TimedOut }

// Options say how [Await] waits.
type Options struct {
	// Namespace is the release's own: objects in it are named without it.
	Namespace string
	// Baseline is the moment before the objects were applied.
	Baseline Baseline
	// Grace is how long a problem that may heal is watched; 0 means the default of each kind.
	Grace time.Duration
	// Keep is how long to watch at least, ready or not.
	Keep time.Duration
}

// settleDelay is how long changes are gathered before they are looked at, since they come many at a time.
const settleDelay = 25 * time.Millisecond

// Await returns when all objects, given as the server returned them, are ready, or with a [*RolloutError] as soon as one
// of them cannot get ready.
func Await(ctx context.Context, c *kube.Cluster, objects []*unstructured.Unstructured, o Options) error {
	a := &await{cluster: c, namespace: o.Namespace, until: time.Now().Add(o.Keep)}
	var follow []Object
	for _, object := range objects {
		if status.Watched(object) {
			a.objects = append(a.objects, &awaited{Object: ObjectOf(object), generation: object.GetGeneration()})
			follow = append(follow, ObjectOf(object))
		}
	}
	if len(follow) == 0 {
		return nil
	}
	a.watcher = New(ctx, c, o.Baseline, o.Grace)
	defer a.watcher.Close()
	if err := a.watcher.Follow(ctx, follow...); err != nil {
		return err
	}
	return a.run(ctx)
}

// await is one run of Await.
type await struct {
	cluster   *kube.Cluster
	namespace string
	until     time.Time // before that, being ready is not enough
	objects   []*awaited
	watcher   *Watcher
	judge     Judge
}

// awaited is one object between two looks at it.
type awaited struct {
	Object
	// generation is the one that was applied. The first state that a watch delivers may be older.
	generation int64
	status     status.Status
	seen       string // the resource version that status was read from
	reported   string
}

// run looks at everything after each change, and when a grace ends.
func (a *await) run(ctx context.Context) error {
	pulse := time.NewTicker(time.Second)
	defer pulse.Stop()
	for {
		if err := a.watcher.failed(); err != nil {
			return err
		}
		verdicts := a.look(ctx, time.Now())
		if err := a.failure(ctx, verdicts, func(v Verdict) bool { return v.Failed }, nil); err != nil {
			return err
		}
		wait := Remaining(verdicts)
		if Ready(verdicts) {
			if wait = time.Until(a.until); wait <= 0 {
				return nil
			}
		}
		var timer <-chan time.Time
		if wait > 0 {
			timer = time.After(wait)
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return context.Cause(ctx)
			}
			return a.failure(context.WithoutCancel(ctx), verdicts, func(v Verdict) bool { return !v.Status.Ready }, context.Cause(ctx))
		case <-a.watcher.Changed():
			select {
			case <-ctx.Done():
			case <-time.After(settleDelay):
			}
		case <-timer:
		case <-pulse.C:
			if err := a.watcher.Check(ctx); err != nil {
				return err
			}
		}
	}
}

// look reads and judges the status of every object.
func (a *await) look(ctx context.Context, now time.Time) []Verdict {
	world := a.watcher.World()
	observations := make([]Observation, 0, len(a.objects))
	for _, o := range a.objects {
		live := a.watcher.Object(o.Object)
		switch {
		case live == nil:
			o.status = status.Status{Message: "not there yet"}
		case live.GetGeneration() < o.generation:
			o.status = status.Status{Message: "not seen yet"}
		case o.status.Ready && live.GetResourceVersion() == o.seen: // ready until it changes
		default:
			o.status, o.seen = status.Of(live, world), live.GetResourceVersion()
		}
		observations = append(observations, Observation{o.Ref(), o.status})
	}
	verdicts := a.judge.Look(now, observations)
	for i, v := range verdicts {
		a.objects[i].report(ctx, a.namespace, v)
	}
	return verdicts
}

// report reports what changed about an object.
func (o *awaited) report(ctx context.Context, namespace string, v Verdict) {
	message := v.Status.Message
	if v.Status.Ready && message == "" {
		message = "ready"
	}
	if !v.Status.Ready && v.Problem.Message != "" {
		message = strings.TrimPrefix(message+": ", ": ") + v.Problem.Message
	}
	if message != o.reported {
		o.reported = message
		report.Progressf(ctx, o.Ref().In(namespace), "%s", message)
	}
}

// failure returns a *RolloutError about the objects that fail, with the last lines of their containers, or nil.
func (a *await) failure(ctx context.Context, verdicts []Verdict, fails func(Verdict) bool, timedOut error) error {
	e := &RolloutError{TimedOut: timedOut}
	for _, v := range verdicts {
		if fails(v) {
			e.Failures = append(e.Failures, NewFailure(ctx, a.cluster, a.namespace, v))
		}
	}
	if len(e.Failures) == 0 && timedOut == nil {
		return nil
	}
	return e
}

// NewFailure describes an object that is not ready, with the last lines of the container that its problem is in, which
// are reported too.
func NewFailure(ctx context.Context, c *kube.Cluster, namespace string, v Verdict) Failure {
	f := Failure{
		Ref: v.Ref.In(namespace), Pod: v.Problem.Pod, Container: v.Problem.Container, Reason: v.Problem.Reason, Message: v.Problem.Message,
	}
	if f.Message == "" {
		f.Message = v.Status.Message
	}
	if v.Problem.Logs && f.Pod != "" {
		f.Logs = c.LastLines(ctx, v.Ref.Namespace, f.Pod, f.Container)
		for _, line := range f.Logs {
			report.Logf(ctx, f.Pod, "%s", line)
		}
	}
	return f
}

// Describe is a problem's message with the pod and container that it is in. ref is the object that it is about.
func Describe(ref string, p status.Problem) string {
	switch {
	case p.Container != "":
		return fmt.Sprintf("container %s of pod %s: %s", p.Container, p.Pod, p.Message)
	case p.Pod != "" && !strings.HasSuffix(ref, "/"+p.Pod):
		return fmt.Sprintf("pod %s: %s", p.Pod, p.Message)
	}
	return p.Message
}
