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
	for _, gate := range r.Gates {
		add("gate", gate)
	}
	add("source key", r.SourceKey)
	add("build key", r.BuildKey)
	switch {
	case r.Recorded != nil:
		add("recorded", r.Recorded.String())
	case r.NotReused != "":
		add("recorded", "not used again: "+r.NotReused)
	case r.BuildKey != "" && r.Environment != "":
		add("recorded", "nothing: the image is built")
	}
	report.Table(w, []string{"deliver", ""}, rows)
	if len(r.Rules) > 0 {
		rows = nil
		for _, rule := range r.Rules {
			rows = append(rows, []string{strings.Join(rule.Refs, ", "), rule.Does})
		}
		report.Table(w, []string{"git ref", "rule"}, rows)
	}
	if len(r.Explain) == 0 {
		return
	}
	rows = nil
	for _, e := range r.Explain {
		rows = append(rows, []string{string(e.Kind), e.Name, e.Value})
	}
	report.Table(w, []string{"in the key", "name", "value"}, rows)
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
	r.buildFlags(f)
	r.registryFlags(f)
	f.StringVar(&r.Ref, "ref", "", "a git ref (default: that of the CI run, else of the work tree)")
	f.StringVar(&r.Set.Target, "target", "", strings.Join(config.Targets(), " or ")+" (default: that of the environment)")
	f.BoolVar(&r.Explain, "explain", false, "list what went into the key of the image: every file, argument and base image")
	return cmd
}
