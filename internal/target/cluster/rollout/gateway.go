package rollout

import (
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/kube"
	"github.com/aksflow/aksflow/internal/kube/watch"
)

const (
	// drainTime is how long a Gateway's proxies may still send requests where a route sent them before. The route's status
	// says that the controller has seen the change (observedGeneration, in the Gateway API's words), not that every proxy
	// follows already: Traefik hands changes on every two seconds (providers.providersThrottleDuration), others push them
	// to many proxies. Removing a pod or a Service earlier fails those requests.
	drainTime = 5 * time.Second
	// GatewayAckTimeout is how long to wait for a Gateway to acknowledge a route before old pods are removed anyway.
	GatewayAckTimeout = 30 * time.Second
)

// Drain returns when the Gateways send requests only where routes, as they are in the cluster by now, lead. It warns when
// they do not, since what waits to be removed must go in any case.
func Drain(ctx context.Context, c *kube.Cluster, o watch.Options, routes []*unstructured.Unstructured) {
	routes, err := c.Reread(ctx, routes)
	routes = slices.DeleteFunc(routes, func(route *unstructured.Unstructured) bool {
		parents, _, _ := unstructured.NestedSlice(route.Object, "status", "parents")
		return len(parents) == 0 // no Gateway serves it
	})
	if err == nil && len(routes) > 0 {
		wait, cancel := context.WithTimeoutCause(ctx, GatewayAckTimeout, fmt.Errorf("%s passed", report.Span(GatewayAckTimeout)))
		defer cancel()
		err = watch.Await(wait, c, routes, o)
	}
	if err != nil {
		report.Warn(ctx, "requests may still go to pods that are being removed: %v", err)
	}
	if len(routes) == 0 {
		return
	}
	report.Info(ctx, "giving the Gateway %s to follow", report.Span(drainTime))
	select {
	case <-ctx.Done():
	case <-time.After(drainTime):
	}
}
