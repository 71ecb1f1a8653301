package cluster

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/aksflow/aksflow/internal/core/fault"
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
		if now == nil {
			at := place{o.GroupVersionKind(), o.GetNamespace()}
			if created[at]++; fresh > tryAll && created[at] > tried {
				trace(o, r)
				changes[i] = plan.Change{Object: o, Action: plan.Created}
				continue
			}
		}
		group.Go(func() error {
			change, err := c.prepareOne(ctx, r, o, now)
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

// prepareOne tries one object. now is the live one, or nil.
func (c *Cluster) prepareOne(ctx context.Context, r *Release, o, now *unstructured.Unstructured) (plan.Change, error) {
	change := plan.Change{Object: o, Live: now, Action: plan.Configured}
	if now == nil {
		change.Action = plan.Created
	} else {
		if plan.UpToDate(now, o, kube.Manager, kube.AnnotationPrefix) {
			change.Action, change.Merged = plan.Unchanged, now
			return change, nil
		}
		keepAnnotations(o, now)
	}
	merged, err := c.kube.Apply(ctx, o, kube.ApplyOptions{Force: r.ForceConflicts, DryRun: true})
	switch {
	case err == nil:
		change.Merged = merged
		if now != nil && diff.Equal(now, merged) {
			change.Action = plan.Unchanged
			return change, nil
		}
	case now != nil && kube.NeedsRecreation(err) && (r.Recreate || finishedJob(now)):
		change.Recreate = true
		if _, stays, _ := unstructured.NestedFieldNoCopy(o.Object, "spec", "replicas"); !stays {
			if replicas, found, _ := unstructured.NestedInt64(now.Object, "spec", "replicas"); found {
				_ = unstructured.SetNestedField(o.Object, replicas, "spec", "replicas") // nothing else remembers it
			}
		}
	case now == nil && kube.IsMissing(err):
		// Its namespace or its kind comes with this deploy.
	default:
		return change, err
	}
	trace(o, r)
	return change, nil
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

// finishedJob reports whether o is a Job that has ended. Its pod template cannot be changed, and a new version of a
// migration is a new run, so it is replaced without --recreate.
func finishedJob(o *unstructured.Unstructured) bool {
	if o.GroupVersionKind().GroupKind() != plan.JobKind {
		return false
	}
	conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, item := range conditions {
		condition, _ := item.(map[string]any)
		if (condition["type"] == "Complete" || condition["type"] == "Failed") && condition["status"] == "True" {
			return true
		}
	}
	return false
}
