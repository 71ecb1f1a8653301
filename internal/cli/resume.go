package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/aksflow/aksflow/internal/flow"
)

func resumeCommand(g *globals) *cobra.Command {
	r := &request{g: g}
	cmd := &cobra.Command{
		Use:     "resume",
		Short:   "Finish a canary or blue-green release that is held",
		Example: "  aksflow resume --env production",
		Args:    exactly(0),
		RunE:    g.run(r.onRelease(func(ctx context.Context, d *flow.Delivery) (*flow.Result, error) { return d.Resume(ctx) })),
	}
	r.releaseFlags(cmd.Flags())
	return cmd
}
