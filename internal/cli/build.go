package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

type buildResult struct {
	Tarball  string `json:"tarball,omitempty"`
	Digest   string `json:"digest,omitempty"`
	Revision string `json:"revision,omitempty"`
}

func (r buildResult) Text(w io.Writer) {
	if r.Tarball != "" {
		fmt.Fprintf(w, "%s  %s\n", r.Digest, r.Tarball)
	}
}

func buildCommand(g *globals) *cobra.Command {
	p := &place{g: g}
	var tarball string
	cmd := &cobra.Command{
		Use:   "build",
		Short: "Build the image from the app's Dockerfile",
		Example: `  aksflow build
  aksflow build -o vote.tar          # an OCI tarball for test and publish, also in another job`,
		Args: exactly(0),
		RunE: g.run(func(ctx context.Context, _ *cobra.Command, _ []string) (result, error) {
			d, done, err := p.delivery(ctx)
			if err != nil {
				return nil, err
			}
			defer done()
			built, err := step(ctx, "build", func(ctx context.Context) (buildResult, string, error) {
				b, err := d.Build(ctx, tarball)
				if err != nil {
					return buildResult{}, "", err
				}
				return buildResult{Tarball: tarball, Digest: b.Digest, Revision: b.Source.Commit}, d.Config.App, nil
			})
			if err != nil {
				return nil, err
			}
			return built, nil
		}),
	}
	p.envFlag(cmd.Flags())
	p.buildFlags(cmd.Flags())
	cmd.Flags().StringVarP(&tarball, "tarball", "o", "", "write the image to this `FILE`, an OCI tarball")
	return cmd
}
