package cluster

import (
	"context"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/kube"
	"github.com/aksflow/aksflow/internal/target"
)

// Logs reads the output of the pods of an environment's workloads: see [kube.Cluster.Logs]. It takes the workloads from the
// manifests, so that it does not matter who applied them.
func Logs(ctx context.Context, r delivery.Release, o target.Options, logs kube.LogOptions, emit func(kube.LogLine)) (int, error) {
	c, release, err := Target{}.open(ctx, r, o)
	if err != nil {
		return 0, err
	}
	objects, err := c.normalize(ctx, &release)
	if err != nil {
		return 0, err
	}
	workloads := slices.DeleteFunc(objects, func(o *unstructured.Unstructured) bool {
		return !hasPods(o)
	})
	if len(workloads) == 0 {
		return 0, fault.Usagef("%s has no workload whose pods could be read", r.Env.Manifests)
	}
	return c.kube.Logs(ctx, workloads, logs, emit)
}

// hasPods reports whether an object is a workload whose pods can be found.
func hasPods(o *unstructured.Unstructured) bool {
	return slices.Contains([]string{"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Rollout", "Job"}, o.GetKind())
}
