package cli

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/doctor"
	"github.com/aksflow/aksflow/internal/engine"
)

type doctorResult struct {
	*doctor.Result
	width int // of the terminal; 0 where there is none
}

// Text writes the checks.
func (r doctorResult) Text(w io.Writer) { r.Result.Text(w, r.width) }

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
			result := doctorResult{Result: found}
			if isTerminal(g.stdout) {
				result.width, _ = g.size()
			}
			if found.Failed > 0 {
				return result, errors.New(report.Count(found.Failed, "check") + " failed")
			}
			return result, nil
		}),
	}
	f := cmd.Flags()
	f.StringSliceVarP(&environments, "env", "e", nil, "an environment of aksflow.yaml (may be repeated; default: the one that the git ref maps to)")
	f.StringVar(&r.Ref, "ref", "", "a git ref (default: that of the CI run, else of the work tree)")
	r.clusterFlags(f)
	return cmd
}
