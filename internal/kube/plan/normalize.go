package plan

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Scope reports whether objects of a kind live in a namespace. An error means that the cluster does not know the kind.
type Scope func(schema.GroupVersionKind) (namespaced bool, err error)

// Normalize returns copies of objects with their namespaces filled in, or everything that is wrong with them: a kind that
// neither the cluster nor a definition among the objects knows, an object for a namespace that is not among namespaces
// (the first of which is the default), the same object twice.
func Normalize(objects []*unstructured.Unstructured, namespaces []string, scope Scope) ([]*unstructured.Unstructured, error) {
	defined := DefinedKinds(objects)
	var errs []error
	seen := map[Ref]bool{}
	out := make([]*unstructured.Unstructured, 0, len(objects))
	for _, object := range objects {
		object = object.DeepCopy()
		// Fields that only a server writes are not part of an apply. Exports made with kubectl get have them.
		for _, field := range []string{"managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink"} {
			unstructured.RemoveNestedField(object.Object, "metadata", field)
		}
		unstructured.RemoveNestedField(object.Object, "status")
		clean(object)
		if _, err := WaveOf(object); err != nil {
			errs = append(errs, fmt.Errorf("%s/%s: %w", object.GetKind(), object.GetName(), err))
			continue
		}

		if err := checkData(object); err != nil {
			errs = append(errs, err)
			continue
		}

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
			errs = append(errs, fmt.Errorf("%s/%s is for the namespace %s, and this deploys to %s: correct the manifest, or list that namespace under namespaces: of the environment in aksflow.yaml",
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

// clean removes what means nothing in a server-side apply, or something else than in kubectl apply: null fields of
// Kubernetes' own kinds, and stringData of Secrets, of which a key that left the manifests would stay in data.
func clean(o *unstructured.Unstructured) {
	group := o.GroupVersionKind().Group
	if !strings.Contains(group, ".") || strings.HasSuffix(group, ".k8s.io") {
		dropNulls(o.Object)
	}
	plain, found, err := unstructured.NestedStringMap(o.Object, "stringData")
	if group != "" || o.GetKind() != "Secret" || !found || err != nil {
		return
	}
	data, _, _ := unstructured.NestedMap(o.Object, "data")
	if data == nil {
		data = map[string]any{}
	}
	for key, value := range plain {
		data[key] = base64.StdEncoding.EncodeToString([]byte(value))
	}
	o.Object["data"] = data
	delete(o.Object, "stringData")
}

// checkData returns an error for a Secret whose data is no base64. The API server's own error names neither the key nor the way out.
func checkData(o *unstructured.Unstructured) error {
	if o.GroupVersionKind().Group != "" || o.GetKind() != "Secret" {
		return nil
	}
	data, _, _ := unstructured.NestedMap(o.Object, "data")
	for _, key := range slices.Sorted(maps.Keys(data)) {
		text, ok := data[key].(string)
		if !ok {
			continue // the API server says so
		}
		if _, err := base64.StdEncoding.DecodeString(text); err != nil {
			return fmt.Errorf("Secret/%s: data.%s is not base64: encode it, or put the text itself under stringData", o.GetName(), key)
		}
	}
	return nil
}

func dropNulls(v any) {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			if value == nil {
				delete(v, key)
			} else {
				dropNulls(value)
			}
		}
	case []any:
		for _, item := range v {
			dropNulls(item)
		}
	}
}

// DefinedKinds returns the kinds that the objects define themselves, and whether each is namespaced.
func DefinedKinds(objects []*unstructured.Unstructured) map[schema.GroupKind]bool {
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
