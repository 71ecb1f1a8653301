package delivery

import (
	"context"
	"time"
)

// DefaultLimit is how long a step may take where neither the caller nor the step sets a limit.
const DefaultLimit = 30 * time.Minute

// LimitError is why a context ended whose time was limited. It is [context.DeadlineExceeded] in words that say which limit.
type LimitError string

func (e LimitError) Error() string { return string(e) }

// Is implements the interface of [errors.Is].
func (LimitError) Is(target error) bool { return target == context.DeadlineExceeded }

// Step is a part of a delivery.
type Step struct {
	Name string
	// About says in a few words what the step works on, for the plan; may be empty.
	About string
	// Needs are the steps that must have succeeded before this one, as far as they are part of the same run.
	Needs []string
	// Changes reports whether the step may change something outside of this machine.
	Changes bool
	// Check, if any, is called before the first step of a run begins. It returns what is known by then to make Run fail,
	// such as a missing password.
	Check func(context.Context) error
	// Limit is how long Run may take where the caller set no limit. 0 means [DefaultLimit].
	Limit time.Duration
	Run   func(context.Context, *State) (Outcome, error)
}

// State is what a step leaves for the steps after it.
type State struct {
	// Release is what is delivered. Publish sets its Image.
	Release Release
	// Tarball is the file with the image that was built: an OCI image layout in a tar archive. "" when there is none.
	Tarball string
	// Commit is the one that the operator has to apply. Bump sets it.
	Commit string
	// PullRequest is the address of the pull request with the change, where it was proposed and not pushed.
	PullRequest string
}

// Status is what became of a step.
type Status string

// The statuses of a step.
const (
	Done      Status = "done"
	Unchanged Status = "unchanged" // there was nothing to do
	Held      Status = "held"      // the new version waits beside the old one for a decision
	Failed    Status = "failed"
	Skipped   Status = "skipped" // a step that it needs did not succeed
)

// Outcome is what became of a step, as the step says it. The zero Status means Done.
type Outcome struct {
	Status Status
	// Summary is one line for the reader.
	Summary string
	// Detail is the verb's JSON: a pointer to one of the structs of this package, such as *Deployed; nil when the step
	// failed before there was anything to say.
	Detail any
}
