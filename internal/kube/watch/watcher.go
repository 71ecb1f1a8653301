// Package watch follows objects in a cluster, with the pods and events around them, and judges whether they get ready.
//
// A [Watcher] keeps the present state of objects and survives an API server that is away for a while. It makes the
// [status.World] from which a [status.Judge] decides which problems count. [Await] puts the two together for objects that
// were just applied.
package watch

import (
	"context"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/kube"
	"github.com/aksflow/aksflow/internal/kube/plan"
	"github.com/aksflow/aksflow/internal/kube/status"
)

var (
	podKind        = schema.GroupVersionKind{Version: "v1", Kind: "Pod"}
	namespaceKind  = schema.GroupVersionKind{Version: "v1", Kind: "Namespace"}
	replicaSetKind = schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "ReplicaSet"}
	eventKind      = schema.GroupVersionKind{Version: "v1", Kind: "Event"}
	configMapKind  = schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}
	// nodePoolKind is Karpenter's, which is AKS's node autoprovisioning.
	nodePoolKind = schema.GroupVersionKind{Group: "karpenter.sh", Kind: "NodePool"}
)

// Object names an object with its API version.
type Object struct {
	Kind            schema.GroupVersionKind
	Namespace, Name string
}

// ObjectOf names o.
func ObjectOf(o *unstructured.Unstructured) Object {
	return Object{o.GroupVersionKind(), o.GetNamespace(), o.GetName()}
}

// Ref is the object's name without its API version.
func (o Object) Ref() plan.Ref {
	return plan.Ref{Group: o.Kind.Group, Kind: o.Kind.Kind, Namespace: o.Namespace, Name: o.Name}
}

// String is KIND/NAMESPACE/NAME.
func (o Object) String() string { return o.Ref().Long() }

// source is one watch: of a kind in a namespace, or of a single object when name is set.
type source struct {
	kind            schema.GroupVersionKind
	namespace, name string
}

// Options say what a [Watcher] knows beside the cluster.
type Options struct {
	// Namespace is the release's own: messages name objects in it without it.
	Namespace string
	// Before is the cluster before the release changed it; nil means that everything counts.
	Before *status.Baseline
	// Grace is how long a problem that may heal is watched; 0 means the default of each kind.
	Grace time.Duration
	// Release are the objects of the release.
	Release []*unstructured.Unstructured
	// Published are image references that their registry is known to have.
	Published map[string]bool
	// Keep is how long [Await] watches at least, ready or not.
	Keep time.Duration
}

func (o *Options) graces() status.Graces {
	if o.Grace == 0 {
		return status.DefaultGraces
	}
	return status.AllGraces(o.Grace)
}

// Watcher keeps the present state of objects, and of the pods, ReplicaSets and events around them. Close ends its watches.
type Watcher struct {
	cluster *kube.Cluster
	options Options
	scaler  status.Autoscaler
	finder  *finder
	changed chan struct{}

	running sync.WaitGroup

	mu       sync.Mutex
	watching context.Context // of all watches
	stop     context.CancelFunc
	started  time.Time
	stores   map[source]cache.SharedIndexInformer
	answered map[source]time.Time // when the API server last allowed a watch
	refusals map[source]time.Time // when it began to refuse one that it had allowed
	refused  error                // why a watch may not be opened
	denied   bool                 // events may not be watched
	typed    map[string]any       // what was converted at the last call of World, by uid and resource version
}

// New returns a Watcher that follows nothing yet. ctx bounds all watches.
func New(ctx context.Context, c *kube.Cluster, o Options) *Watcher {
	w := &Watcher{
		cluster: c, options: o, scaler: autoscaler(ctx, c),
		changed: make(chan struct{}, 1), stores: map[source]cache.SharedIndexInformer{}, started: time.Now(),
		answered: map[source]time.Time{}, refusals: map[source]time.Time{},
	}
	w.finder = &finder{cluster: c, found: w.signal, answers: map[Object]*answer{}}
	w.watching, w.stop = context.WithCancel(ctx)
	return w
}

// Changed is signalled after changes.
func (w *Watcher) Changed() <-chan struct{} { return w.changed }

// Close ends all watches.
func (w *Watcher) Close() {
	w.mu.Lock()
	stop := w.stop
	w.mu.Unlock()
	stop()
	w.running.Wait()
	w.finder.running.Wait()
}

// Follow begins to watch objects, and the pods and events in their namespaces, and returns when their present state is
// known. What is followed already costs nothing.
func (w *Watcher) Follow(ctx context.Context, objects ...Object) error {
	var wanted []source
	for _, o := range objects {
		if o.Namespace == "" {
			// One by one, since a ClusterRole may grant single names only.
			wanted = append(wanted, source{o.Kind, "", o.Name})
			continue
		}
		wanted = append(wanted, source{o.Kind, o.Namespace, ""}, source{eventKind, o.Namespace, ""})
		switch o.Kind.Kind {
		case "Deployment", "ReplicaSet", "ReplicationController", "StatefulSet", "DaemonSet", "Job", "Pod":
			wanted = append(wanted, source{podKind, o.Namespace, ""})
		}
		if o.Kind.Kind == "Deployment" {
			wanted = append(wanted, source{replicaSetKind, o.Namespace, ""})
		}
	}
	return w.open(ctx, wanted)
}

// FollowOnly is Follow for single objects, without the others of their kind and without pods and events.
func (w *Watcher) FollowOnly(ctx context.Context, objects ...Object) error {
	var wanted []source
	for _, o := range objects {
		wanted = append(wanted, source{o.Kind, o.Namespace, o.Name})
	}
	return w.open(ctx, wanted)
}

// FollowPods begins to watch the pods and their events in a namespace.
func (w *Watcher) FollowPods(ctx context.Context, namespace string) error {
	return w.open(ctx, []source{{podKind, namespace, ""}, {eventKind, namespace, ""}})
}

// open starts the watches that are missing and waits for their first lists.
func (w *Watcher) open(ctx context.Context, wanted []source) error {
	opened := map[source]cache.SharedIndexInformer{}
	for _, s := range wanted {
		w.mu.Lock()
		_, known := w.stores[s]
		w.mu.Unlock()
		if known {
			continue
		}
		informer, err := w.inform(ctx, s)
		if err != nil {
			return err
		}
		opened[s] = informer
	}
	for s, informer := range opened {
		if !cache.WaitForCacheSync(ctx.Done(), func() bool {
			return informer.HasSynced() || w.failed() != nil || s.kind == eventKind && w.eventsDenied()
		}) {
			return context.Cause(ctx)
		}
	}
	return w.failed()
}

// inform starts one watch.
func (w *Watcher) inform(ctx context.Context, s source) (cache.SharedIndexInformer, error) {
	client, err := w.cluster.Resource(ctx, s.kind, s.namespace)
	if err != nil {
		return nil, err
	}
	narrow := func(o metav1.ListOptions) metav1.ListOptions {
		if s.name != "" {
			o.FieldSelector = fields.OneTermEqualSelector("metadata.name", s.name).String()
		}
		return o
	}
	informer := cache.NewSharedIndexInformer(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			list, err := client.List(ctx, narrow(o))
			w.noteAnswer(ctx, s, err)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (apiwatch.Interface, error) {
			events, err := client.Watch(ctx, narrow(o))
			w.noteAnswer(ctx, s, err)
			return events, err
		},
	}, &unstructured.Unstructured{}, 0, cache.Indexers{})
	w.mu.Lock()
	watching := w.watching
	w.mu.Unlock()
	changed := func() {
		w.cluster.NoteAnswer(watching)
		w.signal()
	}
	_, err = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { changed() },
		UpdateFunc: func(any, any) { changed() },
		DeleteFunc: func(any) { changed() },
	})
	if err != nil {
		return nil, err
	}
	err = informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, _ *cache.Reflector, err error) { w.watchFailed(ctx, s, err) })
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	w.stores[s] = informer
	w.mu.Unlock()
	w.running.Go(func() { informer.RunWithContext(watching) })
	return informer, nil
}

// refusalLimit is how long a watch that was allowed before may be refused. An API server that was restarted refuses
// everything until its authorizer is loaded.
const refusalLimit = 10 * time.Second

// noteAnswer records how the API server answered a request of a watch. The informer tries again in any case, and reports
// a connection that is refused to nobody.
func (w *Watcher) noteAnswer(ctx context.Context, s source, err error) {
	if ctx.Err() != nil || w.cluster.NoteLost(ctx, err) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		w.answered[s] = time.Now()
	}
}

// refusedForLong reports whether a watch was never allowed, or not for some time.
func (w *Watcher) refusedForLong(s source) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	allowed, known := w.answered[s]
	if !known {
		return true
	}
	if w.refusals[s].Before(allowed) {
		w.refusals[s] = time.Now()
	}
	return time.Since(w.refusals[s]) >= refusalLimit
}

// watchFailed is called when a watch ended with an error. The informer opens it again.
func (w *Watcher) watchFailed(ctx context.Context, s source, err error) {
	switch {
	case ctx.Err() != nil, w.cluster.NoteLost(ctx, err), w.cluster.WarmingUp():
	case !apierrors.IsForbidden(err) && !apierrors.IsUnauthorized(err), !w.refusedForLong(s):
	case s.kind == eventKind && apierrors.IsForbidden(err):
		w.mu.Lock()
		known := w.denied
		w.denied = true
		w.mu.Unlock()
		if !known {
			report.Warn(ctx, "%v; without events some reasons are not known", kube.Explain("watching events", err))
		}
	default:
		w.mu.Lock()
		w.refused = kube.Explain("watching "+s.kind.Kind, err)
		w.mu.Unlock()
		w.signal()
	}
}

func (w *Watcher) signal() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

func (w *Watcher) failed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.refused
}

func (w *Watcher) eventsDenied() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.denied
}

// Check returns why watching cannot go on, if so. Call it about once a second: it also opens the watches again after the
// API server was away, which they would find out by themselves only half a minute later.
func (w *Watcher) Check(ctx context.Context) error {
	if err := w.failed(); err != nil {
		return err
	}
	if err := w.cluster.Gone(); err != nil {
		return err
	}
	w.mu.Lock()
	started := w.started
	w.mu.Unlock()
	if !w.cluster.BackSince(started) {
		return nil
	}
	w.Close()
	w.mu.Lock()
	var wanted []source
	for s := range w.stores {
		wanted = append(wanted, s)
	}
	w.stores, w.started = map[source]cache.SharedIndexInformer{}, time.Now()
	w.watching, w.stop = context.WithCancel(ctx)
	w.mu.Unlock()
	return w.open(ctx, wanted)
}

// Object returns an object that is followed, or nil when it is not there.
func (w *Watcher) Object(o Object) *unstructured.Unstructured {
	w.mu.Lock()
	informer, found := w.stores[source{o.Kind, o.Namespace, o.Name}]
	if !found {
		informer, found = w.stores[source{o.Kind, o.Namespace, ""}]
	}
	w.mu.Unlock()
	if !found {
		return nil
	}
	key := o.Name
	if o.Namespace != "" {
		key = o.Namespace + "/" + o.Name
	}
	item, found, err := informer.GetStore().GetByKey(key)
	if err != nil || !found {
		return nil
	}
	return item.(*unstructured.Unstructured)
}

// World returns what is known about the cluster around the objects that are followed.
func (w *Watcher) World() *status.World {
	w.mu.Lock()
	defer w.mu.Unlock()
	watching := w.watching
	world := &status.World{
		Graces: w.options.graces(), Autoscaler: w.scaler, Before: w.options.Before, Now: w.cluster.Now(),
		Release: w.options.Release, Published: w.options.Published,
		Find: func(kind schema.GroupVersionKind, namespace, name string) (*unstructured.Unstructured, bool) {
			return w.finder.find(watching, kind, namespace, name)
		},
		Leaving: func() (int, bool) { return w.finder.countLeaving(watching) },
	}
	typed := make(map[string]any, len(w.typed))
	for s, informer := range w.stores {
		switch s.kind {
		case podKind:
			world.Pods = convert(world.Pods, informer.GetStore(), w.typed, typed)
		case replicaSetKind:
			world.ReplicaSets = convert(world.ReplicaSets, informer.GetStore(), w.typed, typed)
		case eventKind:
			world.Events = convert(world.Events, informer.GetStore(), w.typed, typed)
		}
	}
	w.typed = typed
	return world
}

// convert appends what is in store as the API's own type. What did not change since the last call is taken from there.
func convert[T any](list []*T, store cache.Store, last, next map[string]any) []*T {
	for _, item := range store.List() {
		o := item.(*unstructured.Unstructured)
		key := string(o.GetUID()) + o.GetResourceVersion()
		into, ok := last[key].(*T)
		if !ok {
			into = new(T)
			if runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, into) != nil {
				continue
			}
		}
		next[key] = into
		list = append(list, into)
	}
	return list
}

// autoscaler finds out whether something adds nodes: the cluster autoscaler, which AKS runs out of sight, leaves a
// ConfigMap; Karpenter has an API of its own.
func autoscaler(ctx context.Context, c *kube.Cluster) status.Autoscaler {
	if _, err := c.Mapping(ctx, nodePoolKind); err == nil {
		return status.Present
	}
	found, err := c.Get(ctx, configMapKind, metav1.NamespaceSystem, "cluster-autoscaler-status")
	switch {
	case err != nil:
		return status.Unknown
	case found == nil:
		return status.Absent
	}
	return status.Present
}
