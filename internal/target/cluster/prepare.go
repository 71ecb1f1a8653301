package cluster

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/kube"
	"github.com/aksflow/aksflow/internal/kube/diff"
	"github.com/aksflow/aksflow/internal/kube/plan"
)

// Annotations that say where an object comes from. They are written when an object changes anyway, and are no change
// themselves: the next run has another URL.
const (
	annotationRevision = kube.AnnotationPrefix + "source-revision"
	annotationRun      = kube.AnnotationPrefix + "run-url"
	annotationImage    = kube.AnnotationPrefix + "image"
)

// normalize is plan.Normalize against this cluster.
func (c *Cluster) normalize(ctx context.Context, r *Release) ([]*unstructured.Unstructured, error) {
	namespaces := append([]string{r.Namespace}, r.Namespaces...)
	objects, err := plan.Normalize(r.Objects, namespaces, c.kube.Scope(ctx))
	return objects, fault.Usage(err)
}

// A dry run takes as long as the apply it stands for. Of up to tryAll new objects each one is tried, so that nothing is
// applied when one is refused. Of more of them, tried of each kind in each namespace are: an error in a manifest, or a
// missing permission, is nearly always found by then, and if a later one is refused after all, what was applied is
// removed again.
const (
	tryAll = 200
	tried  = 10
)

// prepare finds out what to do to each object. What the API server would refuse is found by a dry run and returned
// together, before anything is applied.
func (c *Cluster) prepare(ctx context.Context, r *Release, objects []*unstructured.Unstructured, l *kube.Live) ([]plan.Change, error) {
	scaled, err := c.leaveToAutoscalers(ctx, r, objects, l)
	if err != nil {
		return nil, err
	}
	changes := make([]plan.Change, len(objects))
	var mu sync.Mutex
	var refused []error
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(kube.Parallel)
	fresh := 0
	for _, o := range objects {
		if l.Objects[plan.RefOf(o)] == nil {
			fresh++
		}
	}
	type place struct {
		kind      schema.GroupVersionKind
		namespace string
	}
	created := map[place]int{}
	for i, o := range objects {
		now := l.Objects[plan.RefOf(o)]
		if isShared(l, o) {
			changes[i] = plan.Change{Object: o, Live: now, Merged: now, Action: plan.Unchanged}
			continue
		}
		if now == nil {
			at := place{o.GroupVersionKind(), o.GetNamespace()}
			if created[at]++; fresh > tryAll && created[at] > tried {
				trace(o, r)
				changes[i] = plan.Change{Object: o, Action: plan.Created}
				continue
			}
		}
		group.Go(func() error {
			change, err := c.prepareOne(ctx, r, o, now, func(refusal error) bool { return brings(objects, o, refusal) })
			change.Autoscaled = scaled[plan.RefOf(o)]
			changes[i] = change
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err != nil {
				mu.Lock()
				refused = append(refused, kube.Explain(plan.RefOf(o).In(r.Namespace), err))
				mu.Unlock()
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	slices.SortFunc(refused, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return changes, errors.Join(refused...)
}

// prepareOne tries one object. now is the live one, or nil. comes reports whether a refusal is about something that comes with this
// release: see [brings].
func (c *Cluster) prepareOne(ctx context.Context, r *Release, o, now *unstructured.Unstructured, comes func(error) bool) (plan.Change, error) {
	change := plan.Change{Object: o, Live: now, Action: plan.Configured}
	var adopted *unstructured.Unstructured
	switch {
	case now == nil:
		change.Action = plan.Created
	case now.GetDeletionTimestamp() != nil:
		change.Action, change.Live, change.Leaving = plan.Created, nil, now
		trace(o, r)
		return change, nil
	default:
		var err error
		if adopted, err = plan.Adopt(now, kube.Manager, nil); err != nil {
			return change, err
		}
		if adopted == nil && plan.UpToDate(now, o, kube.Manager, kube.AnnotationPrefix) {
			return unchanged(change, r), nil
		}
		keepAnnotations(o, now)
	}
	merged, err := c.kube.Apply(ctx, o, kube.ApplyOptions{Force: r.ForceConflicts, DryRun: true})
	switch {
	case err == nil:
		change.Merged = merged
		if adopted != nil {
			adopt(ctx, r, &change, adopted)
		}
		if now != nil && diff.Equal(now, change.Merged) {
			change.Adopts = false
			return unchanged(change, r), nil
		}
	case now == nil && kube.IsMissing(err), comes(err):
		// Its namespace, its kind, its schema or its webhook comes with this deploy.
		if now != nil {
			change.Merged = plan.Overlay(now, o)
		}
	case now != nil:
		if err := c.overcome(ctx, r, &change, err); err != nil {
			return change, err
		}
	default:
		return change, err
	}
	trace(o, r)
	return change, nil
}

// adopt decides about fields that kubectl apply or Helm set and that the manifests lack. adopted is the live object with
// the owners that it would have after an adoption.
func adopt(ctx context.Context, r *Release, change *plan.Change, adopted *unstructured.Unstructured) {
	orphans := plan.Orphans(adopted, change.Merged, kube.Manager)
	names := slices.DeleteFunc(plan.Describe(orphans), func(name string) bool {
		return strings.Contains(name, corev1.LastAppliedConfigAnnotation)
	})
	switch {
	case orphans.Empty():
	case r.ForceConflicts, plan.IsApplied(change.Live, kube.Manager):
		change.Adopts = true
		change.Merged = change.Merged.DeepCopy()
		plan.Remove(change.Merged, orphans)
	case len(names) > 0:
		report.Warn(ctx, "%s has fields that kubectl or Helm applied and the manifests lack: %s: they stay; --force-conflicts takes them over and removes them",
			change.Ref().In(r.Namespace), strings.Join(names, ", "))
	}
}

// overcome finds a way around the API server's refusal of a change: a default that stands in the way is removed, and an
// object that cannot be changed in place is created again, if the release allows that. It returns the refusal if there is
// no way.
func (c *Cluster) overcome(ctx context.Context, r *Release, change *plan.Change, refusal error) error {
	o, now := change.Object, change.Live
	var paths [][]string
	for _, field := range kube.InvalidFields(refusal) {
		paths = append(paths, strings.Split(field, "."))
	}
	if len(paths) == 0 {
		return refusal
	}
	if defaults := plan.Unowned(now, o, paths); !defaults.Empty() {
		if merged, err := c.kube.TryWithout(ctx, o, defaults); err == nil {
			change.Merged, change.Adopts, change.Defaults = merged, true, defaults
			return nil
		}
	}
	if !kube.SaysImmutable(refusal) && !c.kube.AcceptsNew(ctx, o) {
		return refusal
	}
	guard := r.recreateGuard(now)
	fields := plan.Refused(now, o, kube.InvalidFields(refusal), refusal.Error())
	switch {
	case guard != nil && r.Recreate:
		return &kube.ImmutableError{Fields: fields, Reason: refusal, Remedy: "give it a new name; --recreate does not delete it without " + guard.flag + ", since " + guard.why}
	case guard != nil:
		return &kube.ImmutableError{Fields: fields, Reason: refusal, Remedy: "give it a new name, since " + guard.why + " when it is deleted"}
	case !r.Recreate && !finishedJob(now):
		return &kube.ImmutableError{Fields: fields, Reason: refusal, Remedy: "give it a new name, or delete and create it again with --recreate"}
	}
	change.Recreate = true
	if _, stays, _ := unstructured.NestedFieldNoCopy(o.Object, "spec", "replicas"); !stays {
		if replicas, found, _ := unstructured.NestedInt64(now.Object, "spec", "replicas"); found {
			_ = unstructured.SetNestedField(o.Object, replicas, "spec", "replicas") // nothing else remembers it
		}
	}
	return nil
}

// trace annotates an object with where it comes from.
func trace(o *unstructured.Unstructured, r *Release) {
	annotations := o.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	for key, value := range map[string]string{annotationRevision: r.SourceRevision, annotationRun: r.RunURL, annotationImage: r.Image} {
		if delete(annotations, key); value != "" {
			annotations[key] = value
		}
	}
	if len(annotations) > 0 {
		o.SetAnnotations(annotations)
	}
}

// untrace removes the annotations of trace.
func untrace(o *unstructured.Unstructured) {
	annotations := o.GetAnnotations()
	for key := range annotations {
		if strings.HasPrefix(key, kube.AnnotationPrefix) {
			delete(annotations, key)
		}
	}
	if len(annotations) == 0 {
		annotations = nil
	}
	o.SetAnnotations(annotations)
}

// keepAnnotations copies the annotations of an earlier trace, so that they do not count as a change.
func keepAnnotations(o, now *unstructured.Unstructured) {
	annotations := o.GetAnnotations()
	for key, value := range now.GetAnnotations() {
		if strings.HasPrefix(key, kube.AnnotationPrefix) {
			if annotations == nil {
				annotations = map[string]string{}
			}
			annotations[key] = value
		}
	}
	if annotations != nil {
		o.SetAnnotations(annotations)
	}
}

// unchanged returns a change that leaves the object as it is. A Job that has failed, and that its deploy left behind, is run again: no
// revision runs with it, and nothing else would make it another one.
func unchanged(change plan.Change, r *Release) plan.Change {
	change.Action, change.Merged = plan.Unchanged, change.Live
	if jobEnd(change.Live) == "Failed" {
		change.Action, change.Recreate = plan.Configured, true
		trace(change.Object, r)
	}
	return change
}

// finishedJob reports whether o is a Job that has ended. Its pod template cannot be changed, and a new version of a
// migration is a new run, so it is replaced without --recreate.
func finishedJob(o *unstructured.Unstructured) bool { return jobEnd(o) != "" }

// jobEnd returns how a Job has ended, Complete or Failed, or "".
func jobEnd(o *unstructured.Unstructured) string {
	if o.GroupVersionKind().GroupKind() != plan.JobKind {
		return ""
	}
	conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, item := range conditions {
		condition, _ := item.(map[string]any)
		if kind := condition["type"]; (kind == "Complete" || kind == "Failed") && condition["status"] == "True" {
			return kind.(string)
		}
	}
	return ""
}
