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

func buildCommand(g *globals) *cobra.Command {
	r := &request{g: g}
	cmd := &cobra.Command{
		Use:   "build",
		Short: "Build the image from the app's Dockerfile",
		Example: `  aksflow build
  aksflow build -o vote.tar          # an OCI tarball for test and publish, also in another job`,
		Args: exactly(0),
		RunE: g.run(func(ctx context.Context, _ *cobra.Command, _ []string) (result, error) {
			d, done, err := r.open(ctx)
			if err != nil {
				return nil, err
			}
			defer done()
			run, err := d.Step(ctx, "build")
			return buildResult{detail[delivery.Built](run)}, err
		}),
	}
	r.envFlag(cmd.Flags())
	r.buildFlags(cmd.Flags())
	cmd.Flags().StringVarP(&r.Tarball, "tarball", "o", "", "write the image to this `FILE`, an OCI tarball")
	return cmd
}
