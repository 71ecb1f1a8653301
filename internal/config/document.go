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
	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// document is the parsed file: it knows where each value stands.
type document struct {
	path string
	file *ast.File
}

// decode reads data into out. Keys that no type of package config has are errors.
func decode(path string, data []byte, out any) (*document, error) {
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return nil, positioned(path, err)
	}
	if len(file.Docs) > 1 {
		return nil, fmt.Errorf("%s:%d: a second YAML document: put all into one", path, file.Docs[1].Start.Position.Line)
	}
	err = yaml.NewDecoder(bytes.NewReader(data), yaml.Strict()).Decode(out)
	if errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s is empty: give it at least an app", path)
	}
	if err != nil {
		return nil, positioned(path, err)
	}
	return &document{path: path, file: file}, nil
}

var unknownField = regexp.MustCompile(`unknown field "(.*)"`)

// positioned turns an error of the YAML library into one line that starts with the place.
func positioned(path string, err error) error {
	var at yaml.Error
	if !errors.As(err, &at) || at.GetToken() == nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	message := at.GetMessage()
	if m := unknownField.FindStringSubmatch(message); m != nil {
		message = fmt.Sprintf("unknown key %q", m[1])
		if near := nearest(m[1]); near != "" {
			message += fmt.Sprintf(": did you mean %q?", near)
		}
	}
	pos := at.GetToken().Position
	return fmt.Errorf("%s:%d:%d: %s", path, pos.Line, pos.Column, message)
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
func (d *document) node(path ...any) ast.Node {
	b := (&yaml.PathBuilder{}).Root()
	for _, step := range path {
		switch s := step.(type) {
		case int:
			b = b.Index(uint(s))
		default:
			b = b.Child(fmt.Sprint(s))
		}
	}
	n, err := b.Build().FilterFile(d.file)
	if err != nil {
		return nil
	}
	return n
}

// keys are the keys of the mapping at path, in the order of the file.
func (d *document) keys(path ...any) []string {
	var keys []string
	if m, ok := d.node(path...).(ast.MapNode); ok {
		for it := m.MapRange(); it.Next(); {
			keys = append(keys, it.Key().GetToken().Value)
		}
	}
	return keys
}

// errorf is an error about the value at path, or about the nearest mapping above it that is there.
func (d *document) errorf(path []any, format string, args ...any) error {
	where := d.path
	for n := len(path); n > 0; n-- {
		if node := d.node(path[:n]...); node != nil {
			pos := node.GetToken().Position
			where = fmt.Sprintf("%s:%d:%d", d.path, pos.Line, pos.Column)
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
