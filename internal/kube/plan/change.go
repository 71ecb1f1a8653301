package plan

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// Change is what a deploy does to one object.
type Change struct {
	// Object is what is applied.
	Object *unstructured.Unstructured
	// Live is the object as the cluster has it; nil if it is created.
	Live *unstructured.Unstructured
	// Merged is Live with Object applied to it; nil if that could not be tried.
	Merged *unstructured.Unstructured
	Action Action
	// Recreate means that Live is deleted first.
	Recreate bool
	// Leaving is an object of the same name that is being deleted; Object is created when it is gone. Live is nil then.
	Leaving *unstructured.Unstructured
	// Adopts means that fields which other tools, or nobody, own in Live are taken over first, so that they go when
	// Object lacks them. Defaults are those that nobody owns.
	Adopts   bool
	Defaults *fieldpath.Set
	// Autoscaled means that an autoscaler that exists already sets the number of the object's pods.
	Autoscaled bool
}

// Action is what becomes of an object, in the words of a result.
type Action string

// The actions.
const (
	Created    Action = "created"
	Configured Action = "configured"
	Unchanged  Action = "unchanged"
)

// Ref names the object.
func (c Change) Ref() Ref { return RefOf(c.Object) }

// Forced returns a copy that is carried out even if the cluster has the manifests' own object already.
func (c Change) Forced() Change {
	if c.Action == Unchanged {
		c.Action = Configured
	}
	return c
}

// Objects returns the objects of changes.
func Objects(changes []Change) []*unstructured.Unstructured {
	objects := make([]*unstructured.Unstructured, 0, len(changes))
	for _, c := range changes {
		objects = append(objects, c.Object)
	}
	return objects
}

// Overlay returns live with the fields of desired, for an object whose apply could not be tried. Lists are those of desired. A field
// that desired lacks stays, though an apply may remove it.
func Overlay(live, desired *unstructured.Unstructured) *unstructured.Unstructured {
	merged := live.DeepCopy()
	overlay(merged.Object, desired.DeepCopy().Object)
	return merged
}

func overlay(into, from map[string]any) {
	for key, value := range from {
		below, ok := into[key].(map[string]any)
		if fields, isMap := value.(map[string]any); isMap && ok {
			overlay(below, fields)
			continue
		}
		into[key] = value
	}
}
