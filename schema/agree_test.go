package schema_test

import (
	"math"
	"os"
	"strings"
	"testing"

	validator "github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/aksflow/aksflow/internal/core/config"
)

// TestTheSchemaSaysWhatTheCommandSays gives files that people may write to both. testdata/cases.txt has one after the other, each
// below a line "-- NAME". A + before the name says that both accept it, and a - that both refuse it. A ! says that only the
// command refuses it, for a reason that no schema can know, or that this one leaves to it.
func TestTheSchemaSaysWhatTheCommandSays(t *testing.T) {
	s := compiled(t)
	data, err := os.ReadFile("testdata/cases.txt")
	require.NoError(t, err)
	cases := strings.Split("\n"+string(data), "\n-- ")[1:]
	require.NotEmpty(t, cases)
	for _, text := range cases {
		name, text, _ := strings.Cut(text, "\n")
		t.Run(name[2:], func(t *testing.T) {
			text = strings.NewReplacer(`\t`, "\t", `\r`, "\r", `\u00a0`, "\u00a0").Replace(text) + "\n"
			_, err := config.Parse("aksflow.yaml", []byte(text))
			assert.Equal(t, name[:1] == "+", err == nil, "the command says: %v", err)
			said := asEditorsDo(s, text)
			assert.Equal(t, name[:1] != "-", said == nil, "the schema says: %v", said)
		})
	}
}

// asEditorsDo validates a text of aksflow.yaml as editors do: they read YAML 1.2, in which yes and dates are texts, and every
// key is one.
func asEditorsDo(s *validator.Schema, text string) error {
	var root yaml.Node
	if err := yaml.Unmarshal([]byte(text), &root); err != nil {
		return err
	}
	if len(root.Content) == 0 {
		return s.Validate(nil)
	}
	value, err := valueOf(root.Content[0])
	if err != nil {
		return err
	}
	return s.Validate(value)
}

func valueOf(n *yaml.Node) (any, error) {
	switch n.Kind {
	case yaml.AliasNode:
		return valueOf(n.Alias)
	case yaml.SequenceNode:
		list := make([]any, 0, len(n.Content))
		for _, item := range n.Content {
			value, err := valueOf(item)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		return list, nil
	case yaml.MappingNode:
		return mappingOf(n)
	}
	switch n.ShortTag() {
	case "!!null":
		return nil, nil
	case "!!bool", "!!int", "!!float":
		var value any
		err := n.Decode(&value)
		if f, ok := value.(float64); ok && (math.IsInf(f, 0) || math.IsNaN(f)) {
			return 0.5, nil // JSON has no such number
		}
		return value, err
	}
	return n.Value, nil
}

func mappingOf(n *yaml.Node) (any, error) {
	out := map[string]any{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		value, err := valueOf(n.Content[i+1])
		if err != nil {
			return nil, err
		}
		if n.Content[i].ShortTag() != "!!merge" {
			out[n.Content[i].Value] = value
			continue
		}
		merged, list := value.([]any)
		if !list {
			merged = []any{value}
		}
		for _, from := range merged {
			from, _ := from.(map[string]any)
			for key, value := range from {
				if _, there := out[key]; !there {
					out[key] = value
				}
			}
		}
	}
	return out, nil
}
