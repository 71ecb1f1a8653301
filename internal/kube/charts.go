package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"

	"github.com/aksflow/aksflow/internal/core/report"
)

// APIVersions returns the APIs that are served, each version (apps/v1) and each kind (apps/v1/Deployment), as Helm's
// .Capabilities.APIVersions has them. An API group whose server does not answer is left out, with a warning.
func (c *Cluster) APIVersions(ctx context.Context) ([]string, error) {
	var lists []*metav1.APIResourceList
	err := c.Retry(ctx, func(context.Context) (err error) {
		c.discovery.Invalidate()
		_, lists, err = c.discovery.ServerGroupsAndResources()
		if discovery.IsGroupDiscoveryFailedError(err) {
			report.Warn(ctx, "charts cannot see every API of the cluster: %v", err)
			return nil
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("asking the API server which APIs it serves: %w", err)
	}
	var apis []string
	for _, list := range lists {
		apis = append(apis, list.GroupVersion)
		for _, resource := range list.APIResources {
			if !strings.Contains(resource.Name, "/") {
				apis = append(apis, list.GroupVersion+"/"+resource.Kind)
			}
		}
	}
	slices.Sort(apis)
	return slices.Compact(apis), nil
}

// Lookup returns an object, or with an empty name the list of objects, for Helm's template function lookup. What is not
// there is empty, also when the cluster does not know its kind.
func (c *Cluster) Lookup(ctx context.Context, apiVersion, kind, namespace, name string) (map[string]any, error) {
	gvk := schema.FromAPIVersionAndKind(apiVersion, kind)
	empty := map[string]any{}
	if name != "" {
		object, err := c.Get(ctx, gvk, namespace, name)
		switch {
		case isUnknownKind(err):
			return empty, nil
		case err != nil:
			return nil, Explain(kind+"/"+name, err)
		case object == nil:
			return empty, nil
		}
		return object.Object, nil
	}
	objects, err := c.List(ctx, gvk, namespace, metav1.ListOptions{})
	switch {
	case isUnknownKind(err):
		return empty, nil
	case err != nil:
		return nil, Explain(kind, err)
	}
	items := make([]any, len(objects))
	for i, o := range objects {
		items[i] = o.Object
	}
	return map[string]any{"apiVersion": apiVersion, "kind": kind + "List", "items": items}, nil
}

func isUnknownKind(err error) bool {
	var unknown *UnknownKindError
	return errors.As(err, &unknown)
}
