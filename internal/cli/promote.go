package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/aksflow/aksflow/internal/core/fault"
)

func promoteCommand(g *globals) *cobra.Command {
	r := &request{g: g}
	cmd := &cobra.Command{
		Use:   "promote",
		Short: "Bring the digest that the environment before runs and proved to the next; nothing is built",
		Long: `Brings what the environment before runs and proved (aksflow.yaml: from) to an environment: the same digest, with all that is
attached to it. Nothing is built, and what is checked out is not asked. Its gates must be open (gates in aksflow.yaml: soak,
freeze, approve), unless somebody whom gates.override lists opens them with --override.`,
		Example: `  aksflow promote --to production
  aksflow promote --to production --proved-by-hand "tried in the browser"
  aksflow promote --to production --override "the shop is down" --key on-call.key`,
		Args: exactly(0),
		RunE: g.run(func(ctx context.Context, _ *cobra.Command, _ []string) (result, error) {
			if r.Env == "" {
				return nil, fault.Usagef("which environment? Name the one that gets the image with --to")
			}
			d, done, err := r.open(ctx)
			if err != nil {
				return nil, err
			}
			defer done()
			promoted, err := d.Promote(ctx)
			r.describe(ctx, "promote", d, promoted, err)
			return deliverResult{promoted}, err
		}),
	}
	f := cmd.Flags()
	f.StringVar(&r.Env, "to", "", "the environment of aksflow.yaml that gets the image")
	f.StringVar(&r.ProvedByHand, "proved-by-hand", "", "record first that the image proved in the environment before, with this `REASON`, where no program saw it run")
	r.overrideFlag(f)
	r.signFlags(f)
	f.StringArrayVar(&r.Tags, "tag", nil, "also call the image so in the registry (may be repeated)")
	r.registryFlags(f)
	r.clusterFlags(f)
	r.renderFlags(f)
	r.applyFlags(f)
	r.rolloutFlags(f)
	r.graceFlag(f)
	r.recordFlags(f)
	f.BoolVar(&r.Options.Pull.Force, "force", false, "pull: set the image also when a later commit rolled it back")
	f.BoolVar(&r.Options.Pull.Sync, "sync", false, "pull: ask Argo CD for a sync where it is not automated, or where that of this revision failed before")
	cmd.MarkFlagsMutuallyExclusive("key", "keyless")
	return cmd
}
