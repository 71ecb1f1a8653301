package cluster

import (
	"context"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/kube"
	"github.com/aksflow/aksflow/internal/kube/plan"
)

// guard is why an object is not deleted unless a flag names it.
type guard struct{ flag, why string }

// guard returns what keeps an object from being deleted, or nil. With some objects more is deleted than themselves, and
// others are marked to be kept.
func (r *Release) guard(o *unstructured.Unstructured) *guard {
	switch kind := o.GroupVersionKind().GroupKind(); {
	case !r.PruneKept && isKept(o):
		return &guard{"--prune-kept", "an annotation says that it is kept"}
	case !r.PruneNamespaces && kind == plan.NamespaceKind:
		return &guard{"--prune-namespaces", "all that is in it goes with it"}
	case !r.PruneVolumes && kind.Group == "" && (kind.Kind == "PersistentVolumeClaim" || kind.Kind == "PersistentVolume"):
		return &guard{"--prune-volumes", "its data goes with it"}
	case !r.PruneDefinitions && kind == plan.DefinitionKind:
		return &guard{"--prune-definitions", "all objects of its kind go with it, in every namespace"}
	}
	return nil
}

// recreateGuard is guard for an object that is deleted and created again. Kubernetes deletes the claims of a StatefulSet with it
// where its persistentVolumeClaimRetentionPolicy says so, also when a new one follows at once.
func (r *Release) recreateGuard(o *unstructured.Unstructured) *guard {
	policy, _, _ := unstructured.NestedString(o.Object, "spec", "persistentVolumeClaimRetentionPolicy", "whenDeleted")
	if !r.PruneVolumes && o.GroupVersionKind().GroupKind() == plan.StatefulSetKind && policy == "Delete" {
		return &guard{"--prune-volumes", "its claims go with it, and their data (persistentVolumeClaimRetentionPolicy.whenDeleted is Delete)"}
	}
	return r.guard(o)
}

// isKept reports whether an annotation says that an object stays when it leaves the manifests.
//
//   - https://helm.sh/docs/howto/charts_tips_and_tricks/#tell-helm-not-to-uninstall-a-resource
//   - https://argo-cd.readthedocs.io/en/stable/user-guide/sync-options/#no-prune-resources
//   - https://fluxcd.io/flux/components/kustomize/kustomizations/#controlling-the-apply-behavior-of-resources
func isKept(o *unstructured.Unstructured) bool {
	annotations := o.GetAnnotations()
	return annotations["helm.sh/resource-policy"] == "keep" || annotations["kustomize.toolkit.fluxcd.io/prune"] == "disabled" ||
		strings.Contains(annotations["argocd.argoproj.io/sync-options"], "Prune=false")
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
		guard := t.release.guard(o)
		if guard != nil {
			report.Warn(ctx, "%s stays, since %s: %s deletes it", plan.RefOf(o).Long(), guard.why, guard.flag)
		}
		return guard != nil
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
		report.Donef(ctx, ref.In(t.release.Namespace), Pruned)
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
