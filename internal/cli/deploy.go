package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/flow"
	"github.com/aksflow/aksflow/internal/target/cluster"
)

// deployResult prints one line an object.
type deployResult struct{ *cluster.Result }

func (r deployResult) Text(w io.Writer) {
	for _, o := range r.Objects {
		fmt.Fprintf(w, "%-10s %s", o.Status, o.Ref)
		if o.Message != "" {
			fmt.Fprintf(w, "  %s", o.Message)
		}
		fmt.Fprintln(w)
	}
}

func (r deployResult) summary() string {
	switch {
	case r.Held:
		return fmt.Sprintf("revision %d is held: `aksflow resume` or `aksflow abort`", r.Revision)
	case !r.Changed():
		return "nothing to change: the cluster runs it"
	default:
		return fmt.Sprintf("revision %d, %s", r.Revision, report.Count(len(r.Objects), "object"))
	}
}

// target is what the verbs of a push delivery work on: the environment that --env names, or manifests and a namespace.
type target struct {
	place
	app       string
	image     string
	manifests string
	namespace string
	release   cluster.Release
}

func (t *target) flags(f *pflag.FlagSet) {
	t.envFlag(f)
	t.clusterFlags(f)
	f.StringVar(&t.manifests, "manifests", "", "a kustomization, a Helm chart or a directory (default: that of the environment)")
	f.StringVarP(&t.namespace, "namespace", "n", "", "where the app is (default: that of the environment)")
	f.StringVar(&t.app, "app", "", "the app's name, when there is no aksflow.yaml")
}

func (t *target) imageFlag(f *pflag.FlagSet) {
	f.StringVar(&t.image, "image", "", "the reference to run, HOST/REPOSITORY@sha256:… (default: what the manifests say)")
}

// open returns the delivery: the configuration's, or one made of flags alone when they say everything.
func (t *target) open(ctx context.Context) (*flow.Delivery, func(), error) {
	var d *flow.Delivery
	done := func() {}
	if t.env == "" && t.app != "" && (t.manifests != "" || t.namespace != "") {
		d = &flow.Delivery{
			Config: &config.Config{App: t.app}, Environment: &config.Environment{Target: config.Push}, RunURL: runURL(),
		}
		if err := t.credentials(d, nil); err != nil {
			return nil, done, err
		}
	} else {
		var err error
		if d, done, err = t.delivery(ctx); err != nil {
			return nil, done, err
		}
		if err := t.need(d.Config.Names()); err != nil {
			return nil, done, err
		}
	}
	if t.manifests != "" {
		d.Environment.Manifests = t.manifests
	}
	if t.namespace != "" {
		d.Environment.Namespace = t.namespace
	}
	d.Deploy = t.release
	d.Deploy.User = whoami()
	return d, done, nil
}

func deployCommand(g *globals) *cobra.Command {
	t := &target{place: place{g: g}}
	cmd := &cobra.Command{
		Use:   "deploy",
		Short: "Apply the manifests, watch the rollout, and go back if it fails",
		Example: `  aksflow deploy --env dev --image myregistry.azurecr.io/vote@sha256:…
  aksflow deploy --app vote --manifests manifests/overlays/dev -n vote-dev --image …`,
		Args: exactly(0),
		RunE: g.run(func(ctx context.Context, _ *cobra.Command, _ []string) (result, error) {
			d, done, err := t.open(ctx)
			if err != nil {
				return nil, err
			}
			defer done()
			return step(ctx, "deploy", func(ctx context.Context) (result, string, error) {
				source, err := d.Source(ctx)
				if err != nil {
					return nil, "", err
				}
				return deployed(d.Push(ctx, t.image, source))
			})
		}),
	}
	t.flags(cmd.Flags())
	t.imageFlag(cmd.Flags())
	releaseFlags(cmd.Flags(), &t.release)
	return cmd
}

func releaseFlags(f *pflag.FlagSet, r *cluster.Release) {
	f.BoolVar(&r.NoRollback, "no-rollback", false, "leave a failed deploy as it is, for debugging")
	f.BoolVar(&r.ForceConflicts, "force-conflicts", false, "take over fields that another manager owns")
	f.BoolVar(&r.Recreate, "recreate", false, "delete and create again what cannot be changed in place")
	f.BoolVar(&r.NoPrune, "no-prune", false, "keep what left the manifests")
	f.BoolVar(&r.PruneNamespaces, "prune-namespaces", false, "also delete namespaces that left the manifests, with all that is in them")
	f.BoolVar(&r.PruneVolumes, "prune-volumes", false, "also delete volume claims that left the manifests, with their data")
	f.DurationVar(&r.Grace, "grace", 0, "how long a fault that may heal is watched (default: by its kind)")
	f.Var(&strategyKind{&r.Strategy.Kind}, "strategy", "rolling, canary or blue-green")
	f.IntSliceVar(&r.Strategy.Percent, "percent", nil, "the stages of a canary, such as 10,50")
	f.DurationVar(&r.Strategy.Pause, "pause", 0, "how long each stage is watched before the next")
	f.BoolVar(&r.Strategy.Hold, "hold", false, "stop at the first stage, for `aksflow resume` or `aksflow abort`")
}

// strategyKind is a flag value that takes the known kinds only.
type strategyKind struct{ kind *cluster.Kind }

func (s *strategyKind) String() string {
	if s.kind == nil || *s.kind == "" {
		return string(cluster.Rolling)
	}
	return string(*s.kind)
}

func (s *strategyKind) Type() string { return "kind" }

func (s *strategyKind) Set(value string) error {
	switch kind := cluster.Kind(value); kind {
	case cluster.Rolling, cluster.Canary, cluster.BlueGreen:
		*s.kind = kind
		return nil
	}
	return fault.Usagef("want rolling, canary or blue-green")
}

// deployed turns what package deploy returns into what a verb returns.
func deployed(r *cluster.Result, err error) (result, string, error) {
	if r == nil {
		return nil, "", err
	}
	out := deployResult{r}
	return out, out.summary(), err
}
