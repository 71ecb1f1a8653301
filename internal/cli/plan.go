package cli

import (
	"context"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/flow"
)

type planResult struct{ *flow.Plan }

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

func (r planResult) outputs() []report.Output {
	return []report.Output{{Name: "environment", Value: r.Environment}, {Name: "target", Value: r.Target}}
}

func planCommand(g *globals) *cobra.Command {
	r := &request{g: g}
	r.ByRef = true
	cmd := &cobra.Command{
		Use:     "plan",
		Short:   "Say what deliver would do for a git ref, and why",
		Example: "  aksflow plan --ref refs/heads/release/1.4.0",
		Args:    exactly(0),
		RunE: g.run(func(ctx context.Context, _ *cobra.Command, _ []string) (result, error) {
			d, done, err := r.open(ctx)
			if err != nil {
				return nil, err
			}
			defer done()
			p, err := d.Plan(ctx)
			if err == nil {
				for _, warning := range p.Warnings {
					report.Warn(ctx, "%s", warning)
				}
			}
			return planResult{p}, err
		}),
	}
	f := cmd.Flags()
	r.envFlag(f)
	f.StringVar(&r.Ref, "ref", "", "a git ref (default: that of the CI run, else of the work tree)")
	f.StringVar(&r.Set.Target, "target", "", strings.Join(config.Targets(), " or ")+" (default: that of the environment)")
	return cmd
}
