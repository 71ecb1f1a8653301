package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/report"
)

type deployResult struct{ *delivery.Deployed }

// Text prints one line for each object.
func (r deployResult) Text(w io.Writer) { printObjects(w, r.Objects) }

func printObjects(w io.Writer, objects []delivery.Object) {
	for _, o := range objects {
		fmt.Fprintf(w, "%-10s %s", o.Status, o.Ref)
		if o.Message != "" {
			fmt.Fprintf(w, "  %s", o.Message)
		}
		fmt.Fprintln(w)
	}
}

func (r deployResult) outputs() []report.Output {
	return []report.Output{
		{Name: "revision", Value: ordinal(r.Revision)}, {Name: "rolled-back", Value: strconv.FormatBool(r.RolledBack)},
	}
}

// ordinal is the number of a revision; "" for none, which is 0.
func ordinal(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func deployCommand(g *globals) *cobra.Command {
	r := &request{g: g}
	cmd := &cobra.Command{
		Use:   "deploy",
		Short: "Apply the manifests, watch the rollout, and go back if it fails",
		Example: `  aksflow deploy --env dev --image myregistry.azurecr.io/vote@sha256:…
  aksflow deploy --app vote --manifests manifests/overlays/dev -n vote-dev --image …`,
		Args: exactly(0),
		RunE: g.run(func(ctx context.Context, _ *cobra.Command, _ []string) (result, error) {
			d, done, err := r.open(ctx)
			if err != nil {
				return nil, err
			}
			defer done()
			run, err := d.Step(ctx, "deploy")
			return deployResult{detail[delivery.Deployed](run)}, err
		}),
	}
	f := cmd.Flags()
	r.envFlag(f)
	r.clusterFlags(f)
	r.registryFlags(f)
	r.appFlags(f)
	r.renderFlags(f)
	r.imageFlag(f)
	r.applyFlags(f)
	r.rolloutFlags(f)
	r.graceFlag(f)
	r.recordFlags(f)
	return cmd
}
