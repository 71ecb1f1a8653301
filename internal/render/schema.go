package render

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
	chartv2 "helm.sh/helm/v4/pkg/chart/v2"

	"github.com/aksflow/aksflow/internal/core/report"
)

// checkSchemas validates the values of a chart and of its subcharts against their values.schema.json, as Helm does. It
// fetches nothing: a schema that refers to an address on the network is not checked, with a warning that says so.
func checkSchemas(ctx context.Context, chart *chartv2.Chart, values map[string]any, path []string, user *userValues) error {
	var wrong []string
	if chart.Schema != nil {
		found, err := violations(chart.Schema, values)
		var unloaded *jsonschema.LoadURLError
		switch {
		case errors.As(err, &unloaded):
			report.Warn(ctx, "the values of the chart %s are not checked: its values.schema.json refers to %s, and nothing is fetched while rendering", chart.Name(), unloaded.URL)
		case err != nil:
			return fmt.Errorf("values.schema.json of the chart %s: %w", chart.Name(), err)
		}
		for _, v := range found {
			wrong = append(wrong, v.text(chart, path, user))
		}
	}
	slices.Sort(wrong)
	for _, sub := range chart.Dependencies() {
		table, ok := values[sub.Name()].(map[string]any)
		if !ok {
			continue
		}
		if err := checkSchemas(ctx, sub, table, append(slices.Clone(path), sub.Name()), user); err != nil {
			wrong = append(wrong, err.Error())
		}
	}
	if len(wrong) > 0 {
		return errors.New(strings.Join(wrong, "\n"))
	}
	return nil
}

// violation is one way in which values are not what a schema wants.
type violation struct {
	path []string // of the value, within the chart's values
	what string   // "got string, want integer"
}

func (v violation) text(chart *chartv2.Chart, prefix []string, user *userValues) string {
	full := append(slices.Clone(prefix), v.path...)
	where := user.origin(full)
	if where == "" || len(v.path) == 0 {
		where = "the values"
	}
	key := dotted(full)
	if key != "" {
		key += ": "
	}
	return fmt.Sprintf("%s: %s%s (values.schema.json of the chart %s)", where, key, v.what, chart.Name())
}

type noNetwork struct{}

func (noNetwork) Load(string) (any, error) { return nil, errors.New("not a local file") }

func violations(schema []byte, values map[string]any) ([]violation, error) {
	const address = "file:///values.schema.json"
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		return nil, err
	}
	compiler := jsonschema.NewCompiler()
	compiler.UseLoader(noNetwork{})
	if err := compiler.AddResource(address, parsed); err != nil {
		return nil, err
	}
	validator, err := compiler.Compile(address)
	if err != nil {
		return nil, err
	}
	var invalid *jsonschema.ValidationError
	if err := validator.Validate(values); errors.As(err, &invalid) {
		return leaves(invalid), nil
	} else if err != nil {
		return nil, err
	}
	return nil, nil
}

// leaves returns what is wrong in the end, without the keywords of the schema that lead there.
func leaves(e *jsonschema.ValidationError) []violation {
	if len(e.Causes) == 0 {
		path := e.InstanceLocation
		if extra, ok := e.ErrorKind.(*kind.AdditionalProperties); ok && len(extra.Properties) == 1 {
			return []violation{{path: append(slices.Clone(path), extra.Properties[0]), what: "there is no such value"}}
		}
		return []violation{{path: path, what: e.ErrorKind.LocalizedString(message.NewPrinter(language.English))}}
	}
	var found []violation
	for _, cause := range e.Causes {
		found = append(found, leaves(cause)...)
	}
	return found
}
