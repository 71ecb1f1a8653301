package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/target/gitops"
)

// waitResult prints one line an object.
type waitResult struct{ *gitops.WaitResult }

func (r waitResult) Text(w io.Writer) {
	for _, o := range r.Objects {
		state := "ready"
		if !o.Ready {
			state = "not ready"
		}
		fmt.Fprintf(w, "%-10s %s  %s\n", state, o.Ref, o.Message)
	}
}

func waitCommand(g *globals) *cobra.Command {
	p := &place{g: g}
	var image, commit string
	var sync bool
	cmd := &cobra.Command{
		Use:     "wait",
		Short:   "Wait until Argo CD or Flux has applied a commit and the pods run the digest",
		Example: "  aksflow wait --env production --image myregistry.azurecr.io/vote@sha256:… --commit 1a2b3c4",
		Args:    exactly(0),
		RunE: g.run(func(ctx context.Context, _ *cobra.Command, _ []string) (result, error) {
			if image == "" {
				return nil, fault.Usage(errNoImage)
			}
			d, done, err := p.delivery(ctx)
			if err != nil {
				return nil, err
			}
			defer done()
			if err := p.need(d.Config.Names()); err != nil {
				return nil, err
			}
			d.Sync = sync
			return step(ctx, "wait", func(ctx context.Context) (result, string, error) {
				r, err := d.Wait(ctx, commit, image)
				if err != nil {
					return nil, "", err
				}
				return waitResult{r}, fmt.Sprintf("%s runs it", r.Name), nil
			})
		}),
	}
	p.envFlag(cmd.Flags())
	p.clusterFlags(cmd.Flags())
	cmd.Flags().StringVar(&image, "image", "", "the reference that the pods must run, with its digest")
	cmd.Flags().StringVar(&commit, "commit", "", "the commit to follow (default: whatever the branch has)")
	cmd.Flags().BoolVar(&sync, "sync", false, "ask the operator for a sync where it is not automated")
	return cmd
}
