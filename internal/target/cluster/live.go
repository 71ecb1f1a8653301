package cluster

import (
	"context"
	"sync"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/aksflow/aksflow/internal/kube/plan"
)

// pageSize bounds one answer of a list. Many objects of one kind come in several.
const pageSize = 500

// fewMissing is how many objects of one kind are asked for one by one; more of them are listed.
const fewMissing = 4

// live is what the cluster holds of a delivery.
type live struct {
	mu sync.Mutex
	// objects are those of the manifests and the members of the ApplySet, whichever exist.
	objects map[plan.Ref]*unstructured.Unstructured
	// members are the refs of the ApplySet's members.
	members map[plan.Ref]bool
	// unlisted are kinds whose members could not be listed for want of permission, so that they cannot be pruned.
	unlisted []schema.GroupKind
}

func (l *live) add(o *unstructured.Unstructured, member bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ref := plan.RefOf(o)
	l.objects[ref] = o
	if member {
		l.members[ref] = true
	}
}

// place is one kind in one namespace.
type place struct {
	kind      schema.GroupVersionKind
	namespace string
}

// readLive reads the live state of objects and of the members of the ApplySet in kinds and namespaces, with few
// requests: members are listed by their label, and only what is not among them is asked for.
func (c *Cluster) readLive(ctx context.Context, objects []*unstructured.Unstructured, set *applySet) (*live, error) {
	l := &live{objects: map[plan.Ref]*unstructured.Unstructured{}, members: map[plan.Ref]bool{}}

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
		mapping, err := c.mapping(ctx, gvk)
		if err != nil {
			continue // its definition is gone, and all of its objects with it
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
	group.SetLimit(parallel)
	for at, wanted := range places {
		group.Go(func() error { return c.readPlace(ctx, l, at, wanted, set) })
	}
	return l, group.Wait()
}

func (c *Cluster) readPlace(ctx context.Context, l *live, at place, wanted []*unstructured.Unstructured, set *applySet) error {
	client, err := c.resource(ctx, at.kind, at.namespace)
	if err != nil {
		return nil // defined by an object of this very deploy
	}
	what := at.kind.Kind
	if set.exists && set.kinds[at.kind.GroupKind()] {
		err := c.list(ctx, client, set.selector(), func(o *unstructured.Unstructured) { l.add(o, true) })
		switch {
		case apierrors.IsForbidden(err) && at.namespace == "":
			// A Role cannot grant a list of Namespaces or of anything else outside a namespace.
			l.mu.Lock()
			l.unlisted = append(l.unlisted, at.kind.GroupKind())
			l.mu.Unlock()
		case apierrors.IsNotFound(err):
		case err != nil:
			return explain(what, err)
		}
	}
	missing := map[plan.Ref]bool{}
	l.mu.Lock()
	for _, o := range wanted {
		if ref := plan.RefOf(o); l.objects[ref] == nil {
			missing[ref] = true
		}
	}
	l.mu.Unlock()
	if len(missing) > fewMissing {
		err := c.list(ctx, client, "", func(o *unstructured.Unstructured) {
			if missing[plan.RefOf(o)] {
				l.add(o, false)
			}
		})
		if err == nil || apierrors.IsNotFound(err) {
			return nil
		}
		if !apierrors.IsForbidden(err) {
			return explain(what, err)
		}
	}
	for ref := range missing {
		o, err := c.get(ctx, client, ref.Name)
		if err != nil {
			return explain(ref.String(), err)
		}
		if o != nil {
			l.add(o, false)
		}
	}
	return nil
}

// get is nil when there is no such object.
func (c *Cluster) get(ctx context.Context, client dynamic.ResourceInterface, name string) (*unstructured.Unstructured, error) {
	var object *unstructured.Unstructured
	err := c.request(ctx, func(ctx context.Context) (err error) {
		object, err = client.Get(ctx, name, metav1.GetOptions{})
		return err
	})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return object, err
}

func (c *Cluster) list(ctx context.Context, client dynamic.ResourceInterface, selector string, visit func(*unstructured.Unstructured)) error {
	options := metav1.ListOptions{LabelSelector: selector, Limit: pageSize}
	for {
		var page *unstructured.UnstructuredList
		err := c.request(ctx, func(ctx context.Context) (err error) {
			page, err = client.List(ctx, options)
			return err
		})
		if err != nil {
			return err
		}
		for i := range page.Items {
			visit(&page.Items[i])
		}
		if options.Continue = page.GetContinue(); options.Continue == "" {
			return nil
		}
	}
}
