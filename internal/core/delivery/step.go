package delivery

import "context"

// Step is a part of a delivery.
type Step struct {
	Name string
	// About says in a few words what the step works on, for the plan; may be empty.
	About string
	// Needs are the steps that must have succeeded before this one, as far as they are part of the same run.
	Needs []string
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
