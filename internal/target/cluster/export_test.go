package cluster

import (
	"context"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/kube"
)

// Kube is the connection.
func (c *Cluster) Kube() *kube.Cluster { return c.kube }

// CheckRelease is what Target.Check finds of a release in this cluster.
func (c *Cluster) CheckRelease(ctx context.Context, r Release) []delivery.Check {
	return c.checkRelease(ctx, r)
}
