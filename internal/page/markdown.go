package page

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/report"
)

// Markdown is the run as a section of the page of a CI run.
func (r *Run) Markdown() string { return r.text(r.markdown()) }

func (r *Run) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "### %s\n\n", r.Headline())
	if r.Environment == "" && r.Reason != "" {
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
	rows := make([][]string, 0, len(r.Steps))
	for _, s := range r.Steps {
		rows = append(rows, []string{s.Name, string(s.Status), seconds(s), r.text(s.Message)})
	}
	b.WriteString(report.MarkdownTable([]string{"Step", "Status", "Seconds", ""}, rows))
	if promoted := detail[delivery.Promoted](r); promoted != nil && len(promoted.Gates) > 0 {
		gates := promoted.GateRows()
		for _, row := range gates {
			row[1] = r.text(row[1])
		}
		b.WriteString("\n" + report.MarkdownTable([]string{"Gate", ""}, gates))
	}
	if failed := r.failedTests(); len(failed) > 0 {
		b.WriteString("\n" + r.testsMarkdown(failed))
	}
	if r.Err != nil {
		b.WriteString("\n" + report.MarkdownBlock(r.text(r.Err.Error())))
	}
	return b.String() + "\n"
}

// mostTests bounds the tests that the summary lists: GitHub takes 1 MiB of it, and the error names them, too.
const mostTests = 50

func (r *Run) testsMarkdown(failed []delivery.Test) string {
	rows := make([][]string, 0, len(failed))
	for _, t := range failed[:min(len(failed), mostTests)] {
		row := []string{t.Name, place(t), t.Message}
		for i := range row {
			row[i] = report.MarkdownText(r.text(row[i]))
		}
		rows = append(rows, row)
	}
	if left := len(failed) - mostTests; left > 0 {
		rows = append(rows, []string{fmt.Sprintf("… and %d more", left), "", ""})
	}
	return report.MarkdownTable([]string{"Failed test", "", ""}, rows)
}

// place is FILE:LINE of a failed test; "" when it is not known.
func place(t delivery.Test) string {
	if t.File == "" || t.Line == 0 {
		return t.File
	}
	return fmt.Sprintf("%s:%d", t.File, t.Line)
}

// failedTests are the tests that failed or could not run.
func (r *Run) failedTests() []delivery.Test {
	tested := detail[delivery.Tested](r)
	if tested == nil {
		return nil
	}
	var failed []delivery.Test
	for _, t := range tested.Tests {
		if status := cmp.Or(t.Status, "passed"); status != "passed" && status != "skipped" {
			failed = append(failed, t)
		}
	}
	return failed
}

// seconds is how long a step took; "" for one that did not run.
func seconds(s Step) string {
	if s.Status == delivery.Skipped {
		return ""
	}
	return fmt.Sprintf("%.1f", s.Seconds)
}
