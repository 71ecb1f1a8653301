package manifest

import (
	"context"
	"errors"
	"io/fs"
)

// Edit is what would change in a directory. Nothing has been written.
type Edit struct {
	Files   []File   // only those that change
	Changes []Change // by file and line
	Matched int      // references that the target names, those included that were right already
}

// File is one file of an Edit.
type File struct {
	Path    string // slash-separated, relative to the fs.FS
	Content []byte
}

// Set sets every reference in content that target names. Name is the file's: its base tells a kustomization, Helm
// values and .argocd-source files apart. Matching nothing is no error here.
func Set(name string, content []byte, target Target) (*Result, error) {
	return nil, errors.ErrUnsupported
}

// Plan reads the manifests under dir, a slash-separated directory or file in fsys, and says what to change so that they
// name the target's image. Links are followed within fsys only. It fails when nothing matches ([NoMatchError]).
func Plan(ctx context.Context, fsys fs.FS, dir string, target Target) (*Edit, error) {
	return nil, errors.ErrUnsupported
}

// SetDir is Plan and Write for a directory, or file, on disk. The limit that links may not leave is the root of the git
// work tree that dir stands in, else dir itself.
func SetDir(ctx context.Context, dir string, target Target) (*Edit, error) {
	return nil, errors.ErrUnsupported
}

// NoMatchError says that no reference in Path was meant by the target.
type NoMatchError struct {
	Path  string
	Names []string // what was looked for
	Seen  []Seen   // what is there instead
}

// Error implements error.
func (e *NoMatchError) Error() string { return "" }
