package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aksflow/aksflow/internal/kube"
	"github.com/aksflow/aksflow/internal/render"
)

// Render renders manifests for a deploy of an app to o.Namespace. A chart is told about this cluster, and which revision
// of the app it becomes. A chart that renders as it did for the revision that is deployed is that revision: its number
// does not go up, and Deploy finds nothing to change.
func (c *Cluster) Render(ctx context.Context, app, path string, o render.Options) ([]*unstructured.Unstructured, error) {
	if !render.IsChart(path) {
		return render.Render(ctx, path, o)
	}
	revisions, err := c.kube.History(ctx, app, o.Namespace)
	if err != nil {
		return nil, err
	}
	o.Cluster = c.kube
	deployed := kube.Latest(revisions, kube.RevisionDeployed)
	if deployed != nil {
		again := o
		again.Revision, again.Upgrade = deployed.Number, deployed.Upgrade
		objects, err := render.Render(ctx, path, again)
		if err != nil || digest(objects) == deployed.Manifests {
			return objects, err
		}
	}
	o.Revision, o.Upgrade = nextNumber(revisions), deployed != nil
	return render.Render(ctx, path, o)
}

func nextNumber(revisions []kube.Revision) int {
	if len(revisions) == 0 {
		return 1
	}
	return revisions[0].Number + 1
}

// digest names objects by their content.
func digest(objects []*unstructured.Unstructured) string {
	hash := sha256.New()
	for _, o := range objects {
		// Map keys are sorted, so that the same object has the same text.
		if err := json.NewEncoder(hash).Encode(o.Object); err != nil {
			return "" // equal to no other
		}
	}
	return hex.EncodeToString(hash.Sum(nil))
}
