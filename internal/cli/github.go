package cli

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/aksflow/aksflow/internal/core/image/ref"
	"github.com/aksflow/aksflow/internal/core/report"
)

// withOutputs is a result of which the later steps of a GitHub Actions workflow can use something. The names are those
// that action.yml declares.
type withOutputs interface{ outputs() []report.Output }

// withSummary is a result that is worth a place on the page of a workflow's run, also when err ended it.
type withSummary interface{ markdown(err error) string }

// tellWorkflow writes the result into the files that GitHub Actions gives a step. Not to be able to is no reason to fail
// a delivery that was made.
func tellWorkflow(ctx context.Context, res result, err error) {
	tell := func(variable, text string) {
		path := os.Getenv(variable)
		if path == "" || text == "" {
			return
		}
		if err := report.AppendFile(path, text); err != nil {
			report.Warn(ctx, "writing to %s: %v", variable, err)
		}
	}
	if r, ok := res.(withOutputs); ok {
		tell("GITHUB_OUTPUT", report.FormatOutputs(r.outputs()))
	}
	if r, ok := res.(withSummary); ok {
		tell("GITHUB_STEP_SUMMARY", r.markdown(err))
	}
}

func (r planResult) outputs() []report.Output {
	return []report.Output{{Name: "environment", Value: r.Environment}, {Name: "target", Value: r.Target}}
}

func (r buildResult) outputs() []report.Output {
	return []report.Output{{Name: "digest", Value: r.Digest}}
}

func (r publishResult) outputs() []report.Output {
	return []report.Output{{Name: "image", Value: r.Image}, {Name: "digest", Value: r.Digest}}
}

func (r bumpResult) outputs() []report.Output {
	return []report.Output{{Name: "commit", Value: r.Commit}, {Name: "pull-request", Value: r.PullRequest}}
}

func (r deployResult) outputs() []report.Output {
	return []report.Output{
		{Name: "revision", Value: ordinal(r.Revision)}, {Name: "rolled-back", Value: strconv.FormatBool(r.RolledBack)},
	}
}

func (r deliverResult) outputs() []report.Output {
	return []report.Output{
		{Name: "image", Value: r.Image}, {Name: "digest", Value: ref.Read(r.Image).Digest},
		{Name: "environment", Value: r.Environment}, {Name: "target", Value: r.Target},
		{Name: "commit", Value: r.Commit}, {Name: "pull-request", Value: r.PullRequest}, {Name: "revision", Value: ordinal(r.Revision)},
	}
}

// ordinal is a delivery's number in the cluster; none has the number 0.
func ordinal(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func (r deliverResult) markdown(err error) string {
	var b strings.Builder
	title := "✔ Delivered to"
	if err != nil {
		title = "✘ Not delivered to"
	}
	fmt.Fprintf(&b, "### %s %s (%s)\n\n", title, r.Environment, r.Target)
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
