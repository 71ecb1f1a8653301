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

// Headline writes what came of it, and the image in full, to be copied.
func (r deliverResult) Headline(w io.Writer, headline string) {
	fmt.Fprintln(w, headline)
	for _, line := range []string{r.Image, r.PullRequest} {
		if line != "" {
			fmt.Fprintln(w, "  "+line)
		}
	}
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

func deliverCommand(g *globals) *cobra.Command {
	r := &request{g: g}
	r.ByRef = true
	cmd := &cobra.Command{
		Use:   "deliver",
		Short: "All of it: build, test, publish, then deploy (push) or bump and wait (pull)",
		Long: `Builds, tests and publishes the image, and brings it to the environment that the git ref maps to. A git ref that maps to
none is built and tested, and that is all.

An image that the environment's registry has for this source is not built again, and tests that it passed do not run
again. ` + "`aksflow plan --explain`" + ` lists what makes it this source.`,
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
			r.describe(ctx, "deliver", d, delivered, err)
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
	f.StringVar(&r.Reports, "report", "", "write the tests' JUnit XML and report.html, a page about the run, into this `DIR`")
	r.rebuildFlag(f)
	r.retestFlag(f)
	r.overrideFlag(f)
	r.signFlags(f)
	r.madeFlag(f)
	f.BoolVar(&r.Options.Pull.Force, "force", false, "pull: set the image also when a later commit rolled it back")
	f.BoolVar(&r.Options.Pull.Sync, "sync", false, "pull: ask Argo CD for a sync where it is not automated, or where that of this revision failed before")
	r.applyFlags(f)
	r.rolloutFlags(f)
	r.graceFlag(f)
	r.recordFlags(f)
	cmd.MarkFlagsMutuallyExclusive("key", "keyless")
	cmd.MarkFlagsMutuallyExclusive("image", "made")
	cmd.MarkFlagsMutuallyExclusive("image", "build-arg")
	cmd.MarkFlagsMutuallyExclusive("image", "rebuild")
	cmd.MarkFlagsMutuallyExclusive("image", "retest")
	return cmd
}
