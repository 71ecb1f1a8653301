package wait

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/git"
	"github.com/aksflow/aksflow/internal/kube"
	"github.com/aksflow/aksflow/internal/kube/watch"
)

var applicationSetKind = schema.GroupVersionKind{Group: "argoproj.io", Kind: "ApplicationSet"}

// setRefreshAnnotation makes the ApplicationSet controller run the generators now. It removes the annotation when it has.
const setRefreshAnnotation = "argocd.argoproj.io/application-set-refresh"

// applicationSet is an ApplicationSet of Argo CD. It applies nothing itself: it makes Applications, which are followed as
// those of an app of apps are. What the cluster has counts, so that every generator is covered. Its status is read from
//
//	metadata:
//	  annotations:
//	    argocd.argoproj.io/application-set-refresh: "true"    # asked for, and not answered yet
//	status:
//	  conditions:
//	  - {type: ErrorOccurred, status: "True", reason: ApplicationParamsGenerationError, message: …}
//
// Its Applications name it in their ownerReferences.
type applicationSet struct {
	object    watch.Object
	client    setClient
	includes  func(app *unstructured.Unstructured) bool // nil means all of its Applications
	timeout   time.Duration                             // how long a request may stay unanswered
	requested time.Time
	asked     bool
	listed    time.Time // when the Applications were listed
	apps      []watch.Object
	problem   error // why they could not be listed
}

// setClient is one of the two ways to an ApplicationSet.
type setClient interface {
	// refreshSet asks for a run of the generators. asked reports whether an answer is to be expected.
	refreshSet(ctx context.Context, set watch.Object) (asked bool, err error)
	// applications lists the Applications in a namespace.
	applications(namespace string) ([]*unstructured.Unstructured, error)
}

func (a *applicationSet) self() watch.Object                 { return a.object }
func (a *applicationSet) kind() string                       { return ArgoCD }
func (a *applicationSet) needs() []watch.Object              { return []watch.Object{a.object} }
func (a *applicationSet) sync(context.Context, string) error { return nil }

func (a *applicationSet) request(ctx context.Context) (err error) {
	a.requested = time.Now()
	a.asked, err = a.client.refreshSet(ctx, a.object)
	return err
}

func (a *applicationSet) judge(v view, _ func(string) bool) verdict {
	if set := v.object(a.object); set != nil {
		if a.asked && set.GetAnnotations()[setRefreshAnnotation] != "" {
			out := verdict{message: "Argo CD has not run its generators yet"}
			if time.Since(a.requested) > a.timeout {
				out.err = fmt.Errorf("Argo CD has not looked at it for %s: check that its applicationset-controller is running", report.Span(a.timeout))
			}
			return out
		}
		if c := condition(set, "ErrorOccurred"); c.Status == "True" {
			return verdict{message: c.Reason, err: oneLine(c.Message), heals: true}
		}
	}
	if time.Since(a.listed) > listInterval {
		a.listed = time.Now()
		a.apps, a.problem = a.list()
	}
	switch {
	case a.problem != nil:
		return verdict{message: "its Applications cannot be listed", err: a.problem, heals: true}
	case len(a.apps) == 0:
		return verdict{message: "it has made no Application", err: fmt.Errorf("it has made no Application: check its generators"), heals: true}
	}
	return verdict{applied: true, message: fmt.Sprintf("has made %d Applications", len(a.apps)), children: a.apps}
}

// list returns the Applications that the set has made, and that are included.
func (a *applicationSet) list() ([]watch.Object, error) {
	all, err := a.client.applications(a.object.Namespace)
	var made []watch.Object
	for _, app := range all {
		if ownerSet(app) == a.object && (a.includes == nil || a.includes(app)) {
			made = append(made, watch.Object{Kind: applicationKind, Namespace: app.GetNamespace(), Name: app.GetName()})
		}
	}
	return made, err
}

// ownerSet returns the ApplicationSet that has made an Application. It is zero when none has.
func ownerSet(app *unstructured.Unstructured) watch.Object {
	for _, owner := range app.GetOwnerReferences() {
		if owner.Kind == applicationSetKind.Kind && strings.HasPrefix(owner.APIVersion, applicationSetKind.Group+"/") {
			return watch.Object{Kind: applicationSetKind, Namespace: app.GetNamespace(), Name: owner.Name}
		}
	}
	return watch.Object{}
}

// commonSet returns the ApplicationSet that has made all of several Applications, as one for several clusters does.
func commonSet(apps []*unstructured.Unstructured) (set watch.Object, found bool) {
	if len(apps) < 2 {
		return watch.Object{}, false
	}
	set = ownerSet(apps[0])
	other := slices.ContainsFunc(apps, func(app *unstructured.Unstructured) bool { return ownerSet(app) != set })
	return set, set.Name != "" && !other
}

// nearestSet returns how near what the git generators of an ApplicationSet read is to the path of the repository; -1 when
// none reads it. Generators are combined by matrix and merge.
//
//	spec:
//	  generators:
//	  - matrix:
//	      generators:
//	      - git: {repoURL: https://…, revision: main, files: [{path: apps/*/config.json}], directories: [{path: apps/*}]}
//	      - list: {elements: [{cluster: west}]}
func (o Options) nearestSet(set *unstructured.Unstructured) int {
	generators, _, _ := unstructured.NestedSlice(set.Object, "spec", "generators")
	return o.nearestGenerator(generators)
}

func (o Options) nearestGenerator(generators []any) int {
	best := -1
	for _, item := range generators {
		generator, _ := item.(map[string]any)
		for _, combined := range []string{"matrix", "merge"} {
			inner, _, _ := unstructured.NestedSlice(generator, combined, "generators")
			best = max(best, o.nearestGenerator(inner))
		}
		reads, _ := generator["git"].(map[string]any)
		get := func(key string) string { s, _ := reads[key].(string); return s }
		revision := git.BranchName(get("revision"))
		if reads == nil || !git.SameRepository(get("repoURL"), o.RepoURL) || o.Branch != "" && revision != "" && revision != "HEAD" && revision != o.Branch {
			continue
		}
		for _, key := range []string{"files", "directories"} {
			list, _ := reads[key].([]any)
			for _, item := range list {
				entry, _ := item.(map[string]any)
				pattern, _ := entry["path"].(string)
				if exclude, _ := entry["exclude"].(bool); exclude || pattern == "" {
					continue
				}
				if key == "files" {
					pattern = path.Dir(plainPath(pattern))
				}
				best = max(best, nearPattern(plainPath(pattern), plainPath(o.Path)))
			}
		}
	}
	return best
}

// nearPattern is near for a directory that may hold wildcards, each for one element of the path, and ** for any number.
func nearPattern(pattern, wanted string) int {
	if fixed, _, any := strings.Cut(pattern, "**"); any {
		return near(path.Dir(fixed+"x"), wanted)
	}
	elements := strings.Split(wanted, "/")
	depth := strings.Count(pattern, "/") + 1
	if len(elements) < depth {
		return near(path.Dir(strings.SplitN(pattern, "*", 2)[0]+"x"), wanted)
	}
	above := strings.Join(elements[:depth], "/")
	if matches, err := path.Match(pattern, above); err != nil || !matches {
		return -1
	}
	return near(above, wanted)
}

// refreshSet implements setClient. An account that may not ask waits until the controller looks by itself.
func (c *clusterView) refreshSet(ctx context.Context, set watch.Object) (bool, error) {
	_, err := c.annotate(ctx, set, setRefreshAnnotation, "true")
	if apierrors.IsForbidden(err) {
		return false, nil
	}
	return err == nil, err
}

// applications implements setClient.
func (c *clusterView) applications(namespace string) ([]*unstructured.Unstructured, error) {
	list, err := c.cluster.List(c.ctx, applicationKind, namespace, metav1.ListOptions{})
	return list, kube.Explain("listing the Applications in "+namespace, err)
}

func (c *clusterView) applicationSet(o watch.Object, includes func(*unstructured.Unstructured) bool) *applicationSet {
	return &applicationSet{object: o, client: c, includes: includes, timeout: c.operatorTimeout}
}

// findApplicationSet returns the ApplicationSet that is named, or whose generators read the path; nil when there is none.
func (c *clusterView) findApplicationSet(ctx context.Context, o Options) (operator, error) {
	sets, err := c.candidates(ctx, applicationSetKind, o)
	if err != nil && (kube.IsMissing(err) || o.Name == "") {
		return nil, nil // the cluster has none, or does not show them
	}
	if err != nil {
		return nil, err
	}
	set, err := one(sets, applicationSetKind.Kind, o, o.nearestSet)
	if set == nil {
		return nil, err
	}
	return c.applicationSet(watch.Object{Kind: applicationSetKind, Namespace: set.GetNamespace(), Name: set.GetName()}, nil), nil
}
