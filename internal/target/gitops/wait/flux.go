package wait

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// reconcileAnnotation makes Flux's controllers look now; they repeat its value in status.lastHandledReconcileAt.
const reconcileAnnotation = "reconcile.fluxcd.io/requestedAt"

// fluxKustomization is a Kustomization of Flux and the GitRepository that it is made from. Their status is read from
//
//	kind: GitRepository
//	status:
//	  lastHandledReconcileAt: "2026-01-02T…"    # the request that was answered
//	  artifact: {revision: main@sha1:1a2b3c…}
//	  conditions:
//	  - {type: Ready, status: "False", reason: GitOperationFailed, message: …}
//	kind: Kustomization
//	status:
//	  lastAttemptedRevision: main@sha1:1a2b3c…
//	  lastAppliedRevision: main@sha1:1a2b3c…
//	  inventory:
//	    entries:
//	    - {id: vote_vote_apps_Deployment, v: v1}
//	  conditions:
//	  - {type: Ready, status: "False", reason: BuildFailed, message: …}
type fluxKustomization struct {
	ref, source objectRef
	cluster     *cluster
	requested   time.Time
	timeout     time.Duration // how long the request may stay unanswered
	token       string
}

func (k *fluxKustomization) kind() string  { return Flux }
func (k *fluxKustomization) name() string  { return k.ref.namespace + "/" + k.ref.name }
func (k *fluxKustomization) title() string { return "Kustomization " + k.name() }

func (k *fluxKustomization) request(ctx context.Context) error {
	k.requested = time.Now()
	k.token = k.requested.Format(time.RFC3339Nano)
	for _, r := range []objectRef{k.source, k.ref} {
		if _, err := k.cluster.annotate(ctx, r, reconcileAnnotation, k.token); err != nil {
			return err
		}
	}
	return nil
}

// sync has nothing to do: what Flux is not suspended for, it applies.
func (k *fluxKustomization) sync(context.Context, string) error { return nil }

func (k *fluxKustomization) judge(w world, accepts func(string) bool) verdict {
	source, kustomization := w.object(k.source), w.object(k.ref)
	if source == nil || kustomization == nil {
		return verdict{message: "not there", err: errors.New("it or its GitRepository is gone"), heals: true}
	}
	for _, o := range []*unstructured.Unstructured{source, kustomization} {
		if suspended, _, _ := unstructured.NestedBool(o.Object, "spec", "suspend"); suspended {
			return verdict{message: "suspended", err: fmt.Errorf("%s %s is suspended: resume it with `flux resume`", o.GetKind(), o.GetName())}
		}
	}
	if v, ready := k.judgeSource(source, accepts); !ready {
		return v
	}
	fetched := commitOf(field(source, "status", "artifact", "revision"))
	attempted, applied := commitOf(field(kustomization, "status", "lastAttemptedRevision")), commitOf(field(kustomization, "status", "lastAppliedRevision"))
	v := verdict{revision: cmp.Or(attempted, applied), workloads: inventory(kustomization)}
	ready, _ := condition(kustomization, "Ready")
	doing, busy := condition(kustomization, "Reconciling")
	switch {
	case applied == fetched:
		v.applied, v.revision, v.message = true, applied, fmt.Sprintf("revision %.10s is applied", applied)
	case attempted != fetched:
		v.message = fmt.Sprintf("revision %.10s is fetched; it is at %.10s", fetched, cmp.Or(v.revision, "none"))
		if busy && doing.Message != "" {
			v.message += ": " + doing.Message // such as the health checks of the revision before
		} else if time.Since(k.requested) > k.timeout && field(kustomization, "status", "lastHandledReconcileAt") != k.token {
			v.err = fmt.Errorf("Flux has not looked at it for %s: is its kustomize-controller running?", k.timeout)
		}
	case ready.Status == "False" && ready.Reason == "BuildFailed":
		v.message, v.err = ready.Reason, said(ready.Message)
	case ready.Status == "False" && (ready.Reason == "ReconciliationFailed" || ready.Reason == "ArtifactFailed" || ready.Reason == "PruneFailed"):
		v.message, v.err, v.heals = ready.Reason, said(ready.Message), true
	default:
		// It is applied; whether its pods get ready is for them to show.
		v.message = cmp.Or(ready.Message, "applying")
	}
	return v
}

// judgeSource says whether the commit has been fetched.
func (k *fluxKustomization) judgeSource(source *unstructured.Unstructured, accepts func(string) bool) (verdict, bool) {
	fetched := commitOf(field(source, "status", "artifact", "revision"))
	ready, _ := condition(source, "Ready")
	handled := field(source, "status", "lastHandledReconcileAt") == k.token
	switch {
	case handled && ready.Status == "False":
		return verdict{message: ready.Reason, err: said(fmt.Sprintf("GitRepository %s: %s", k.source.name, ready.Message)), heals: true}, false
	case accepts(fetched) && handled:
		return verdict{}, true
	case !handled:
		v := verdict{message: "Flux has not looked at the repository yet"}
		if time.Since(k.requested) > k.timeout {
			v.err = fmt.Errorf("Flux has not looked at GitRepository %s for %s: is its source-controller running?", k.source.name, k.timeout)
		}
		return v, false
	}
	return verdict{message: fmt.Sprintf("GitRepository %s is at revision %.10s, which has not the commit", k.source.name, fetched)}, false
}

// commitOf is the commit in a revision of Flux: main@sha1:1a2b3c…
func commitOf(revision string) string {
	if _, commit, found := strings.Cut(revision, "sha1:"); found {
		return commit
	}
	return revision
}

// inventory returns the objects of a Kustomization that run pods.
func inventory(o *unstructured.Unstructured) []objectRef {
	entries, _, _ := unstructured.NestedSlice(o.Object, "status", "inventory", "entries")
	var out []objectRef
	for _, item := range entries {
		entry, _ := item.(map[string]any)
		id, _ := entry["id"].(string)
		version, _ := entry["v"].(string)
		parts := strings.Split(id, "_") // NAMESPACE_NAME_GROUP_KIND
		if len(parts) == 4 && runsPods(parts[2], parts[3]) {
			out = append(out, objectRef{parts[2], version, parts[3], parts[0], parts[1]})
		}
	}
	return out
}
