package wait

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aksflow/aksflow/internal/git"
)

// refreshAnnotation makes Argo CD's controller look at the repository now; it takes the annotation off when it has.
const refreshAnnotation = "argocd.argoproj.io/refresh"

// application is an Application of Argo CD. Its status is read from
//
//	metadata:
//	  annotations:
//	    argocd.argoproj.io/refresh: normal    # asked for, and not looked at yet
//	spec:
//	  syncPolicy:
//	    automated: {prune: true, selfHeal: true}
//	status:
//	  sync: {status: Synced, revision: 1a2b3c…}
//	  operationState:
//	    phase: Succeeded                      # Running, Failed, Error
//	    message: successfully synced
//	    syncResult:
//	      revision: 1a2b3c…
//	      resources:
//	      - {group: apps, kind: Deployment, namespace: vote, name: vote, status: SyncFailed, message: …}
//	  conditions:
//	  - {type: ComparisonError, message: 'Failed to load target state: …'}
//	  resources:
//	  - {group: apps, version: v1, kind: Deployment, namespace: vote, name: vote, status: Synced, health: {status: Healthy}}
type application struct {
	ref       objectRef
	client    argoClient
	requested time.Time
	timeout   time.Duration // how long the request may stay unanswered
	version   string        // resourceVersion that the request made; older ones are not answers
}

// argoClient is one of the two ways to an Application.
type argoClient interface {
	// refresh asks for a comparison, and returns the resourceVersion after which it counts; "" when it has been made.
	refresh(ctx context.Context, app objectRef) (version string, err error)
	// sync starts a sync.
	sync(ctx context.Context, app objectRef, revision string) error
}

func (a *application) kind() string  { return ArgoCD }
func (a *application) name() string  { return a.ref.namespace + "/" + a.ref.name }
func (a *application) title() string { return "Application " + a.name() }

func (a *application) request(ctx context.Context) (err error) {
	a.requested = time.Now()
	a.version, err = a.client.refresh(ctx, a.ref)
	return err
}

func (a *application) sync(ctx context.Context, revision string) error {
	return a.client.sync(ctx, a.ref, revision)
}

func (a *application) judge(w world, accepts func(string) bool) verdict {
	app := w.object(a.ref)
	if app == nil {
		return verdict{message: "not there", err: errors.New("it is gone"), heals: true}
	}
	if older(app.GetResourceVersion(), a.version) || app.GetAnnotations()[refreshAnnotation] != "" {
		v := verdict{message: "Argo CD has not looked at the repository yet"}
		if time.Since(a.requested) > a.timeout {
			v.err = fmt.Errorf("Argo CD has not looked at it for %s: is its application-controller running?", a.timeout)
		}
		return v
	}
	v := verdict{revision: field(app, "status", "sync", "revision")}
	if revisions, _, _ := unstructured.NestedStringSlice(app.Object, "status", "sync", "revisions"); len(revisions) > 0 {
		v.revision = revisions[0]
		for _, r := range revisions {
			if accepts(r) {
				v.revision = r
			}
		}
	}
	for _, kind := range []string{"InvalidSpecError", "ComparisonError", "UnknownError"} {
		if c, found := condition(app, kind); found {
			v.message, v.err, v.heals = kind, said(c.Message), kind != "InvalidSpecError"
			return v
		}
	}
	v.workloads = workloadsOf(app)
	syncStatus := field(app, "status", "sync", "status")
	phase, operated := field(app, "status", "operationState", "phase"), operatedRevision(app)
	current := operated == "" || operated == v.revision // the last operation was about what is compared now
	switch {
	case (phase == "Failed" || phase == "Error") && current && accepts(v.revision):
		v.message, v.err = "sync failed", a.failure(app)
	case phase == "Running" && !current:
		// A retry keeps to the revision that it began with.
		v.message = fmt.Sprintf("still syncing revision %.10s: %s (`argocd app terminate-op %s` ends it)",
			operated, field(app, "status", "operationState", "message"), a.ref.name)
	case phase == "Running":
		v.message = strings.TrimSuffix("syncing: "+field(app, "status", "operationState", "message"), ": ")
		if failed := failedResources(app); len(failed) > 0 {
			v.err, v.heals = said(strings.Join(failed, "; ")), true // it is tried again
		}
	case !accepts(v.revision):
		v.message = fmt.Sprintf("is at revision %.10s, which has not the commit", cmp.Or(v.revision, "(none)"))
	case syncStatus == "Synced", syncStatus == "OutOfSync" && phase == "Succeeded" && current && operated != "":
		// What is OutOfSync right after its sync stays so: a field that something else sets.
		v.applied, v.message = true, fmt.Sprintf("revision %.10s is applied", v.revision)
	case !automated(app):
		v.wantsSync, v.message = true, "OutOfSync, and not synced automatically"
	default:
		v.message = cmp.Or(syncStatus, "not compared yet")
	}
	return v
}

// operatedRevision is the revision of the last operation.
func operatedRevision(app *unstructured.Unstructured) string {
	return cmp.Or(field(app, "status", "operationState", "syncResult", "revision"), field(app, "status", "operationState", "operation", "sync", "revision"))
}

// failure puts together what went wrong in the last operation.
func (a *application) failure(app *unstructured.Unstructured) error {
	message := cmp.Or(field(app, "status", "operationState", "message"), "the sync failed")
	return said(strings.Join(append([]string{message}, failedResources(app)...), "; "))
}

// failedResources says what could not be applied in the last operation, and which hooks failed.
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

// said is an operator's message as an error of one line.
func said(message string) error { return errors.New(strings.Join(strings.Fields(message), " ")) }

// automated tells whether Argo CD syncs an Application by itself.
func automated(app *unstructured.Unstructured) bool {
	policy, found, _ := unstructured.NestedMap(app.Object, "spec", "syncPolicy", "automated")
	enabled, isSet := policy["enabled"].(bool)
	return found && (enabled || !isSet)
}

// workloadsOf returns an Application's resources that run pods.
func workloadsOf(app *unstructured.Unstructured) []objectRef {
	resources, _, _ := unstructured.NestedSlice(app.Object, "status", "resources")
	var out []objectRef
	for _, item := range resources {
		r, _ := item.(map[string]any)
		get := func(key string) string { s, _ := r[key].(string); return s }
		if pruned, _ := r["requiresPruning"].(bool); pruned || !runsPods(get("group"), get("kind")) {
			continue
		}
		out = append(out, objectRef{get("group"), get("version"), get("kind"), get("namespace"), get("name")})
	}
	return out
}

// follows tells whether an Application takes its manifests from there.
func (o Options) follows(app *unstructured.Unstructured) bool {
	sources := []any{}
	if source, found, _ := unstructured.NestedMap(app.Object, "spec", "source"); found {
		sources = append(sources, source)
	}
	more, _, _ := unstructured.NestedSlice(app.Object, "spec", "sources")
	for _, item := range append(sources, more...) {
		source, _ := item.(map[string]any)
		get := func(key string) string { s, _ := source[key].(string); return s }
		revision := strings.TrimPrefix(get("targetRevision"), "refs/heads/")
		if git.SameRepository(get("repoURL"), o.RepoURL) && samePath(get("path"), o.Path) &&
			(o.Branch == "" || revision == "" || revision == "HEAD" || revision == o.Branch) {
			return true
		}
	}
	return false
}

// older tells whether a resourceVersion came before another. They are numbers that grow.
func older(a, b string) bool {
	x, errX := strconv.ParseUint(a, 10, 64)
	y, errY := strconv.ParseUint(b, 10, 64)
	return errX == nil && errY == nil && x < y
}
