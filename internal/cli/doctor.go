package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/doctor"
	"github.com/aksflow/aksflow/internal/engine"
)

type doctorResult struct{ *doctor.Result }

// Text writes each check in a line that begins with its status, and its remedy below it.
func (r doctorResult) Text(w io.Writer) {
	for i, part := range r.Parts {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintln(w, part.Name)
		for _, c := range part.Checks {
			fmt.Fprintf(w, "  %-7s  %s", c.Status, c.Name)
			if c.Message != "" {
				fmt.Fprintf(w, ": %s", below(c.Message))
			}
			fmt.Fprintln(w)
			if c.Remedy != "" {
				fmt.Fprintf(w, "           %s\n", below(c.Remedy))
			}
		}
	}
}

// below indents the lines of a text as what belongs to a check.
func below(text string) string {
	return strings.ReplaceAll(report.Clean(text), "\n", "\n           ")
}

func doctorCommand(g *globals) *cobra.Command {
	r := &request{g: g}
	r.ByRef = true
	var environments []string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what would stop a delivery, and say what to do about it",
		Long: `Looks for what would stop ` + "`aksflow deliver`" + `: the configuration, the engine, the registry, the cluster and the rights there,
the git repository and the operator. It changes nothing. Without --env it looks at the environment that deliver would take.

Exit code 1 means that a delivery would fail. Warnings do not count.`,
		Example: `  aksflow doctor
  aksflow doctor --env dev --env production --output json`,
		Args: exactly(0),
		RunE: g.run(func(ctx context.Context, _ *cobra.Command, _ []string) (result, error) {
			if err := r.complete(ctx); err != nil {
				return nil, err
			}
			found := doctor.Run(ctx, doctor.Options{
				Request: r.Request, Environments: environments,
				Engine: func(ctx context.Context) []delivery.Check {
					return engine.Check(ctx, engine.Options{Engine: g.engine, State: g.state, Env: os.Environ()})
				},
				Cloud: r.cloud.Check,
			})
			if found.Failed > 0 {
				return doctorResult{found}, errors.New(report.Count(found.Failed, "check") + " failed")
			}
			return doctorResult{found}, nil
		}),
	}
	f := cmd.Flags()
	f.StringSliceVarP(&environments, "env", "e", nil, "an environment of aksflow.yaml (may be repeated; default: the one that the git ref maps to)")
	f.StringVar(&r.Ref, "ref", "", "a git ref (default: that of the CI run, else of the work tree)")
	r.clusterFlags(f)
	return cmd
}
