package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/engine"
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
	report.Table(w, []string{"part", "where", ""}, rows)
}

func upCommand(g *globals) *cobra.Command {
	var freePorts bool
	parts := []string{"registry", "git", "kubernetes", "argocd", "argocd-server", "flux"}
	cmd := &cobra.Command{
		Use:   "up [PART...]",
		Short: "Start the local platform: registry, git server, Kubernetes, Argo CD",
		Long: `Starts the local platform, and prepares the environments of aksflow.yaml that are on it: their manifests are put into
the git server, and the operator is told to follow them. A platform that runs already is used as it is.

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
				return upResult{info}, "", g.prepare(ctx, info)
			})
		}),
	}
	cmd.Flags().BoolVar(&freePorts, "free-ports", false, "take ports that are free instead of the well-known ones")
	return cmd
}

// prepare puts the manifests of the environments that are on the platform into its git server. Without an aksflow.yaml
// there are none.
func (g *globals) prepare(ctx context.Context, info *localplatform.Info) error {
	if _, err := os.Stat(g.config); err != nil || info.Git == "" {
		return nil
	}
	cfg, err := config.Load(g.config)
	if err != nil {
		return err
	}
	for _, name := range cfg.Names() {
		if e := cfg.Environments[name]; e.Platform == config.LocalPlatform && e.Target == config.Pull {
			if err := seed(ctx, info, cfg, e); err != nil {
				return err
			}
		}
	}
	return nil
}

// seed puts the tree of manifests that the environment's are a part of into the git server: an overlay builds on what
// stands beside it.
func seed(ctx context.Context, info *localplatform.Info, cfg *config.Config, e *config.Environment) error {
	top, _, _ := strings.Cut(filepath.ToSlash(e.Manifests), "/")
	dir, err := os.MkdirTemp("", "aksflow-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.CopyFS(filepath.Join(dir, top), os.DirFS(cfg.Abs(top))); err != nil {
		return fmt.Errorf("copying %s for the platform's git server: %w", top, err)
	}
	if _, err := info.Seed(ctx, cfg.App, e.GitOps.Branch, dir); err != nil {
		return fmt.Errorf("putting %s into the platform's git server: %w", top, err)
	}
	return nil
}

type downResult struct{}

func (downResult) Text(io.Writer) {}

func downCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Stop the local platform and the engine, and leave nothing of them running",
		Args:  exactly(0),
		RunE: g.run(func(ctx context.Context, _ *cobra.Command, _ []string) (result, error) {
			return step(ctx, "down", func(ctx context.Context) (result, string, error) {
				state, dir, err := g.stateDirs()
				if err != nil {
					return nil, "", err
				}
				if err := localplatform.Down(ctx, dir); err != nil {
					return nil, "", err
				}
				if err := engine.Down(ctx, state); err != nil {
					return nil, "", err
				}
				return downResult{}, "nothing runs; caches stay in " + state, nil
			})
		}),
	}
}
