// Package manifest finds the image references in Kubernetes manifests, kustomizations, Helm values and JSON, and sets
// them without changing another byte.
//
// A reference is found with a YAML parser and replaced in the bytes: comments, quotes, indentation, anchors, line ends
// and the order of keys stay as their author left them. Every edited file is parsed again and searched again. It is
// refused unless each reference that was meant now is the target, and every other value is what it was.
//
// [Set] edits one file's content. [Plan] edits a directory and knows kustomizations: the overlay of one environment is
// edited, never the base that it shares with others. Neither writes; [Edit.Write] does. The package knows no network,
// and does not link kustomize: a caller that has it passes it as [Options.Build], and the result is judged by it.
package manifest

import "github.com/aksflow/aksflow/internal/core/manifest/edit"

// The types of package edit that callers need.
type (
	Target    = edit.Target
	Keys      = edit.Keys
	Change    = edit.Change
	Seen      = edit.Seen
	Remaining = edit.Remaining
	Result    = edit.Result
)

// Set sets every reference in content that target names. Name is the file's: its base tells a kustomization, Helm
// values and .argocd-source files apart. Matching nothing is no error here.
func Set(name string, content []byte, target Target) (*Result, error) {
	return edit.Set(name, content, target)
}

// Unverified is something that was edited, or governs what was, and could not be checked.
type Unverified struct {
	File   string `json:"file"` // a directory or file
	Reason string `json:"reason"`
}
