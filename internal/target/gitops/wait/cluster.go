package wait

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aksflow/aksflow/internal/kube"
	"github.com/aksflow/aksflow/internal/kube/status"
	"github.com/aksflow/aksflow/internal/kube/watch"
)

// clusterView is the view through the API server, with watches.
type clusterView struct {
	Options
	cluster *kube.Cluster
	watcher *watch.Watcher
	ctx     context.Context // of the whole wait, for what judge asks the cluster
}

// openCluster finds the operator's object and begins to follow it.
func openCluster(ctx context.Context, o Options) (operator, view, error) {
	cluster, err := kube.Connect(ctx, kube.Options{Kubeconfig: o.Kubeconfig, Context: o.Context, Network: o.Network, Access: o.Access})
	if err != nil {
		return nil, nil, err
	}
	c := &clusterView{Options: o, cluster: cluster, ctx: ctx}
	root, err := c.find(ctx, o)
	if err != nil {
		return nil, nil, err
	}
	before, err := c.baseline(ctx, root)
	if err != nil {
		return nil, nil, err
	}
	c.watcher = watch.New(ctx, cluster, watch.Options{Before: before, Grace: o.Grace})
	if err := c.followOperator(ctx, root); err != nil {
		c.close()
		return nil, nil, err
	}
	return root, c, nil
}

// baseline returns what stands in the namespaces of an operator's workloads before the commit arrives. It proves nothing
// about the commit, unless the operator has applied that already.
func (c *clusterView) baseline(ctx context.Context, root operator) (*status.Baseline, error) {
	found := surroundings{operators: map[watch.Object]*unstructured.Unstructured{}}
	if err := c.survey(ctx, root.self(), &found); err != nil {
		return nil, err
	}
	slices.Sort(found.namespaces)
	namespaces := slices.DeleteFunc(slices.Compact(found.namespaces), func(name string) bool { return name == "" })
	before, err := watch.TakeBaseline(ctx, c.cluster, namespaces, found.live...)
	if err == nil {
		before.Unchanged = c.Commit == "" || found.haveApplied(root.self(), c.Commit)
	}
	return before, err
}

// surroundings are what an operator and those below it have in the cluster.
type surroundings struct {
	operators  map[watch.Object]*unstructured.Unstructured // nil: not there
	live       []*unstructured.Unstructured                // workloads
	namespaces []string
}

// haveApplied reports whether an operator says that the commit is applied, or all Applications of an ApplicationSet do.
func (s *surroundings) haveApplied(root watch.Object, commit string) bool {
	if root.Kind != applicationSetKind {
		return s.operators[root] != nil && hasApplied(s.operators[root], commit)
	}
	for _, o := range s.operators {
		if o != nil && ownerSet(o) == root && !hasApplied(o, commit) {
			return false
		}
	}
	return true
}

// survey adds what an operator has, and those whose objects it has applied. Those that may not be read are left out.
func (c *clusterView) survey(ctx context.Context, o watch.Object, found *surroundings) error {
	if _, known := found.operators[o]; known {
		return nil
	}
	object, err := c.cluster.Get(ctx, o.Kind, o.Namespace, o.Name)
	if found.operators[o] = object; object == nil {
		return kube.Explain(o.String(), err)
	}
	workloads, children := applied(object)
	more, below := inventory(object)
	workloads, children = append(workloads, more...), append(children, below...)
	if o.Kind == applicationSetKind {
		if children, err = c.applicationSet(o, nil).list(); err != nil {
			return err
		}
	}
	found.namespaces = append(found.namespaces, field(object, "spec", "destination", "namespace"), field(object, "spec", "targetNamespace"))
	for _, w := range workloads {
		found.namespaces = append(found.namespaces, w.Namespace)
		if now, err := c.cluster.Get(ctx, w.Kind, w.Namespace, w.Name); err == nil && now != nil {
			found.live = append(found.live, now)
		}
	}
	for _, child := range children {
		found.namespaces = append(found.namespaces, child.Namespace)
		_ = c.survey(ctx, child, found) // the wait itself finds out what it cannot read
	}
	return nil
}

// hasApplied reports whether an operator's object says that a commit is applied.
func hasApplied(o *unstructured.Unstructured, commit string) bool {
	if strings.HasPrefix(commitOf(field(o, "status", "lastAppliedRevision")), commit) {
		return true
	}
	revisions, _, _ := unstructured.NestedStringSlice(o.Object, "status", "sync", "revisions")
	return field(o, "status", "sync", "status") == "Synced" &&
		slices.ContainsFunc(append(revisions, field(o, "status", "sync", "revision")), func(r string) bool { return strings.HasPrefix(r, commit) })
}

func (c *clusterView) application(o watch.Object) *application {
	return &application{object: o, client: c, repoURL: c.RepoURL, path: c.Path, timeout: c.operatorTimeout}
}

func (c *clusterView) fluxObject(o watch.Object) fluxObject {
	return fluxObject{object: o, cluster: c, timeout: c.operatorTimeout}
}

func (c *clusterView) operator(ctx context.Context, o watch.Object) (operator, error) {
	switch o.Kind {
	case applicationKind:
		return c.application(o), nil
	case applicationSetKind:
		return c.applicationSet(o, nil), nil
	case helmReleaseKind:
		return &fluxHelmRelease{fluxObject: c.fluxObject(o)}, nil
	}
	k, err := c.cluster.Get(ctx, o.Kind, o.Namespace, o.Name)
	if err != nil {
		return nil, kube.Explain(o.String(), err)
	}
	if k == nil {
		return nil, fmt.Errorf("%s is not there", o)
	}
	return c.kustomization(ctx, k)
}

func (c *clusterView) followOperator(ctx context.Context, o operator) error {
	return c.watcher.FollowOnly(ctx, o.needs()...)
}

func (c *clusterView) follow(ctx context.Context, _ operator, workloads []watch.Object) error {
	for _, w := range workloads {
		if err := c.watcher.FollowPods(ctx, w.Namespace); err != nil {
			return err
		}
	}
	return c.watcher.Follow(ctx, workloads...)
}

// labelled returns the workloads in a namespace that have labels. What cannot be listed is left out: the wait then says
// that no workload has the image.
func (c *clusterView) labelled(namespace string, has map[string]string) []watch.Object {
	var out []watch.Object
	for _, kind := range []schema.GroupVersionKind{
		{Group: "apps", Version: "v1", Kind: "Deployment"}, {Group: "apps", Version: "v1", Kind: "StatefulSet"},
		{Group: "apps", Version: "v1", Kind: "DaemonSet"}, {Group: "batch", Version: "v1", Kind: "Job"},
	} {
		found, err := c.cluster.List(c.ctx, kind, namespace, metav1.ListOptions{LabelSelector: labels.FormatLabels(has)})
		if err != nil {
			continue
		}
		for _, o := range found {
			out = append(out, watch.Object{Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName()})
		}
	}
	return out
}

func (c *clusterView) object(o watch.Object) *unstructured.Unstructured { return c.watcher.Object(o) }
func (c *clusterView) world() *status.World                             { return c.watcher.World() }
func (c *clusterView) changed() <-chan struct{}                         { return c.watcher.Changed() }
func (c *clusterView) check(ctx context.Context) error                  { return c.watcher.Check(ctx) }
func (c *clusterView) close()                                           { c.watcher.Close() }

func (c *clusterView) logs(ctx context.Context, namespace, pod, container string) []string {
	return c.cluster.LastLines(ctx, namespace, pod, container)
}

// annotate sets one annotation and returns the object's resourceVersion then.
func (c *clusterView) annotate(ctx context.Context, o watch.Object, key, value string) (string, error) {
	return c.patch(ctx, o, map[string]any{"metadata": map[string]any{"annotations": map[string]any{key: value}}})
}

func (c *clusterView) patch(ctx context.Context, o watch.Object, patch map[string]any) (string, error) {
	body, err := json.Marshal(patch)
	if err != nil {
		return "", err
	}
	client, err := c.cluster.Resource(ctx, o.Kind, o.Namespace)
	if err != nil {
		return "", err
	}
	var patched *unstructured.Unstructured
	err = c.cluster.Retry(ctx, func(ctx context.Context) (err error) {
		patched, err = client.Patch(ctx, o.Name, types.MergePatchType, body, metav1.PatchOptions{FieldManager: kube.Manager})
		return err
	})
	if err != nil {
		return "", &askError{kube.Explain(fmt.Sprintf("asking %s to look at the repository", o), err), err}
	}
	return patched.GetResourceVersion(), nil
}

// askError is the explained error of a request, which the API server's answer can be told from.
type askError struct {
	error
	cause error
}

func (e *askError) Unwrap() error { return e.cause }

// refresh implements argoClient.
func (c *clusterView) refresh(ctx context.Context, app watch.Object) (string, error) {
	return c.annotate(ctx, app, refreshAnnotation, "normal")
}

// startSync implements argoClient.
func (c *clusterView) startSync(ctx context.Context, app watch.Object, revision string) error {
	_, err := c.patch(ctx, app, map[string]any{"operation": map[string]any{
		"initiatedBy": map[string]any{"username": kube.Manager},
		"sync":        map[string]any{"revision": revision, "prune": true},
	}})
	return err
}
