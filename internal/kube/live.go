package kube

import (
	"context"
	"sync"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/aksflow/aksflow/internal/kube/plan"
)

// fewMissing is up to how many objects of one kind are read one by one; more of them are listed.
const fewMissing = 4

// Live is what the cluster has of an app.
type Live struct {
	mu sync.Mutex
	// Objects are those of the manifests and the members of the ApplySet, as far as they exist.
	Objects map[plan.Ref]*unstructured.Unstructured
	// Members are the members of the ApplySet.
	Members map[plan.Ref]bool
	// Unlisted are kinds whose members may not be listed, so that they cannot be pruned.
	Unlisted []schema.GroupKind
}

func (l *Live) add(o *unstructured.Unstructured, member bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ref := plan.RefOf(o)
	l.Objects[ref] = o
	if member {
		l.Members[ref] = true
	}
}

// place is one kind in one namespace.
type place struct {
	kind      schema.GroupVersionKind
	namespace string
}

// ReadLive reads objects and the members of the ApplySet with few requests: members are listed by their label, and only
// objects that are not among them are read by name.
func (c *Cluster) ReadLive(ctx context.Context, objects []*unstructured.Unstructured, set *ApplySet) (*Live, error) {
	l := &Live{Objects: map[plan.Ref]*unstructured.Unstructured{}, Members: map[plan.Ref]bool{}}

	places := map[place][]*unstructured.Unstructured{} // none for a place that is only searched for members
	search := func(at place) {
		if _, ok := places[at]; !ok {
			places[at] = nil
		}
	}
	versions := map[schema.GroupKind]string{}
	for _, o := range objects {
		gvk := o.GroupVersionKind()
		versions[gvk.GroupKind()] = gvk.Version
		at := place{gvk, o.GetNamespace()}
		places[at] = append(places[at], o)
	}
	for kind := range set.kinds {
		gvk := kind.WithVersion(versions[kind])
		mapping, err := c.Mapping(ctx, gvk)
		if IsMissing(err) {
			mapping, err = c.Mapping(ctx, kind.WithVersion(""))
		}
		if IsMissing(err) {
			continue // its definition is gone, and all of its objects with it
		}
		if err != nil {
			return nil, err
		}
		gvk = mapping.GroupVersionKind
		if mapping.Scope.Name() != "namespace" {
			search(place{gvk, ""})
			continue
		}
		for namespace := range set.namespaces {
			search(place{gvk, namespace})
		}
	}

	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(Parallel)
	for at, wanted := range places {
		group.Go(func() error { return c.readPlace(ctx, l, at, wanted, set) })
	}
	return l, group.Wait()
}

func (c *Cluster) readPlace(ctx context.Context, l *Live, at place, wanted []*unstructured.Unstructured, set *ApplySet) error {
	client, err := c.Resource(ctx, at.kind, at.namespace)
	if IsMissing(err) {
		// The version may come with this very deploy, and the objects be there in another one.
		client, err = c.Resource(ctx, at.kind.GroupKind().WithVersion(""), at.namespace)
	}
	if IsMissing(err) {
		return nil // defined by an object of this very deploy
	}
	if err != nil {
		return err
	}
	what := at.kind.Kind
	if set.exists && set.kinds[at.kind.GroupKind()] {
		err := c.list(ctx, client, metav1.ListOptions{LabelSelector: set.selector()}, func(o *unstructured.Unstructured) { l.add(o, true) })
		switch {
		case apierrors.IsForbidden(err) && at.namespace == "":
			// A Role cannot grant a list of Namespaces or of anything else outside a namespace.
			l.mu.Lock()
			l.Unlisted = append(l.Unlisted, at.kind.GroupKind())
			l.mu.Unlock()
		case apierrors.IsNotFound(err):
		case err != nil:
			return Explain(what, err)
		}
	}
	missing := map[plan.Ref]bool{}
	l.mu.Lock()
	for _, o := range wanted {
		if ref := plan.RefOf(o); l.Objects[ref] == nil {
			missing[ref] = true
		}
	}
	l.mu.Unlock()
	if len(missing) > fewMissing {
		err := c.list(ctx, client, metav1.ListOptions{}, func(o *unstructured.Unstructured) {
			if missing[plan.RefOf(o)] {
				l.add(o, false)
			}
		})
		if err == nil || apierrors.IsNotFound(err) {
			return nil
		}
		if !apierrors.IsForbidden(err) {
			return Explain(what, err)
		}
	}
	for ref := range missing {
		o, err := c.get(ctx, client, ref.Name)
		if err != nil {
			return Explain(ref.String(), err)
		}
		if o != nil {
			l.add(o, false)
		}
	}
	return nil
}
