package plan

import (
	"encoding/json"
	"reflect"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// UpToDate says that a server-side apply of desired as manager would change nothing: manager owns the fields of desired
// and no other, and their values are those of live. It says no when in doubt, such as for a quantity that the server
// writes differently; then the server is asked.
//
// Annotations that begin with volatile are left out of the comparison when it is not empty.
func UpToDate(live, desired *unstructured.Unstructured, manager, volatile string) bool {
	owned := ownedFields(live, manager)
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
	ownedMetadata, _ := owned["f:metadata"].(map[string]any)
	for _, field := range []string{"name", "namespace"} { // identity, which nobody owns
		delete(metadata, field)
	}
	if volatile != "" {
		dropPrefixed(metadata, "annotations", volatile)
		dropPrefixed(ownedMetadata, "f:annotations", "f:"+volatile)
	}
	prune(want, "metadata")
	prune(owned, "f:metadata")
	return same(owned, want, live.Object)
}

// ownedFields is the fieldsV1 of what manager applied to live, or nil.
func ownedFields(live *unstructured.Unstructured, manager string) map[string]any {
	for _, entry := range live.GetManagedFields() {
		if entry.Manager != manager || entry.Operation != metav1.ManagedFieldsOperationApply || entry.Subresource != "" || entry.FieldsV1 == nil {
			continue
		}
		// Owned through another version of the API: paths may differ, so the server decides.
		if entry.APIVersion != live.GetAPIVersion() {
			return nil
		}
		var owned map[string]any
		if json.Unmarshal(entry.FieldsV1.GetRawBytes(), &owned) != nil {
			return nil
		}
		return owned
	}
	return nil
}

func dropPrefixed(parent map[string]any, field, prefix string) {
	child, _ := parent[field].(map[string]any)
	for key := range child {
		if strings.HasPrefix(key, prefix) {
			delete(child, key)
		}
	}
	rest := len(child)
	if _, dot := child["."]; dot {
		rest--
	}
	if child != nil && rest == 0 {
		delete(parent, field)
	}
}

func prune(parent map[string]any, field string) {
	if child, ok := parent[field].(map[string]any); ok && len(child) == 0 {
		delete(parent, field)
	}
}

// same walks the owned fields, the wanted values and the live ones side by side. The keys of fieldsV1 are f:NAME for a
// field, k:{…} for the item of a list with those key fields, v:VALUE for the item of a set, and "." for the thing
// itself; an empty map is a leaf, or something that is owned as a whole.
func same(owned map[string]any, want, live any) bool {
	if len(owned) == 0 {
		return reflect.DeepEqual(want, live)
	}
	switch want := want.(type) {
	case map[string]any:
		live, ok := live.(map[string]any)
		if !ok {
			return false
		}
		for key := range owned {
			name, isField := strings.CutPrefix(key, "f:")
			if _, there := want[name]; isField && !there {
				return false // would be removed
			}
		}
		for name, value := range want {
			child, ok := owned["f:"+name].(map[string]any)
			if !ok || !same(child, value, live[name]) {
				return false
			}
		}
		return true
	case []any:
		live, ok := live.([]any)
		return ok && sameItems(owned, want, live)
	}
	return false
}

func sameItems(owned map[string]any, want, live []any) bool {
	items := 0
	for key, value := range owned {
		switch {
		case strings.HasPrefix(key, "k:"):
			items++
			var fields map[string]any
			if unmarshalNumbers(key[2:], &fields) != nil {
				return false
			}
			wanted, there := item(want, fields, true), item(live, fields, false)
			child, _ := value.(map[string]any)
			if wanted == nil || there == nil || !same(child, wanted, there) {
				return false
			}
		case strings.HasPrefix(key, "v:"):
			items++
			var element any
			if unmarshalNumbers(key[2:], &element) != nil || !contains(want, element) || !contains(live, element) {
				return false
			}
		case key != ".":
			return false
		}
	}
	return items == len(want)
}

// item is the item of list with those key fields. A manifest may leave out a key field that has a default, such as the
// protocol of a port; lenient lets that match.
func item(list []any, fields map[string]any, lenient bool) any {
	var found any
	for _, candidate := range list {
		entry, ok := candidate.(map[string]any)
		if !ok {
			return nil
		}
		matches := true
		for name, value := range fields {
			got, there := entry[name]
			if !there && lenient {
				continue
			}
			matches = matches && there && reflect.DeepEqual(got, value)
		}
		if matches {
			if found != nil {
				return nil // cannot tell which
			}
			found = entry
		}
	}
	return found
}

func contains(list []any, element any) bool {
	for _, candidate := range list {
		if reflect.DeepEqual(candidate, element) {
			return true
		}
	}
	return false
}

// unmarshalNumbers reads integers as int64, as unstructured objects hold them.
func unmarshalNumbers(text string, into any) error {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return err
	}
	value = integers(value)
	switch into := into.(type) {
	case *map[string]any:
		*into, _ = value.(map[string]any)
	case *any:
		*into = value
	}
	return nil
}

func integers(value any) any {
	switch value := value.(type) {
	case json.Number:
		if i, err := value.Int64(); err == nil {
			return i
		}
		f, _ := value.Float64()
		return f
	case map[string]any:
		for key, child := range value {
			value[key] = integers(child)
		}
	}
	return value
}
