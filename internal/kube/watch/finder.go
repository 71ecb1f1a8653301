package watch

import (
	"context"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/aksflow/aksflow/internal/kube"
)

// findAgain is after how long an object is read again if it is still asked for. It is shorter than any grace, so that what
// was missing and has come is seen before the grace ends.
const findAgain = 800 * time.Millisecond

// finder reads single objects that explain a problem: a storage class, a node, a Secret. It never waits: the first
// question has no answer yet, and found is called when there is one.
type finder struct {
	cluster *kube.Cluster
	found   func()

	mu      sync.Mutex
	answers map[Object]*answer
	leaving leavingPods
	running sync.WaitGroup
}

// overdue is how long after its time to end a pod counts as one that does not end. The clocks of two machines may differ.
const overdue = time.Minute

// leavingAgain is after how long the pods of all namespaces are counted again.
const leavingAgain = 3 * time.Second

// leavingPods is the answer to how many pods of all namespaces are terminating.
type leavingPods struct {
	count          int
	known, refused bool
	pending        bool
	at             time.Time
}

// countLeaving implements status.World's Leaving.
func (f *finder) countLeaving(ctx context.Context) (pods int, known bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := &f.leaving
	if !a.refused && !a.pending && time.Since(a.at) > leavingAgain && ctx.Err() == nil {
		a.pending = true
		f.running.Go(func() {
			// From the API server's memory, for there may be many.
			list, err := f.cluster.List(ctx, podKind, "", metav1.ListOptions{ResourceVersion: "0"})
			ending := f.endingNamespaces(ctx)
			f.mu.Lock()
			before := *a
			*a = leavingPods{known: err == nil, refused: err != nil && ctx.Err() == nil, at: time.Now()}
			for _, pod := range list {
				if at := pod.GetDeletionTimestamp(); at != nil && f.cluster.Now().Sub(at.Time) < overdue || at == nil && ending[pod.GetNamespace()] {
					a.count++
				}
			}
			changed := a.known && (!before.known || before.count != a.count)
			f.mu.Unlock()
			if changed {
				f.found()
			}
		})
	}
	return a.count, a.known
}

// endingNamespaces returns the namespaces whose deletion began less than overdue ago. The namespace controller needs some
// seconds until it deletes their pods, so these pods are not terminating yet. The result is empty for a user who may not list
// namespaces.
func (f *finder) endingNamespaces(ctx context.Context) map[string]bool {
	ending := map[string]bool{}
	list, _ := f.cluster.List(ctx, namespaceKind, "", metav1.ListOptions{ResourceVersion: "0"})
	for _, namespace := range list {
		if at := namespace.GetDeletionTimestamp(); at != nil && f.cluster.Now().Sub(at.Time) < overdue {
			ending[namespace.GetName()] = true
		}
	}
	return ending
}

type answer struct {
	object  *unstructured.Unstructured
	known   bool
	refused bool // the user may not read it, or the kind does not exist
	pending bool
	at      time.Time
}

// find implements status.World's Find.
func (f *finder) find(ctx context.Context, kind schema.GroupVersionKind, namespace, name string) (object *unstructured.Unstructured, known bool) {
	key := Object{kind, namespace, name}
	f.mu.Lock()
	defer f.mu.Unlock()
	a := f.answers[key]
	if a == nil {
		a = &answer{}
		f.answers[key] = a
	}
	if !a.refused && !a.pending && time.Since(a.at) > findAgain && ctx.Err() == nil {
		a.pending = true
		f.running.Go(func() { f.read(ctx, key) })
	}
	return a.object, a.known
}

func (f *finder) read(ctx context.Context, key Object) {
	object, err := f.cluster.Get(ctx, key.Kind, key.Namespace, key.Name)
	f.mu.Lock()
	a := f.answers[key]
	changed := err == nil && (!a.known || (a.object == nil) != (object == nil) || object != nil && object.GetResourceVersion() != a.object.GetResourceVersion())
	a.pending, a.at = false, time.Now()
	switch {
	case err == nil:
		a.object, a.known = object, true
	case ctx.Err() == nil:
		a.refused = true
	}
	f.mu.Unlock()
	if changed {
		f.found()
	}
}
