package cluster

import "github.com/aksflow/aksflow/internal/kube"

// Kube is the connection.
func (c *Cluster) Kube() *kube.Cluster { return c.kube }
