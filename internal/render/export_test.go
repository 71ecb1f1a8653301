package render

import "k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

// Decode reads the objects of one YAML or JSON stream, and leaves out its warnings.
func Decode(name string, data []byte) ([]*unstructured.Unstructured, error) {
	return decode(name, data, func(string, ...any) {})
}
