package manifest

import (
	"maps"
	"slices"
)

// containerFields are the fields of a pod's spec that list containers.
var containerFields = []string{"initContainers", "containers", "ephemeralContainers"}

// Containers calls visit for every container in object, a decoded Kubernetes object of any kind: whatever the kind, the
// items of a list called containers, initContainers or ephemeralContainers are containers. Field is the list's name.
// Metadata and status are not searched. Changes that visit makes to container stay in object.
func Containers(object any, visit func(field string, container map[string]any)) {
	switch object := object.(type) {
	case map[string]any:
		for _, field := range containerFields {
			list, _ := object[field].([]any)
			for _, item := range list {
				if container, ok := item.(map[string]any); ok {
					visit(field, container)
				}
			}
		}
		for _, field := range slices.Sorted(maps.Keys(object)) {
			if field != "metadata" && field != "status" {
				Containers(object[field], visit)
			}
		}
	case []any:
		for _, item := range object {
			Containers(item, visit)
		}
	}
}
