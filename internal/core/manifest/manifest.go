// Package manifest finds the image references in Kubernetes manifests, kustomizations, Helm values and JSON, and sets
// them without changing another byte.
//
// A reference is found with a YAML parser and replaced in the bytes: comments, quotes, indentation, anchors, line ends
// and the order of keys stay as their author left them. Every edit is parsed again, and refused unless it differs from
// the original in the image values alone.
//
// [Set] edits one file's content. [Plan] edits a directory and knows kustomizations: the overlay of one environment is
// edited, never the base that it shares with others. Neither writes; [Edit.Write] does. The package knows no network.
package manifest

// Target is the image to set, and which references are meant.
type Target struct {
	// Image is the new reference: REPOSITORY[:TAG][@sha256:DIGEST], the repository with or without its registry's
	// host. A tag or a digest must be there.
	Image string
	// Replace are repositories that stand for the image in the manifests, besides its own, which counts on any
	// registry: "vote", "ghcr.io/example/vote". Without a registry's host a name matches on any registry. A Flux setter
	// may be named by its policy, "flux-system:vote".
	Replace []string
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

// Validate tells what is wrong with the target's image or its names.
func (t Target) Validate() error {
	_, err := t.wanted()
	return err
}

// Result is the outcome of Set.
type Result struct {
	Content []byte   // the new content; the very slice that was passed when nothing changed
	Changes []Change // in order of lines
	Matched int      // references that the target names, those included that were right already
	Seen    []Seen   // every reference in the file, as it stood
}
