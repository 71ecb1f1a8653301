package cluster

import (
	"context"
	"fmt"
	"slices"

	"github.com/aksflow/aksflow/internal/core/image/ref"
	"github.com/aksflow/aksflow/internal/core/manifest"
	"github.com/aksflow/aksflow/internal/kube"
	"github.com/aksflow/aksflow/internal/kube/plan"
)

// Verify implements rollout.Applier: it checks that the pods of each workload that should run the release's image do run
// it. An admission webhook may have changed it.
func (t *transaction) Verify(ctx context.Context) error {
	r := &t.release
	digest := ref.Read(r.Image).Digest
	if digest == "" {
		return nil
	}
	for _, o := range t.AppliedObjects() {
		switch o.GetKind() {
		case "Deployment", "StatefulSet", "DaemonSet":
		default:
			continue
		}
		var names []string
		manifest.Containers(o.Object, func(_ string, container map[string]any) {
			if container["image"] == r.Image {
				name, _ := container["name"].(string)
				names = append(names, name)
			}
		})
		if len(names) == 0 {
			continue
		}
		pods, err := t.cluster.kube.CurrentPods(ctx, o)
		if err != nil {
			return kube.Explain("the pods of "+plan.RefOf(o).In(r.Namespace), err)
		}
		for _, pod := range pods {
			for _, container := range append(slices.Clone(pod.Spec.InitContainers), pod.Spec.Containers...) {
				if slices.Contains(names, container.Name) && ref.Read(container.Image).Digest != digest {
					return fmt.Errorf("pod %s runs %s in its container %s, and not %s: something in the cluster, such as an admission webhook, changes images",
						pod.Name, container.Image, container.Name, r.Image)
				}
			}
		}
	}
	return nil
}
