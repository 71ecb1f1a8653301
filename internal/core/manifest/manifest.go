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

import "fmt"

// Target is the image to set, and which references are meant.
type Target struct {
	// Image is the new reference: REPOSITORY[:TAG][@sha256:DIGEST], the repository with or without its registry's
	// host. A tag or a digest must be there. References to its own repository are set: on its own host and, where none
	// stands, without a host. The same path on another host is another image.
	Image string
	// Replace are repositories that stand for the image in the manifests, besides its own: "vote",
	// "ghcr.io/example/vote". Without a registry's host a name matches on any registry. A Flux setter may be named by
	// its policy, "flux-system:vote".
	Replace []string
	// Keys name references in shapes that are not recognised.
	Keys []Keys
}

// Change is one reference that was, or would be, set.
type Change struct {
	File string `json:"file"` // slash-separated, relative to the directory that was asked for; Set's name argument
	Line int    `json:"line"` // 1-based, in the new content
	From string `json:"from"` // the reference as it stood, put together when it stood in several keys; "" if inserted
	To   string `json:"to"`
}

// Seen is a reference that stood in a manifest.
type Seen struct {
	File    string
	Line    int
	Image   string
	Matched bool // the target names it
}

// Remaining is a text that names the image in a place that was not set.
type Remaining struct {
	File string `json:"file"`
	Line int    `json:"line"` // 1-based, in the new content; 0 for what is known from kustomize's output only
	Key  string `json:"key"`  // the path of keys to the text: "metadata.annotations.app-image"
	Text string `json:"text"` // the reference as it stands
}

// where is the file, with the line where it is known.
func (r Remaining) where() string {
	if r.Line == 0 {
		return r.File
	}
	return fmt.Sprintf("%s:%d", r.File, r.Line)
}

// Unverified is something that was edited, or governs what was, and could not be checked.
type Unverified struct {
	File   string `json:"file"` // a directory or file
	Reason string `json:"reason"`
}

// Validate reports what is wrong with the target's image or its names.
func (t Target) Validate() error {
	_, err := t.wanted()
	return err
}

// Result is the outcome of Set.
type Result struct {
	Content   []byte   // the new content; the very slice that was passed when nothing changed
	Changes   []Change // in order of lines
	Matched   int      // references that the target names, those included that were right already
	Seen      []Seen   // every reference in the file, as it stood
	Remaining []Remaining
}
