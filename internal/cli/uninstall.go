package cli

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/aksflow/aksflow/internal/core/delivery"
)

type uninstallResult struct{ *delivery.Uninstalled }

// Text prints one line for each object.
func (r uninstallResult) Text(w io.Writer) { printObjects(w, r.Objects) }

func uninstallCommand(g *globals) *cobra.Command {
	r := &request{g: g}
	cmd := &cobra.Command{
		Use:   "uninstall",
		Short: "Delete what an app has in the cluster, except for what a flag must name",
		Example: `  aksflow uninstall --env dev
  aksflow uninstall --app vote -n vote-dev --prune-volumes`,
		Args: exactly(0),
		RunE: g.run(func(ctx context.Context, _ *cobra.Command, _ []string) (result, error) {
			d, done, err := r.open(ctx)
			if err != nil {
				return nil, err
			}
			defer done()
			run, err := d.Uninstall(ctx)
			return uninstallResult{detail[delivery.Uninstalled](run)}, err
		}),
	}
	f := cmd.Flags()
	r.envFlag(f)
	r.clusterFlags(f)
	r.appFlags(f)
	r.pruneFlags(f)
	f.BoolVar(&r.Options.Push.NoHooks, "no-hooks", false, "do not run the app's pre-delete and post-delete hooks")
	r.recordFlags(f)
	return cmd
}
