package render

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	sigsyaml "sigs.k8s.io/yaml"
)

// directory reads every manifest below dir, in the order of their names. Hidden files and directories are left out, as
// kubectl and Argo CD do.
func directory(dir string) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if path != dir && strings.HasPrefix(entry.Name(), ".") {
			if entry.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		if !isManifest(path) || !isFile(path) {
			return nil
		}
		read, err := file(path)
		objects = append(objects, read...)
		return err
	})
	return objects, err
}

func isManifest(path string) bool {
	switch filepath.Ext(path) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

func file(path string) ([]*unstructured.Unstructured, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return Decode(path, data)
}

// Decode reads the objects of one YAML or JSON stream. Lists are taken apart. Errors begin with name and the line.
func Decode(name string, data []byte) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	err := documents(name, data, func(line int, document *yaml.Node) error {
		object, err := toObject(document)
		if err != nil {
			return fmt.Errorf("%s:%d: %w", name, line, err)
		}
		add := func(object *unstructured.Unstructured) error {
			if err := check(object); err != nil {
				return fmt.Errorf("%s:%d: %w", name, line, err)
			}
			objects = append(objects, object)
			return nil
		}
		if object.IsList() {
			return object.EachListItem(func(item runtime.Object) error { return add(item.(*unstructured.Unstructured)) })
		}
		return add(object)
	})
	return objects, err
}

// documents calls visit with every document of a YAML stream that is not empty, and with the line it begins at.
func documents(name string, data []byte, visit func(line int, document *yaml.Node) error) error {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var node yaml.Node
		err := decoder.Decode(&node)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s is not YAML: %w", position(name, err), err)
		}
		if len(node.Content) == 0 || node.Content[0].Tag == "!!null" {
			continue
		}
		if err := visit(node.Content[0].Line, node.Content[0]); err != nil {
			return err
		}
	}
}

var yamlLine = regexp.MustCompile(`line (\d+)`)

// position is name:line when the YAML parser's message names a line.
func position(name string, err error) string {
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		return name + ":" + m[1]
	}
	return name
}

func toObject(document *yaml.Node) (*unstructured.Unstructured, error) {
	if document.Kind != yaml.MappingNode {
		return nil, errors.New("not a Kubernetes object: a mapping with apiVersion and kind is wanted here")
	}
	// By way of text, since sigs.k8s.io/yaml knows how Kubernetes reads YAML: numbers as int64 or float64, keys as
	// strings, a key that stands twice refused.
	text, err := yaml.Marshal(document)
	if err != nil {
		return nil, err
	}
	data, err := sigsyaml.YAMLToJSONStrict(text)
	if err != nil {
		return nil, fmt.Errorf("not YAML as Kubernetes reads it: %w", err)
	}
	object := &unstructured.Unstructured{}
	if err := object.UnmarshalJSON(data); err != nil {
		return nil, fmt.Errorf("not a Kubernetes object: %w", err)
	}
	return object, nil
}

// check says what an object lacks that every object needs.
func check(object *unstructured.Unstructured) error {
	switch {
	case object.GetKind() == "":
		return errors.New("not a Kubernetes object: it has no kind")
	case object.GetAPIVersion() == "":
		return fmt.Errorf("not a Kubernetes object: %s has no apiVersion", object.GetKind())
	case object.GetName() == "" && object.GetGenerateName() != "":
		return fmt.Errorf("%s with generateName %q: give it a name, since a second apply could not find it again", object.GetKind(), object.GetGenerateName())
	case object.GetName() == "":
		return fmt.Errorf("%s has no metadata.name", object.GetKind())
	}
	return nil
}
