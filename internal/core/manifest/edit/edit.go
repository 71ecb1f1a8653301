// Package edit sets the image references of one file, byte by byte: Kubernetes manifests, kustomizations, Helm values,
// settings and JSON.
//
// [Read] finds the references of a file, [Apply] sets those that are meant and verifies what it wrote. What other files
// say about a file comes in as a [Setting]: package manifest knows directories.
package edit

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
	Right   bool // it is the target
}

// Remaining is a text that names the image in a place that was not set.
type Remaining struct {
	File string `json:"file"`
	Line int    `json:"line"` // 1-based, in the new content; 0 for what is known from kustomize's output only
	Key  string `json:"key"`  // the path of keys to the text: "metadata.annotations.app-image"
	Text string `json:"text"` // the reference as it stands
}

// Where is the file, with the line where it is known.
func (r Remaining) Where() string {
	if r.Line == 0 {
		return r.File
	}
	return fmt.Sprintf("%s:%d", r.File, r.Line)
}

// Validate reports what is wrong with the target's image or its names.
func (t Target) Validate() error {
	_, err := t.Wanted()
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
