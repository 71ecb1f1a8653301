package watch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/kube"
	"github.com/aksflow/aksflow/internal/kube/plan"
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

// Reasons returns the failures as a delivery's result has them.
func (e *RolloutError) Reasons() []delivery.Reason {
	reasons := make([]delivery.Reason, 0, len(e.Failures))
	for _, f := range e.Failures {
		reasons = append(reasons, delivery.Reason{
			Object: f.Ref, Reason: f.Reason, Message: f.Message, Pod: f.Pod, Container: f.Container, Logs: f.Logs,
		})
	}
	return reasons
}

func (e *RolloutError) Error() string {
	lines := make([]string, 0, len(e.Failures))
	for _, f := range e.Failures {
		line := f.String()
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

// settleDelay is how long changes are gathered before they are looked at, since they come many at a time.
const settleDelay = 25 * time.Millisecond

// Await returns when all objects, given as the server returned them, are ready, or with a [*RolloutError] as soon as one
// of them cannot get ready.
func Await(ctx context.Context, c *kube.Cluster, objects []*unstructured.Unstructured, o Options) error {
	a := &await{cluster: c, namespace: o.Namespace, until: time.Now().Add(o.Keep), judge: status.NewJudge(), applied: map[types.UID]*unstructured.Unstructured{}}
	var follow []Object
	for _, object := range objects {
		if status.Watched(object) {
			a.objects = append(a.objects, &awaited{Object: ObjectOf(object), generation: object.GetGeneration(), last: object})
			a.applied[object.GetUID()] = object
			follow = append(follow, ObjectOf(object))
		}
	}
	if len(follow) == 0 {
		return nil
	}
	a.watcher = New(ctx, c, o)
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
	applied   map[types.UID]*unstructured.Unstructured
	watcher   *Watcher
	judge     *status.Judge
	observer  Observer
}

// awaited is one object between two looks at it.
type awaited struct {
	Object
	// generation is the one that was applied. The first state that a watch delivers may be older.
	generation int64
	status     status.Status
	verdict    status.Verdict
	last       *unstructured.Unstructured // the last state in which it was seen, at first the one that was applied
	reported   string
}

// run looks at everything after each change, and when a verdict may have changed by itself.
func (a *await) run(ctx context.Context) error {
	pulse := time.NewTicker(time.Second)
	defer pulse.Stop()
	for {
		if err := a.watcher.failed(); err != nil {
			return err
		}
		a.look(ctx, time.Now())
		if failed := a.failure(ctx, func(v status.Verdict) bool { return v.Failed }); failed != nil {
			return failed
		}
		wait, ready := a.next()
		if ready && wait <= 0 {
			return nil
		}
		var timer <-chan time.Time
		if wait > 0 {
			timer = time.After(wait)
		}
		select {
		case <-ctx.Done():
			return a.interrupted(ctx)
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

// interrupted returns why the wait ends with ctx: what was not ready in time, or that it was cancelled.
func (a *await) interrupted(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return context.Cause(ctx)
	}
	late := a.failure(context.WithoutCancel(ctx), func(v status.Verdict) bool { return !v.Ready })
	if late == nil {
		late = &RolloutError{}
	}
	late.TimedOut = context.Cause(ctx)
	return late
}

// next returns whether all objects are ready, and after how long to look again though nothing changed: 0 means not at all,
// or, if all are ready, that the wait is over.
func (a *await) next() (wait time.Duration, ready bool) {
	ready = true
	for _, o := range a.objects {
		if o.verdict.Ready {
			continue
		}
		ready = false
		if next := o.verdict.Next; next > 0 && (wait == 0 || next < wait) {
			wait = next
		}
	}
	if ready {
		return max(0, time.Until(a.until)), true
	}
	return wait, false
}

// look reads and judges the status of every object.
func (a *await) look(ctx context.Context, now time.Time) {
	world := a.watcher.World()
	world.Applied = a.applied
	looks := make([]status.Look, 0, len(a.objects))
	for _, o := range a.objects {
		live := a.watcher.Object(o.Object)
		switch {
		case live == nil:
			o.status = status.Gone(o.last, world)
		case live.GetGeneration() < o.generation:
			o.status = status.Status{Message: "not seen yet"}
		case o.status.Ready && live.GetResourceVersion() == o.last.GetResourceVersion(): // ready until it changes
		default:
			o.status, o.last = status.Of(live, world), live
		}
		looks = append(looks, status.Look{ID: o.String(), Kind: o.Kind.GroupKind(), Status: o.status})
	}
	for i, verdict := range a.judge.Look(now, looks) {
		a.objects[i].verdict = verdict
		a.objects[i].report(ctx, a.namespace)
	}
	owners := make(map[types.UID]string, len(a.objects))
	for _, o := range a.objects {
		owners[o.last.GetUID()] = o.Ref().In(a.namespace)
	}
	a.observer.Look(ctx, world, owners)
}

// report reports what changed about an object.
func (o *awaited) report(ctx context.Context, namespace string) {
	message, tell := o.verdict.Message, report.Waitf
	if o.verdict.Ready {
		message, tell = cmp.Or(message, "ready"), report.Donef
	}
	if message != o.reported {
		o.reported = message
		tell(ctx, o.Ref().In(namespace), "%s", message)
	}
}

// failure returns the objects that fail, with the last lines of their containers, or nil.
func (a *await) failure(ctx context.Context, fails func(status.Verdict) bool) *RolloutError {
	e, world := &RolloutError{}, a.watcher.World()
	for _, o := range a.objects {
		if fails(o.verdict) {
			e.Failures = append(e.Failures, NewFailure(ctx, a.cluster, a.namespace, o.Ref(), o.verdict, world))
		}
	}
	if len(e.Failures) == 0 {
		return nil
	}
	return e
}

// NewFailure describes an object that is not ready, with the last lines of the container that its problem is in.
// World is what is around it.
func NewFailure(ctx context.Context, c *kube.Cluster, namespace string, ref plan.Ref, v status.Verdict, world *status.World) Failure {
	f := Failure{Ref: ref.In(namespace), Message: v.Message}
	if v.Problem == nil {
		return f
	}
	p := *v.Problem
	f.Pod, f.Container, f.Reason = p.Pod, p.Container, p.Reason
	if p.Logs && f.Pod != "" {
		f.Logs = c.LastLines(ctx, ref.Namespace, f.Pod, f.Container)
		p = status.ExplainOutput(p, ref.Namespace, f.Logs, world)
	}
	f.Message = p.Message
	if lasted := v.Lasted.Round(time.Second); !v.Failed && lasted > 0 {
		f.Message += fmt.Sprintf(" (for %s)", report.Span(lasted))
	}
	return f
}

// String is the failure in one line, without the logs.
func (f *Failure) String() string { return f.Ref + ": " + f.where() + f.Message }

// where names the pod and container of a failure, "" for neither.
func (f *Failure) where() string {
	switch {
	case f.Container != "":
		return fmt.Sprintf("container %s of pod %s: ", f.Container, f.Pod)
	case f.Pod != "" && !strings.HasSuffix(f.Ref, "/"+f.Pod):
		return "pod " + f.Pod + ": "
	}
	return ""
}
