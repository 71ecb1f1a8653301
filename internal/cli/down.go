package cli

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/aksflow/aksflow/internal/engine"
	"github.com/aksflow/aksflow/internal/localplatform"
)

type downResult struct{}

func (downResult) Text(io.Writer) {}

func downCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Stop the local platform and the engine, and leave nothing of them running",
		Args:  exactly(0),
		RunE: g.run(func(ctx context.Context, _ *cobra.Command, _ []string) (result, error) {
			return step(ctx, "down", func(ctx context.Context) (result, string, error) {
				state, dir, err := g.stateDirs()
				if err != nil {
					return nil, "", err
				}
				if err := localplatform.Down(ctx, dir); err != nil {
					return nil, "", err
				}
				if err := engine.Down(ctx, state); err != nil {
					return nil, "", err
				}
				return downResult{}, "nothing runs; caches stay in " + state, nil
			})
		}),
	}
}
