package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/report"
)

type planResult struct {
	Environment string   `json:"environment"`
	Target      string   `json:"target,omitempty"`
	Registry    string   `json:"registry,omitempty"`
	Image       string   `json:"image"`
	Version     string   `json:"version"`
	Tags        []string `json:"tags"`
	Steps       []string `json:"steps"`
	Reason      string   `json:"reason"`
}

func (r planResult) Text(w io.Writer) {
	rows := [][]string{}
	add := func(name, value string) {
		if value != "" {
			rows = append(rows, []string{name, value})
		}
	}
	environment := r.Environment
	if environment == "" {
		environment = "none"
	}
	add("environment", environment)
	add("because", r.Reason)
	add("target", r.Target)
	add("registry", r.Registry)
	add("image", r.Image)
	add("version", r.Version)
	add("tags", strings.Join(r.Tags, ", "))
	add("steps", strings.Join(r.Steps, " → "))
	report.Table(w, []string{"deliver", ""}, rows)
}

func planCommand(g *globals) *cobra.Command {
	var ref string
	cmd := &cobra.Command{
		Use:     "plan",
		Short:   "Say what deliver would do for a git ref, and why",
		Example: "  aksflow plan --ref refs/heads/release/1.4.0",
		Args:    exactly(0),
		RunE: g.run(func(_ context.Context, _ *cobra.Command, _ []string) (result, error) {
			cfg, err := config.Load(g.config)
			if err != nil {
				return nil, err
			}
			decision, err := decideRef(cfg, ref)
			if err != nil {
				return nil, err
			}
			if cfg, err = cfg.Expand(decision.Environment, os.LookupEnv); err != nil {
				return nil, err
			}
			out := planResult{
				Environment: decision.Environment, Image: cfg.Image, Version: decision.Version, Tags: decision.Tags,
				Steps: []string{"build", "test"}, Reason: decision.Reason,
			}
			e := cfg.Environments[decision.Environment]
			if e == nil {
				return out, nil
			}
			out.Target, out.Registry = e.Target, e.Registry
			if e.Target == config.Push {
				out.Steps = append(out.Steps, "publish", fmt.Sprintf("deploy %s", e.Manifests))
			} else {
				out.Steps = append(out.Steps, "publish", fmt.Sprintf("bump %s in %s", e.GitOps.Path, e.GitOps.Repo), "wait")
			}
			return out, nil
		}),
	}
	cmd.Flags().StringVar(&ref, "ref", "", "a git ref (default: that of the CI run, else of the work tree)")
	return cmd
}
