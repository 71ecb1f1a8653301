package cluster

import (
	"context"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/kube"
	"github.com/aksflow/aksflow/internal/kube/plan"
)

func (r *Release) mayPrune(o *unstructured.Unstructured) bool {
	switch o.GetKind() {
	case "Namespace":
		return r.PruneNamespaces
	case "PersistentVolumeClaim":
		return r.PruneVolumes
	}
	return true
}

// toPrune returns the objects that left the manifests and may be deleted.
func (t *transaction) toPrune(ctx context.Context, objects []*unstructured.Unstructured) []*unstructured.Unstructured {
	if t.release.NoPrune {
		return nil
	}
	for _, kind := range t.live.Unlisted {
		if kind == plan.NamespaceKind && !t.release.PruneNamespaces {
			continue
		}
		report.Warn(ctx, "objects of the kind %s are not pruned: they may not be listed", kind)
	}
	return slices.DeleteFunc(t.live.Prunable(slices.Concat(objects, t.hookObjects)), func(o *unstructured.Unstructured) bool {
		if t.release.mayPrune(o) {
			return false
		}
		flag := "--prune-volumes"
		if o.GetKind() == "Namespace" {
			flag = "--prune-namespaces"
		}
		report.Warn(ctx, "%s left the manifests and stays, since deleting it deletes what is in it: say %s to delete it", plan.RefOf(o).Long(), flag)
		return true
	})
}

// prune deletes the objects that left the manifests, last applied first, and narrows the ApplySet to what is left.
func (t *transaction) prune(ctx context.Context, gone, objects []*unstructured.Unstructured) error {
	for _, o := range gone {
		ref := plan.RefOf(o)
		t.mu.Lock()
		t.journal = append(t.journal, entry{ref: ref, object: o, before: o})
		t.mu.Unlock()
		if err := t.cluster.kube.Remove(ctx, o, false); err != nil {
			return kube.Explain("pruning "+ref.In(t.release.Namespace), err)
		}
		t.recordResult(ref, Pruned, "")
		report.Progressf(ctx, ref.In(t.release.Namespace), Pruned)
	}
	kept := objects
	for ref := range t.live.Members {
		if o := t.live.Objects[ref]; !slices.Contains(gone, o) {
			kept = append(kept, o)
		}
	}
	if len(t.live.Unlisted) == 0 && t.set.Narrow(kept) {
		return t.cluster.kube.WriteApplySet(ctx, t.set)
	}
	return nil
}
