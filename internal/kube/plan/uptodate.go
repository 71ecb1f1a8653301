package plan

import (
	"bytes"
	"reflect"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// UpToDate reports whether a server-side apply of desired as manager would change nothing: manager owns exactly the
// fields of desired, and their values are those of live. It returns false when in doubt, such as for a quantity that the
// server writes in another way; then the server is asked.
//
// Annotations that begin with volatile are not compared, if volatile is not empty.
func UpToDate(live, desired *unstructured.Unstructured, manager, volatile string) bool {
	owned := appliedFields(live, manager)
	if owned == nil {
		return false
	}
	want := desired.DeepCopy().Object
	for _, field := range []string{"apiVersion", "kind"} {
		if live.Object[field] != want[field] {
			return false
		}
		delete(want, field)
	}
	metadata, _ := want["metadata"].(map[string]any)
	for _, field := range []string{"name", "namespace"} { // identity, which no manager owns
		delete(metadata, field)
	}
	if volatile != "" {
		annotations, _ := metadata["annotations"].(map[string]any)
		for key := range annotations {
			if strings.HasPrefix(key, volatile) {
				delete(annotations, key)
			}
		}
		if len(annotations) == 0 {
			delete(metadata, "annotations")
		}
		owned = withoutAnnotations(owned, volatile)
	}
	if len(metadata) == 0 {
		delete(want, "metadata")
	}
	return same(owned, want, live.Object)
}

// appliedFields returns the fields that manager applied to live, or nil if there are none that can be compared.
func appliedFields(live *unstructured.Unstructured, manager string) *fieldpath.Set {
	for _, entry := range live.GetManagedFields() {
		if !isApply(entry, manager) {
			continue
		}
		if entry.APIVersion != live.GetAPIVersion() {
			return nil // owned through another version of the API, where paths may differ
		}
		return fieldsOf(entry)
	}
	return nil
}

func isApply(entry metav1.ManagedFieldsEntry, manager string) bool {
	return entry.Manager == manager && entry.Operation == metav1.ManagedFieldsOperationApply && entry.Subresource == ""
}

// fieldsOf returns the fields of an entry, or nil if they cannot be read.
func fieldsOf(entry metav1.ManagedFieldsEntry) *fieldpath.Set {
	if entry.FieldsV1 == nil {
		return nil
	}
	set := &fieldpath.Set{}
	if set.FromJSON(bytes.NewReader(entry.FieldsV1.GetRawBytes())) != nil {
		return nil
	}
	return set
}

// withoutAnnotations returns the set without the annotations that begin with prefix.
func withoutAnnotations(set *fieldpath.Set, prefix string) *fieldpath.Set {
	all := fieldpath.MakePathOrDie("metadata", "annotations")
	drop, others := fieldpath.NewSet(), false
	for path := range set.All() {
		if len(path) != len(all)+1 || !path[:len(all)].Equals(all) {
			continue
		}
		if name := path[len(all)].FieldName; name != nil && strings.HasPrefix(*name, prefix) {
			drop.Insert(path.Copy())
		} else {
			others = true
		}
	}
	if !others {
		drop.Insert(all)
	}
	return set.Difference(drop)
}

// same walks the owned fields, the wanted values and the live ones side by side.
func same(owned *fieldpath.Set, want, live any) bool {
	elements := owned.Members.Copy()
	for element := range owned.Children.All() {
		elements.Insert(element)
	}
	switch want := want.(type) {
	case map[string]any:
		live, ok := live.(map[string]any)
		if !ok || elements.Size() != len(want) {
			return false
		}
		for element := range elements.All() {
			if element.FieldName == nil {
				return false
			}
			wanted, there := want[*element.FieldName]
			if !there || !sameChild(owned, element, wanted, live[*element.FieldName]) {
				return false
			}
		}
		return true
	case []any:
		live, ok := live.([]any)
		if !ok || elements.Size() != len(want) {
			return false
		}
		for element := range elements.All() {
			wanted, there := itemOf(want, element, true), itemOf(live, element, false)
			if wanted == nil || there == nil || !sameChild(owned, element, wanted, there) {
				return false
			}
		}
		return true
	}
	return false
}

// sameChild compares one element of owned. One without elements of its own is a leaf, or owned as a whole.
func sameChild(owned *fieldpath.Set, element fieldpath.PathElement, want, live any) bool {
	if child, ok := owned.Children.Get(element); ok && !child.Empty() {
		return same(child, want, live)
	}
	return reflect.DeepEqual(want, live)
}

// itemOf returns the item of a list that element selects, or nil if there is none or it is ambiguous. A manifest may
// leave out a key field that has a default, such as the protocol of a port: with lenient set, that matches.
func itemOf(list []any, element fieldpath.PathElement, lenient bool) any {
	var found any
	for _, item := range list {
		var matches bool
		switch {
		case element.Key != nil:
			fields, ok := item.(map[string]any)
			if !ok {
				return nil
			}
			matches = matchesKey(fields, *element.Key, lenient)
		case element.Value != nil:
			matches = value.Equals(value.NewValueInterface(item), *element.Value)
		}
		if matches && found != nil {
			return nil
		}
		if matches {
			found = item
		}
	}
	return found
}

func matchesKey(fields map[string]any, key value.FieldList, lenient bool) bool {
	for _, k := range key {
		got, there := fields[k.Name]
		if !there && lenient {
			continue
		}
		if !there || !value.Equals(value.NewValueInterface(got), k.Value) {
			return false
		}
	}
	return true
}
