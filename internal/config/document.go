package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
	"go.yaml.in/yaml/v3"
)

// document is the parsed file: it knows where each value stands.
type document struct {
	path string
	root *yaml.Node // nil for a file without content
}

// decode reads data into out. Keys that no type of package config has are errors.
func decode(path string, data []byte, out any) (*document, error) {
	var root, second yaml.Node
	nodes := yaml.NewDecoder(bytes.NewReader(data))
	switch err := nodes.Decode(&root); {
	case errors.Is(err, io.EOF):
		return nil, fmt.Errorf("%s is empty: give it at least an app", path)
	case err != nil:
		return nil, positioned(path, err)
	}
	switch err := nodes.Decode(&second); {
	case err == nil:
		return nil, fmt.Errorf("%s:%d: a second YAML document: put all into one", path, second.Line)
	case !errors.Is(err, io.EOF):
		return nil, positioned(path, err)
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(out); err != nil {
		return nil, positioned(path, err)
	}
	return &document{path: path, root: root.Content[0]}, nil
}

var (
	lineOf       = regexp.MustCompile(`^(?:yaml: )?line (\d+): (.*)`)
	unknownField = regexp.MustCompile(`field (\S+) not found in type`)
	inType       = regexp.MustCompile(` (in|into) type \S+| into \S+$`)
)

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
		if m := unknownField.FindStringSubmatch(message); m != nil {
			message = fmt.Sprintf("unknown key %q", m[1])
			if near := nearest(m[1]); near != "" {
				message += fmt.Sprintf(": did you mean %q?", near)
			}
		}
		errs = append(errs, fmt.Errorf("%s: %s", where, inType.ReplaceAllString(strings.TrimPrefix(message, "yaml: "), "")))
	}
	return errors.Join(errs...)
}

// nearest is the known key that differs least from key, if it differs little.
func nearest(key string) string {
	best, bestDistance := "", 1+len(key)/2
	for _, known := range knownKeys(reflect.TypeFor[Config]()) {
		// A key that is known elsewhere in the file is no suggestion.
		if d := levenshtein.ComputeDistance(strings.ToLower(key), strings.ToLower(known)); known != key && d < bestDistance {
			best, bestDistance = known, d
		}
	}
	return best
}

// knownKeys are the keys of t and of the types below it, sorted.
func knownKeys(t reflect.Type) []string {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		return knownKeys(t.Elem())
	case reflect.Struct:
	default:
		return nil
	}
	var keys []string
	for i := range t.NumField() {
		f := t.Field(i)
		if key := f.Tag.Get("yaml"); f.IsExported() && key != "-" {
			keys = append(append(keys, key), knownKeys(f.Type)...)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
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

// errorf is an error about the value at path, or about the nearest one above it that is there.
func (d *document) errorf(path []any, format string, args ...any) error {
	where := d.path
	for n := len(path); n > 0; n-- {
		if node := d.node(path[:n]...); node != nil {
			where = fmt.Sprintf("%s:%d:%d", d.path, node.Line, node.Column)
			break
		}
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
	return fmt.Errorf("%s: %s: %w", where, name.String(), fmt.Errorf(format, args...))
}
