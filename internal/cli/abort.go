package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/aksflow/aksflow/internal/flow"
)

func abortCommand(g *globals) *cobra.Command {
	r := &request{g: g}
	cmd := &cobra.Command{
		Use:     "abort",
		Short:   "Undo a canary or blue-green release that is held",
		Example: "  aksflow abort --env production",
		Args:    exactly(0),
		RunE:    g.run(r.onRelease(func(ctx context.Context, d *flow.Delivery) (*flow.Result, error) { return d.Abort(ctx) })),
	}
	r.releaseFlags(cmd.Flags())
	return cmd
}
