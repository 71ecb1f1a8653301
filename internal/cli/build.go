package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/report"
)

type buildResult struct{ *delivery.Built }

func (r buildResult) Text(w io.Writer) {
	if r.Tarball != "" {
		fmt.Fprintf(w, "%s  %s\n", r.Digest, r.Tarball)
	}
}

func (r buildResult) outputs() []report.Output {
	return []report.Output{{Name: "digest", Value: r.Digest}}
}

type reproduceResult struct{ *delivery.Reproduced }

// shownFiles is how many files of an instruction are shown as text.
const shownFiles = 20

func (r reproduceResult) Text(w io.Writer) {
	if r.Same {
		fmt.Fprintf(w, "%s  twice\n", r.Digests[0])
		return
	}
	for _, i := range r.Instructions {
		fmt.Fprintf(w, "%s: %s\n", i.Place, shorten(i.Instruction))
		said := map[string]bool{}
		for n, f := range i.Files {
			if n == shownFiles {
				fmt.Fprintf(w, "  and %d more files\n", len(i.Files)-n)
				break
			}
			fmt.Fprintf(w, "  %s: %s\n", f.Path, f.What)
			if f.Remedy != "" && !said[f.Remedy] {
				said[f.Remedy] = true
				fmt.Fprintf(w, "      %s\n", f.Remedy)
			}
		}
	}
}

// shorten cuts an instruction that is a whole script.
func shorten(instruction string) string {
	const limit = 100
	if r := []rune(instruction); len(r) > limit {
		return string(r[:limit]) + "…"
	}
	return instruction
}

func buildCommand(g *globals) *cobra.Command {
	r := &request{g: g}
	check := false
	cmd := &cobra.Command{
		Use:   "build",
		Short: "Build the image from the app's Dockerfile",
		Example: `  aksflow build
  aksflow build -o vote.tar          # an OCI tarball for test and publish, also in another job
  aksflow build --check              # what in the Dockerfile makes another image each time`,
		Args: exactly(0),
		RunE: g.run(func(ctx context.Context, _ *cobra.Command, _ []string) (result, error) {
			d, done, err := r.open(ctx)
			if err != nil {
				return nil, err
			}
			defer done()
			if check {
				found, err := d.Reproduce(ctx)
				return reproduceResult{found}, err
			}
			run, err := d.Step(ctx, "build")
			return buildResult{detail[delivery.Built](run)}, err
		}),
	}
	r.envFlag(cmd.Flags())
	r.buildFlags(cmd.Flags())
	r.rebuildFlag(cmd.Flags())
	cmd.Flags().StringVarP(&r.Tarball, "tarball", "o", "", "write the image to this `FILE`, an OCI tarball")
	cmd.Flags().BoolVar(&check, "check", false, "build twice without a cache, and name what differs and its remedy (embedded engine)")
	cmd.MarkFlagsMutuallyExclusive("check", "tarball")
	return cmd
}
