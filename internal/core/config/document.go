package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// document is the parsed file. It finds the line and column of each value.
type document struct {
	path string
	root *yaml.Node // nil for a file without content
}

// decode reads data into out, a pointer to a struct. Keys that the types have no field for are errors.
func decode(path string, data []byte, out any) (*document, error) {
	var root, second yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(data))
	switch err := dec.Decode(&root); {
	case errors.Is(err, io.EOF):
		return nil, fmt.Errorf("%s is empty: give it at least an app", path)
	case err != nil:
		return nil, positioned(path, err)
	}
	switch err := dec.Decode(&second); {
	case err == nil:
		return nil, fmt.Errorf("%s:%d: a second YAML document: put all into one", path, second.Line)
	case !errors.Is(err, io.EOF):
		return nil, positioned(path, err)
	}
	d := &document{path: path, root: root.Content[0]}
	if err := d.checkShape(reflect.TypeOf(out)); err != nil {
		return nil, err
	}
	if err := root.Decode(out); err != nil {
		return nil, positioned(path, err)
	}
	return d, nil
}

var lineOf = regexp.MustCompile(`^(?:yaml: )?line (\d+): (.*)`)

// positioned turns an error of the YAML library into lines that start with the place.
func positioned(path string, err error) error {
	messages := []string{err.Error()}
	var typed *yaml.TypeError
	if errors.As(err, &typed) {
		messages = typed.Errors
	}
	var errs []error
	for _, message := range messages {
		where := path
		if m := lineOf.FindStringSubmatch(message); m != nil {
			where, message = path+":"+m[1], m[2]
		}
		errs = append(errs, fmt.Errorf("%s: %s", where, strings.TrimPrefix(message, "yaml: ")))
	}
	return errors.Join(errs...)
}

// node finds the value at a path of keys and indexes, nil when it is not there.
func (d *document) node(path ...any) *yaml.Node {
	n := d.root
	for _, step := range path {
		if n != nil && n.Kind == yaml.AliasNode {
			n = n.Alias
		}
		if n == nil {
			return nil
		}
		switch s := step.(type) {
		case int:
			if n.Kind != yaml.SequenceNode || s >= len(n.Content) {
				return nil
			}
			n = n.Content[s]
		default:
			n = child(n, fmt.Sprint(s))
		}
	}
	return n
}

// where returns the place of the value at a path, FILE:LINE, or the file alone when the value does not exist.
func (d *document) where(path ...any) string {
	if n := d.node(path...); n != nil {
		return fmt.Sprintf("%s:%d", d.path, n.Line)
	}
	return d.path
}

// child is the value of a key of a mapping.
func child(n *yaml.Node, key string) *yaml.Node {
	if n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// keys are the keys of the mapping at path, in the order of the file.
func (d *document) keys(path ...any) []string {
	n := d.node(path...)
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	var keys []string
	for i := 0; i+1 < len(n.Content); i += 2 {
		keys = append(keys, n.Content[i].Value)
	}
	return keys
}

// errorf returns an error about the value at path, or about the nearest value above it that exists.
func (d *document) errorf(path []any, format string, args ...any) error {
	var node *yaml.Node
	for n := len(path); n > 0 && node == nil; n-- {
		node = d.node(path[:n]...)
	}
	return d.errorAt(node, path, format, args...)
}

// errorAt returns an error about the value at path. Its place is that of node, which is nil when it is not known.
func (d *document) errorAt(node *yaml.Node, path []any, format string, args ...any) error {
	where := d.path
	if node != nil {
		where = fmt.Sprintf("%s:%d:%d", d.path, node.Line, node.Column)
	}
	var name strings.Builder
	for _, step := range path {
		if i, ok := step.(int); ok {
			fmt.Fprintf(&name, "[%d]", i)
			continue
		}
		if name.Len() > 0 {
			name.WriteByte('.')
		}
		fmt.Fprint(&name, step)
	}
	if name.Len() > 0 {
		where += ": " + name.String()
	}
	return fmt.Errorf("%s: %w", where, fmt.Errorf(format, args...))
}
