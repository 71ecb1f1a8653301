package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"

	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/kube/plan"
	"github.com/aksflow/aksflow/internal/kube/status"
)

var (
	pods        = schema.GroupVersionKind{Version: "v1", Kind: "Pod"}
	replicaSets = schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "ReplicaSet"}
	eventKind   = schema.GroupVersionKind{Version: "v1", Kind: "Event"}
)

// RolloutError says why objects did not get ready.
type RolloutError struct {
	// Failures are the objects that failed, or that were not ready when the time was up.
	Failures []Failure
	// TimedOut is set when the context ended the wait.
	TimedOut error
}

// Failure is one object that did not get ready, and why.
type Failure struct {
	Ref     string
	Problem status.Problem
	// Logs are the last lines of the container that failed, the previous one's first.
	Logs []string
}

func (e *RolloutError) Error() string {
	lines := make([]string, 0, len(e.Failures))
	for _, f := range e.Failures {
		line := f.Ref + ": "
		switch {
		case f.Problem.Container != "":
			line += fmt.Sprintf("container %s of pod %s: ", f.Problem.Container, f.Problem.Pod)
		case f.Problem.Pod != "" && !strings.HasSuffix(f.Ref, "/"+f.Problem.Pod):
			line += "pod " + f.Problem.Pod + ": "
		}
		line += f.Problem.Message
		for _, log := range f.Logs {
			line += "\n    | " + log
		}
		lines = append(lines, line)
	}
	if e.TimedOut != nil {
		return fmt.Sprintf("not ready in time (%v): %s", e.TimedOut, strings.Join(lines, "\n  "))
	}
	return strings.Join(lines, "\n  ")
}

func (e *RolloutError) Unwrap() error { return e.TimedOut }

// watched is the state of one object between two looks at it.
type watched struct {
	ref     plan.Ref
	version string // apiVersion
	// generation is the one that was applied. A watch may begin with what the object was before.
	generation int64
	seen       map[string]time.Time
	status     status.Status
	looked     string // the resource version that status is of
	reported   string
}

// await returns when all objects, given as the server returned them, are ready, or with a RolloutError as soon as one of
// them cannot become so. since is the time from which on events count.
func (c *Cluster) await(ctx context.Context, r *Release, objects []*unstructured.Unstructured, since time.Time) error {
	return c.watchFor(ctx, r, objects, since, 0)
}

// watchFor is await, and returns no earlier than after keep.
func (c *Cluster) watchFor(ctx context.Context, r *Release, objects []*unstructured.Unstructured, since time.Time, keep time.Duration) error {
	w := &watch{
		cluster: c, namespace: r.Namespace, graces: status.DefaultGraces, since: since,
		until: time.Now().Add(keep), changed: make(chan struct{}, 1),
	}
	if r.Grace > 0 {
		w.graces = status.AllGraces(r.Grace)
	}
	for _, o := range objects {
		if status.Watched(o) {
			w.objects = append(w.objects, &watched{ref: plan.RefOf(o), version: o.GetAPIVersion(), generation: o.GetGeneration(), seen: map[string]time.Time{}})
		}
	}
	if len(w.objects) == 0 {
		return nil
	}
	defer func() { w.stop() }()
	if err := w.start(ctx); err != nil {
		return err
	}
	return w.run(ctx)
}

// watch follows objects and all that belongs to them.
type watch struct {
	cluster    *Cluster
	namespace  string
	graces     status.Graces
	since      time.Time
	until      time.Time // before that, being ready is not enough
	objects    []*watched
	autoscaler status.Autoscaler

	informers sync.WaitGroup
	started   time.Time
	cancel    context.CancelFunc
	stores    map[place]cache.SharedIndexInformer
	changed   chan struct{}

	// typed holds what was converted at the last look, by resource version.
	typed map[string]any

	mu      sync.Mutex
	refused error // a watch that may not be opened
}

// stop ends every watch.
func (w *watch) stop() {
	if w.cancel != nil {
		w.cancel()
		w.informers.Wait()
	}
}

// start opens a watch for every kind in every namespace that matters.
func (w *watch) start(ctx context.Context) error {
	ctx, w.cancel = context.WithCancel(ctx)
	w.started = time.Now()
	w.stores = map[place]cache.SharedIndexInformer{}
	wanted := map[place]string{} // with a field selector, when one name is enough
	namespaces := map[string]bool{}
	for _, o := range w.objects {
		gvk := schema.FromAPIVersionAndKind(o.version, o.ref.Kind)
		at := place{gvk, o.ref.Namespace}
		if o.ref.Namespace == "" {
			// One by one, since a ClusterRole may grant them so.
			wanted[place{gvk, "/" + o.ref.Name}] = fields.OneTermEqualSelector("metadata.name", o.ref.Name).String()
			continue
		}
		wanted[at] = ""
		switch o.ref.Kind {
		case "Deployment", "StatefulSet", "DaemonSet", "Job", "Pod":
			wanted[place{pods, o.ref.Namespace}] = ""
			namespaces[o.ref.Namespace] = true
		}
		if o.ref.Kind == "Deployment" {
			wanted[place{replicaSets, o.ref.Namespace}] = ""
		}
		namespaces[o.ref.Namespace] = true
	}
	for namespace := range namespaces {
		wanted[place{eventKind, namespace}] = ""
	}
	w.autoscaler = w.cluster.autoscaler(ctx)
	for at, selector := range wanted {
		if err := w.inform(ctx, at, selector); err != nil {
			return err
		}
	}
	for _, informer := range w.stores {
		if !cache.WaitForCacheSync(ctx.Done(), func() bool { return informer.HasSynced() || w.isRefused() != nil }) {
			return context.Cause(ctx)
		}
		if err := w.isRefused(); err != nil {
			return err
		}
	}
	return nil
}

func (w *watch) isRefused() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.refused
}

func (w *watch) inform(ctx context.Context, at place, selector string) error {
	mapping, err := w.cluster.mapping(ctx, at.kind)
	if err != nil {
		return err
	}
	namespace := at.namespace
	if strings.HasPrefix(namespace, "/") {
		namespace = metav1.NamespaceAll
	}
	informer := dynamicinformer.NewFilteredDynamicInformer(w.cluster.dynamic, mapping.Resource, namespace, 0, cache.Indexers{}, func(o *metav1.ListOptions) {
		o.FieldSelector = selector
	}).Informer()
	changed := func() {
		w.cluster.connection.noteAnswer(ctx)
		w.signal()
	}
	_, err = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { changed() },
		UpdateFunc: func(any, any) { changed() },
		DeleteFunc: func(any) { changed() },
	})
	if err != nil {
		return err
	}
	optional := at.kind == eventKind
	err = informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, _ *cache.Reflector, err error) {
		switch {
		case ctx.Err() != nil:
		case isConnection(err):
			w.cluster.connection.noteLost(ctx, err)
		case apierrors.IsForbidden(err) && !w.cluster.connection.justBack():
			if optional {
				report.Warn(ctx, "%v; without it some reasons cannot be told", explain("watching events", err))
				return
			}
			w.mu.Lock()
			w.refused = explain("watching "+at.kind.Kind, err)
			w.mu.Unlock()
			w.signal()
		}
	})
	if err != nil {
		return err
	}
	w.stores[at] = informer
	w.informers.Go(func() { informer.RunWithContext(ctx) })
	return nil
}

func (w *watch) signal() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// run looks at everything after every change, and when a grace ends.
func (w *watch) run(ctx context.Context) error {
	pulse := time.NewTicker(time.Second)
	defer pulse.Stop()
	for {
		if err := w.isRefused(); err != nil {
			return err
		}
		next, failed := w.look(ctx, time.Now())
		if len(failed) > 0 {
			return w.failure(ctx, failed, nil)
		}
		if next == nil {
			left := time.Until(w.until)
			if left <= 0 {
				return nil
			}
			next = &left
		}
		var timer <-chan time.Time
		if *next > 0 {
			timer = time.After(*next)
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return context.Cause(ctx)
			}
			var late []*watched
			for _, o := range w.objects {
				if !o.status.Ready {
					late = append(late, o)
				}
			}
			return w.failure(context.WithoutCancel(ctx), late, context.Cause(ctx))
		case <-w.changed:
			// Changes come in swarms.
			select {
			case <-ctx.Done():
			case <-time.After(swarm):
			}
		case <-timer:
		case <-pulse.C:
			if w.cluster.connection.away() > patience {
				return w.cluster.gone()
			}
			// The watches would find that out by themselves, half a minute later.
			if w.cluster.connection.backSince(w.started) {
				w.stop()
				if err := w.start(ctx); err != nil {
					return err
				}
			}
		}
	}
}

// swarm is how long changes are gathered before they are looked at.
const swarm = 25 * time.Millisecond

// look reads the status of every object. next is nil when all are ready, else how long until a grace ends (0: none is
// running); failed are the objects that cannot become ready.
func (w *watch) look(ctx context.Context, now time.Time) (next *time.Duration, failed []*watched) {
	world := w.world()
	for _, o := range w.objects {
		live := w.find(o)
		switch {
		case live != nil && o.status.Ready && live.GetResourceVersion() == o.looked:
			continue // what is ready stays so until it changes
		case live == nil:
			o.status = status.Status{Message: "not there yet"}
		case live.GetGeneration() < o.generation:
			o.status = status.Status{Message: "not seen yet"}
		default:
			o.status, o.looked = status.Of(live, world), live.GetResourceVersion()
		}
	}
	for _, o := range w.objects {
		red, ends := o.judge(now, w.underWay(o))
		if red {
			failed = append(failed, o)
		}
		if !o.status.Ready {
			if next == nil || (ends > 0 && (*next == 0 || ends < *next)) {
				next = &ends
			}
		}
		w.say(ctx, o)
	}
	return next, failed
}

// judge says whether one of the object's problems has lasted too long, and else how long until one will have (0: no
// grace is running). What is gone is forgotten, so that a problem that comes back gets its grace anew.
//
// The grace of a container that may be waiting for something else starts when nothing else is under way.
func (o *watched) judge(now time.Time, underWay bool) (red bool, ends time.Duration) {
	seen := make(map[string]time.Time, len(o.status.Problems))
	forgiven := len(o.status.Problems) > 0
	for _, p := range o.status.Problems {
		began, ok := o.seen[p.Key()]
		if !ok || p.Depends && underWay {
			began = now
		}
		seen[p.Key()] = began
		left := p.Grace - now.Sub(began)
		forgiven = forgiven && p.Heals == status.Forgiven && left <= 0
		switch p.Heals {
		case status.Never:
			red = true
		case status.Perhaps, status.Forgiven:
			if left > 0 && (ends == 0 || left < ends) {
				ends = left
			}
			red = red || left <= 0 && p.Heals == status.Perhaps
		}
	}
	o.seen = seen
	if forgiven {
		o.status = status.Status{Ready: true, Message: o.status.Problems[0].Message}
	}
	return red, ends
}

// underWay says whether another object of the release is on its way to being ready: an app whose database starts beside
// it is not ready before that is. Of two with problems, the later waits for the earlier, so that they do not wait for
// each other.
func (w *watch) underWay(than *watched) bool {
	earlier := true
	for _, o := range w.objects {
		if o == than {
			earlier = false
			continue
		}
		switch plan.StageOf(o.ref.GroupKind()) {
		case plan.Services, plan.Rest: // an address is nothing that a container waits for
			continue
		}
		if !o.status.Ready && (earlier || len(o.status.Problems) == 0) {
			return true
		}
	}
	return false
}

func (w *watch) say(ctx context.Context, o *watched) {
	message := o.status.Message
	if o.status.Ready && message == "" {
		message = "ready"
	}
	if len(o.status.Problems) > 0 {
		message = strings.TrimPrefix(message+": ", ": ") + o.status.Problems[0].Message
	}
	if message != o.reported {
		o.reported = message
		report.Progressf(ctx, o.ref.In(w.namespace), "%s", message)
	}
}

func (w *watch) find(o *watched) *unstructured.Unstructured {
	gvk := schema.FromAPIVersionAndKind(o.version, o.ref.Kind)
	at, key := place{gvk, o.ref.Namespace}, o.ref.Namespace+"/"+o.ref.Name
	if o.ref.Namespace == "" {
		at, key = place{gvk, "/" + o.ref.Name}, o.ref.Name
	}
	item, found, err := w.stores[at].GetStore().GetByKey(key)
	if err != nil || !found {
		return nil
	}
	return item.(*unstructured.Unstructured)
}

func (w *watch) world() *status.World {
	world := &status.World{Graces: w.graces, Autoscaler: w.autoscaler}
	typed := make(map[string]any, len(w.typed))
	for at, informer := range w.stores {
		switch at.kind {
		case pods:
			world.Pods = convert(world.Pods, informer.GetStore(), w.typed, typed)
		case replicaSets:
			world.ReplicaSets = convert(world.ReplicaSets, informer.GetStore(), w.typed, typed)
		case eventKind:
			world.Events = convert(world.Events, informer.GetStore(), w.typed, typed)
		}
	}
	w.typed = typed
	// Clocks differ a little between this machine and the cluster.
	from := w.since.Add(-5 * time.Second)
	world.Events = slices.DeleteFunc(world.Events, func(e *corev1.Event) bool { return lastSeen(e).Before(from) })
	return world
}

func lastSeen(e *corev1.Event) time.Time {
	last := e.LastTimestamp.Time
	if e.Series != nil && e.Series.LastObservedTime.After(last) {
		last = e.Series.LastObservedTime.Time
	}
	if e.EventTime.After(last) {
		last = e.EventTime.Time
	}
	return last
}

// convert appends what is in store as the API's own type. What did not change since the last look is taken from there.
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
// ConfigMap; Karpenter, which is AKS's node autoprovisioning, brings its own API.
func (c *Cluster) autoscaler(ctx context.Context) status.Autoscaler {
	if _, err := c.mapper.RESTMappingWithContext(ctx, schema.GroupKind{Group: "karpenter.sh", Kind: "NodePool"}); err == nil {
		return status.Present
	}
	var err error
	_ = c.request(ctx, func(ctx context.Context) error {
		_, err = c.client.CoreV1().ConfigMaps("kube-system").Get(ctx, "cluster-autoscaler-status", metav1.GetOptions{})
		return err
	})
	switch {
	case err == nil:
		return status.Present
	case apierrors.IsNotFound(err):
		return status.Absent
	}
	return status.Unknown
}

// failure collects what there is to say about objects that are not ready, with the containers' last words.
func (w *watch) failure(ctx context.Context, failed []*watched, timedOut error) error {
	err := &RolloutError{TimedOut: timedOut}
	for _, o := range failed {
		f := Failure{Ref: o.ref.In(w.namespace), Problem: status.Problem{Message: o.status.Message}}
		if len(o.status.Problems) > 0 {
			f.Problem = o.status.Problems[0]
		}
		if f.Problem.Logs && f.Problem.Pod != "" {
			f.Logs = w.cluster.lastWords(ctx, o.ref.Namespace, f.Problem.Pod, f.Problem.Container)
			for _, line := range f.Logs {
				report.Logf(ctx, f.Problem.Pod, "%s", line)
			}
		}
		err.Failures = append(err.Failures, f)
	}
	return err
}

// lastLines is how many lines of a container's output are shown.
const lastLines = 12

// lastWords are the last lines of a container, and of its predecessor when that is the one that crashed.
func (c *Cluster) lastWords(ctx context.Context, namespace, pod, container string) []string {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	var lines []string
	for _, previous := range []bool{true, false} {
		tail := int64(lastLines)
		stream, err := c.client.CoreV1().Pods(namespace).GetLogs(pod, &corev1.PodLogOptions{Container: container, Previous: previous, TailLines: &tail}).Stream(ctx)
		if err != nil {
			continue
		}
		var read []string
		scanner := bufio.NewScanner(stream)
		for scanner.Scan() {
			// What the kubelet says when a container's output is removed already.
			if line := strings.TrimRight(scanner.Text(), "\r"); !strings.HasPrefix(line, "unable to retrieve container logs") {
				read = append(read, line)
			}
		}
		_ = stream.Close()
		if !slices.Equal(read, lines) { // the two of a container that is waiting to be restarted are one
			lines = append(lines, read...)
		}
	}
	return lines
}

var errWatchEnded = errors.New("the watch ended")

// awaitEvent returns at the next event of one object that is newer than o.
func (c *Cluster) awaitEvent(ctx context.Context, client dynamic.ResourceInterface, o *unstructured.Unstructured) error {
	seconds := int64(30)
	events, err := client.Watch(ctx, metav1.ListOptions{
		FieldSelector:   fields.OneTermEqualSelector("metadata.name", o.GetName()).String(),
		ResourceVersion: o.GetResourceVersion(),
		TimeoutSeconds:  &seconds,
	})
	if err != nil {
		if isConnection(err) || isPassing(err) || apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
			return errWatchEnded // whoever asks looks at the object itself again
		}
		return err
	}
	defer events.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-events.ResultChan():
		return nil
	}
}
