package watch

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"github.com/aksflow/aksflow/internal/kube"
	"github.com/aksflow/aksflow/internal/kube/status"
)

// TakeBaseline notes what the namespaces hold at this moment, and which events they have by the API server's own count,
// not by a clock. Take it before anything is applied. Objects are the live objects that will be changed; they may be set
// later. What may not be read is not in it.
func TakeBaseline(ctx context.Context, c *kube.Cluster, namespaces []string, objects ...*unstructured.Unstructured) (*status.Baseline, error) {
	events := map[string]string{} // a namespace's resource version of its events
	before := &status.Baseline{Pods: map[types.UID]bool{}, Covers: func(e *corev1.Event) bool {
		then, known := events[e.Namespace]
		if !known {
			return false
		}
		order, err := resourceversion.CompareResourceVersion(e.ResourceVersion, then)
		return err == nil && order <= 0
	}}
	SetObjects(before, objects)
	for _, namespace := range namespaces {
		client, err := c.Resource(ctx, eventKind, namespace)
		if err != nil {
			return nil, err
		}
		err = c.Retry(ctx, func(ctx context.Context) error {
			list, err := client.List(ctx, metav1.ListOptions{Limit: 1})
			if err == nil {
				events[namespace] = list.GetResourceVersion()
			}
			return err
		})
		if err != nil && !apierrors.IsForbidden(err) {
			return nil, kube.Explain("the events of namespace "+namespace, err)
		}
		pods, err := c.PodUIDs(ctx, namespace)
		if err != nil && !apierrors.IsForbidden(err) {
			return nil, kube.Explain("the pods of namespace "+namespace, err)
		}
		for _, uid := range pods {
			before.Pods[uid] = true
		}
	}
	return before, nil
}

// SetObjects adds the live objects that will be changed to a baseline.
func SetObjects(before *status.Baseline, objects []*unstructured.Unstructured) {
	before.Objects = make(map[types.UID]*unstructured.Unstructured, len(objects))
	for _, o := range objects {
		before.Objects[o.GetUID()] = o
	}
}
