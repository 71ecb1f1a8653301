package plan

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Scope says whether a kind lives in a namespace. An error says that the cluster does not know the kind.
type Scope func(schema.GroupVersionKind) (namespaced bool, err error)

// Normalize returns copies of objects with their namespaces filled in, or everything that is wrong with them: a kind
// that neither the cluster nor a definition among the objects knows, an object for a namespace that is not among
// namespaces (whose first is the default), the same object twice.
func Normalize(objects []*unstructured.Unstructured, namespaces []string, scope Scope) ([]*unstructured.Unstructured, error) {
	defined := definitions(objects)
	var errs []error
	seen := map[Ref]bool{}
	out := make([]*unstructured.Unstructured, 0, len(objects))
	for _, object := range objects {
		object = object.DeepCopy()
		// What only a server writes does not belong into an apply; exports made with kubectl get hold it.
		for _, field := range []string{"managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink"} {
			unstructured.RemoveNestedField(object.Object, "metadata", field)
		}
		unstructured.RemoveNestedField(object.Object, "status")

		gvk := object.GroupVersionKind()
		namespaced, known := defined[gvk.GroupKind()]
		if !known {
			var err error
			if namespaced, err = scope(gvk); err != nil {
				errs = append(errs, fmt.Errorf("%s/%s: %w", gvk.Kind, object.GetName(), err))
				continue
			}
		}
		switch {
		case !namespaced:
			object.SetNamespace("")
		case object.GetNamespace() == "":
			object.SetNamespace(namespaces[0])
		case !slices.Contains(namespaces, object.GetNamespace()):
			errs = append(errs, fmt.Errorf("%s/%s is for the namespace %s, and this deploys to %s: correct the manifest, or allow that namespace too",
				gvk.Kind, object.GetName(), object.GetNamespace(), strings.Join(namespaces, ", ")))
			continue
		}
		ref := RefOf(object)
		if seen[ref] {
			errs = append(errs, fmt.Errorf("%s stands in the manifests twice: remove one", ref.Long()))
			continue
		}
		seen[ref] = true
		out = append(out, object)
	}
	return out, errors.Join(errs...)
}

// definitions are the kinds that the objects define themselves, and whether each is namespaced.
func definitions(objects []*unstructured.Unstructured) map[schema.GroupKind]bool {
	kinds := map[schema.GroupKind]bool{}
	for _, object := range objects {
		if object.GetKind() != "CustomResourceDefinition" {
			continue
		}
		group, _, _ := unstructured.NestedString(object.Object, "spec", "group")
		kind, _, _ := unstructured.NestedString(object.Object, "spec", "names", "kind")
		scope, _, _ := unstructured.NestedString(object.Object, "spec", "scope")
		kinds[schema.GroupKind{Group: group, Kind: kind}] = scope == "Namespaced"
	}
	return kinds
}
