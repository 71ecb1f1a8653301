package plan

import (
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Contains reports whether live has all that desired says, apart from labels and annotations of tools. Fields that only live has are
// defaults, or are of others. Items of lists are paired by their place.
func Contains(live, desired *unstructured.Unstructured, ignored ...string) bool {
	want := desired.DeepCopy()
	for _, field := range []string{"labels", "annotations"} {
		for _, key := range ignored {
			unstructured.RemoveNestedField(want.Object, "metadata", field, key)
		}
	}
	return contains(live.Object, want.Object)
}

func contains(live, desired any) bool {
	switch desired := desired.(type) {
	case map[string]any:
		live, _ := live.(map[string]any)
		for key, value := range desired {
			if !contains(live[key], value) {
				return false
			}
		}
		return true
	case []any:
		live, _ := live.([]any)
		if len(live) != len(desired) {
			return false
		}
		for i, value := range desired {
			if !contains(live[i], value) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(live, desired)
}

// Refused returns the fields that the API server does not let change from live to desired. Where it says only that spec must not
// change, they are the fields of spec that differ, without those that its refusal names as ones that may.
//
//	spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'template', … are forbidden
func Refused(live, desired *unstructured.Unstructured, named []string, refusal string) []string {
	if !slices.Equal(named, []string{"spec"}) {
		return named
	}
	was, _, _ := unstructured.NestedMap(live.Object, "spec")
	is, _, _ := unstructured.NestedMap(desired.Object, "spec")
	var fields []string
	for key, value := range is {
		if !contains(was[key], value) && !strings.Contains(refusal, "'"+key+"'") {
			fields = append(fields, "spec."+key)
		}
	}
	if fields == nil {
		return named
	}
	slices.Sort(fields)
	return fields
}
