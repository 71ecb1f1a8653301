package render

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	sigsyaml "sigs.k8s.io/yaml"
)

// decode reads the objects of one YAML or JSON stream as `kubectl apply -f` does, with the libraries that kubectl uses.
// Lists are taken apart. Errors begin with name and, where it is known, the line. What kubectl accepts without a word
// although it loses something goes to warn.
func decode(name string, data []byte, warn func(format string, args ...any)) ([]*unstructured.Unstructured, error) {
	documents, err := split(name, data)
	if err != nil {
		return nil, err
	}
	var objects []*unstructured.Unstructured
	for _, d := range documents {
		read, err := d.objects()
		if err != nil {
			return nil, err
		}
		if len(read) > 0 {
			d.warnings(warn)
		}
		objects = append(objects, read...)
	}
	return objects, nil
}

// document is one document of a stream.
type document struct {
	name string // of the file
	line int    // at which the text begins, from 1
	text []byte
	json bool
}

// split takes a stream apart where kubectl does: JSON values that follow each other, or YAML documents between lines that
// begin with "---". Behind the dashes only a comment may stand. It is
// https://pkg.go.dev/k8s.io/apimachinery/pkg/util/yaml#YAMLOrJSONDecoder with the line of each document, which that
// decoder does not tell.
func split(name string, data []byte) ([]document, error) {
	if utilyaml.IsJSONBuffer(data) {
		if documents := splitJSON(name, data); documents != nil {
			return documents, nil
		}
	}
	var documents []document
	line, text := 1, bytes.Buffer{}
	flush := func(next int) {
		if len(bytes.TrimSpace(text.Bytes())) > 0 {
			documents = append(documents, document{name: name, line: line, text: bytes.Clone(text.Bytes())})
		}
		line = next
		text.Reset()
	}
	number := 0
	for content := range bytes.Lines(data) {
		number++
		content = bytes.TrimSuffix(bytes.TrimSuffix(content, []byte("\n")), []byte("\r"))
		if rest, ok := bytes.CutPrefix(content, []byte("---")); ok {
			if rest = bytes.TrimSpace(rest); len(rest) > 0 && rest[0] != '#' {
				return nil, fmt.Errorf("%s:%d: %q is not a document separator: only a comment may follow ---", name, number, content)
			}
			flush(number + 1)
			continue
		}
		text.Write(content)
		text.WriteByte('\n')
	}
	flush(number + 1)
	return documents, nil
}

// splitJSON returns the JSON values of a stream, or nil when it is not JSON from its start to its end. A YAML stream may
// begin with a brace, too.
func splitJSON(name string, data []byte) []document {
	var documents []document
	decoder := json.NewDecoder(bytes.NewReader(data))
	for {
		var text json.RawMessage
		err := decoder.Decode(&text)
		if errors.Is(err, io.EOF) {
			return documents
		}
		if err != nil {
			return nil
		}
		start := int(decoder.InputOffset()) - len(text)
		documents = append(documents, document{name: name, line: 1 + bytes.Count(data[:start], []byte("\n")), text: text, json: true})
	}
}

// objects returns what a document describes: nothing, one object, or the items of a list.
func (d document) objects() ([]*unstructured.Unstructured, error) {
	text := d.text
	if !d.json {
		var err error
		if text, err = sigsyaml.YAMLToJSON(d.text); err != nil {
			return nil, d.notYAML(err)
		}
	}
	switch text = bytes.TrimSpace(text); {
	case len(text) == 0, bytes.Equal(text, []byte("null")):
		return nil, nil
	case text[0] != '{':
		return nil, fmt.Errorf("%s:%d: not a Kubernetes object: it is not a mapping with apiVersion and kind", d.name, d.start())
	}
	return flatten(fmt.Sprintf("%s:%d", d.name, d.start()), text)
}

// flatten decodes an object and takes lists apart. Items of a typed list (ConfigMapList) get their kind from it. Errors
// begin with place.
func flatten(place string, text []byte) ([]*unstructured.Unstructured, error) {
	decoded, _, err := unstructured.UnstructuredJSONScheme.Decode(text, nil, nil)
	switch {
	case runtime.IsMissingKind(err):
		return nil, fmt.Errorf("%s: not a Kubernetes object: it has no kind", place)
	case err != nil:
		return nil, fmt.Errorf("%s: not a Kubernetes object: %w", place, err)
	}
	list, ok := decoded.(*unstructured.UnstructuredList)
	if !ok {
		object := decoded.(*unstructured.Unstructured)
		if err := check(object); err != nil {
			return nil, fmt.Errorf("%s: %w", place, err)
		}
		return []*unstructured.Unstructured{object}, nil
	}
	var objects []*unstructured.Unstructured
	for i := range list.Items {
		place := fmt.Sprintf("%s: item %d of the %s", place, i+1, list.GetKind())
		item, err := list.Items[i].MarshalJSON()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", place, err)
		}
		read, err := flatten(place, item)
		if err != nil {
			return nil, err
		}
		objects = append(objects, read...)
	}
	return objects, nil
}

// start is the line at which the content of a document begins, behind comments and blank lines.
func (d document) start() int {
	line := d.line
	for content := range bytes.Lines(d.text) {
		if content = bytes.TrimSpace(content); len(content) > 0 && content[0] != '#' {
			return line
		}
		line++
	}
	return d.line
}

var yamlLine = regexp.MustCompile(`line (\d+)(?:, column \d+)?: `)

// position is name:line, when the YAML parser's message names a line.
func (d document) position(err error) string {
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		if line, err := strconv.Atoi(m[1]); err == nil {
			return fmt.Sprintf("%s:%d", d.name, d.line+line-1)
		}
	}
	return fmt.Sprintf("%s:%d", d.name, d.start())
}

// notYAML is the error for a document that the YAML parser refuses. It names the placeholder that a tool was to fill in
// before, such as {{IMAGE}}, which YAML reads as a mapping in a mapping.
func (d document) notYAML(err error) error {
	text := withoutLine(err)
	at := bytes.Index(d.text, []byte("{{"))
	if at < 0 || strings.HasSuffix(d.name, asRendered) {
		return fmt.Errorf("%s is not YAML: %s", d.position(err), text)
	}
	line := d.line + bytes.Count(d.text[:at], []byte("\n"))
	const hint = "a placeholder that begins with {{ is not filled in here: write the value, or make a Helm chart of the manifests"
	if strings.HasPrefix(text, "invalid map key") {
		return fmt.Errorf("%s:%d is not YAML: %s", d.name, line, hint)
	}
	return fmt.Errorf("%s is not YAML: %s (line %d: %s)", d.position(err), text, line, hint)
}

// withoutLine is a YAML parser's message without the line, which counts from the start of the document.
func withoutLine(err error) string {
	text := yamlLine.ReplaceAllString(err.Error(), "")
	for _, prefix := range []string{"error converting YAML to JSON: ", "yaml: "} {
		text = strings.TrimPrefix(text, prefix)
	}
	return text
}

// warnings reports keys that a document loses on the way to JSON: kubectl keeps the last of two equal keys, and reads an
// unquoted on, off, y, n, yes or no as a boolean, as YAML 1.1 has it.
func (d document) warnings(warn func(format string, args ...any)) {
	var root yaml.Node
	if err := yaml.Unmarshal(d.text, &root); err != nil {
		return // it is valid YAML 1.1 all the same
	}
	var visit func(node *yaml.Node)
	visit = func(node *yaml.Node) {
		if node.Kind == yaml.MappingNode {
			seen := map[string]int{}
			for i := 0; i+1 < len(node.Content); i += 2 {
				key := node.Content[i]
				line, name := d.line+key.Line-1, jsonKey(key)
				if first, ok := seen[name]; ok && key.Tag != "!!merge" {
					warn("%s:%d: the key %q stands here for the second time, after line %d: this value is used, as kubectl does", d.name, line, name, first)
				}
				if seen[name] = line; name != key.Value {
					warn("%s:%d: YAML reads the key %s as %s: put it in quotes", d.name, line, key.Value, name)
				}
			}
		}
		for _, child := range node.Content {
			visit(child)
		}
	}
	visit(&root)
}

var yaml11Bools = map[string]string{
	"y": "true", "yes": "true", "on": "true", "true": "true", "n": "false", "no": "false", "off": "false", "false": "false",
}

// jsonKey is what a key of a YAML mapping is called in JSON.
func jsonKey(key *yaml.Node) string {
	if key.Kind == yaml.ScalarNode && key.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0 {
		switch v := key.Value; v {
		case "y", "n", strings.ToLower(v), strings.ToUpper(v), strings.ToUpper(v[:min(1, len(v))]) + strings.ToLower(v[min(1, len(v)):]):
			if name, ok := yaml11Bools[strings.ToLower(v)]; ok {
				return name
			}
		}
	}
	return key.Value
}

// check says what an object lacks that every object needs.
func check(object *unstructured.Unstructured) error {
	if err := checkMetadata(object); err != nil {
		return err
	}
	nameHook(object)
	switch {
	case object.GetAPIVersion() == "":
		return fmt.Errorf("not a Kubernetes object: %s has no apiVersion", object.GetKind())
	case object.GetName() == "" && object.GetGenerateName() != "":
		return fmt.Errorf("%s with generateName %q: give it a name, since a second apply could not find it again", object.GetKind(), object.GetGenerateName())
	case object.GetName() == "":
		return fmt.Errorf("%s has no metadata.name", object.GetKind())
	}
	return nil
}

// checkMetadata returns an error for metadata that is no text, as an unquoted true or 1.0. Whoever reads such labels sees none
// at all, and would replace all of them. Null values are removed, as kubectl does.
func checkMetadata(object *unstructured.Unstructured) error {
	metadata, found := object.Object["metadata"]
	fields, ok := metadata.(map[string]any)
	if !ok {
		if !found || metadata == nil {
			return nil
		}
		return fmt.Errorf("%s: metadata is %s, and no mapping", object.GetKind(), describeValue(metadata))
	}
	place := object.GetKind()
	if name, ok := fields["name"].(string); ok {
		place += "/" + name
	}
	for _, field := range []string{"name", "generateName", "namespace"} {
		if err := checkText(fields, field, place+": metadata."); err != nil {
			return err
		}
	}
	for _, field := range []string{"labels", "annotations"} {
		texts, ok := fields[field].(map[string]any)
		if !ok && fields[field] != nil {
			return fmt.Errorf("%s: metadata.%s is %s, and no mapping", place, field, describeValue(fields[field]))
		}
		for _, key := range slices.Sorted(maps.Keys(texts)) {
			if err := checkText(texts, key, place+": metadata."+field+"."); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkText returns an error if the value of a key is there and no string. It removes a null.
func checkText(fields map[string]any, key, prefix string) error {
	value, found := fields[key]
	if found && value == nil {
		delete(fields, key)
		return nil
	}
	if _, ok := value.(string); ok || !found {
		return nil
	}
	return fmt.Errorf("%s%s is %s, and no text: put it in quotes", prefix, key, describeValue(value))
}

// describeValue prints a value with its type.
func describeValue(value any) string {
	switch value.(type) {
	case bool:
		return fmt.Sprintf("%v, a boolean", value)
	case map[string]any:
		return "a mapping"
	case []any:
		return "a list"
	case string:
		return "a text"
	}
	return fmt.Sprintf("%v, a number", value)
}
