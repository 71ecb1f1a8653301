package cluster

import (
	"context"
	"errors"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/kube/plan"
)

// autoscaled are the objects whose number of pods an autoscaler sets that is in the cluster already.
type autoscaled map[plan.Ref]bool

// leaveToAutoscalers takes the number of pods out of the objects that an autoscaler scales, whatever the manifests say:
// one who scales at this moment is not undone. Where the field is still ours, leaving it out would give it back to its
// default, 1: there the number that runs now is applied.
//
// An autoscaler of the manifests counts before it is there.
func (c *Cluster) leaveToAutoscalers(ctx context.Context, r *Release, objects []*unstructured.Unstructured, l *live) (autoscaled, error) {
	present := autoscaled{}
	ours := slices.DeleteFunc(slices.Clone(objects), func(o *unstructured.Unstructured) bool { return !plan.IsAutoscaler(o) })
	listed := map[string][]*unstructured.Unstructured{} // by namespace
	for _, o := range objects {
		ref := plan.RefOf(o)
		now := l.objects[ref]
		if now == nil {
			continue
		}
		replicas, found, _ := unstructured.NestedInt64(now.Object, "spec", "replicas")
		if !found || replicas == 0 { // 0 is how a person turns an autoscaler off
			continue
		}
		byController := plan.ScaledByController(now)
		autoscaler := scalerOf(o, ours)
		there := autoscaler != nil && l.objects[plan.RefOf(autoscaler)] != nil
		if autoscaler == nil && byController {
			// Something has scaled it that is not in the manifests: is it still there, and does it stay?
			if _, ok := listed[o.GetNamespace()]; !ok {
				all, err := c.autoscalers(ctx, o.GetNamespace())
				if err != nil {
					return nil, err
				}
				listed[o.GetNamespace()] = slices.DeleteFunc(all, func(a *unstructured.Unstructured) bool {
					return l.members[plan.RefOf(a)] && !r.NoPrune
				})
			}
			autoscaler = scalerOf(o, listed[o.GetNamespace()])
			there = autoscaler != nil
		}
		if autoscaler == nil {
			continue
		}
		present[ref] = there
		if byController || !plan.AppliedReplicas(now, Manager) {
			unstructured.RemoveNestedField(o.Object, "spec", "replicas")
		} else {
			_ = unstructured.SetNestedField(o.Object, replicas, "spec", "replicas")
		}
	}
	return present, nil
}

// scalerOf is the one among autoscalers that sets the number of o's pods, or nil.
func scalerOf(o *unstructured.Unstructured, autoscalers []*unstructured.Unstructured) *unstructured.Unstructured {
	for _, autoscaler := range autoscalers {
		if plan.Scales(autoscaler, o) {
			return autoscaler
		}
	}
	return nil
}

// autoscalers lists those of a namespace. They need not be seen by whoever has none in the manifests.
func (c *Cluster) autoscalers(ctx context.Context, namespace string) ([]*unstructured.Unstructured, error) {
	client, err := c.resource(ctx, plan.Autoscaler.WithVersion(""), namespace)
	if err != nil {
		return nil, err
	}
	var found []*unstructured.Unstructured
	err = c.list(ctx, client, "", func(o *unstructured.Unstructured) { found = append(found, o) })
	if apierrors.IsForbidden(err) {
		return nil, nil
	}
	return found, explain(plan.Autoscaler.Kind, err)
}

// scaledMeanwhile says that an apply was refused since the number of pods has become an autoscaler's.
func scaledMeanwhile(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || !apierrors.IsConflict(err) || status.Status().Details == nil {
		return false
	}
	causes := status.Status().Details.Causes
	return len(causes) == 1 && causes[0].Type == metav1.CauseTypeFieldManagerConflict && causes[0].Field == ".spec.replicas"
}

// following runs do, and meanwhile lets the second version grow and shrink as the autoscaler of the first one wants it.
// That one counts the pods of both, since both have the labels that it selects, so that the first one has at any time
// the pods that all of the requests need.
func (p *progressive) following(ctx context.Context, do func(context.Context) error) error {
	if !p.deployment.autoscaled {
		return do(ctx)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := p.follow(ctx); err != nil {
			cancel(err)
		}
	}()
	err := do(ctx)
	cancel(nil)
	<-done // it must not bring back what is about to be removed
	return err
}

// follow returns when ctx ends, or when the second version cannot be scaled.
func (p *progressive) follow(ctx context.Context) error {
	first := p.deployment.live
	client, err := p.cluster.resource(ctx, first.GroupVersionKind(), first.GetNamespace())
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		now, err := p.cluster.get(ctx, client, first.GetName())
		if err == nil && now == nil {
			err = errors.New("it was deleted by someone else")
		}
		if err == nil {
			err = p.resizeFor(ctx, plan.Replicas(now))
		}
		if err == nil {
			err = p.cluster.awaitEvent(ctx, client, now)
		}
		if err != nil && !errors.Is(err, errWatchEnded) && ctx.Err() == nil {
			return explain("following the pods of "+p.deployment.ref().String(), err)
		}
	}
	return nil
}

// resizeFor gives the second Deployment the pods that go with so many of the first one.
func (p *progressive) resizeFor(ctx context.Context, stable int64) error {
	p.sizing.Lock()
	defer p.sizing.Unlock()
	was := p.replicas()
	p.stable = stable
	if p.percent == 0 || p.replicas() == was {
		return nil
	}
	report.Info(ctx, "%s has %d pods now, and the new version beside it %d", p.deployment.ref(), stable, p.replicas())
	return p.applySized(ctx)
}
