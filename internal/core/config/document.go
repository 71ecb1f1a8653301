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
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/aksflow/aksflow/internal/core/encoding"
)

// document is the parsed file. It finds the line and column of each value.
type document struct {
	path string
	root *yaml.Node // nil for a file without content
}

// decode reads data into out, a pointer to a struct. Keys that the types have no field for are errors.
func decode(path string, data []byte, out any) (*document, error) {
	data, _ = encoding.UTF8(data)
	data = yamlDirective.ReplaceAll(data, []byte("${1}1"))
	if err := checkText(path, data); err != nil {
		return nil, err
	}
	var root, second yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(data))
	switch err := dec.Decode(&root); {
	case errors.Is(err, io.EOF):
		return nil, fmt.Errorf("%s is empty: give it at least an app", path)
	case err != nil:
		return nil, positioned(path, data, err)
	}
	switch err := dec.Decode(&second); {
	case err == nil:
		return nil, fmt.Errorf("%s:%d: a second YAML document: put all into one", path, second.Line)
	case !errors.Is(err, io.EOF):
		return nil, positioned(path, data, err)
	}
	d := &document{path: path, root: root.Content[0]}
	if err := d.checkShape(reflect.TypeOf(out)); err != nil {
		return nil, err
	}
	if err := root.Decode(out); err != nil {
		return nil, positioned(path, data, err)
	}
	return d, nil
}

// checkText returns an error with the line of the first character that YAML does not allow. Those of the YAML library name
// neither the line nor what to do.
func checkText(path string, data []byte) error {
	if bytes.IndexByte(data[:min(len(data), 8)], 0) >= 0 {
		return fmt.Errorf("%s:1: the file is in UTF-16 without a mark that says so: save it in UTF-8, in PowerShell with Set-Content -Encoding utf8", path)
	}
	if line := encoding.InvalidLine(data); line > 0 {
		return fmt.Errorf("%s:%d: a character that is not in UTF-8: save the file in UTF-8", path, line)
	}
	line := 1
	for text := range strings.Lines(string(data)) {
		if at := strings.IndexFunc(text, forbidden); at >= 0 {
			r, _ := utf8.DecodeRuneInString(text[at:])
			return fmt.Errorf("%s:%d:%d: the control character %U: remove it, or write \"\\u%04X\" in double quotes", path, line, 1+utf8.RuneCountInString(text[:at]), r, r)
		}
		line++
	}
	return nil
}

// forbidden reports whether a character may not stand in YAML: https://yaml.org/spec/1.2.2/#51-character-set
func forbidden(r rune) bool {
	return r < ' ' && r != '\t' && r != '\n' && r != '\r' || r >= 0x7f && r < 0xa0 && r != 0x85 || r == 0xfffe || r == 0xffff
}

var (
	lineOf        = regexp.MustCompile(`^(?:yaml: )?line (\d+): (.*)`)
	unknownAnchor = regexp.MustCompile(`^yaml: unknown anchor '([^']+)' referenced`)

	// The parser knows YAML 1.1 only. What stands here reads the same in 1.2.
	yamlDirective = regexp.MustCompile(`(?m)^(\x{feff}?%YAML[ \t]+1\.)[2-9]`)
)

// remedies say what to do about errors of the YAML library, by a part of their messages.
var remedies = map[string]string{
	"did not find expected alphabetic or numeric character": `quote a value that begins with * or &, such as "**"`,
	"found character that cannot start any token":           "indent with spaces, not with tabs, and quote a value that begins with @, ` or %",
	"mapping values are not allowed in this context":        "quote a value that has a colon and a space in it, and check the indentation",
	"did not find expected ',' or '}'":                      `quote a value that has braces in it, such as "${NAME}"`,
	"did not find expected ',' or ']'":                      "quote a value that has brackets or a comma in it",
}

// lineOfAlias returns the line of the first alias of an anchor; 0 when it is not found.
func lineOfAlias(data []byte, anchor string) int {
	at := regexp.MustCompile(`(?m)^[^#\n]*[\s\[{,:-]\*` + regexp.QuoteMeta(anchor) + `(?:[\s,\]}]|$)`).FindIndex(data)
	if at == nil {
		return 0
	}
	return 1 + bytes.Count(data[:at[0]], []byte("\n"))
}

// positioned turns an error of the YAML library about data into lines that start with the place.
func positioned(path string, data []byte, err error) error {
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
		} else if m := unknownAnchor.FindStringSubmatch(message); m != nil {
			message = fmt.Sprintf("there is no anchor &%s before this: define it, or quote a value that begins with *", m[1])
			if line := lineOfAlias(data, m[1]); line > 0 {
				where = fmt.Sprintf("%s:%d", path, line)
			}
		}
		message = strings.TrimPrefix(message, "yaml: ")
		for part, remedy := range remedies {
			if strings.Contains(message, part) {
				message += ": " + remedy
			}
		}
		errs = append(errs, fmt.Errorf("%s: %s", where, message))
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

// child is the value of a key of a mapping: its own, else one that a merge key brings in.
func child(n *yaml.Node, key string) *yaml.Node {
	if n.Kind != yaml.MappingNode {
		return nil
	}
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		value := n.Content[i+1]
		if n.Content[i].Value == key {
			return value
		}
		if n.Content[i].ShortTag() != "!!merge" {
			continue
		}
		if value.Kind == yaml.SequenceNode {
			merged = append(merged, value.Content...)
		} else {
			merged = append(merged, value)
		}
	}
	for _, from := range merged {
		if from.Kind == yaml.AliasNode {
			from = from.Alias
		}
		if value := child(from, key); value != nil {
			return value
		}
	}
	return nil
}

// keys are the keys of the mapping at path, in the order of the file. Those that a merge key brings in are among them.
func (d *document) keys(path ...any) []string { return keysOf(d.node(path...), nil) }

// keysOf adds the keys of a mapping, or of each mapping in a list, to those that are known.
func keysOf(n *yaml.Node, keys []string) []string {
	if n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch {
	case n == nil:
	case n.Kind == yaml.SequenceNode:
		for _, item := range n.Content {
			keys = keysOf(item, keys)
		}
	case n.Kind == yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if key := n.Content[i]; key.ShortTag() == "!!merge" {
				keys = keysOf(n.Content[i+1], keys)
			} else if !slices.Contains(keys, key.Value) {
				keys = append(keys, key.Value)
			}
		}
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
