package git

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	formatconfig "github.com/go-git/go-git/v5/plumbing/format/config"
	"github.com/go-git/go-git/v5/storage/filesystem"
	"github.com/go-git/go-git/v5/storage/filesystem/dotgit"
)

// openWorkTree opens the repository that dir is in. It returns nil outside of a repository.
func openWorkTree(dir string) (*git.Repository, error) {
	at, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	for {
		repo, err := openAt(at)
		switch above := filepath.Dir(at); {
		case errors.Is(err, git.ErrRepositoryNotExists) && above != at:
			at = above
		case errors.Is(err, git.ErrRepositoryNotExists):
			return nil, nil
		case err != nil:
			return nil, fmt.Errorf("cannot read the git repository of %s: %w", dir, err)
		default:
			return repo, nil
		}
	}
}

// openAt opens the repository whose work tree begins at dir. It returns nil where dir is the work tree of a repository that is not
// on this machine, such as a submodule that is mounted alone.
func openAt(dir string) (*git.Repository, error) {
	at, common, err := gitDirectories(dir)
	if at == "" || err != nil {
		return nil, err
	}
	files := osfs.New(at)
	if common != at {
		files = dotgit.NewRepositoryFilesystem(files, osfs.New(common))
	}
	if files, err = withAlternates(files, filepath.Join(common, "objects")); err != nil {
		return nil, err
	}
	storage := filesystem.NewStorageWithOptions(files, cache.NewObjectLRUDefault(), filesystem.Options{AlternatesFS: osfs.New("/")})
	return git.Open(readOnly{storage}, osfs.New(dir))
}

// gitDirectories returns the directory of what belongs to a work tree, and that of what all work trees of the repository have in
// common (gitrepository-layout(5)). They differ in a linked work tree, and are empty where dir names ones that are not there.
func gitDirectories(dir string) (own, common string, err error) {
	own = filepath.Join(dir, git.GitDirName)
	info, err := os.Stat(own)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) { // dir may be a file
		return "", "", git.ErrRepositoryNotExists
	}
	if err != nil {
		return "", "", err
	}
	if !info.IsDir() {
		text, err := os.ReadFile(own)
		if err != nil {
			return "", "", err
		}
		to, found := strings.CutPrefix(strings.TrimSpace(string(text)), "gitdir:")
		if !found {
			return "", "", fmt.Errorf("%s does not begin with gitdir:", own)
		}
		own = join(dir, strings.TrimSpace(to))
		if _, err := os.Stat(own); errors.Is(err, fs.ErrNotExist) {
			return "", "", nil
		}
	}
	text, err := os.ReadFile(filepath.Join(own, "commondir"))
	if errors.Is(err, fs.ErrNotExist) {
		return own, own, nil
	}
	return own, join(own, strings.TrimSpace(string(text))), err
}

// join returns a path that is relative to dir unless it is absolute.
func join(dir, name string) string {
	if filepath.IsAbs(name) {
		return filepath.Clean(name)
	}
	return filepath.Join(dir, name)
}

// readOnly is a repository that is only read.
type readOnly struct{ *filesystem.Storage }

// harmless are extensions of git's repository format that change nothing of how a repository is read
// (Documentation/technical/repository-version.txt). go-git refuses them: `git sparse-checkout` sets the first one.
var harmless = []string{"worktreeconfig", "partialclone", "preciousobjects", "relativeworktrees"}

// Config returns the configuration without the extensions that are harmless.
func (r readOnly) Config() (*config.Config, error) {
	c, err := r.Storage.Config()
	if err != nil || !c.Raw.HasSection("extensions") {
		return c, err
	}
	section := c.Raw.Section("extensions")
	section.Options = slices.DeleteFunc(section.Options, func(o *formatconfig.Option) bool {
		return slices.Contains(harmless, strings.ToLower(o.Key))
	})
	return c, nil
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

// DefaultBranch is the branch that the HEAD of the remote origin names, as it was when the repository was cloned; "" where that is
// not known.
func DefaultBranch(dir string) (string, error) {
	repo, err := openWorkTree(dir)
	if repo == nil {
		return "", err
	}
	head, err := repo.Reference(plumbing.NewRemoteHEADReferenceName("origin"), false)
	if errors.Is(err, plumbing.ErrReferenceNotFound) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("cannot read which branch of origin %s was cloned from: %w", dir, err)
	}
	return strings.TrimPrefix(head.Target().String(), "refs/remotes/origin/"), nil
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
