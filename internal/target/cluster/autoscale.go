package cluster

import (
	"context"
	"errors"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aksflow/aksflow/internal/kube"
	"github.com/aksflow/aksflow/internal/kube/plan"
)

// autoscaled are the objects whose number of pods is set by an autoscaler that exists in the cluster already.
type autoscaled map[plan.Ref]bool

// leaveToAutoscalers removes the number of pods from the objects that an autoscaler scales, whatever the manifests say, so
// that a concurrent scale-up is not reverted. Where aksflow still owns the field, leaving it out would reset it to its
// default, 1: there the present number is applied.
//
// An autoscaler of the manifests counts before it exists in the cluster.
func (c *Cluster) leaveToAutoscalers(ctx context.Context, r *Release, objects []*unstructured.Unstructured, l *kube.Live) (autoscaled, error) {
	present := autoscaled{}
	ours := slices.DeleteFunc(slices.Clone(objects), func(o *unstructured.Unstructured) bool { return !plan.IsAutoscaler(o) })
	listed := map[string][]*unstructured.Unstructured{} // by namespace
	for _, o := range objects {
		ref := plan.RefOf(o)
		now := l.Objects[ref]
		if now == nil {
			continue
		}
		replicas, found, _ := unstructured.NestedInt64(now.Object, "spec", "replicas")
		if !found || replicas == 0 { // 0 is how a person turns an autoscaler off
			continue
		}
		byController := plan.ScaledByController(now)
		autoscaler := scalerOf(o, ours)
		there := autoscaler != nil && l.Objects[plan.RefOf(autoscaler)] != nil
		if autoscaler == nil && byController {
			// Something that is not in the manifests has scaled it: does that still exist, and will it stay?
			if _, ok := listed[o.GetNamespace()]; !ok {
				all, err := c.autoscalers(ctx, o.GetNamespace())
				if err != nil {
					return nil, err
				}
				listed[o.GetNamespace()] = slices.DeleteFunc(all, func(a *unstructured.Unstructured) bool {
					return l.Members[plan.RefOf(a)] && !r.NoPrune
				})
			}
			autoscaler = scalerOf(o, listed[o.GetNamespace()])
			there = autoscaler != nil
		}
		if autoscaler == nil {
			continue
		}
		present[ref] = there
		if byController || !plan.AppliedReplicas(now, kube.Manager) {
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

// autoscalers lists those of a namespace. A user who has none in the manifests need not be allowed to see them.
func (c *Cluster) autoscalers(ctx context.Context, namespace string) ([]*unstructured.Unstructured, error) {
	found, err := c.kube.List(ctx, plan.Autoscaler.WithVersion(""), namespace, metav1.ListOptions{})
	if apierrors.IsForbidden(err) {
		return nil, nil
	}
	return found, kube.Explain(plan.Autoscaler.Kind, err)
}

// scaledMeanwhile reports whether an apply was refused because an autoscaler has taken over the number of pods.
func scaledMeanwhile(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || !apierrors.IsConflict(err) || status.Status().Details == nil {
		return false
	}
	causes := status.Status().Details.Causes
	return len(causes) == 1 && causes[0].Type == metav1.CauseTypeFieldManagerConflict && causes[0].Field == ".spec.replicas"
}
