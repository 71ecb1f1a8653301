package config

import (
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/agnivade/levenshtein"
	"go.yaml.in/yaml/v3"
)

// shapes compares a document with the Go types that it is decoded into. The YAML library does that, too, but its errors
// lack the column and the path, and name Go types.
type shapes struct {
	doc  *document
	errs []error
	// seen ends the walk at aliases that were followed before: they may refer to themselves, or multiply.
	seen map[shape]bool
}

type shape struct {
	node *yaml.Node
	t    reflect.Type
}

// checkShape finds unknown keys, keys that occur twice, and values of the wrong kind.
func (d *document) checkShape(t reflect.Type) error {
	s := &shapes{doc: d, seen: map[shape]bool{}}
	s.value(d.root, t, nil)
	return errors.Join(s.errs...)
}

func (s *shapes) errorf(n *yaml.Node, path []any, format string, args ...any) {
	s.errs = append(s.errs, s.doc.errorAt(n, path, format, args...))
}

func (s *shapes) value(n *yaml.Node, t reflect.Type, path []any) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if s.seen[shape{n, t}] || n.ShortTag() == "!!null" {
		return
	}
	s.seen[shape{n, t}] = true
	switch t.Kind() {
	case reflect.Interface: // free form: values of a chart
	case reflect.Pointer:
		s.value(n, t.Elem(), path)
	case reflect.Struct, reflect.Map:
		if n.Kind != yaml.MappingNode {
			s.errorf(n, path, "want keys with values, %s", found(n))
			return
		}
		s.mapping(n, t, path)
	case reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			s.errorf(n, path, "want a list, %s", found(n))
			return
		}
		for i, item := range n.Content {
			if item.ShortTag() == "!!null" {
				s.errorf(item, join(path, i), "there is no value: remove the item, or write \"\" for an empty text")
			}
			s.value(item, t.Elem(), join(path, i))
		}
	case reflect.Int:
		var number float64 // the YAML library cuts off the part behind the point
		if n.Kind != yaml.ScalarNode || n.Decode(reflect.New(t).Interface()) != nil || n.Decode(&number) != nil || number != math.Trunc(number) {
			s.errorf(n, path, "want a whole number, %s", found(n))
		}
	default:
		if n.Kind != yaml.ScalarNode || n.Decode(reflect.New(t).Interface()) != nil {
			s.errorf(n, path, "want %s, %s", kinds[t.Kind()], found(n))
		}
	}
}

func (s *shapes) mapping(n *yaml.Node, t reflect.Type, path []any) {
	there := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.ShortTag() == "!!merge" { // <<: *defaults
			s.merged(value, t, path)
			continue
		}
		if key.Kind != yaml.ScalarNode {
			s.errorf(key, path, "want a name as the key, %s", found(key))
			continue
		}
		at := join(path, key.Value)
		if there[key.Value] {
			s.errorf(key, at, "this key is there already")
			continue
		}
		there[key.Value] = true
		if len(path) == 0 && strings.HasPrefix(key.Value, Extension) {
			s.free(value)
			continue
		}
		if t.Kind() == reflect.Map {
			if t.Elem().Kind() == reflect.String && value.ShortTag() == "!!null" {
				s.errorf(key, at, "there is no value: write \"\" for an empty one, and \"${%s:-}\" for that of a variable", key.Value)
			}
			s.value(value, t.Elem(), at)
			continue
		}
		fields := fields(t)
		if field, known := fields[key.Value]; known {
			s.value(value, field, at)
		} else if near := nearest(key.Value, fields); near != "" && !strings.ContainsFunc(key.Value, invisible) {
			s.errorf(key, at, "unknown key: did you mean %q?", near)
		} else if i := strings.IndexFunc(key.Value, invisible); i >= 0 {
			r, _ := utf8.DecodeRuneInString(key.Value[i:])
			s.errorf(key, at, "unknown key: it has the character %U in it, which cannot be seen: remove it, and indent with plain spaces", r)
		} else {
			s.errorf(key, at, "unknown key: known are %s", strings.Join(names(fields), ", "))
		}
	}
}

// free checks a value of free form.
func (s *shapes) free(n *yaml.Node) {
	var any any
	if err := n.Decode(&any); err != nil {
		s.errs = append(s.errs, positioned(s.doc.path, nil, err))
	}
}

// invisible reports whether a character looks like a space or like nothing.
func invisible(r rune) bool { return r > ' ' && (unicode.IsSpace(r) || unicode.Is(unicode.Cf, r)) }

// merged is the value of a merge key: a mapping, or a list of them.
func (s *shapes) merged(n *yaml.Node, t reflect.Type, path []any) {
	if n.ShortTag() == "!!null" {
		s.errorf(n, path, "<< has no value: name an anchor, such as *defaults, or remove it")
	}
	if n.Kind == yaml.SequenceNode {
		for _, item := range n.Content {
			s.value(item, t, path)
		}
		return
	}
	s.value(n, t, path)
}

// join returns path with one step more. It shares no memory with other paths.
func join(path []any, step any) []any { return append(slices.Clip(path), step) }

var kinds = map[reflect.Kind]string{
	reflect.String: "text", reflect.Bool: "true or false",
	reflect.Int64: "a time such as 90s", // time.Duration
}

// found describes the value that is there instead.
func found(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "found keys with values"
	case yaml.SequenceNode:
		return "found a list"
	default:
		return "found \"" + n.Value + "\""
	}
}

// fields are the keys that a struct is read from, with their types.
func fields(t reflect.Type) map[string]reflect.Type {
	out := map[string]reflect.Type{}
	for i := range t.NumField() {
		if f := t.Field(i); f.IsExported() && f.Tag.Get("yaml") != "-" {
			out[f.Tag.Get("yaml")] = f.Type
		}
	}
	return out
}

func names(fields map[string]reflect.Type) []string {
	var out []string
	for name := range fields {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// nearest returns the known key that differs least from key; "" if all differ much.
func nearest(key string, fields map[string]reflect.Type) string {
	best, bestDistance := "", 1+len(key)/2
	for _, name := range names(fields) {
		if d := levenshtein.ComputeDistance(strings.ToLower(key), strings.ToLower(name)); d < bestDistance {
			best, bestDistance = name, d
		}
	}
	return best
}
