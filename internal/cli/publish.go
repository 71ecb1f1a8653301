package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/image"
	"github.com/aksflow/aksflow/internal/flow"
)

type publishResult struct {
	Image     string   `json:"image"`
	Digest    string   `json:"digest"`
	Tags      []string `json:"tags"`
	Unchanged bool     `json:"unchanged"`
}

func (r publishResult) Text(w io.Writer) { fmt.Fprintln(w, r.Image) }

func publishCommand(g *globals) *cobra.Command {
	p := &place{g: g}
	var tarball, repository string
	var tags []string
	cmd := &cobra.Command{
		Use:   "publish",
		Short: "Push the image that was tested, and print its reference by digest",
		Example: `  aksflow publish --image vote.tar --env dev
  aksflow publish --image vote.tar --repository myregistry.azurecr.io/vote --tag v1.2.0`,
		Args: exactly(0),
		RunE: g.run(func(ctx context.Context, _ *cobra.Command, _ []string) (result, error) {
			if tarball == "" {
				return nil, fault.Usagef("name the image that was tested with --image FILE; `aksflow build -o FILE` makes one")
			}
			push, done, err := p.publisher(ctx, tarball, repository, tags)
			if err != nil {
				return nil, err
			}
			defer done()
			return step(ctx, "publish", func(ctx context.Context) (result, string, error) {
				pushed, err := push(ctx)
				if err != nil {
					return nil, "", err
				}
				message := pushed.Image
				if pushed.Unchanged {
					message = "nothing to push: the registry has it"
				}
				return publishResult{pushed.Image, pushed.Digest, pushed.Tags, pushed.Unchanged}, message, nil
			})
		}),
	}
	p.envFlag(cmd.Flags())
	p.registryFlags(cmd.Flags())
	cmd.Flags().StringVar(&tarball, "image", "", "the image: this `FILE`, an OCI tarball")
	cmd.Flags().StringVar(&repository, "repository", "", "push to HOST/REPOSITORY (default: that of the environment)")
	cmd.Flags().StringArrayVar(&tags, "tag", nil, "also call it so (may be repeated)")
	return cmd
}

// publisher returns what pushes: to the repository that was named, or to that of the environment.
func (p *place) publisher(ctx context.Context, tarball, repository string, tags []string) (func(context.Context) (*image.Result, error), func(), error) {
	none := func() {}
	if repository != "" {
		d := &flow.Delivery{}
		if err := p.credentials(d, nil); err != nil {
			return nil, none, err
		}
		return func(ctx context.Context) (*image.Result, error) {
			return image.Push(ctx, image.Options{Tarball: tarball, Repository: repository, Tags: tags, Registry: d.Registry})
		}, none, nil
	}
	d, done, err := p.delivery(ctx)
	if err != nil {
		return nil, none, err
	}
	if err := p.need(d.Config.Names()); err != nil {
		return nil, done, err
	}
	d.Tags = tags
	return func(ctx context.Context) (*image.Result, error) {
		source, err := d.Source(ctx)
		if err != nil {
			return nil, err
		}
		return d.Publish(ctx, tarball, source)
	}, done, nil
}
