package gate

import (
	"cmp"
	"fmt"
	"strings"
)

// Describe returns each gate in a line, and who may open them.
func (g Gates) Describe() []string {
	var lines []string
	if g.Soak > 0 {
		lines = append(lines, "soak: healthy for "+round(g.Soak))
	}
	for _, f := range g.Freeze {
		lines = append(lines, "freeze: "+f.String())
	}
	if a := g.Approve; a != nil {
		for _, way := range a.Ways() {
			lines = append(lines, "approve: "+a.describe(way))
		}
	}
	if g.Override != nil {
		lines = append(lines, "override: by "+Or(g.Override.By))
	}
	return lines
}

// Or lists those who may sign.
func Or(list []Approver) string {
	var names []string
	for _, who := range list {
		names = append(names, cmp.Or(who.Key, who.Identity))
	}
	return strings.Join(names, " or ")
}

func (a Approve) describe(way string) string {
	switch way {
	case ByGitHub:
		return "the reviewers of GitHub's environment " + a.GitHub
	case ByPullRequest:
		return fmt.Sprintf("%s of the pull request that brought the commit", plural(a.PullRequest, "approving review"))
	}
	text := fmt.Sprintf("%s by %s", plural(a.Signed.Number(), "signature"), Or(a.Signed.By))
	if a.Signed.MaxAge > 0 {
		text += ", not older than " + round(a.Signed.MaxAge)
	}
	return text
}

func plural(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// String is the window in one line.
func (f Freeze) String() string {
	text := f.From + " to " + f.To
	if f.Schedule != "" {
		text = fmt.Sprintf("%s from each %q", round(f.Duration), f.Schedule)
	}
	text += " in " + cmp.Or(f.TimeZone, "UTC")
	if len(f.Except) > 0 {
		text += ", not for " + strings.Join(f.Except, ", ")
	}
	if f.Reason != "" {
		text += " (" + f.Reason + ")"
	}
	return text
}
