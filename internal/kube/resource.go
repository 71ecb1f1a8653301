package kube

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/kube/plan"
)

// pageSize is how many objects one answer of a list holds at most.
const pageSize = 500

// Mapping finds the resource of a kind by asking the API server. An empty version means the one that the server prefers.
func (c *Cluster) Mapping(ctx context.Context, gvk schema.GroupVersionKind) (mapping *meta.RESTMapping, err error) {
	var versions []string
	if gvk.Version != "" {
		versions = []string{gvk.Version}
	}
	err = c.Retry(ctx, func(ctx context.Context) error {
		mapping, err = c.mapper.RESTMappingWithContext(ctx, gvk.GroupKind(), versions...)
		return err
	})
	unknown := meta.IsNoMatchError(err)
	if err == nil && gvk.Kind == strings.ToLower(gvk.Kind) { // the mapper takes a kind in small letters, and the API server does not
		spelled, _ := c.servedIn(gvk.Kind)
		unknown = spelled != gvk.Kind
	}
	if unknown {
		return nil, &UnknownKindError{Kind: gvk.GroupKind(), Versions: []string{gvk.Version}, served: func() (string, []string) { return c.servedIn(gvk.Kind) }}
	}
	if err != nil {
		return nil, fmt.Errorf("asking the API server which kinds it knows: %w", err)
	}
	return mapping, nil
}

// servedIn returns the API versions in which the server has a kind of a name, and how it spells it: as it was asked for, unless
// only other letters are known.
func (c *Cluster) servedIn(kind string) (spelled string, versions []string) {
	_, lists, _ := c.discovery.ServerGroupsAndResources() // what could be read
	found := map[string][]string{}
	for _, list := range lists {
		var here []string
		for _, r := range list.APIResources {
			if strings.EqualFold(r.Kind, kind) && !strings.Contains(r.Name, "/") && !slices.Contains(here, r.Kind) {
				here = append(here, r.Kind)
				found[r.Kind] = append(found[r.Kind], list.GroupVersion)
			}
		}
	}
	if len(found[kind]) > 0 || len(found) == 0 {
		return kind, found[kind]
	}
	spelled = slices.Sorted(maps.Keys(found))[0]
	return spelled, found[spelled]
}

// ForgetKinds drops what is known about the server's kinds, after a CustomResourceDefinition was applied.
func (c *Cluster) ForgetKinds(ctx context.Context) { c.mapper.ResetWithContext(ctx) }

// Scope returns what plan.Normalize asks: whether objects of a kind live in a namespace.
func (c *Cluster) Scope(ctx context.Context) plan.Scope {
	return func(gvk schema.GroupVersionKind) (bool, error) {
		mapping, err := c.Mapping(ctx, gvk)
		if err != nil {
			return false, err
		}
		return mapping.Scope.Name() == meta.RESTScopeNameNamespace, nil
	}
}

// Resource returns the client for objects of a kind in a namespace. Its requests are not retried: see [Cluster.Retry].
func (c *Cluster) Resource(ctx context.Context, gvk schema.GroupVersionKind, namespace string) (dynamic.ResourceInterface, error) {
	mapping, err := c.Mapping(ctx, gvk)
	if err != nil {
		return nil, err
	}
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		return c.dynamic.Resource(mapping.Resource).Namespace(namespace), nil
	}
	return c.dynamic.Resource(mapping.Resource), nil
}

// Get reads an object. It returns nil when there is no such object.
func (c *Cluster) Get(ctx context.Context, gvk schema.GroupVersionKind, namespace, name string) (*unstructured.Unstructured, error) {
	client, err := c.Resource(ctx, gvk, namespace)
	if err != nil {
		return nil, err
	}
	return c.get(ctx, client, name)
}

func (c *Cluster) get(ctx context.Context, client dynamic.ResourceInterface, name string) (*unstructured.Unstructured, error) {
	var object *unstructured.Unstructured
	err := c.Retry(ctx, func(ctx context.Context) (err error) {
		object, err = client.Get(ctx, name, metav1.GetOptions{})
		return err
	})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return object, err
}

// List reads all objects of a kind in a namespace, in pages; an empty namespace means all. Options may select by label
// or field.
func (c *Cluster) List(ctx context.Context, gvk schema.GroupVersionKind, namespace string, options metav1.ListOptions) ([]*unstructured.Unstructured, error) {
	client, err := c.Resource(ctx, gvk, namespace)
	if err != nil {
		return nil, err
	}
	var found []*unstructured.Unstructured
	err = c.list(ctx, client, options, func(o *unstructured.Unstructured) { found = append(found, o) })
	return found, err
}

func (c *Cluster) list(ctx context.Context, client dynamic.ResourceInterface, options metav1.ListOptions, visit func(*unstructured.Unstructured)) error {
	options.Limit = pageSize
	for {
		var page *unstructured.UnstructuredList
		err := c.Retry(ctx, func(ctx context.Context) (err error) {
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

// Reread reads objects again. Those that are gone are left out.
func (c *Cluster) Reread(ctx context.Context, objects []*unstructured.Unstructured) ([]*unstructured.Unstructured, error) {
	out := make([]*unstructured.Unstructured, 0, len(objects))
	for _, o := range objects {
		now, err := c.Get(ctx, o.GroupVersionKind(), o.GetNamespace(), o.GetName())
		if err != nil {
			return nil, Explain(plan.RefOf(o).Long(), err)
		}
		if now != nil {
			out = append(out, now)
		}
	}
	return out, nil
}

// changeTimeout bounds one watch of [Cluster.AwaitChange], in seconds.
const changeTimeout = 30

// AwaitChange returns at the next change of one object that is newer than o, or after half a minute: the caller reads
// the object again in any case.
func (c *Cluster) AwaitChange(ctx context.Context, o *unstructured.Unstructured) error {
	client, err := c.Resource(ctx, o.GroupVersionKind(), o.GetNamespace())
	if err != nil {
		return err
	}
	seconds := int64(changeTimeout)
	events, err := client.Watch(ctx, metav1.ListOptions{
		FieldSelector:   fields.OneTermEqualSelector("metadata.name", o.GetName()).String(),
		ResourceVersion: o.GetResourceVersion(),
		TimeoutSeconds:  &seconds,
	})
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if isConnection(err) || isTransient(err) || apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
			return nil
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

// goneLimit is how long a deletion may take before it counts as stuck.
const goneLimit = time.Minute

// AwaitGone returns when o is not there any more, or another object has its name. It returns an error that says what the
// deletion waits for after a minute.
func (c *Cluster) AwaitGone(ctx context.Context, o *unstructured.Unstructured) error {
	limited, cancel := context.WithTimeoutCause(ctx, goneLimit, fmt.Errorf("%s passed", report.Span(goneLimit)))
	defer cancel()
	finalizers := o.GetFinalizers()
	for {
		now, err := c.Get(limited, o.GroupVersionKind(), o.GetNamespace(), o.GetName())
		if err == nil && (now == nil || now.GetUID() != o.GetUID()) {
			return nil
		}
		if err == nil {
			finalizers = now.GetFinalizers()
			err = c.AwaitChange(limited, now)
		}
		if err != nil {
			return &TerminatingError{Finalizers: finalizers, Reason: err}
		}
	}
}

// TerminatingError reports an object whose deletion does not end.
type TerminatingError struct {
	// Finalizers are what it waits for.
	Finalizers []string
	// Reason is why the wait for it ended.
	Reason error
}

func (e *TerminatingError) Error() string {
	if len(e.Finalizers) == 0 {
		return fmt.Sprintf("it is being deleted, and is not gone yet (%v)", e.Reason)
	}
	return fmt.Sprintf("it is being deleted, and waits for its finalizers %s (%v): see to what they wait for", strings.Join(e.Finalizers, ", "), e.Reason)
}

// Unwrap returns the Reason.
func (e *TerminatingError) Unwrap() error { return e.Reason }

// IsMissing reports whether a request failed because the object, its namespace or its kind does not exist.
func IsMissing(err error) bool {
	var unknown *meta.NoKindMatchError
	var kind *UnknownKindError
	return apierrors.IsNotFound(err) || errors.As(err, &unknown) || errors.As(err, &kind)
}
