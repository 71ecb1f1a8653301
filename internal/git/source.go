package git

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/format/gitignore"
	"github.com/go-git/go-git/v5/plumbing/format/index"
	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/aksflow/aksflow/internal/core/delivery"
)

// SourceOf returns what an image is built from, when that is the files at paths. Paths are relative to dir; none means
// dir itself. The commit is the one that `git log -1 -- PATHS` prints. It is found by comparing the hashes of trees, so
// the size of the repository, and commits that touch other files, cost little. Outside of a repository, and where
// nothing at the paths is committed, the commit is empty.
func SourceOf(ctx context.Context, dir string, paths ...string) (delivery.Source, error) {
	repository, err := openWorkTree(dir)
	if repository == nil {
		return delivery.Source{}, err
	}
	s := &sourceFinder{repository: repository}
	source, err := s.find(ctx, dir, paths)
	if errors.Is(err, plumbing.ErrObjectNotFound) {
		return delivery.Source{}, fmt.Errorf("cannot find the source revision of %s: this clone lacks a part of the commit that is checked out: `git fsck` names it, and a new clone has it", dir)
	}
	if err != nil {
		return delivery.Source{}, fmt.Errorf("cannot find the source revision of %s: %w", dir, err)
	}
	return source, nil
}

type sourceFinder struct {
	repository *git.Repository
	root       string   // of the work tree
	paths      []string // slash-separated, relative to root; "." is root
}

func (s *sourceFinder) find(ctx context.Context, dir string, paths []string) (delivery.Source, error) {
	if err := s.locate(dir, paths); err != nil {
		return delivery.Source{}, err
	}
	reference, err := s.repository.Head()
	if errors.Is(err, plumbing.ErrReferenceNotFound) {
		return delivery.Source{Dirty: true}, nil // nothing committed yet
	}
	if err != nil {
		return delivery.Source{}, err
	}
	head, err := s.repository.CommitObject(reference.Hash())
	if err != nil {
		return delivery.Source{}, err
	}
	source, err := s.lastChange(ctx, head)
	if err != nil {
		return delivery.Source{}, err
	}
	source.Dirty, err = s.dirty(ctx, head)
	return source, err
}

func (s *sourceFinder) locate(dir string, paths []string) error {
	tree, err := s.repository.Worktree()
	if err != nil {
		return err
	}
	if s.root, err = filepath.EvalSymlinks(tree.Filesystem.Root()); err != nil {
		return err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	if len(paths) == 0 {
		paths = []string{"."}
	}
	for _, p := range paths {
		full := filepath.Join(dir, p)
		if real, err := filepath.EvalSymlinks(full); err == nil {
			full = real
		}
		relative, err := filepath.Rel(s.root, full)
		if err != nil || !filepath.IsLocal(relative) {
			return fmt.Errorf("%s is outside the repository at %s", p, s.root)
		}
		s.paths = append(s.paths, filepath.ToSlash(relative))
	}
	return nil
}

// lastChange walks back from head to parents that have the same content at the paths, and returns the last such commit.
func (s *sourceFinder) lastChange(ctx context.Context, head *object.Commit) (delivery.Source, error) {
	shallow, err := s.repository.Storer.Shallow()
	if err != nil {
		return delivery.Source{}, err
	}
	at := head
	content, err := s.contentAt(at)
	if err != nil {
		return delivery.Source{}, err
	}
	if !slices.ContainsFunc(content, func(h plumbing.Hash) bool { return !h.IsZero() }) {
		return delivery.Source{}, nil // nothing of it is committed
	}
	for {
		if err := ctx.Err(); err != nil {
			return delivery.Source{}, context.Cause(ctx)
		}
		source := delivery.Source{Commit: at.Hash.String(), Time: at.Committer.When}
		if slices.Contains(shallow, at.Hash) {
			source.Shallow = true
			return source, nil
		}
		next, err := s.sameParent(at, content)
		if errors.Is(err, plumbing.ErrObjectNotFound) { // a partial clone has the trees of what is checked out only
			source.Shallow = true
			return source, nil
		}
		if err != nil {
			return delivery.Source{}, err
		}
		if next == nil {
			return source, nil
		}
		at = next
	}
}

// sameParent returns a parent of commit that has this content at the paths, or nil.
func (s *sourceFinder) sameParent(commit *object.Commit, content []plumbing.Hash) (*object.Commit, error) {
	for _, hash := range commit.ParentHashes {
		parent, err := s.repository.CommitObject(hash)
		if err != nil {
			return nil, err
		}
		if parent.TreeHash == commit.TreeHash {
			return parent, nil
		}
		before, err := s.contentAt(parent)
		if err != nil {
			return nil, err
		}
		if slices.Equal(before, content) {
			return parent, nil
		}
	}
	return nil, nil
}

// contentAt returns the hash of each path at a commit. It is zero for a path that does not exist.
func (s *sourceFinder) contentAt(commit *object.Commit) ([]plumbing.Hash, error) {
	root, err := s.repository.TreeObject(commit.TreeHash)
	if err != nil {
		return nil, err
	}
	hashes := make([]plumbing.Hash, len(s.paths))
	for i, p := range s.paths {
		if p == "." {
			hashes[i] = root.Hash
			continue
		}
		entry, err := root.FindEntry(p)
		switch {
		case errors.Is(err, object.ErrEntryNotFound), errors.Is(err, object.ErrDirectoryNotFound):
		case err != nil:
			return nil, err
		default:
			hashes[i] = entry.Hash
		}
	}
	return hashes, nil
}

// dirty reports whether the index differs from head, the work tree from the index, or an untracked file is at the paths.
// A file whose size and time are equal to those in the index is not read.
func (s *sourceFinder) dirty(ctx context.Context, head *object.Commit) (bool, error) {
	idx, err := s.repository.Storer.Index()
	if errors.Is(err, index.ErrUnknownExtension) {
		return false, errors.New("git's index is split or sparse, which is not read here: `git update-index --no-split-index`, or `git sparse-checkout reapply --no-sparse-index`, writes a whole one")
	}
	if err != nil {
		return false, err
	}
	committed, err := s.committed(head)
	if err != nil {
		return false, err
	}
	// A file written in the same clock tick as the index may have the time of its entry but another content.
	var settled time.Time
	if storage, ok := s.repository.Storer.(readOnly); ok {
		if info, err := storage.Filesystem().Stat("index"); err == nil {
			const tick = 10 * time.Millisecond
			settled = info.ModTime().Add(-tick)
		}
	}
	known := map[string]bool{}
	for _, e := range idx.Entries {
		if !s.covers(e.Name) {
			continue
		}
		known[e.Name] = true
		if was, found := committed[e.Name]; !found || was.Hash != e.Hash || was.Mode != e.Mode {
			return true, nil
		}
		if e.SkipWorktree {
			continue
		}
		if e.Mode == filemode.Submodule {
			if changed, err := s.submoduleChanged(ctx, e); err != nil || changed {
				return changed, err
			}
			continue
		}
		changed, err := s.changed(e, settled)
		if err != nil || changed {
			return changed, err
		}
	}
	if len(known) != len(committed) {
		return true, nil
	}
	return s.untracked(ctx, known)
}

// submoduleChanged reports whether the submodule is at another commit than the index says, or is dirty itself. One that is
// not checked out is as git left it.
func (s *sourceFinder) submoduleChanged(ctx context.Context, e *index.Entry) (bool, error) {
	dir := filepath.Join(s.root, filepath.FromSlash(e.Name))
	repository, err := openAt(dir)
	if repository == nil && (err == nil || errors.Is(err, git.ErrRepositoryNotExists)) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("the submodule %s: %w", e.Name, err)
	}
	reference, err := repository.Head()
	if errors.Is(err, plumbing.ErrReferenceNotFound) || err == nil && reference.Hash() != e.Hash {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("the submodule %s: %w", e.Name, err)
	}
	head, err := repository.CommitObject(e.Hash)
	if err != nil {
		return false, fmt.Errorf("the submodule %s: %w", e.Name, err)
	}
	inner := &sourceFinder{repository: repository, root: dir, paths: []string{"."}}
	return inner.dirty(ctx, head)
}

func (s *sourceFinder) covers(name string) bool {
	return slices.ContainsFunc(s.paths, func(p string) bool {
		return p == "." || name == p || strings.HasPrefix(name, p+"/")
	})
}

// committed returns the files of commit that are at the paths.
func (s *sourceFinder) committed(commit *object.Commit) (map[string]object.TreeEntry, error) {
	root, err := s.repository.TreeObject(commit.TreeHash)
	if err != nil {
		return nil, err
	}
	files := map[string]object.TreeEntry{}
	for _, p := range s.paths {
		tree := root
		if p != "." {
			entry, err := root.FindEntry(p)
			if errors.Is(err, object.ErrEntryNotFound) || errors.Is(err, object.ErrDirectoryNotFound) {
				continue
			}
			if err != nil {
				return nil, err
			}
			if entry.Mode != filemode.Dir {
				files[p] = *entry
				continue
			}
			if tree, err = s.repository.TreeObject(entry.Hash); err != nil {
				return nil, err
			}
		}
		if err := s.flatten(tree, p, files); err != nil {
			return nil, err
		}
	}
	return files, nil
}

func (s *sourceFinder) flatten(tree *object.Tree, prefix string, files map[string]object.TreeEntry) error {
	for _, e := range tree.Entries {
		name := path.Join(prefix, e.Name)
		if e.Mode != filemode.Dir {
			files[name] = e
			continue
		}
		inner, err := s.repository.TreeObject(e.Hash)
		if err != nil {
			return err
		}
		if err := s.flatten(inner, name, files); err != nil {
			return err
		}
	}
	return nil
}

// changed reports whether a file of the work tree differs from its entry in the index. A file last written before
// settled is taken as unchanged when its size and time are equal to those of the entry.
func (s *sourceFinder) changed(e *index.Entry, settled time.Time) (bool, error) {
	name := filepath.Join(s.root, filepath.FromSlash(e.Name))
	info, err := os.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	if link := info.Mode()&fs.ModeSymlink != 0; link != (e.Mode == filemode.Symlink) {
		return true, nil
	} else if !link && runtime.GOOS != "windows" && (info.Mode()&0o100 != 0) != (e.Mode == filemode.Executable) {
		return true, nil
	}
	if info.ModTime().Equal(e.ModifiedAt) && uint32(info.Size()) == e.Size && e.ModifiedAt.Before(settled) {
		return false, nil
	}
	var content []byte
	if e.Mode == filemode.Symlink {
		target, err := os.Readlink(name)
		if err != nil {
			return false, err
		}
		content = []byte(target)
	} else if content, err = os.ReadFile(name); err != nil {
		return false, err
	}
	return plumbing.ComputeHash(plumbing.BlobObject, content) != e.Hash, nil
}

// untracked reports whether a file at the paths is neither known nor ignored.
func (s *sourceFinder) untracked(ctx context.Context, known map[string]bool) (bool, error) {
	found := errors.New("found")
	for _, p := range s.paths {
		patterns, err := s.patternsAbove(p)
		if err != nil {
			return false, err
		}
		ignores := map[string][]gitignore.Pattern{path.Dir(p): patterns}
		err = filepath.WalkDir(filepath.Join(s.root, filepath.FromSlash(p)), func(name string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			relative, err := filepath.Rel(s.root, name)
			if err != nil {
				return err
			}
			relative = filepath.ToSlash(relative)
			if !d.IsDir() && known[relative] {
				return nil
			}
			if relative == "." {
				ignores["."], err = s.readIgnore(patterns, ".")
				return err
			}
			above := ignores[path.Dir(relative)]
			switch ignored := gitignore.NewMatcher(above).Match(strings.Split(relative, "/"), d.IsDir()); {
			case d.Name() == ".git", ignored && d.IsDir():
				return skip(d)
			case ignored:
				return nil
			case d.IsDir():
				if _, err := os.Lstat(filepath.Join(name, ".git")); err == nil {
					return fs.SkipDir // a submodule, or another repository
				}
				ignores[relative], err = s.readIgnore(above, relative)
				return err
			}
			return found
		})
		if errors.Is(err, found) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
	}
	return false, nil
}

// skip leaves out .git, which is a file in a linked work tree.
func skip(d fs.DirEntry) error {
	if d.IsDir() {
		return fs.SkipDir
	}
	return nil
}

// patternsAbove reads the ignore patterns that hold for p: the user's, the repository's, and the .gitignore files above p.
func (s *sourceFinder) patternsAbove(p string) ([]gitignore.Pattern, error) {
	worktree, err := s.repository.Worktree()
	if err != nil {
		return nil, err
	}
	patterns := slices.Clone(worktree.Excludes)
	if global, err := gitignore.LoadGlobalPatterns(worktree.Filesystem); err == nil {
		patterns = append(patterns, global...)
	}
	if patterns, err = s.readPatterns(patterns, filepath.Join(s.root, ".git", "info", "exclude"), nil); err != nil {
		return nil, err
	}
	if p == "." {
		return patterns, nil
	}
	dir := "."
	for _, element := range strings.Split(p, "/") {
		if patterns, err = s.readIgnore(patterns, dir); err != nil {
			return nil, err
		}
		dir = path.Join(dir, element)
	}
	return patterns, nil
}

// readIgnore returns the patterns above a directory together with those of its own .gitignore.
func (s *sourceFinder) readIgnore(above []gitignore.Pattern, dir string) ([]gitignore.Pattern, error) {
	var domain []string
	if dir != "." {
		domain = strings.Split(dir, "/")
	}
	return s.readPatterns(above, filepath.Join(s.root, filepath.FromSlash(dir), ".gitignore"), domain)
}

func (s *sourceFinder) readPatterns(above []gitignore.Pattern, file string, domain []string) ([]gitignore.Pattern, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || !os.IsPermission(err) {
			return above, nil // none, or .git is a file
		}
		return nil, err
	}
	patterns := slices.Clone(above)
	for line := range strings.Lines(string(content)) {
		line = strings.TrimRight(line, "\r\n")
		if line != "" && !strings.HasPrefix(line, "#") {
			patterns = append(patterns, gitignore.ParsePattern(line, domain))
		}
	}
	return patterns, nil
}
