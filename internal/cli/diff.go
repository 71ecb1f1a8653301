package cli

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/kube/diff"
)

// errDiffers is diff's exit code 1: nothing failed, and there is nothing more to say.
var errDiffers = errors.New("the cluster differs from the manifests")

type diffResult struct{ *delivery.Difference }

// Text prints the diff, coloured on a terminal.
func (r diffResult) Text(w io.Writer) {
	out := r.Diff
	if file, ok := w.(*os.File); ok && isatty.IsTerminal(file.Fd()) {
		out = diff.Colour(out)
	}
	_, _ = io.WriteString(w, out)
}

func diffCommand(g *globals) *cobra.Command {
	r := &request{g: g}
	cmd := &cobra.Command{
		Use:   "diff",
		Short: "Show what deploy would change; exits with 0 for nothing, 1 for something, 2 for an error",
		Args:  exactly(0),
		RunE: g.run(func(ctx context.Context, _ *cobra.Command, _ []string) (result, error) {
			d, done, err := r.open(ctx)
			if err != nil {
				return nil, err
			}
			defer done()
			out, err := d.Diff(ctx)
			switch {
			case err != nil && ctx.Err() == nil:
				err = fault.Usage(err)
			case err == nil && out.Changed:
				err = errDiffers
			}
			return diffResult{out}, err
		}),
	}
	f := cmd.Flags()
	r.envFlag(f)
	r.clusterFlags(f)
	r.appFlags(f)
	r.renderFlags(f)
	r.imageFlag(f)
	r.applyFlags(f)
	return cmd
}
