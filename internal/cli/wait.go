package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/aksflow/aksflow/internal/core/delivery"
)

type waitResult struct{ *delivery.Waited }

// Text prints one line for each object.
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
	r := &request{g: g}
	cmd := &cobra.Command{
		Use:     "wait",
		Short:   "Wait until Argo CD or Flux has applied a commit and the pods run the digest",
		Example: "  aksflow wait --env production --image myregistry.azurecr.io/vote@sha256:… --commit 1a2b3c4",
		Args:    exactly(0),
		RunE: g.run(func(ctx context.Context, _ *cobra.Command, _ []string) (result, error) {
			if r.Image == "" {
				return nil, errNoImage
			}
			d, done, err := r.open(ctx)
			if err != nil {
				return nil, err
			}
			defer done()
			run, err := d.Step(ctx, "wait")
			return waitResult{detail[delivery.Waited](run)}, err
		}),
	}
	f := cmd.Flags()
	r.envFlag(f)
	r.clusterFlags(f)
	r.registryFlags(f)
	r.graceFlag(f)
	f.StringVar(&r.Image, "image", "", "the reference that the pods must run, with its digest")
	f.StringVar(&r.Commit, "commit", "", "the commit to follow (default: whatever the branch has)")
	f.BoolVar(&r.Options.Pull.Sync, "sync", false, "ask Argo CD for a sync where it is not automated, or where that of this revision failed before")
	return cmd
}
