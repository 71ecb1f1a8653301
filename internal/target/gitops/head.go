package gitops

import (
	"errors"
	"fmt"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
)

// Head returns what is checked out in the work tree that dir stands in: the full name of its branch, "HEAD" when it is
// on none, and the commit. Both are empty outside of a repository; the commit is before the first one.
func Head(dir string) (ref, commit string, err error) {
	repo, err := git.PlainOpenWithOptions(dir, &git.PlainOpenOptions{DetectDotGit: true, EnableDotGitCommonDir: true})
	if errors.Is(err, git.ErrRepositoryNotExists) {
		return "", "", nil
	}
	if err != nil {
		return "", "", fmt.Errorf("opening the git repository of %s: %w", dir, err)
	}
	head, err := repo.Reference(plumbing.HEAD, false)
	if err != nil {
		return "", "", fmt.Errorf("reading what is checked out in %s: %w", dir, err)
	}
	ref = head.Name().String()
	if head.Type() == plumbing.SymbolicReference {
		ref = head.Target().String()
	}
	switch resolved, err := repo.Head(); {
	case errors.Is(err, plumbing.ErrReferenceNotFound):
		return ref, "", nil
	case err != nil:
		return "", "", fmt.Errorf("reading what is checked out in %s: %w", dir, err)
	default:
		return ref, resolved.Hash().String(), nil
	}
}
