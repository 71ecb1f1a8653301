package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/report"
)

type publishResult struct{ *delivery.Published }

func (r publishResult) Text(w io.Writer) { fmt.Fprintln(w, r.Image) }

func (r publishResult) outputs() []report.Output {
	return []report.Output{{Name: "image", Value: r.Image}, {Name: "digest", Value: r.Digest}}
}

func publishCommand(g *globals) *cobra.Command {
	r := &request{g: g}
	cmd := &cobra.Command{
		Use:   "publish",
		Short: "Push the image that was tested, and print its reference by digest",
		Long: `Pushes the image in a file that was tested. Without one, the image is built and tested first, unless the environment's
registry has one of this source that passed these tests.`,
		Example: `  aksflow publish --image vote.tar --env dev
  aksflow publish --env dev          # built and tested now, if need be
  aksflow publish --image vote.tar --repository myregistry.azurecr.io/vote --tag v1.2.0`,
		Args: exactly(0),
		RunE: g.run(func(ctx context.Context, _ *cobra.Command, _ []string) (result, error) {
			if r.Tarball == "" && r.Env == "" {
				return nil, fault.Usagef("name an environment with --env, or the image that was tested with --image FILE; `aksflow build -o FILE` makes one")
			}
			d, done, err := r.open(ctx)
			if err != nil {
				return nil, err
			}
			defer done()
			run, err := d.Publish(ctx)
			return publishResult{detail[delivery.Published](run)}, err
		}),
	}
	f := cmd.Flags()
	r.envFlag(f)
	r.registryFlags(f)
	r.buildFlags(f)
	f.StringVar(&r.Tarball, "image", "", "the image: this `FILE`, an OCI tarball (default: one that is built and tested now)")
	f.StringVar(&r.Set.Repository, "repository", "", "push to HOST/REPOSITORY (default: that of the environment)")
	f.StringArrayVar(&r.Tags, "tag", nil, "also give it this tag (may be repeated)")
	r.rebuildFlag(f)
	r.retestFlag(f)
	r.madeFlag(f)
	for _, flag := range []string{"made", "build-arg", "rebuild", "retest"} {
		cmd.MarkFlagsMutuallyExclusive("image", flag)
	}
	return cmd
}
