package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/image/ref"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/flow"
)

type deliverResult struct{ *flow.Result }

func (r deliverResult) Text(w io.Writer) {
	report.Table(w, []string{"step", "status", "seconds", ""}, r.rows())
}

// rows are the lines of the table: step, status, seconds, message.
func (r deliverResult) rows() [][]string {
	var rows [][]string
	for _, s := range r.Steps {
		seconds := fmt.Sprintf("%.1f", s.Seconds)
		if s.Status == delivery.Skipped {
			seconds = ""
		}
		rows = append(rows, []string{s.Name, string(s.Status), seconds, s.Message})
	}
	return rows
}

func (r deliverResult) outputs() []report.Output {
	return []report.Output{
		{Name: "image", Value: r.Image}, {Name: "digest", Value: ref.Read(r.Image).Digest},
		{Name: "environment", Value: r.Environment}, {Name: "target", Value: r.Target},
		{Name: "commit", Value: r.Commit}, {Name: "pull-request", Value: r.PullRequest}, {Name: "revision", Value: ordinal(r.Revision)},
		{Name: "delivered", Value: strconv.FormatBool(r.Delivered)}, {Name: "rolled-back", Value: rolledBack(r.Result)},
	}
}

// rolledBack is true or false for a deploy; "" where nothing was deployed.
func rolledBack(r *flow.Result) string {
	if r.Revision == 0 && !r.RolledBack {
		return ""
	}
	return strconv.FormatBool(r.RolledBack)
}

// title is the headline of the summary.
func (r deliverResult) title(err error) string {
	to := fmt.Sprintf("%s (%s)", r.Environment, r.Target)
	switch {
	case r.Environment == "" && err == nil:
		return "Built and tested, not delivered"
	case r.Environment == "":
		return "✘ Not built and tested"
	case err != nil && r.RolledBack:
		return fmt.Sprintf("✘ Not delivered to %s: revision %d is back", to, r.Revision)
	case err != nil:
		return "✘ Not delivered to " + to
	case r.Held:
		return fmt.Sprintf("Held in %s: revision %d waits for `aksflow resume` or `aksflow abort`", to, r.Revision)
	case r.PullRequest != "":
		return "Proposed for " + to
	default:
		return "✔ Delivered to " + to
	}
}

func (r deliverResult) markdown(err error) string {
	var b strings.Builder
	fmt.Fprintf(&b, "### %s\n\n", r.title(err))
	if r.Environment == "" {
		fmt.Fprintf(&b, "%s\n\n", r.Reason)
	}
	for _, line := range [][2]string{{"Image", r.Image}, {"Commit", r.Commit}} {
		if line[1] != "" {
			fmt.Fprintf(&b, "%s `%s`\n\n", line[0], line[1])
		}
	}
	if r.PullRequest != "" {
		fmt.Fprintf(&b, "Pull request <%s>\n\n", r.PullRequest)
	}
	b.WriteString(report.MarkdownTable([]string{"Step", "Status", "Seconds", ""}, r.rows()))
	if err != nil {
		b.WriteString("\n" + report.MarkdownBlock(err.Error()))
	}
	return b.String() + "\n"
}

func deliverCommand(g *globals) *cobra.Command {
	r := &request{g: g}
	r.ByRef = true
	cmd := &cobra.Command{
		Use:   "deliver",
		Short: "All of it: build, test, publish, then deploy (push) or bump and wait (pull)",
		Long: `Builds, tests and publishes the image, and brings it to the environment that the git ref maps to. A git ref that maps to
none is built and tested, and that is all.`,
		Example: `  aksflow deliver --env local --target pull
  aksflow deliver                    # the environment that the current branch or tag maps to
  aksflow deliver --image vote.tar   # what another job built and tested`,
		Args: exactly(0),
		RunE: g.run(func(ctx context.Context, _ *cobra.Command, _ []string) (result, error) {
			d, done, err := r.open(ctx)
			if err != nil {
				return nil, err
			}
			defer done()
			delivered, err := d.Deliver(ctx)
			return deliverResult{delivered}, err
		}),
	}
	f := cmd.Flags()
	r.envFlag(f)
	r.buildFlags(f)
	r.registryFlags(f)
	r.clusterFlags(f)
	r.renderFlags(f)
	f.StringVar(&r.Ref, "ref", "", "the git ref that decides the environment (default: that of the CI run, else of the work tree)")
	f.StringVar(&r.Set.Target, "target", "", strings.Join(config.Targets(), " or ")+" (default: that of the environment)")
	f.StringVar(&r.Tarball, "image", "", "deliver the image in this `FILE`, an OCI tarball that was tested: nothing is built and no test runs")
	f.StringVar(&r.Reports, "report", "", "write the tests' JUnit XML into this `DIR`")
	f.BoolVar(&r.NoCache, "no-cache", false, "run tests again whose content did not change")
	f.BoolVar(&r.Options.Pull.Force, "force", false, "pull: set the image also when a later commit rolled it back")
	f.BoolVar(&r.Options.Pull.Sync, "sync", false, "pull: ask the operator for a sync where it is not automated")
	r.applyFlags(f)
	r.rolloutFlags(f)
	r.graceFlag(f)
	r.recordFlags(f)
	cmd.MarkFlagsMutuallyExclusive("image", "build-arg")
	cmd.MarkFlagsMutuallyExclusive("image", "report")
	cmd.MarkFlagsMutuallyExclusive("image", "no-cache")
	return cmd
}
