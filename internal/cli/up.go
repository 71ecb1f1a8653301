package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/localplatform"
)

type upResult struct{ *localplatform.Info }

func (r upResult) Text(w io.Writer) {
	var rows [][]string
	add := func(what, where, remark string) {
		if where != "" {
			rows = append(rows, []string{what, where, remark})
		}
	}
	add("registry", r.Registry, "")
	if r.Git != "" {
		add("git", r.Git, fmt.Sprintf("user %s, password in %s", r.GitUser, r.GitPasswordFile))
	}
	if r.Kubeconfig != "" {
		add("kubernetes", r.Kubeconfig, "export KUBECONFIG=…")
		add("apps", fmt.Sprintf("http://SERVICE.NAMESPACE.localhost:%d/", r.Apps), "every Service, by host name")
	}
	if r.ArgoCDNamespace != "" {
		add("argocd", "namespace "+r.ArgoCDNamespace, r.ArgoCD)
	}
	if r.FluxNamespace != "" {
		add("flux", "namespace "+r.FluxNamespace, "")
	}
	if r.Azure != nil {
		add("azure", r.Azure.Proxy, "`. "+r.Azure.EnvFile+"` makes this shell a workflow's job; registry "+r.Azure.Registry)
	}
	report.Table(w, []string{"part", "where", ""}, rows)
}

func upCommand(g *globals) *cobra.Command {
	var freePorts bool
	parts := []string{"registry", "git", "kubernetes", "argocd", "argocd-server", "flux", "azure"}
	cmd := &cobra.Command{
		Use:   "up [PART...]",
		Short: "Start the local platform: registry, git server, Kubernetes, Argo CD",
		Long: `Starts the local platform, and prepares the environments of aksflow.yaml that are on it: their manifests are put into
the git server; the first delivery tells the operator to follow them. A platform that runs already is used as it is.

Parts: ` + strings.Join(parts, ", ") + ". Without any: registry, git, kubernetes and argocd.",
		Example:   "  aksflow up\n  aksflow up registry\n  aksflow up argocd flux",
		ValidArgs: parts,
		Args: func(cmd *cobra.Command, args []string) error {
			return fault.Usage(cobra.OnlyValidArgs(cmd, args))
		},
		RunE: g.run(func(ctx context.Context, _ *cobra.Command, args []string) (result, error) {
			_, dir, err := g.stateDirs()
			if err != nil {
				return nil, err
			}
			o := localplatform.Options{State: dir, FreePorts: freePorts}
			for _, a := range args {
				o.Parts = append(o.Parts, localplatform.Part(a))
			}
			return step(ctx, "up", func(ctx context.Context) (result, string, error) {
				info, err := localplatform.Up(ctx, o)
				if err != nil {
					return nil, "", err
				}
				return upResult{info}, "", g.prepare(ctx)
			})
		}),
	}
	cmd.Flags().BoolVar(&freePorts, "free-ports", false, "take ports that are free instead of the well-known ones")
	return cmd
}

// prepare sets up the environments of aksflow.yaml that are on the local platform. Without an aksflow.yaml there are none.
func (g *globals) prepare(ctx context.Context) error {
	if _, err := os.Stat(g.config); err != nil {
		return nil
	}
	cfg, err := config.Load(g.config)
	if err != nil {
		return err
	}
	for _, name := range cfg.Names() {
		e := cfg.Environments[name]
		if e.Platform != config.LocalPlatform {
			continue
		}
		r := &request{g: g}
		r.Env = name
		d, done, err := r.open(ctx)
		if err != nil {
			return err
		}
		defer done()
		if err := d.Prepare(ctx); err != nil {
			return fmt.Errorf("preparing the environment %s: %w", name, err)
		}
	}
	return nil
}

// step runs what is no step of a delivery, and says how it ended. It has the limit of one.
func step(ctx context.Context, name string, do func(context.Context) (res result, summary string, err error)) (result, error) {
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, delivery.DefaultLimit,
			delivery.LimitError(fmt.Sprintf("%s took more than %s: --timeout sets another limit", name, report.Span(delivery.DefaultLimit))))
		defer cancel()
	}
	ctx, end := report.Start(ctx, name)
	res, summary, err := do(ctx)
	end(summary, err)
	return res, err
}
