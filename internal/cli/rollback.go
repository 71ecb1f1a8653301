package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/flow"
)

func rollbackCommand(g *globals) *cobra.Command {
	r := &request{g: g}
	var to string
	cmd := &cobra.Command{
		Use:   "rollback",
		Short: "Go back to an earlier revision; where an operator pulls, revert the bump",
		Example: `  aksflow rollback --env dev
  aksflow rollback --env dev --to 7              # a revision of the cluster
  aksflow rollback --env production --to 1a2b3c  # pull: a commit whose images come back`,
		Args: exactly(0),
		RunE: g.run(r.onRelease(func(ctx context.Context, d *flow.Delivery) (*flow.Result, error) { return d.Rollback(ctx, to) })),
	}
	f := cmd.Flags()
	r.releaseFlags(f)
	f.StringArrayVar(&r.Options.Replace, "replace", nil, "pull: revert the image where this repository `NAME` stands (default: the image's own)")
	f.BoolVar(&r.Options.Push.PastJobs, "past-jobs", false, "go back past revisions that ran Jobs or hooks, such as migrations: their work is not undone, and the earlier Jobs run again")
	f.StringVar(&to, "to", "", "the revision, or in pull mode the commit, to go back to (default: the one before)")
	return cmd
}

// onRelease is a verb that works on what was delivered before.
func (r *request) onRelease(do func(context.Context, *flow.Delivery) (*flow.Result, error)) func(context.Context, *cobra.Command, []string) (result, error) {
	return func(ctx context.Context, _ *cobra.Command, _ []string) (result, error) {
		d, done, err := r.open(ctx)
		if err != nil {
			return nil, err
		}
		defer done()
		run, err := do(ctx, d)
		if bumped := detail[delivery.Bumped](run); bumped != nil {
			return bumpResult{bumped}, err
		}
		return deployResult{detail[delivery.Deployed](run)}, err
	}
}
