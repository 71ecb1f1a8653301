package cli

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/manifest"
	"github.com/aksflow/aksflow/internal/flow"
	"github.com/aksflow/aksflow/internal/target/cluster"
	"github.com/aksflow/aksflow/internal/target/gitops"
)

func rollbackCommand(g *globals) *cobra.Command {
	t := &target{place: place{g: g}}
	var to string
	cmd := &cobra.Command{
		Use:   "rollback",
		Short: "Go back to an earlier revision; in pull mode, revert the bump",
		Example: `  aksflow rollback --env dev
  aksflow rollback --env dev --to 7             # a revision of the cluster
  aksflow rollback --env production --to 1a2b3c  # pull: a commit whose images come back`,
		Args: exactly(0),
		RunE: g.run(func(ctx context.Context, _ *cobra.Command, _ []string) (result, error) {
			d, done, err := t.open(ctx)
			if err != nil {
				return nil, err
			}
			defer done()
			if d.Environment.Target == config.Pull {
				return step(ctx, "rollback", func(ctx context.Context) (result, string, error) { return revert(ctx, d, to) })
			}
			revision := 0
			if to != "" {
				if revision, err = strconv.Atoi(to); err != nil {
					return nil, fault.Usagef("--to %q: want the number of a revision", to)
				}
			}
			return t.onCluster(ctx, "rollback", d, func(c *cluster.Cluster, of cluster.App) (*cluster.Result, error) {
				return c.Rollback(ctx, of, revision)
			})
		}),
	}
	t.flags(cmd.Flags())
	cmd.Flags().StringVar(&to, "to", "", "the revision, or in pull mode the commit, to go back to (default: the one before)")
	return cmd
}

// revert takes the image of the environment's manifests in git back to what it was.
func revert(ctx context.Context, d *flow.Delivery, to string) (result, string, error) {
	o := gitops.RollbackOptions{BumpOptions: d.BumpOptions("", gitops.Source{}), To: to}
	o.Target = manifest.Target{Image: d.Environment.Registry + "/" + d.Config.Image}
	r, err := gitops.Rollback(ctx, o)
	if err != nil {
		return nil, "", err
	}
	out := bumpResult{Changes: changes(r.Changes), Commit: r.Commit, PullRequest: r.PullRequest, unchanged: r.Unchanged}
	return out, out.summary(), nil
}

func resumeCommand(g *globals) *cobra.Command {
	return heldCommand(g, "resume", "Finish a canary or blue-green release that is held", (*cluster.Cluster).Resume)
}

func abortCommand(g *globals) *cobra.Command {
	return heldCommand(g, "abort", "Undo a canary or blue-green release that is held", (*cluster.Cluster).Abort)
}

func heldCommand(g *globals, name, short string,
	do func(*cluster.Cluster, context.Context, cluster.App) (*cluster.Result, error)) *cobra.Command {
	t := &target{place: place{g: g}}
	cmd := &cobra.Command{
		Use:     name,
		Short:   short,
		Example: fmt.Sprintf("  aksflow %s --env production", name),
		Args:    exactly(0),
		RunE: g.run(func(ctx context.Context, _ *cobra.Command, _ []string) (result, error) {
			d, done, err := t.open(ctx)
			if err != nil {
				return nil, err
			}
			defer done()
			return t.onCluster(ctx, name, d, func(c *cluster.Cluster, of cluster.App) (*cluster.Result, error) {
				return do(c, ctx, of)
			})
		}),
	}
	t.flags(cmd.Flags())
	return cmd
}

// onCluster runs a step on what the delivery deployed before.
func (t *target) onCluster(ctx context.Context, name string, d *flow.Delivery,
	do func(*cluster.Cluster, cluster.App) (*cluster.Result, error)) (result, error) {
	return step(ctx, name, func(ctx context.Context) (result, string, error) {
		c, err := d.Cluster(ctx)
		if err != nil {
			return nil, "", err
		}
		return deployed(do(c, cluster.App{Name: d.Config.App, Namespace: d.Namespace(), User: whoami(), RunURL: d.RunURL}))
	})
}

// whoami is USER@host of this process.
func whoami() string {
	name := os.Getenv("USER")
	if u, err := user.Current(); err == nil && name == "" {
		name = u.Username
	}
	host, _ := os.Hostname()
	return name + "@" + host
}
