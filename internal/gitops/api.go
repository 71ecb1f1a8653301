package gitops

import (
	"context"
	"errors"
	"time"

	"github.com/go-git/go-git/v5"
)

// Bump sets the image on the remote's branch, in one commit or not at all. It fails when no reference matches, naming
// the images that were seen, and when a later commit rolled this very image back ([RolledBackError]). A push that
// loses a race is tried again on the new tip; a branch is never forced, save a pull request's own.
func Bump(ctx context.Context, o BumpOptions) (*Result, error) {
	return nil, errors.ErrUnsupported
}

// Rollback reverts the commit that set the image which the branch has now, as a new commit.
func Rollback(ctx context.Context, o RollbackOptions) (*Result, error) {
	return nil, errors.ErrUnsupported
}

// Contains tells whether revision, a commit of the remote, has commit in its history.
func (r Remote) Contains(ctx context.Context, revision, commit string) (bool, error) {
	return false, errors.ErrUnsupported
}

// Wait returns when the operator has applied the commit, or a later one, and every pod of every workload with the image
// runs its digest and is ready. It fails at once with the operator's own error, or the pods' reasons, when that cannot
// happen any more; when ctx ends, it says what is still missing.
func Wait(ctx context.Context, o WaitOptions) (*WaitResult, error) {
	return nil, errors.ErrUnsupported
}

// Source is what an image is built from.
type Source struct {
	Commit  string    // the last commit that touched the paths; "" when dir is in no git repository, or none did
	Time    time.Time // when it was committed
	Dirty   bool      // the work tree, or the index, differs from HEAD under the paths
	Shallow bool      // the history ended before such a commit was certain: Commit is the oldest one there is
}

// SourceRevision looks at the repository that dir stands in. Paths are relative to dir; none means dir itself.
func SourceRevision(ctx context.Context, dir string, paths ...string) (Source, error) {
	return Source{}, errors.ErrUnsupported
}

// NewSigner returns a signer for an OpenPGP private key (armored) or an SSH private key (OpenSSH or PEM form), told
// apart by their headers.
func NewSigner(key, passphrase []byte) (git.Signer, error) {
	return nil, errors.ErrUnsupported
}

// RolledBackError says that the image was on the branch before, and was taken back on purpose.
type RolledBackError struct {
	Image  string
	Commit string // the commit that took it back
	Author string
	Time   time.Time
}

// Error implements error.
func (e *RolledBackError) Error() string { return "" }
