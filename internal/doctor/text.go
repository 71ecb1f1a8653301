package doctor

import (
	"fmt"
	"io"
	"strings"

	"github.com/aksflow/aksflow/internal/core/report"
)

// textColumn is where the texts of checks begin, behind their status.
const textColumn = 11

// Text writes each check in a line that begins with its status, and its remedy below it. Lines are wrapped to a width; 0 means
// that they are not.
func (r *Result) Text(w io.Writer, width int) {
	fit := func(text string) string {
		if text = report.Clean(text); width > 0 {
			text = report.Wrap(text, max(20, width-1-textColumn))
		}
		return strings.ReplaceAll(text, "\n", "\n"+strings.Repeat(" ", textColumn))
	}
	for i, part := range r.Parts {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintln(w, part.Name)
		for _, c := range part.Checks {
			text := c.Name
			if c.Message != "" {
				text += ": " + c.Message
			}
			fmt.Fprintf(w, "  %-7s  %s\n", c.Status, fit(text))
			if c.Remedy != "" {
				fmt.Fprintf(w, "%*s%s\n", textColumn, "", fit(c.Remedy))
			}
		}
	}
}
