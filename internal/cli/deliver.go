package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/flow"
)

type deliverResult struct{ *flow.Result }

func (r deliverResult) Text(w io.Writer) {
	report.Table(w, []string{"step", "status", "seconds", ""}, r.rows())
}

// rows are the lines of the summary: step, status, seconds, message.
func (r deliverResult) rows() [][]string {
	var rows [][]string
	for _, s := range r.Steps {
		seconds := fmt.Sprintf("%.1f", s.Seconds)
		if s.Status == flow.Skipped {
			seconds = ""
		}
		rows = append(rows, []string{s.Name, s.Status, seconds, s.Message})
	}
	return rows
}

func deliverCommand(g *globals) *cobra.Command {
	p := &place{g: g}
	var ref, target, reports string
	d := &flow.Delivery{}
	cmd := &cobra.Command{
		Use:   "deliver",
		Short: "All of it: build, test, publish, then deploy (push) or bump and wait (pull)",
		Example: `  aksflow deliver --env local --target pull
  aksflow deliver                    # the environment that the current branch or tag maps to`,
		Args: exactly(0),
		RunE: g.run(func(ctx context.Context, _ *cobra.Command, _ []string) (result, error) {
			decision, err := p.decide(ctx, ref)
			if err != nil {
				return nil, err
			}
			opened, done, err := p.delivery(ctx)
			if err != nil {
				return nil, err
			}
			defer done()
			opened.Deploy, opened.NoCache, opened.Force, opened.Sync = d.Deploy, d.NoCache, d.Force, d.Sync
			opened.Deploy.User = whoami()
			opened.Tags = decision.Tags
			switch target {
			case "":
			case config.Push, config.Pull:
				opened.Environment.Target = target
			default:
				return nil, fault.Usagef("--target %q: want push or pull", target)
			}
			if opened.Environment.Target == config.Pull && opened.Environment.GitOps.Repo == "" {
				return nil, fault.Usagef("%s: the environment %s names no git repository: set its gitops.repo", opened.Config.Path(), p.env)
			}
			r, err := opened.Run(ctx, reports)
			if err == nil && !r.Changed() {
				report.Info(ctx, "nothing new: %s runs this source already", p.env)
			}
			return deliverResult{r}, err
		}),
	}
	f := cmd.Flags()
	p.envFlag(f)
	p.buildFlags(f)
	p.registryFlags(f)
	p.clusterFlags(f)
	f.StringVar(&ref, "ref", "", "the git ref that decides the environment (default: that of the CI run, else of the work tree)")
	f.StringVar(&target, "target", "", "push or pull (default: that of the environment)")
	f.StringVar(&reports, "report", "", "write the tests' JUnit XML into this `DIR`")
	f.BoolVar(&d.NoCache, "no-cache", false, "run tests again whose content did not change")
	f.BoolVar(&d.Force, "force", false, "pull: set the image also when a later commit rolled it back")
	f.BoolVar(&d.Sync, "sync", false, "pull: ask the operator for a sync where it is not automated")
	releaseFlags(f, &d.Deploy)
	return cmd
}
