package cli

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/flow"
)

func rollbackCommand(g *globals) *cobra.Command {
	r := &request{g: g}
	var to string
	var chain bool
	cmd := &cobra.Command{
		Use:   "rollback",
		Short: "Go back to an earlier revision; where an operator pulls, revert the bump",
		Example: `  aksflow rollback --env dev
  aksflow rollback --env dev --to 7              # a revision of the cluster
  aksflow rollback --env production --to 1a2b3c  # pull: a commit whose images come back
  aksflow rollback --env staging --chain         # and wherever its image was promoted to`,
		Args: exactly(0),
		RunE: g.run(func(ctx context.Context, cmd *cobra.Command, args []string) (result, error) {
			if chain {
				return r.rollbackChain(ctx, to)
			}
			return r.onRelease(func(ctx context.Context, d *flow.Delivery) (*flow.Result, error) { return d.Rollback(ctx, to) })(ctx, cmd, args)
		}),
	}
	f := cmd.Flags()
	r.releaseFlags(f)
	f.StringArrayVar(&r.Options.Replace, "replace", nil, "pull: revert the image where this repository `NAME` stands (default: the image's own)")
	f.BoolVar(&r.Options.Push.PastJobs, "past-jobs", false, "go back past revisions that ran Jobs or hooks, such as migrations: their work is not undone, and the earlier Jobs run again")
	f.BoolVar(&chain, "chain", false, "also go back in every environment that the image was promoted to (aksflow.yaml: from)")
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

// chainResult prints what became of each environment.
type chainResult struct{ *delivery.RolledBack }

// Text prints one line for each environment.
func (r chainResult) Text(w io.Writer) {
	var rows [][]string
	for _, e := range r.Environments {
		rows = append(rows, []string{e.Environment, string(e.Status), e.Message})
	}
	report.Table(w, []string{"environment", "status", ""}, rows)
}

func (r *request) rollbackChain(ctx context.Context, to string) (result, error) {
	d, done, err := r.open(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	back, err := d.RollbackChain(ctx, to)
	return chainResult{back}, err
}
