package page

import (
	"fmt"
	"strings"
)

// Title is the headline: what came of the run.
func (r *Run) Title() string {
	to := fmt.Sprintf("%s (%s)", r.Environment, r.Target)
	switch {
	case r.Verb == "test" && r.Failed():
		return "The tests failed"
	case r.Verb == "test":
		return "The tests passed"
	case r.Environment == "" && !r.Failed():
		return "Built and tested, not delivered"
	case r.Environment == "":
		return "Not built and tested"
	case r.Failed() && r.RolledBack:
		return fmt.Sprintf("Not delivered to %s: revision %d is back", to, r.Revision)
	case r.Failed():
		return "Not delivered to " + to
	case r.Held:
		return fmt.Sprintf("Held in %s: revision %d waits for `aksflow resume` or `aksflow abort`", to, r.Revision)
	case r.PullRequest != "":
		return "Proposed for " + to
	case r.Delivered && !r.Changed:
		return fmt.Sprintf("Nothing new: %s runs this source already", to)
	default:
		return "Delivered to " + to
	}
}

// mark is the sign of the verdict: ✔, ✘, or none where the run ended as asked without a delivery.
func (r *Run) mark() string {
	switch r.tone() {
	case "bad":
		return "✘"
	case "good":
		return "✔"
	}
	return ""
}

// tone is good, bad or open, where something is still to be done or nothing was to be delivered.
func (r *Run) tone() string {
	switch {
	case r.Failed():
		return "bad"
	case r.Held, r.PullRequest != "", r.Environment == "" && r.Verb != "test":
		return "open"
	}
	return "good"
}

// Headline is Title behind its mark.
func (r *Run) Headline() string { return strings.TrimSpace(r.mark() + " " + r.Title()) }
