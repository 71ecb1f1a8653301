package cluster

import (
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aksflow/aksflow/internal/core/report"
)

const (
	// draining is how long a Gateway's proxies may still send requests where a route sent them before. The route's status
	// says that the controller has seen the change (observedGeneration, in the Gateway API's words), not that every proxy
	// follows already: Traefik hands changes on every two seconds (providers.providersThrottleDuration), others push them
	// to many proxies. A pod or a Service that goes earlier fails those requests.
	draining = 5 * time.Second
	// answering is how long a Gateway may take to see a route before what must go goes without its word.
	answering = 30 * time.Second
)

// taken returns when the Gateways have taken routes as they were applied.
func (d *delivery) taken(ctx context.Context, routes []step) error {
	var applied []*unstructured.Unstructured
	d.mu.Lock()
	for _, route := range routes {
		applied = append(applied, d.applied[route.ref()])
	}
	d.mu.Unlock()
	return d.cluster.await(ctx, &d.release, applied, time.Now())
}

// drain returns when the Gateways send requests where routes, as they are in the cluster by now, lead, and nowhere else. It
// only warns when they do not, since what waits to be removed must go in any case.
func (d *delivery) drain(ctx context.Context, routes []*unstructured.Unstructured) {
	routes, err := d.cluster.current(ctx, routes)
	routes = slices.DeleteFunc(routes, func(route *unstructured.Unstructured) bool {
		parents, _, _ := unstructured.NestedSlice(route.Object, "status", "parents")
		return len(parents) == 0 // it is in front of nothing
	})
	if err == nil && len(routes) > 0 {
		wait, cancel := context.WithTimeoutCause(ctx, answering, fmt.Errorf("%s passed", answering))
		defer cancel()
		err = d.cluster.await(wait, &d.release, routes, time.Now())
	}
	if err != nil {
		report.Warn(ctx, "requests may still go to pods that are being removed: %v", err)
	}
	if len(routes) == 0 {
		return
	}
	report.Info(ctx, "giving the Gateway %s to follow", draining)
	select {
	case <-ctx.Done():
	case <-time.After(draining):
	}
}

func objectsOf(steps []step) []*unstructured.Unstructured {
	objects := make([]*unstructured.Unstructured, 0, len(steps))
	for _, s := range steps {
		objects = append(objects, s.object)
	}
	return objects
}
