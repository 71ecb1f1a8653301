package cli

import (
	"context"
	"errors"
	"io"

	"github.com/spf13/cobra"

	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/dev"
	"github.com/aksflow/aksflow/internal/flow"
	"github.com/aksflow/aksflow/internal/localplatform"
)

type devResult struct{}

// Text is empty: all was said as it happened.
func (devResult) Text(io.Writer) {}

func devCommand(g *globals) *cobra.Command {
	r := &request{g: g}
	var o dev.Options
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Deliver the work tree to a namespace of your own, again at each save",
		Long: `Builds, tests and deploys the files as they are, to a namespace of your own, and again whatever changed each time that a
file is saved: a stage is built again when a file changed that it can see, and a suite of tests runs again when its own stage
or, for the integration tests, the image changed. Unit tests run beside the build; when they fail, nothing is deployed.
Integration tests run when the new version answers; when they fail, the version before is put back. Whatever fails is said, and
what ran before serves on.

The namespace is APP-dev-USER on the local platform, which is started if it is not up. With --env and --namespace it is one of
yours in the cluster of an environment. The page's address is printed when the new version answers, and the output of the pods
as it comes. Ctrl-C deletes what was made, and stops the platform if it was started; a second Ctrl-C ends at once.

Images of a work tree are recorded for no source, get no proofs, and move one tag, dev-NAMESPACE.`,
		Example: `  aksflow dev
  aksflow dev --env dev --namespace vote-dev-me     # in a cluster that the team uses`,
		Args: exactly(0),
		RunE: g.run(func(ctx context.Context, _ *cobra.Command, _ []string) (result, error) {
			if g.output == "json" {
				return nil, fault.Usagef("dev has no end, and --output json is one document: leave one out")
			}
			return devResult{}, r.dev(ctx, o)
		}),
	}
	f := cmd.Flags()
	r.envFlag(f)
	f.StringVarP(&o.Namespace, "namespace", "n", "", "a namespace of your own (default: APP-dev-USER on the local platform)")
	r.clusterFlags(f)
	r.buildFlags(f)
	r.registryFlags(f)
	r.renderFlags(f)
	r.graceFlag(f)
	f.BoolVar(&o.Keep, "keep", false, "leave the app and the local platform as they are at the end")
	return cmd
}

// dev delivers the work tree until ctx ends. It starts the local platform where that is needed, and stops it again.
func (r *request) dev(ctx context.Context, o dev.Options) (err error) {
	r.WorkTree = true
	if r.Env == "" {
		if r.Env, err = flow.WorkTreeEnvironment(r.g.config); err != nil {
			return err
		}
	}
	cfg, err := config.Load(r.g.config)
	if err != nil {
		return err
	}
	state, dir, err := r.g.stateDirs()
	if err != nil {
		return err
	}
	o.Open, o.Skip = r.open, []string{state}
	if e := cfg.Environments[r.Env]; e != nil && e.Platform == config.LocalPlatform {
		info, started, err := devPlatform(ctx, dir)
		if err != nil {
			return err
		}
		o.Address = info.AppURL
		if started && !o.Keep {
			defer func() {
				_, stopping := step(context.WithoutCancel(ctx), "down", func(ctx context.Context) (result, string, error) {
					return nil, "", localplatform.Down(ctx, dir)
				})
				err = errors.Join(err, stopping)
			}()
		}
	}
	return dev.Run(ctx, o)
}

// devPlatform returns the local platform with what a deploy needs, and whether none ran before.
func devPlatform(ctx context.Context, dir string) (info *localplatform.Info, started bool, err error) {
	info, none := localplatform.Load(dir)
	if none == nil && info.Has(localplatform.Kubernetes) {
		return info, false, nil
	}
	_, err = step(ctx, "up", func(ctx context.Context) (_ result, _ string, err error) {
		info, err = localplatform.Up(ctx, localplatform.Options{State: dir, Parts: []localplatform.Part{localplatform.Kubernetes}})
		return nil, "", err
	})
	return info, none != nil, err
}
