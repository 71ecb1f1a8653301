package cli

import (
	"context"
	"io"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/flow"
)

type validateResult struct{ *delivery.Validated }

func (r validateResult) Text(w io.Writer) {
	rows := make([][]string, 0, len(r.Environments))
	for _, env := range r.Environments {
		rows = append(rows, []string{env.Name, strconv.Itoa(env.Objects)})
	}
	if len(rows) > 0 {
		report.Table(w, []string{"environment", "objects"}, rows)
	}
}

func validateCommand(g *globals) *cobra.Command {
	r := &request{g: g}
	cmd := &cobra.Command{
		Use:   "validate",
		Short: "Render the manifests of every environment with the image set, without a cluster",
		Args:  exactly(0),
		RunE: g.run(func(ctx context.Context, _ *cobra.Command, _ []string) (result, error) {
			r.Config, r.Variables, r.Azure = g.config, os.LookupEnv, g.newAzure()
			validated, err := flow.Validate(ctx, r.Request)
			return validateResult{validated}, err
		}),
	}
	r.envFlag(cmd.Flags())
	r.replaceFlag(cmd.Flags())
	return cmd
}
