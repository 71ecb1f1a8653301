package wait

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/git"
	"github.com/aksflow/aksflow/internal/kube/watch"
)

// refreshAnnotation makes Argo CD's controller look at the repository now. The controller removes it when it has.
const refreshAnnotation = "argocd.argoproj.io/refresh"

// application is an Application of Argo CD. Its status is read from
//
//	metadata:
//	  annotations:
//	    argocd.argoproj.io/refresh: normal    # asked for, and not looked at yet
//	spec:
//	  source: {repoURL: https://…, path: apps/vote, targetRevision: main}
//	  syncPolicy:
//	    automated: {prune: true, selfHeal: true}
//	status:
//	  sync:
//	    status: Synced
//	    revision: 1a2b3c…                     # revisions, in the order of the sources, where there are several
//	    comparedTo: {source: {…}}             # as in spec
//	  operationState:
//	    phase: Succeeded                      # Running, Failed, Error
//	    startedAt: "2026-01-02T…"
//	    message: successfully synced
//	    syncResult:
//	      revision: 1a2b3c…                   # or revisions
//	      resources:
//	      - {group: apps, kind: Deployment, namespace: vote, name: vote, status: SyncFailed, message: …}
//	  conditions:
//	  - {type: ComparisonError, message: 'Failed to load target state: …'}
//	  resources:
//	  - {group: apps, version: v1, kind: Deployment, namespace: vote, name: vote, status: Synced, health: {status: Healthy}}
type application struct {
	object    watch.Object
	client    argoClient
	repoURL   string // the repository whose revision counts
	path      string
	timeout   time.Duration // how long a request may stay unanswered
	requested time.Time
	version   string // resourceVersion that the request made; an older one is no answer
	failed    string // when the last operation that failed began
	again     string // failed, when a sync was asked for
}

// argoClient is one of the two ways to an Application.
type argoClient interface {
	// refresh asks for a comparison, and returns the resourceVersion after which it counts; "" when it has been made.
	refresh(ctx context.Context, app watch.Object) (version string, err error)
	// startSync starts a sync.
	startSync(ctx context.Context, app watch.Object, revision string) error
}

func (a *application) self() watch.Object    { return a.object }
func (a *application) kind() string          { return ArgoCD }
func (a *application) needs() []watch.Object { return []watch.Object{a.object} }

func (a *application) request(ctx context.Context) (err error) {
	a.requested = time.Now()
	a.version, err = a.client.refresh(ctx, a.object)
	return err
}

func (a *application) sync(ctx context.Context, revision string) error {
	a.again = a.failed
	return a.client.startSync(ctx, a.object, revision)
}

func (a *application) judge(v view, accepts func(string) bool) verdict {
	app := v.object(a.object)
	if app == nil {
		return verdict{message: "not there", err: errors.New("it is gone"), heals: true}
	}
	if older(app.GetResourceVersion(), a.version) || app.GetAnnotations()[refreshAnnotation] != "" || !compared(app) {
		out := verdict{message: "Argo CD has not looked at the repository yet"}
		if time.Since(a.requested) > a.timeout {
			out.err = fmt.Errorf("Argo CD has not looked at it for %s: check that its application-controller is running", report.Span(a.timeout))
		}
		return out
	}
	source, ours := a.sourceIndex(app)
	out := verdict{revision: revisionOf(app, source, "status", "sync")}
	for _, kind := range []string{"InvalidSpecError", "ComparisonError", "UnknownError"} {
		if c := condition(app, kind); c.Type != "" {
			out.message, out.err, out.heals = kind, oneLine(c.Message), kind != "InvalidSpecError"
			return out
		}
	}
	out.workloads, out.children = applied(app)
	a.judgeSync(app, source, !ours || accepts(out.revision), &out)
	return out
}

// judgeSync reads how far the sync has come. accepted reports that the revision of the comparison has the commit.
func (a *application) judgeSync(app *unstructured.Unstructured, source int, accepted bool, out *verdict) {
	syncStatus := field(app, "status", "sync", "status")
	phase, operated := field(app, "status", "operationState", "phase"), operatedRevision(app, source)
	current := operated == "" || operated == out.revision // the last operation was about what is compared now
	switch {
	case (phase == "Failed" || phase == "Error") && current && accepted:
		// Argo CD does not try a revision again whose sync failed.
		if a.failed = field(app, "status", "operationState", "startedAt"); a.failed != "" && a.failed == a.again {
			out.message = "asked to sync it again"
			break
		}
		out.message, out.err, out.tryAgain = "sync failed", failure(app), true
	case phase == "Running" && !current:
		// A retry keeps the revision that it began with.
		out.message = fmt.Sprintf("still syncing revision %.10s: %s (`argocd app terminate-op %s` ends it)",
			operated, field(app, "status", "operationState", "message"), a.object.Name)
	case phase == "Running":
		out.message = strings.TrimSuffix("syncing: "+field(app, "status", "operationState", "message"), ": ")
		if failed := failedResources(app); len(failed) > 0 {
			out.err, out.heals = oneLine(strings.Join(failed, "; ")), true // it is tried again
		}
	case !accepted:
		out.message = fmt.Sprintf("is at revision %.10s, which does not have the commit", cmp.Or(out.revision, "(none)"))
	case syncStatus == "Synced", syncStatus == "OutOfSync" && phase == "Succeeded" && current && operated != "":
		// What is OutOfSync right after its sync stays so: something else sets a field.
		out.applied, out.message = true, fmt.Sprintf("revision %.10s is applied", out.revision)
	case !automated(app):
		out.wantsSync, out.message = true, "OutOfSync, and not synced automatically"
	default:
		out.message = cmp.Or(syncStatus, "not compared yet")
	}
}

// compared reports whether the comparison in the status is that of the present spec.
func compared(app *unstructured.Unstructured) bool {
	for _, key := range []string{"source", "sources"} {
		was, found, _ := unstructured.NestedFieldNoCopy(app.Object, "status", "sync", "comparedTo", key)
		if is, _, _ := unstructured.NestedFieldNoCopy(app.Object, "spec", key); found && !reflect.DeepEqual(was, is) {
			return false
		}
	}
	return true
}

// sources returns where an Application takes its manifests from.
func sources(app *unstructured.Unstructured) []map[string]any {
	list, _, _ := unstructured.NestedSlice(app.Object, "spec", "sources")
	if len(list) == 0 {
		if source, found, _ := unstructured.NestedMap(app.Object, "spec", "source"); found {
			list = []any{source}
		}
	}
	out := make([]map[string]any, 0, len(list))
	for _, item := range list {
		source, _ := item.(map[string]any)
		out = append(out, source)
	}
	return out
}

// sourceIndex returns which of the sources is the repository. It is 0, and ours is false, when none is.
func (a *application) sourceIndex(app *unstructured.Unstructured) (index int, ours bool) {
	best := -1
	all := sources(app)
	for i, source := range all {
		repoURL, _ := source["repoURL"].(string)
		if near := max(nearestPath(all, i, a.path), 0); git.SameRepository(repoURL, a.repoURL) && near > best {
			index, ours, best = i, true, near
		}
	}
	return index, ours
}

// revisionOf reads the revision of a source in a part of the status.
func revisionOf(app *unstructured.Unstructured, source int, path ...string) string {
	revisions, _, _ := unstructured.NestedStringSlice(app.Object, append(slices.Clone(path), "revisions")...)
	if source < len(revisions) {
		return revisions[source]
	}
	return field(app, append(slices.Clone(path), "revision")...)
}

// operatedRevision returns the revision of the last operation.
func operatedRevision(app *unstructured.Unstructured, source int) string {
	return cmp.Or(revisionOf(app, source, "status", "operationState", "syncResult"),
		revisionOf(app, source, "status", "operationState", "operation", "sync"))
}

// failure returns what went wrong in the last operation.
func failure(app *unstructured.Unstructured) error {
	message := cmp.Or(field(app, "status", "operationState", "message"), "the sync failed")
	return oneLine(strings.Join(append([]string{message}, failedResources(app)...), "; "))
}

// failedResources returns what the last operation could not apply, and the hooks that failed.
func failedResources(app *unstructured.Unstructured) []string {
	var failed []string
	resources, _, _ := unstructured.NestedSlice(app.Object, "status", "operationState", "syncResult", "resources")
	for _, item := range resources {
		r, _ := item.(map[string]any)
		if r["status"] == "SyncFailed" || r["hookPhase"] == "Failed" || r["hookPhase"] == "Error" {
			failed = append(failed, fmt.Sprintf("%v/%v/%v: %v", r["kind"], r["namespace"], r["name"], r["message"]))
		}
	}
	return failed
}

// automated reports whether Argo CD syncs an Application by itself.
func automated(app *unstructured.Unstructured) bool {
	policy, found, _ := unstructured.NestedMap(app.Object, "spec", "syncPolicy", "automated")
	enabled, isSet := policy["enabled"].(bool)
	return found && (enabled || !isSet)
}

// applied returns the resources of an Application that run pods, and the Applications and ApplicationSets among them.
func applied(app *unstructured.Unstructured) (workloads, children []watch.Object) {
	resources, _, _ := unstructured.NestedSlice(app.Object, "status", "resources")
	for _, item := range resources {
		r, _ := item.(map[string]any)
		get := func(key string) string { s, _ := r[key].(string); return s }
		if pruned, _ := r["requiresPruning"].(bool); pruned {
			continue
		}
		switch group, kind := get("group"), get("kind"); {
		case runsPods(group, kind):
			gvk := schema.GroupVersionKind{Group: group, Version: get("version"), Kind: kind}
			workloads = append(workloads, watch.Object{Kind: gvk, Namespace: get("namespace"), Name: get("name")})
		case group == applicationKind.Group && (kind == applicationKind.Kind || kind == applicationSetKind.Kind):
			gvk := schema.GroupVersionKind{Group: group, Kind: kind}
			children = append(children, watch.Object{Kind: gvk, Namespace: cmp.Or(get("namespace"), app.GetNamespace()), Name: get("name")})
		}
	}
	return workloads, children
}

// older reports whether resourceVersion a came before b.
func older(a, b string) bool {
	x, errX := strconv.ParseUint(a, 10, 64)
	y, errY := strconv.ParseUint(b, 10, 64)
	return errX == nil && errY == nil && x < y
}
