// Package gitops delivers through a git repository that an operator in the cluster follows.
//
// [Bump] sets an image in the manifests of a branch, by one commit that is pushed or proposed in a pull request.
// [Rollback] undoes a bump. Package wait, below this one, follows Argo CD or Flux until the pods run the image.
package gitops

import (
	"github.com/aksflow/aksflow/internal/core/manifest"
	"github.com/aksflow/aksflow/internal/git"
)

// BumpOptions say what to set, and where.
type BumpOptions struct {
	Remote git.Remote
	Branch string // may begin with refs/heads/; empty means the remote's default branch
	Path   string // directory or file in the repository, slash-separated; empty means all of it
	Target manifest.Target
	Check  manifest.Options // how the edit is verified

	Author git.Author // what is empty comes from Remote.Access, and is "aksflow" else
	// Message is a text/template over [MessageData]. Its first line is the subject. Empty means a default.
	Message string
	// SourceRevision and PipelineRun become the trailers Source-Revision and Pipeline-Run. The trailer Image is always
	// there.
	SourceRevision string // commit of the application's source
	PipelineRun    string // URL of the run
	SignOff        bool   // adds Signed-off-by
	SkipCI         bool   // adds [skip ci] to the subject, for pushes whose token starts workflows

	// Evidence is Markdown that speaks for the image, for the text of a pull request.
	Evidence string
	// PullRequest asks for a pull request instead of a push to Branch.
	PullRequest *PullRequest
	// Force sets the image even when a later commit rolled this very image back.
	Force bool
	// Settle leaves a reference with the same digest as it is, where [target.Settle] says so.
	Settle bool
}

// MessageData is what the template of a commit message can use.
type MessageData struct {
	Name           string // last element of the image's repository: vote
	Image          string // the whole reference
	Tag            string // may be empty
	Digest         string // sha256:…; may be empty
	Version        string // the tag; without one, the first 12 digits of the digest
	Path           string // as in BumpOptions; "." for the root
	Branch         string
	Changes        []manifest.Change
	SourceRevision string
	PipelineRun    string
	// Evidence and Rendered are for the text of a pull request: what speaks for the image, and how the objects change.
	Evidence, Rendered string
}

// PullRequest says how to propose a change.
type PullRequest struct {
	Labels []string // added to the request
	// AutoMerge merges when the rules of the branch are met: "merge", "squash" or "rebase". Empty leaves it to people.
	AutoMerge string
}

// Result is what a bump or a rollback did.
type Result struct {
	Changes     []manifest.Change
	Branch      string         // the branch that was pushed, or, when Unchanged, the one that has the image
	Commit      string         // the new commit, or, when Unchanged, the branch's tip
	PullRequest string         // its URL
	Unchanged   bool           // the image was there already: no commit was made
	Image       string         // of a bump: the reference that the branch has now
	Plan        *manifest.Edit // of a bump, also when nothing had to change
	Attempts    int            // pushes tried
}

// RollbackOptions say which bump to undo. Target.Image may be without tag and digest.
type RollbackOptions struct {
	BumpOptions
	// To is the commit whose images come back. Empty means the parent of the commit that set the present image.
	To string
}
