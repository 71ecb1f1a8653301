package cli

import (
	"encoding/json"
	"io"

	"context"

	"github.com/spf13/cobra"

	"github.com/aksflow/aksflow/schema"
)

// schemaResult is the schema itself, in both outputs.
type schemaResult struct{ json.RawMessage }

// Text writes the schema.
func (r schemaResult) Text(w io.Writer) { _, _ = w.Write(r.RawMessage) }

func schemaCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of aksflow.yaml, for editors",
		Long: `Prints the JSON Schema of aksflow.yaml. An editor with a YAML language server takes it from the first line of the file:

  # yaml-language-server: $schema=` + schema.URL,
		Example: "  aksflow schema > aksflow.schema.json",
		Args:    exactly(0),
		RunE: g.run(func(context.Context, *cobra.Command, []string) (result, error) {
			return schemaResult{schema.JSON}, nil
		}),
	}
}
