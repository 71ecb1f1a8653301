// Package diff shows the change of an object as a unified diff of YAML, without fields that only the server writes and
// without the values of Secrets.
package diff

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/aymanbagabas/go-udiff"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// Unified returns the diff from live to merged, "" when nothing changes. Either may be nil: the object is created or
// deleted. For an object that is created, merged is the manifest.
//
// applied is the manifest. A field of merged that is neither in applied nor in live is a default of the server, and is not
// shown.
func Unified(title string, live, merged, applied *unstructured.Unstructured) string {
	if live != nil && merged != nil {
		merged = merged.DeepCopy()
		merged.Object, _ = withoutDefaults(merged.Object, live.Object, applied.Object).(map[string]any)
	}
	before, after := clean(live), clean(merged)
	mask(before, after)
	return udiff.Unified("live/"+title, "new/"+title, text(before), text(after))
}

// Equal reports whether live and merged differ in nothing but fields that only the server writes.
func Equal(live, merged *unstructured.Unstructured) bool {
	return reflect.DeepEqual(clean(live), clean(merged))
}

// serverFields are metadata that only the server writes.
var serverFields = []string{"managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink"}

func clean(o *unstructured.Unstructured) map[string]any {
	if o == nil {
		return nil
	}
	object := o.DeepCopy().Object
	delete(object, "status")
	if metadata, ok := object["metadata"].(map[string]any); ok {
		for _, field := range serverFields {
			delete(metadata, field)
		}
		if annotations, ok := metadata["annotations"].(map[string]any); ok {
			delete(annotations, "deployment.kubernetes.io/revision")
			delete(annotations, "kubectl.kubernetes.io/last-applied-configuration")
			if len(annotations) == 0 {
				delete(metadata, "annotations")
			}
		}
	}
	return object
}

// withoutDefaults drops from merged the fields that are in neither of the others. Items of lists are paired by name where
// they have one, else by position.
func withoutDefaults(merged, live, applied any) any {
	switch merged := merged.(type) {
	case map[string]any:
		live, _ := live.(map[string]any)
		applied, _ := applied.(map[string]any)
		out := make(map[string]any, len(merged))
		for key, value := range merged {
			l, inLive := live[key]
			a, inApplied := applied[key]
			if inLive || inApplied {
				out[key] = withoutDefaults(value, l, a)
			}
		}
		return out
	case []any:
		live, _ := live.([]any)
		applied, _ := applied.([]any)
		out := make([]any, len(merged))
		for i, item := range merged {
			out[i] = withoutDefaults(item, partner(item, i, live), partner(item, i, applied))
			if fields, ok := out[i].(map[string]any); ok && len(fields) == 0 {
				out[i] = item
			}
		}
		return out
	}
	return merged
}

func partner(item any, i int, list []any) any {
	if fields, ok := item.(map[string]any); ok && fields["name"] != nil {
		for _, candidate := range list {
			if other, ok := candidate.(map[string]any); ok && other["name"] == fields["name"] {
				return other
			}
		}
		return nil
	}
	if i < len(list) {
		return list[i]
	}
	return nil
}

// mask hides the values of Secrets. The two values of a key that changes get different masks, so that the diff shows the key.
func mask(before, after map[string]any) {
	for _, field := range []string{"data", "stringData"} {
		was, is := secretData(before, field), secretData(after, field)
		for key, value := range was {
			if next, ok := is[key]; ok && next == value {
				is[key] = "***"
			} else if ok {
				is[key] = "*** (new)"
			}
			was[key] = "***"
		}
		for key, value := range is {
			if value != "*** (new)" {
				is[key] = "***"
			}
		}
	}
}

func secretData(object map[string]any, field string) map[string]any {
	if object["kind"] != "Secret" {
		return nil
	}
	data, _ := object[field].(map[string]any)
	return data
}

func text(object map[string]any) string {
	if object == nil {
		return ""
	}
	out, err := yaml.Marshal(object)
	if err != nil {
		return fmt.Sprintf("%v\n", object)
	}
	return string(out)
}

// Colour colours a unified diff for a terminal.
func Colour(unified string) string {
	const red, green, cyan, bold, reset = "\x1b[31m", "\x1b[32m", "\x1b[36m", "\x1b[1m", "\x1b[0m"
	lines := strings.SplitAfter(unified, "\n")
	var b strings.Builder
	for _, line := range lines {
		colour := ""
		switch {
		case strings.HasPrefix(line, "+++ "), strings.HasPrefix(line, "--- "):
			colour = bold
		case strings.HasPrefix(line, "@@"):
			colour = cyan
		case strings.HasPrefix(line, "+"):
			colour = green
		case strings.HasPrefix(line, "-"):
			colour = red
		}
		if colour == "" {
			b.WriteString(line)
			continue
		}
		b.WriteString(colour + strings.TrimSuffix(line, "\n") + reset)
		if strings.HasSuffix(line, "\n") {
			b.WriteByte('\n')
		}
	}
	return b.String()
}
