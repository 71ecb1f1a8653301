package wait

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/kube/watch"
)

// reconcileAnnotation makes Flux's controllers look now. They repeat its value in status.lastHandledReconcileAt.
const reconcileAnnotation = "reconcile.fluxcd.io/requestedAt"

// fluxObject is what the operators of Flux have in common: asking their controllers to look.
type fluxObject struct {
	object    watch.Object
	cluster   *clusterView
	timeout   time.Duration // how long a request may stay unanswered
	requested time.Time
	token     string // of the request
}

func (f *fluxObject) self() watch.Object { return f.object }
func (f *fluxObject) kind() string       { return Flux }

// sync does nothing: Flux applies whatever is not suspended.
func (f *fluxObject) sync(context.Context, string) error { return nil }

func (f *fluxObject) ask(ctx context.Context, objects ...watch.Object) error {
	f.requested = time.Now()
	f.token = f.requested.Format(time.RFC3339Nano)
	for _, o := range objects {
		if _, err := f.cluster.annotate(ctx, o, reconcileAnnotation, f.token); err != nil {
			return err
		}
	}
	return nil
}

// handled reports whether a controller has answered the request.
func (f *fluxObject) handled(o *unstructured.Unstructured) bool {
	return f.token == "" || field(o, "status", "lastHandledReconcileAt") == f.token
}

// silent returns an error once the request has been unanswered for too long.
func (f *fluxObject) silent(what, controller string) error {
	if time.Since(f.requested) <= f.timeout {
		return nil
	}
	return fmt.Errorf("Flux has not looked at %s for %s: check that its %s is running", what, report.Span(f.timeout), controller)
}

// fluxKustomization is a Kustomization of Flux with the GitRepository that it is made from. Their status is read from
//
//	kind: GitRepository
//	status:
//	  lastHandledReconcileAt: "2026-01-02T…"    # the request that was answered
//	  artifact: {revision: main@sha1:1a2b3c…}
//	  conditions:
//	  - {type: Ready, status: "False", reason: GitOperationFailed, message: …}
//	kind: Kustomization
//	status:
//	  lastHandledReconcileAt: "2026-01-02T…"
//	  lastAttemptedRevision: main@sha1:1a2b3c…
//	  lastAppliedRevision: main@sha1:1a2b3c…
//	  inventory:
//	    entries:
//	    - {id: vote_vote_apps_Deployment, v: v1}
//	  conditions:
//	  - {type: Ready, status: "False", reason: BuildFailed, message: …}
type fluxKustomization struct {
	fluxObject
	source watch.Object
	ours   bool         // the source is the repository whose commit counts
	only   watch.Object // the HelmRelease to follow; zero means all
}

func (k *fluxKustomization) needs() []watch.Object { return []watch.Object{k.source, k.object} }

func (k *fluxKustomization) request(ctx context.Context) error { return k.ask(ctx, k.source, k.object) }

func (k *fluxKustomization) judge(v view, accepts func(string) bool) verdict {
	source, kustomization := v.object(k.source), v.object(k.object)
	if source == nil || kustomization == nil {
		return verdict{message: "not there", err: errors.New("it or its GitRepository is gone"), heals: true}
	}
	for _, o := range []*unstructured.Unstructured{source, kustomization} {
		if err := suspended(o); err != nil {
			return verdict{message: "suspended", err: err}
		}
	}
	if out, ready := k.judgeSource(source, accepts); !ready {
		return out
	}
	fetched := commitOf(field(source, "status", "artifact", "revision"))
	attempted, appliedNow := commitOf(field(kustomization, "status", "lastAttemptedRevision")), commitOf(field(kustomization, "status", "lastAppliedRevision"))
	out := verdict{revision: cmp.Or(attempted, appliedNow)}
	out.workloads, out.children = inventory(kustomization)
	if k.only.Name != "" {
		out.workloads, out.children = nil, []watch.Object{k.only}
	}
	ready, doing := condition(kustomization, "Ready"), condition(kustomization, "Reconciling")
	failed := ready.Status == "False" && slices.Contains([]string{"BuildFailed", "ReconciliationFailed", "ArtifactFailed", "PruneFailed"}, ready.Reason)
	switch {
	case appliedNow == fetched:
		out.applied, out.revision, out.message = true, appliedNow, fmt.Sprintf("revision %.10s is applied", appliedNow)
	case attempted != fetched:
		out.message = fmt.Sprintf("revision %.10s is fetched; it is at %.10s", fetched, cmp.Or(out.revision, "none"))
		if doing.Message != "" {
			out.message += ": " + doing.Message // such as the health checks of the revision before
		} else if !k.handled(kustomization) {
			out.err = k.silent("it", "kustomize-controller")
		}
	case failed && !k.handled(kustomization):
		// That may be of an earlier try. The controller answers a request together with what came of it.
		out.message, out.err = "Flux has not tried it again yet", k.silent("it", "kustomize-controller")
	case failed:
		out.message, out.err, out.heals = ready.Reason, oneLine(ready.Message), ready.Reason != "BuildFailed"
	default:
		// It is applied. Whether its pods get ready is read from the pods.
		out.message = cmp.Or(ready.Message, "applying")
	}
	return out
}

// judgeSource reports whether the commit has been fetched, and what it waits for else.
func (k *fluxKustomization) judgeSource(source *unstructured.Unstructured, accepts func(string) bool) (verdict, bool) {
	fetched := commitOf(field(source, "status", "artifact", "revision"))
	ready := condition(source, "Ready")
	switch {
	case k.handled(source) && ready.Status == "False":
		return verdict{message: ready.Reason, err: oneLine(fmt.Sprintf("GitRepository %s: %s", k.source.Name, ready.Message)), heals: true}, false
	case !k.handled(source):
		return verdict{
			message: "Flux has not looked at the repository yet", err: k.silent("GitRepository "+k.source.Name, "source-controller"),
		}, false
	case !k.ours || accepts(fetched):
		return verdict{}, true
	}
	return verdict{message: fmt.Sprintf("GitRepository %s is at revision %.10s, which does not have the commit", k.source.Name, fetched)}, false
}

func suspended(o *unstructured.Unstructured) error {
	if suspend, _, _ := unstructured.NestedBool(o.Object, "spec", "suspend"); suspend {
		return fmt.Errorf("%s %s is suspended: resume it with `flux resume`", o.GetKind(), o.GetName())
	}
	return nil
}

// commitOf returns the commit in a revision of Flux: main@sha1:1a2b3c…
func commitOf(revision string) string {
	if _, commit, found := strings.Cut(revision, "sha1:"); found {
		return commit
	}
	return revision
}

// inventory returns the objects that a Kustomization or HelmRelease has applied: those that run pods, and those that
// apply others.
func inventory(o *unstructured.Unstructured) (workloads, children []watch.Object) {
	entries, _, _ := unstructured.NestedSlice(o.Object, "status", "inventory", "entries")
	for _, item := range entries {
		entry, _ := item.(map[string]any)
		id, _ := entry["id"].(string)
		version, _ := entry["v"].(string)
		parts := strings.Split(id, "_") // NAMESPACE_NAME_GROUP_KIND
		if len(parts) != 4 {
			continue
		}
		found := watch.Object{Kind: schema.GroupVersionKind{Group: parts[2], Version: version, Kind: parts[3]}, Namespace: parts[0], Name: parts[1]}
		switch {
		case runsPods(parts[2], parts[3]):
			workloads = append(workloads, found)
		case isOperator(parts[2], parts[3]):
			if found.Kind.Kind == o.GetKind() && found.Name == o.GetName() && found.Namespace == o.GetNamespace() {
				continue // the Kustomization flux-system applies itself
			}
			found.Kind.Version = ""
			children = append(children, found)
		}
	}
	return workloads, children
}

// fluxHelmRelease is a HelmRelease that a Kustomization has applied. Its status is read from
//
//	kind: HelmRelease
//	metadata: {generation: 3}
//	spec: {targetNamespace: shop}
//	status:
//	  observedGeneration: 3
//	  lastHandledReconcileAt: "2026-01-02T…"
//	  conditions:
//	  - {type: Ready, status: "False", reason: UpgradeFailed, message: 'Helm upgrade failed for release …'}
//	  - {type: Stalled, status: "True", reason: RetriesExceeded, message: …}
//
// Its objects have the labels helm.toolkit.fluxcd.io/name and …/namespace.
type fluxHelmRelease struct {
	fluxObject
	listed    time.Time // when the workloads were listed
	workloads []watch.Object
}

func (h *fluxHelmRelease) needs() []watch.Object { return []watch.Object{h.object} }

func (h *fluxHelmRelease) request(ctx context.Context) error {
	err := h.ask(ctx, h.object)
	if apierrors.IsForbidden(err) {
		h.token = "" // it looks by itself when its spec changes
		return nil
	}
	return err
}

func (h *fluxHelmRelease) judge(v view, _ func(string) bool) verdict {
	release := v.object(h.object)
	if release == nil {
		return verdict{message: "not there yet", err: errors.New("it is gone"), heals: true}
	}
	if err := suspended(release); err != nil {
		return verdict{message: "suspended", err: err}
	}
	out := verdict{revision: field(release, "status", "lastAttemptedRevision"), workloads: h.workloadsOf(release)}
	observed, _, _ := unstructured.NestedInt64(release.Object, "status", "observedGeneration")
	ready, stalled := condition(release, "Ready"), condition(release, "Stalled")
	switch {
	case observed < release.GetGeneration() || !h.handled(release):
		out.message, out.err = "Flux has not looked at it yet", h.silent("it", "helm-controller")
	case stalled.Status == "True":
		out.message, out.err = stalled.Reason, oneLine(cmp.Or(ready.Message, stalled.Message))
		if stalled.Reason == "RetriesExceeded" {
			out.err = fmt.Errorf("%w; Flux does not try it again by itself: when the cause is gone, `flux reconcile helmrelease %s -n %s --reset`", out.err, release.GetName(), release.GetNamespace())
		}
	case ready.Status == "True":
		out.applied, out.message = true, cmp.Or(ready.Message, "released")
	case ready.Status == "False" && condition(release, "Reconciling").Status != "True":
		out.message, out.err, out.heals = ready.Reason, oneLine(ready.Message), true
	default:
		out.message = cmp.Or(ready.Message, "releasing")
	}
	return out
}

// listInterval is how often the workloads of a HelmRelease are listed, while it makes them.
const listInterval = time.Second

// workloadsOf returns the workloads of a release: those of its inventory, else those with its labels.
func (h *fluxHelmRelease) workloadsOf(release *unstructured.Unstructured) []watch.Object {
	if workloads, _ := inventory(release); len(workloads) > 0 {
		return workloads
	}
	if time.Since(h.listed) < listInterval {
		return h.workloads
	}
	h.listed = time.Now()
	namespace := cmp.Or(field(release, "spec", "targetNamespace"), release.GetNamespace())
	h.workloads = h.cluster.labelled(namespace, map[string]string{
		"helm.toolkit.fluxcd.io/name": release.GetName(), "helm.toolkit.fluxcd.io/namespace": release.GetNamespace(),
	})
	return h.workloads
}
