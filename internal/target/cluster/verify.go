package cluster

import (
	"context"
	"fmt"

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
		wanted := map[string]bool{}
		manifest.Images(o.Object, func(i manifest.Image) {
			if i.Ref() == r.Image {
				wanted[i.Field+" "+i.Name] = true
			}
		})
		if len(wanted) == 0 {
			continue
		}
		pods, err := t.cluster.kube.CurrentPods(ctx, o)
		if err != nil {
			return kube.Explain("the pods of "+plan.RefOf(o).In(r.Namespace), err)
		}
		for _, pod := range pods {
			for _, image := range kube.PodImages(&pod) {
				if wanted[image.Field+" "+image.Name] && ref.Read(image.Ref).Digest != digest {
					return fmt.Errorf("pod %s has %s in %s, and not %s: something in the cluster, such as an admission webhook, changes images",
						pod.Name, image.Ref, image.Title(), r.Image)
				}
			}
		}
	}
	return nil
}
