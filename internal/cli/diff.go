package cli

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/kube/diff"
)

// errDiffers is diff's exit code 1: nothing went wrong, and there is nothing more to say.
var errDiffers = errors.New("the cluster differs from the manifests")

type diffResult struct {
	Diff    string `json:"diff"`
	Changed bool   `json:"changed"`
}

// Text prints the diff, coloured on a terminal.
func (r diffResult) Text(w io.Writer) {
	out := r.Diff
	if file, ok := w.(*os.File); ok && isatty.IsTerminal(file.Fd()) {
		out = diff.Colour(out)
	}
	_, _ = io.WriteString(w, out)
}

func diffCommand(g *globals) *cobra.Command {
	t := &target{place: place{g: g}}
	cmd := &cobra.Command{
		Use:   "diff",
		Short: "Show what deploy would change; exits with 0 for nothing, 1 for something, 2 for an error",
		Args:  exactly(0),
		RunE: g.run(func(ctx context.Context, _ *cobra.Command, _ []string) (result, error) {
			out, err := t.diff(ctx)
			if err != nil {
				return nil, fault.Usage(err)
			}
			if out.Changed {
				return out, errDiffers
			}
			return out, nil
		}),
	}
	t.flags(cmd.Flags())
	t.imageFlag(cmd.Flags())
	cmd.Flags().BoolVar(&t.release.NoPrune, "no-prune", false, "leave out what left the manifests")
	return cmd
}

func (t *target) diff(ctx context.Context) (diffResult, error) {
	d, done, err := t.open(ctx)
	if err != nil {
		return diffResult{}, err
	}
	defer done()
	source, err := d.Source(ctx)
	if err != nil {
		return diffResult{}, err
	}
	release, err := d.Release(ctx, t.image, source)
	if err != nil {
		return diffResult{}, err
	}
	cluster, err := d.Cluster(ctx)
	if err != nil {
		return diffResult{}, err
	}
	unified, err := cluster.Diff(ctx, release)
	return diffResult{Diff: unified, Changed: unified != ""}, err
}
