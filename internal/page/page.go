// Package page makes what people read of a run after it: one HTML file, and the Markdown for the page of a CI run. Both are
// made of the same [Run].
//
// The HTML needs nothing beside it: no script, no font, no picture from elsewhere. Everything in it that comes from a
// container, a cluster or a file is text.
package page

import (
	"time"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/report"
)

// Run is what happened.
type Run struct {
	App         string
	Verb        string // deliver, test
	Environment string // "" when there was none
	Target      string
	Reason      string // why this environment, or why none

	Delivered, Held, RolledBack, Changed bool

	Image       string // with its digest; "" when nothing was published
	Version     string
	Tags        []string
	Source      delivery.Source
	Commit      string // that the operator follows
	PullRequest string
	Revision    int

	// Proofs are what is known about the image from others than this run, such as its provenance.
	Proofs []Proof

	Steps  []Step
	Err    error
	Events []report.Event

	Began   time.Time
	Elapsed time.Duration
	RunURL  string // the page of the CI run
	User    string // who delivered

	// Hide removes secrets from a text; nil when there are none.
	Hide func(string) string
}

// Proof is one thing that is attested about the image.
type Proof struct {
	Kind     string // tests, SBOM, provenance, proved in staging
	By       string // who signed it; "" when nobody did
	Message  string // what it says, or why it does not count
	Verified bool   // the environment's rules accept it
}

// Step is what became of one step.
type Step struct {
	Name    string
	Status  delivery.Status
	Seconds float64
	Message string
	Reasons []delivery.Reason
	Detail  any // a pointer to one of the structs of package delivery
}

// Failed reports whether the run failed.
func (r *Run) Failed() bool { return r.Err != nil }

// text returns a text of the run as it may be shown: without secrets and without control sequences.
func (r *Run) text(s string) string {
	s = report.Clean(s)
	if r.Hide != nil {
		s = r.Hide(s)
	}
	return s
}

// detail returns the detail of the first step that has one of type T.
func detail[T any](r *Run) *T {
	for _, s := range r.Steps {
		if d, ok := s.Detail.(*T); ok && d != nil {
			return d
		}
	}
	return nil
}
