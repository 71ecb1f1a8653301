// Package gate decides whether an image may be promoted now: whether it was healthy for long enough, no freeze is on, and
// those approved who must.
//
// It is pure: callers find the facts, and it says which gates are open, and when the others open.
package gate

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/aksflow/aksflow/internal/core/report"
)

// Gates are what must hold before an image is promoted to an environment, as aksflow.yaml says it.
type Gates struct {
	// Soak is how long the image must have been healthy in the environment that it comes from, such as 30m.
	Soak time.Duration `yaml:"soak"`
	// Freeze are the times in which nothing is promoted.
	Freeze []Freeze `yaml:"freeze"`
	// Approve says who must approve. Empty: nobody.
	Approve *Approve `yaml:"approve"`
	// Override says who may open closed gates with --override REASON. Empty: nobody.
	Override *Override `yaml:"override"`
}

// Freeze is a time in which nothing is promoted: for Duration from each time that Schedule names, or From one moment To
// another.
type Freeze struct {
	Schedule string        `yaml:"schedule"` // in the form of cron, such as 0 15 * * FRI
	Duration time.Duration `yaml:"duration"` // such as 63h
	From     string        `yaml:"from"`     // a day, 2026-12-20, or a minute, 2026-12-20 18:00
	To       string        `yaml:"to"`       // the last day, or the minute in which it ends
	TimeZone string        `yaml:"timeZone"` // such as Europe/Berlin; empty: UTC
	// Except are patterns of branches: an image that was built from one of them is promoted, such as hotfix/*.
	Except []string `yaml:"except"`
	Reason string   `yaml:"reason"`
}

// IsZero reports whether there is no gate.
func (g Gates) IsZero() bool {
	return g.Soak == 0 && len(g.Freeze) == 0 && g.Approve == nil && g.Override == nil
}

// Facts are what is known about an image that is to be promoted.
type Facts struct {
	Now time.Time
	// From is the environment that it comes from.
	From string
	// HealthySince is since when From has run the image without a problem; zero when it has one now, which Unhealthy says.
	HealthySince time.Time
	Unhealthy    string
	// Branch is what the image was built from; "" when it is not known.
	Branch string
	// Approvals are what is known about each way to approve that is asked for.
	Approvals map[string]Approvals
}

// Verdict is what one gate says.
type Verdict struct {
	Gate string `json:"gate"` // soak, freeze or approve
	Open bool   `json:"open"`
	// Message says why it is open or closed.
	Message string `json:"message"`
	// Opens is when it opens by itself; zero when that is not known.
	Opens time.Time `json:"opens,omitzero"`
	// Override says who passed the gate though it is closed, and why; "" when nobody did.
	Override string `json:"override,omitempty"`
}

// Check asks all gates that there are. Its gates are valid: see [Gates.Validate].
func (g Gates) Check(f Facts) []Verdict {
	var verdicts []Verdict
	if g.Soak > 0 {
		verdicts = append(verdicts, g.soak(f))
	}
	if len(g.Freeze) > 0 {
		verdicts = append(verdicts, g.freeze(f))
	}
	if g.Approve != nil {
		for _, way := range g.Approve.Ways() {
			verdicts = append(verdicts, g.approve(way, f))
		}
	}
	return verdicts
}

// Closed returns those of the verdicts that are not open, and that nobody passed.
func Closed(verdicts []Verdict) []Verdict {
	return slices.DeleteFunc(slices.Clone(verdicts), func(v Verdict) bool { return v.Open || v.Override != "" })
}

func (g Gates) soak(f Facts) Verdict {
	v := Verdict{Gate: "soak"}
	if f.HealthySince.IsZero() {
		v.Message = fmt.Sprintf("%s is not healthy: %s", f.From, f.Unhealthy)
		return v
	}
	healthy := f.Now.Sub(f.HealthySince)
	v.Open = healthy >= g.Soak
	v.Message = fmt.Sprintf("healthy in %s for %s of %s", f.From, round(healthy), round(g.Soak))
	if !v.Open {
		v.Opens = f.HealthySince.Add(g.Soak)
		v.Message += ": opens at " + moment(v.Opens)
	}
	return v
}

// round writes a time without seconds where it has more than minutes.
func round(d time.Duration) string {
	if d >= time.Hour {
		return report.Span(d.Truncate(time.Minute))
	}
	return report.Span(d.Truncate(time.Second))
}

func moment(t time.Time) string { return t.Format("2006-01-02 15:04 MST") }

func (g Gates) freeze(f Facts) Verdict {
	var closed *Freeze
	// Windows may follow each other or overlap: the gate opens when none is on any more.
	at := f.Now
	for range freezeLimit {
		window, end := g.frozen(at, f.Branch)
		if window == nil {
			break
		}
		if closed == nil {
			closed = window
		}
		at = end
	}
	if closed == nil {
		return Verdict{Gate: "freeze", Open: true, Message: "no freeze"}
	}
	v := Verdict{Gate: "freeze", Message: "frozen"}
	if closed.Reason != "" {
		v.Message += " (" + closed.Reason + ")"
	}
	if window, _ := g.frozen(at, f.Branch); window == nil {
		v.Opens = at
		v.Message += ": opens at " + moment(at)
	} else {
		v.Message += ": it never opens, since each window begins before the last one ends"
	}
	if len(closed.Except) > 0 {
		v.Message += ", for images of " + strings.Join(closed.Except, ", ") + " at once"
	}
	return v
}

// freezeLimit is how many windows that follow each other are looked at.
const freezeLimit = 1000

// frozen returns a window that is on, and when it ends.
func (g Gates) frozen(at time.Time, branch string) (*Freeze, time.Time) {
	for i := range g.Freeze {
		w := &g.Freeze[i]
		if branch != "" && slices.ContainsFunc(w.Except, func(p string) bool { ok, _ := doublestar.Match(p, branch); return ok }) {
			continue
		}
		if end := w.end(at); end.After(at) {
			return w, end
		}
	}
	return nil, time.Time{}
}
