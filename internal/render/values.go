package render

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/strvals"
	sigsyaml "sigs.k8s.io/yaml"
)

// Values are values for a chart: a file, or a mapping.
type Values struct {
	// File is the path of a values file.
	File string
	// Inline are values that stand elsewhere, such as in aksflow.yaml; Origin says where, for errors. Only without File.
	Inline map[string]any
	Origin string
}

// userValues are the values that a user gives, with the places that they come from.
type userValues struct {
	merged  map[string]any
	sources []source // in the order of precedence, the strongest last
}

// source is one place that values come from.
type source struct {
	name   string // a path, or what Values.Origin says
	text   []byte // YAML, when name is a path
	values map[string]any
}

// readValues merges values as `helm upgrade --values A --values B --set C` does, with the functions that it uses: of two
// mappings the keys are merged, of two lists the later one stays, and null removes a default of the chart.
// https://github.com/helm/helm/blob/v4.3.1/pkg/cli/values/options.go
func readValues(ctx context.Context, o Options) (*userValues, error) {
	u := &userValues{merged: map[string]any{}}
	for _, v := range o.Values {
		s, err := v.read(ctx)
		if err != nil {
			return nil, err
		}
		u.merged = loader.MergeMaps(u.merged, s.values)
		u.sources = append(u.sources, s)
	}
	for _, assignment := range o.Set {
		s := source{name: "--set " + assignment, values: map[string]any{}}
		for _, into := range []map[string]any{u.merged, s.values} {
			if err := strvals.ParseInto(assignment, into); err != nil {
				return nil, fmt.Errorf("--set %s: %w: give KEY=VALUE, with dots between the keys", assignment, err)
			}
		}
		u.sources = append(u.sources, s)
	}
	return u, nil
}

func (v Values) read(ctx context.Context) (source, error) {
	if v.File == "" {
		// By way of text, so that numbers have the types that Helm gives to those of a values file.
		text, err := sigsyaml.Marshal(v.Inline)
		if err != nil {
			return source{}, fmt.Errorf("%s: %w", v.Origin, err)
		}
		values, err := loader.LoadValues(bytes.NewReader(text))
		if err != nil {
			return source{}, fmt.Errorf("%s: %w", v.Origin, err)
		}
		return source{name: v.Origin, values: values}, nil
	}
	text, err := os.ReadFile(v.File)
	if errors.Is(err, fs.ErrNotExist) {
		return source{}, fmt.Errorf("there is no values file %s", v.File)
	}
	if err != nil {
		return source{}, fmt.Errorf("reading a values file: %w", err)
	}
	documents, err := wellFormed(v.File, text)
	if err != nil {
		return source{}, err
	}
	for _, d := range documents {
		d.warnings(warner(ctx))
	}
	values, err := loader.LoadValues(bytes.NewReader(text))
	if err != nil {
		return source{}, fmt.Errorf("%s is not a values file: it is not a mapping of keys to values", v.File)
	}
	return source{name: v.File, text: text, values: values}, nil
}

// origin returns the place that a value comes from, as FILE:LINE where there is one: the strongest of the sources that
// has it. "" means that none has it.
func (u *userValues) origin(path []string) string {
	for i := len(u.sources) - 1; i >= 0; i-- {
		if s := u.sources[i]; has(s.values, path) {
			return s.at(path)
		}
	}
	return ""
}

func has(value any, path []string) bool {
	for _, key := range path {
		mapping, ok := value.(map[string]any)
		if !ok {
			// The schema's path may go into a list; the list is then what the source has.
			_, list := value.([]any)
			return list
		}
		if value, ok = mapping[key]; !ok {
			return false
		}
	}
	return true
}

func (s source) at(path []string) string {
	var root yaml.Node
	if s.text == nil || yaml.Unmarshal(s.text, &root) != nil || len(root.Content) == 0 {
		return s.name
	}
	node, line := root.Content[0], 0
	for _, key := range path {
		if node = child(node, key); node == nil {
			break
		}
		line = node.Line
	}
	if line == 0 {
		return s.name
	}
	return fmt.Sprintf("%s:%d", s.name, line)
}

// child returns the value of a key of a mapping, or an item of a list by its index; nil when there is none.
func child(node *yaml.Node, key string) *yaml.Node {
	switch node.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			if node.Content[i].Value == key {
				return node.Content[i+1]
			}
		}
	case yaml.SequenceNode:
		for i := range node.Content {
			if fmt.Sprint(i) == key {
				return node.Content[i]
			}
		}
	}
	return nil
}

// dotted is a path of keys as Helm users write it.
func dotted(path []string) string { return strings.Join(path, ".") }
