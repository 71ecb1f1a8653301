package wait

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/git"
	"github.com/aksflow/aksflow/internal/kube/status"
)

var (
	applicationKind   = schema.GroupVersionKind{Group: "argoproj.io", Version: "v1alpha1", Kind: "Application"}
	kustomizationKind = schema.GroupVersionKind{Group: "kustomize.toolkit.fluxcd.io", Version: "v1", Kind: "Kustomization"}
	gitRepositoryKind = schema.GroupVersionKind{Group: "source.toolkit.fluxcd.io", Version: "v1", Kind: "GitRepository"}
	podKind           = schema.GroupVersionKind{Version: "v1", Kind: "Pod"}
	eventKind         = schema.GroupVersionKind{Version: "v1", Kind: "Event"}
	replicaSetKind    = schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "ReplicaSet"}
)

// cluster is a world seen through the API server, with watches.
type cluster struct {
	client dynamic.Interface
	host   string
	signal chan struct{}

	watching context.Context // of all watches
	stop     context.CancelFunc
	watches  sync.WaitGroup

	mu      sync.Mutex
	stores  map[watchKey]cache.SharedIndexInformer
	refused error
}

// watchKey is a watch: of a kind in a namespace, or of one object when name is set.
type watchKey struct {
	kind            schema.GroupVersionKind
	namespace, name string
}

// openCluster finds the operator's object and begins to watch it.
func openCluster(ctx context.Context, o Options) (operator, world, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = o.Kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: o.Context}).ClientConfig()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil, fault.Usagef("there is no kubeconfig at %s: name one with --kubeconfig", o.Kubeconfig)
	case err != nil:
		return nil, nil, fault.Usagef("the kubeconfig cannot be used: name one with --kubeconfig, or go through Argo CD's API: %w", err)
	}
	config.QPS, config.Burst = 50, 100
	config.WarningHandler = nil
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, nil, fault.Usagef("the kubeconfig cannot be used: %w", err)
	}
	c := &cluster{client: client, host: config.Host, signal: make(chan struct{}, 1), stores: map[watchKey]cache.SharedIndexInformer{}}
	found, err := c.find(ctx, o)
	if err != nil {
		return nil, nil, err
	}
	var own []objectRef
	switch op := found.(type) {
	case *application:
		own = []objectRef{op.ref}
	case *fluxKustomization:
		own = []objectRef{op.ref, op.source}
	}
	c.watching, c.stop = context.WithCancel(ctx)
	for _, r := range own {
		if err := c.watch(ctx, watchKey{r.gvk(), r.namespace, r.name}); err != nil {
			c.close()
			return nil, nil, err
		}
	}
	return found, c, nil
}

func (r objectRef) gvk() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: r.group, Version: r.version, Kind: r.kind}
}

func refOf(gvk schema.GroupVersionKind, o *unstructured.Unstructured) objectRef {
	return objectRef{gvk.Group, gvk.Version, gvk.Kind, o.GetNamespace(), o.GetName()}
}

// resource returns the client for a kind. The plural is the regular one, for all kinds that are asked for.
func (c *cluster) resource(gvk schema.GroupVersionKind, namespace string) dynamic.ResourceInterface {
	plural, _ := meta.UnsafeGuessKindToResource(gvk)
	if namespace == "" {
		return c.client.Resource(plural)
	}
	return c.client.Resource(plural).Namespace(namespace)
}

// find returns the operator's object: the named one, or the one that follows the repository.
func (c *cluster) find(ctx context.Context, o Options) (operator, error) {
	var tried []string
	var none error
	if o.Operator == "" || o.Operator == ArgoCD {
		tried = append(tried, "Argo CD Application")
		apps, err := c.candidates(ctx, applicationKind, o)
		switch {
		case err != nil && o.Operator == ArgoCD, err != nil && !isAbsent(err):
			return nil, c.explain("find the Application", err)
		case err == nil:
			app, err := one(apps, "Application", o, o.follows)
			if err != nil {
				return nil, err
			}
			if app != nil {
				return &application{ref: refOf(applicationKind, app), client: c, timeout: o.operatorTimeout}, nil
			}
		default:
			none = err
		}
	}
	if o.Operator == "" || o.Operator == Flux {
		tried = append(tried, "Flux Kustomization")
		found, err := c.findFlux(ctx, o)
		switch {
		case err != nil && (o.Operator == Flux || !isAbsent(err)):
			return nil, c.explain("find the Kustomization", err)
		case found != nil:
			return found, nil
		}
	}
	if len(tried) == 0 {
		return nil, fault.Usagef("operator %q is not known: want %s or %s", o.Operator, ArgoCD, Flux)
	}
	if o.Name != "" {
		return nil, fmt.Errorf("there is no %s %s in %s: check its name and namespace", strings.Join(tried, " or "), o.title(), c.host)
	}
	hint := ""
	if none != nil && len(tried) == 1 {
		hint = " (the cluster has no Argo CD)"
	}
	return nil, fmt.Errorf("no %s in %s follows path %s of %s%s: name it, or create it", strings.Join(tried, " or "), c.host, cmp.Or(o.Path, "."), o.RepoURL, hint)
}

func (o Options) title() string {
	if o.Namespace == "" {
		return o.Name
	}
	return o.Namespace + "/" + o.Name
}

// candidates lists a kind, or gets the one that is named.
func (c *cluster) candidates(ctx context.Context, gvk schema.GroupVersionKind, o Options) ([]unstructured.Unstructured, error) {
	if o.Name != "" && o.Namespace != "" {
		object, err := c.resource(gvk, o.Namespace).Get(ctx, o.Name, metav1.GetOptions{})
		if err != nil {
			if apierrors.IsNotFound(err) && !isAbsent(err) {
				return nil, nil
			}
			return nil, err
		}
		return []unstructured.Unstructured{*object}, nil
	}
	options := metav1.ListOptions{}
	if o.Name != "" {
		options.FieldSelector = fields.OneTermEqualSelector("metadata.name", o.Name).String()
	}
	list, err := c.resource(gvk, o.Namespace).List(ctx, options)
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// one returns the only candidate, or the only one that follows the repository; nil for none.
func one(candidates []unstructured.Unstructured, kind string, o Options, follows func(*unstructured.Unstructured) bool) (*unstructured.Unstructured, error) {
	var found []*unstructured.Unstructured
	var names []string
	for i := range candidates {
		if o.Name != "" || follows(&candidates[i]) {
			found = append(found, &candidates[i])
			names = append(names, candidates[i].GetNamespace()+"/"+candidates[i].GetName())
		}
	}
	switch len(found) {
	case 0:
		return nil, nil
	case 1:
		return found[0], nil
	}
	return nil, fault.Usagef("%d %ss could be meant: %s: name one with its namespace", len(found), kind, strings.Join(names, ", "))
}

func (c *cluster) findFlux(ctx context.Context, o Options) (operator, error) {
	kustomizations, err := c.candidates(ctx, kustomizationKind, o)
	if err != nil {
		return nil, err
	}
	sources := map[objectRef]*unstructured.Unstructured{}
	sourceOf := func(k *unstructured.Unstructured) objectRef {
		namespace := field(k, "spec", "sourceRef", "namespace")
		if namespace == "" {
			namespace = k.GetNamespace()
		}
		return objectRef{gitRepositoryKind.Group, gitRepositoryKind.Version, field(k, "spec", "sourceRef", "kind"), namespace, field(k, "spec", "sourceRef", "name")}
	}
	var problem error
	k, err := one(kustomizations, "Kustomization", o, func(k *unstructured.Unstructured) bool {
		source := sourceOf(k)
		if !samePath(field(k, "spec", "path"), o.Path) || source.kind != gitRepositoryKind.Kind {
			return false
		}
		if _, known := sources[source]; !known {
			got, err := c.resource(source.gvk(), source.namespace).Get(ctx, source.name, metav1.GetOptions{})
			if err != nil {
				problem = err
				return false
			}
			sources[source] = got
		}
		branch := field(sources[source], "spec", "ref", "branch")
		return git.SameRepository(field(sources[source], "spec", "url"), o.RepoURL) && (o.Branch == "" || branch == "" || branch == o.Branch)
	})
	if err != nil || k == nil {
		if err == nil && problem != nil && !apierrors.IsNotFound(problem) {
			err = problem
		}
		return nil, err
	}
	source := sourceOf(k)
	if source.kind != gitRepositoryKind.Kind {
		return nil, fmt.Errorf("Kustomization %s/%s is made from a %s: only a GitRepository can be followed", k.GetNamespace(), k.GetName(), source.kind)
	}
	return &fluxKustomization{ref: refOf(kustomizationKind, k), source: source, cluster: c, timeout: o.operatorTimeout}, nil
}

// isAbsent tells that the cluster does not know the kind.
func isAbsent(err error) bool {
	return apierrors.IsNotFound(err) && strings.Contains(err.Error(), "could not find the requested resource")
}

func (c *cluster) explain(doing string, err error) error {
	switch {
	case isAbsent(err):
		return fmt.Errorf("cannot %s: the cluster %s does not know the kind: is the operator installed?", doing, c.host)
	case apierrors.IsForbidden(err):
		return fmt.Errorf("cannot %s: %w: grant the account what manifests/rbac/wait.yaml lists", doing, err)
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("cannot %s: the cluster %s refuses the credentials: log in again", doing, c.host)
	}
	return fmt.Errorf("cannot %s: %w", doing, err)
}

// annotate sets one annotation and returns the object's resourceVersion then.
func (c *cluster) annotate(ctx context.Context, r objectRef, key, value string) (string, error) {
	return c.patch(ctx, r, map[string]any{"metadata": map[string]any{"annotations": map[string]any{key: value}}})
}

func (c *cluster) patch(ctx context.Context, r objectRef, patch map[string]any) (string, error) {
	body, err := json.Marshal(patch)
	if err != nil {
		return "", err
	}
	object, err := c.resource(r.gvk(), r.namespace).Patch(ctx, r.name, types.MergePatchType, body, metav1.PatchOptions{FieldManager: "aksflow"})
	if err != nil {
		return "", c.explain(fmt.Sprintf("ask %s to look now", r), err)
	}
	return object.GetResourceVersion(), nil
}

// refresh implements argoClient.
func (c *cluster) refresh(ctx context.Context, app objectRef) (string, error) {
	return c.annotate(ctx, app, refreshAnnotation, "normal")
}

// sync implements argoClient.
func (c *cluster) sync(ctx context.Context, app objectRef, revision string) error {
	_, err := c.patch(ctx, app, map[string]any{"operation": map[string]any{
		"initiatedBy": map[string]any{"username": "aksflow"},
		"sync":        map[string]any{"revision": revision, "prune": true},
	}})
	return err
}

// follow implements world: one watch a kind and namespace.
func (c *cluster) follow(ctx context.Context, refs []objectRef) error {
	for _, r := range refs {
		keys := []watchKey{{r.gvk(), r.namespace, ""}, {podKind, r.namespace, ""}, {eventKind, r.namespace, ""}}
		if r.kind == "Deployment" {
			keys = append(keys, watchKey{replicaSetKind, r.namespace, ""})
		}
		for _, key := range keys {
			if err := c.watch(ctx, key); err != nil {
				return err
			}
		}
	}
	return nil
}

// watch opens a watch if there is none yet, and returns when its first list is here.
func (c *cluster) watch(ctx context.Context, key watchKey) error {
	c.mu.Lock()
	_, found := c.stores[key]
	c.mu.Unlock()
	if found {
		return nil
	}
	plural, _ := meta.UnsafeGuessKindToResource(key.kind)
	informer := dynamicinformer.NewFilteredDynamicInformer(c.client, plural, key.namespace, 0, cache.Indexers{}, func(o *metav1.ListOptions) {
		if key.name != "" {
			o.FieldSelector = fields.OneTermEqualSelector("metadata.name", key.name).String()
		}
	}).Informer()
	noted := func(any) { c.note() }
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: noted, UpdateFunc: func(any, any) { c.note() }, DeleteFunc: noted})
	if err != nil {
		return err
	}
	err = informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, _ *cache.Reflector, err error) {
		switch {
		case ctx.Err() != nil:
		case (apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err)) && key.kind != eventKind:
			c.mu.Lock()
			c.refused = c.explain("watch "+key.kind.Kind+"s in namespace "+key.namespace, err)
			c.mu.Unlock()
			c.note()
		}
	})
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.stores[key] = informer
	c.mu.Unlock()
	c.watches.Go(func() { informer.RunWithContext(c.watching) })
	if key.kind == eventKind {
		return nil // only some reasons are lost without them
	}
	if !cache.WaitForCacheSync(ctx.Done(), func() bool { return informer.HasSynced() || c.failed() != nil }) {
		return fmt.Errorf("no answer from %s: %w", c.host, context.Cause(ctx))
	}
	return c.failed()
}

func (c *cluster) note() {
	select {
	case c.signal <- struct{}{}:
	default:
	}
}

func (c *cluster) changed() <-chan struct{} { return c.signal }

func (c *cluster) failed() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.refused
}

func (c *cluster) close() {
	c.stop()
	c.watches.Wait()
}

func (c *cluster) object(r objectRef) *unstructured.Unstructured {
	c.mu.Lock()
	store, found := c.stores[watchKey{r.gvk(), r.namespace, r.name}]
	if !found {
		store, found = c.stores[watchKey{r.gvk(), r.namespace, ""}]
	}
	c.mu.Unlock()
	if !found {
		return nil
	}
	item, found, err := store.GetStore().GetByKey(r.namespace + "/" + r.name)
	if err != nil || !found {
		return nil
	}
	return item.(*unstructured.Unstructured)
}

func (c *cluster) around(namespace string, since time.Time) *status.World {
	return &status.World{
		Pods:        all[corev1.Pod](c, watchKey{podKind, namespace, ""}),
		ReplicaSets: all[appsv1.ReplicaSet](c, watchKey{replicaSetKind, namespace, ""}),
		Events:      recent(all[corev1.Event](c, watchKey{eventKind, namespace, ""}), since),
	}
}

// recent drops events from before a time: they are about earlier revisions.
func recent(events []*corev1.Event, since time.Time) []*corev1.Event {
	var out []*corev1.Event
	for _, e := range events {
		last := e.LastTimestamp.Time
		if e.EventTime.After(last) {
			last = e.EventTime.Time
		}
		if !last.Before(since.Truncate(time.Second)) {
			out = append(out, e)
		}
	}
	return out
}

// all returns what a watch has, as the API's own type.
func all[T any](c *cluster, key watchKey) []*T {
	c.mu.Lock()
	store := c.stores[key]
	c.mu.Unlock()
	if store == nil {
		return nil
	}
	var out []*T
	for _, item := range store.GetStore().List() {
		object := new(T)
		if runtime.DefaultUnstructuredConverter.FromUnstructured(item.(*unstructured.Unstructured).Object, object) == nil {
			out = append(out, object)
		}
	}
	return out
}
