package report

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
)

// Output is a value that a step of a GitHub Actions workflow passes to later steps.
type Output struct{ Name, Value string }

// FormatOutputs formats outputs for the file that GITHUB_OUTPUT names. Outputs without a value are left out: a workflow
// reads them as the empty string.
// https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands#setting-an-output-parameter
func FormatOutputs(outputs []Output) string {
	var b strings.Builder
	for _, o := range outputs {
		switch {
		case o.Value == "":
		case strings.ContainsAny(o.Value, "\r\n"):
			// No line of a value may be its delimiter; a value cannot hold its own hash.
			delimiter := fmt.Sprintf("aksflow-%x", sha256.Sum256([]byte(o.Value)))
			fmt.Fprintf(&b, "%s<<%s\n%s\n%s\n", o.Name, delimiter, o.Value, delimiter)
		default:
			fmt.Fprintf(&b, "%s=%s\n", o.Name, o.Value)
		}
	}
	return b.String()
}

// MarkdownTable is Table for GitHub's Markdown.
func MarkdownTable(header []string, rows [][]string) string {
	w := table.NewWriter()
	w.AppendHeader(row(header))
	for _, r := range rows {
		w.AppendRow(row(r))
	}
	return w.RenderMarkdown() + "\n"
}

// MarkdownText returns Markdown that shows a text of somebody else as it is, such as the name of a test.
func MarkdownText(text string) string {
	return word.ReplaceAllStringFunc(markdownText.Replace(text), func(word string) string {
		// Those within a word do not begin or end emphasis.
		inner := strings.Trim(word, "_")
		before, after, _ := strings.Cut(word, inner)
		if inner == "" {
			before, after = word, ""
		}
		return strings.ReplaceAll(before, "_", `\_`) + inner + strings.ReplaceAll(after, "_", `\_`)
	})
}

var (
	markdownText = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;",
		`\`, `\\`, "`", "\\`", "*", `\*`, "[", `\[`, "]", `\]`, "~", `\~`, "$", `\$`)
	word = regexp.MustCompile(`[0-9A-Za-z_]+`)
)

// MarkdownBlock returns a code block that shows text unchanged.
func MarkdownBlock(text string) string {
	fence := "```"
	for _, run := range backticks.FindAllString(text, -1) {
		if len(run) >= len(fence) {
			fence = run + "`"
		}
	}
	return fence + "text\n" + strings.TrimRight(text, "\n") + "\n" + fence + "\n"
}

var backticks = regexp.MustCompile("`+")

// AzureSummary makes Azure Pipelines show Markdown on the page of a run. The agent reads the file in dir after the step has
// ended.
// https://learn.microsoft.com/en-us/azure/devops/pipelines/scripts/logging-commands#uploadsummary-add-some-markdown-content-to-the-build-summary
func AzureSummary(w io.Writer, dir, markdown string) error {
	path := filepath.Join(dir, fmt.Sprintf("aksflow-%x.md", sha256.Sum256([]byte(markdown))))
	if err := os.WriteFile(path, []byte(markdown), 0o644); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "##vso[task.uploadsummary]%s\n", path)
	return err
}

// AppendFile appends text to one of the files that a workflow gives a step. Other programs append there, too.
func AppendFile(path, text string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if _, err := f.WriteString(text); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
