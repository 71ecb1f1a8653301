package watch

import (
	"context"
	"sync"
	"time"

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
	running sync.WaitGroup
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
