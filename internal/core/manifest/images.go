package manifest

import (
	"maps"
	"slices"
)

// Volumes is the field of a pod's spec that lists volumes. One may be an OCI image: image: {reference: …}.
const Volumes = "volumes"

// imageFields are the fields of a pod's spec whose items have images.
var imageFields = []string{"initContainers", "containers", "ephemeralContainers", Volumes}

// Image is a place in a decoded Kubernetes object where a pod has an image: a container, or a volume.
type Image struct {
	// Field is the list that it is in: containers, initContainers, ephemeralContainers or Volumes.
	Field string
	// Name is that of the container or the volume.
	Name   string
	holder map[string]any
	key    string
}

// Ref returns the reference that stands there; "" when none does.
func (i Image) Ref() string {
	text, _ := i.holder[i.key].(string)
	return text
}

// Set writes a reference into the object.
func (i Image) Set(reference string) { i.holder[i.key] = reference }

// Images calls visit for every image of pods in object, a decoded Kubernetes object of any kind: whatever the kind, the
// items of a list called containers, initContainers or ephemeralContainers are containers, and those of a list called
// volumes are volumes. A container may lack its image. Metadata and status are not searched.
func Images(object any, visit func(Image)) {
	switch object := object.(type) {
	case map[string]any:
		for _, field := range imageFields {
			list, _ := object[field].([]any)
			for _, item := range list {
				if image, ok := imageOf(field, item); ok {
					visit(image)
				}
			}
		}
		for _, field := range slices.Sorted(maps.Keys(object)) {
			if field != "metadata" && field != "status" {
				Images(object[field], visit)
			}
		}
	case []any:
		for _, item := range object {
			Images(item, visit)
		}
	}
}

// imageOf returns the image of an item of a list; ok is false for what is no container, and for a volume without one.
func imageOf(field string, item any) (image Image, ok bool) {
	holder, ok := item.(map[string]any)
	name, _ := holder["name"].(string)
	if field != Volumes {
		return Image{field, name, holder, "image"}, ok
	}
	source, _ := holder["image"].(map[string]any)
	image = Image{field, name, source, "reference"}
	return image, image.Ref() != ""
}
