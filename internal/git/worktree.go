package git

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
)

// openWorkTree opens the repository that dir is in. It returns nil outside of a repository.
func openWorkTree(dir string) (*git.Repository, error) {
	repo, err := git.PlainOpenWithOptions(dir, &git.PlainOpenOptions{DetectDotGit: true, EnableDotGitCommonDir: true})
	if errors.Is(err, git.ErrRepositoryNotExists) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the git repository of %s: %w", dir, err)
	}
	return repo, nil
}

// Head returns what is checked out in the work tree that dir is in: the full name of the branch, or "HEAD" when no
// branch is checked out, and the commit. Both are empty outside of a repository; the commit is empty before the first
// one.
func Head(dir string) (gitRef, commit string, err error) {
	repo, err := openWorkTree(dir)
	if repo == nil {
		return "", "", err
	}
	head, err := repo.Reference(plumbing.HEAD, false)
	if err != nil {
		return "", "", fmt.Errorf("cannot read what is checked out in %s: %w", dir, err)
	}
	gitRef = head.Name().String()
	if head.Type() == plumbing.SymbolicReference {
		gitRef = head.Target().String()
	}
	switch resolved, err := repo.Head(); {
	case errors.Is(err, plumbing.ErrReferenceNotFound):
		return gitRef, "", nil
	case err != nil:
		return "", "", fmt.Errorf("cannot read what is checked out in %s: %w", dir, err)
	default:
		return gitRef, resolved.Hash().String(), nil
	}
}

// TagsAt returns the names of the tags of a commit, annotated or not, in the repository that dir is in.
func TagsAt(dir, commit string) ([]string, error) {
	repo, err := openWorkTree(dir)
	if repo == nil {
		return nil, err
	}
	refs, err := repo.Tags()
	if err != nil {
		return nil, fmt.Errorf("cannot read the tags of %s: %w", dir, err)
	}
	var names []string
	err = refs.ForEach(func(ref *plumbing.Reference) error {
		resolved, err := repo.ResolveRevision(plumbing.Revision(ref.Name()))
		if err == nil && resolved.String() == commit {
			names = append(names, ref.Name().Short())
		}
		return nil // a tag of something else than a commit is not one of this commit
	})
	return names, err
}

// Refs returns the full names of the local branches and the tags of the repository that dir is in.
func Refs(dir string) ([]string, error) {
	repo, err := openWorkTree(dir)
	if repo == nil {
		return nil, err
	}
	refs, err := repo.References()
	if err != nil {
		return nil, fmt.Errorf("cannot read the branches and tags of %s: %w", dir, err)
	}
	var names []string
	err = refs.ForEach(func(ref *plumbing.Reference) error {
		if ref.Name().IsBranch() || ref.Name().IsTag() {
			names = append(names, ref.Name().String())
		}
		return nil
	})
	return names, err
}

// Origin returns the address of the remote origin of the repository that dir is in, "" if there is none, and the names of
// its branches that were fetched.
func Origin(dir string) (address string, branches []string, err error) {
	repo, err := openWorkTree(dir)
	if repo == nil {
		return "", nil, err
	}
	if remote, err := repo.Remote("origin"); err == nil && len(remote.Config().URLs) > 0 {
		address = remote.Config().URLs[0]
	}
	refs, err := repo.References()
	if err != nil {
		return "", nil, fmt.Errorf("cannot read the branches of %s: %w", dir, err)
	}
	err = refs.ForEach(func(ref *plumbing.Reference) error {
		if name, ok := strings.CutPrefix(ref.Name().String(), "refs/remotes/origin/"); ok && name != "HEAD" {
			branches = append(branches, name)
		}
		return nil
	})
	return address, branches, err
}

// SourceURI is where a work tree was cloned from, without a login, as SLSA names it; "" where that is not known.
func SourceURI(dir string) string {
	address, _, err := Origin(dir)
	if err != nil || address == "" {
		return ""
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme == "" {
		return address // in the form of scp, which has no password
	}
	u.User = nil
	return "git+" + u.String()
}
