// Package files reads a build context on this machine, as an engine sees it: without what .dockerignore names.
package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// Walk visits the files and directories of a build context in the order of their names. dockerfile is the path of the
// Dockerfile inside it; it and the ignore file are always visited.
func Walk(root, dockerfile string, visit func(name string, d fs.DirEntry) error) error {
	return walk(root, dockerfile, func(name string, d fs.DirEntry, _ bool) error { return visit(name, d) })
}

// WalkVisible is Walk without the Dockerfile and the ignore file where they are ignored: what is left is what a COPY of the
// whole build context takes.
func WalkVisible(root, dockerfile string, visit func(name string, d fs.DirEntry) error) error {
	return walk(root, dockerfile, func(name string, d fs.DirEntry, ignored bool) error {
		if ignored {
			return nil
		}
		return visit(name, d)
	})
}

func walk(root, dockerfile string, visit func(name string, d fs.DirEntry, ignored bool) error) error {
	patterns, ignoreFile, err := ignored(root, dockerfile)
	if err != nil {
		return err
	}
	matcher, err := newMatcher(patterns)
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(root, ignoreFile), err)
	}
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil || name == "." {
			return err
		}
		skip, err := matcher.matches(name)
		if err != nil {
			return err
		}
		if skip && name != filepath.Clean(dockerfile) && name != ignoreFile {
			switch {
			case d.IsDir() && !matcher.Exclusions() && !holds(name, dockerfile):
				return fs.SkipDir
			case !d.IsDir(), !matcher.Exclusions():
				return nil
			}
		}
		return visit(filepath.ToSlash(name), d, skip)
	})
}

// matcher matches the paths of a walk with the patterns of an ignore file.
type matcher struct {
	*patternmatcher.PatternMatcher
	above []patternmatcher.MatchInfo // what the patterns say about the directories of the path before, the outermost one first
}

func newMatcher(patterns []string) (*matcher, error) {
	m, err := patternmatcher.New(patterns)
	return &matcher{PatternMatcher: m}, err
}

// matches reports whether a path is ignored. The directory of the path must have been asked for since the last path outside of
// it. BuildKit goes down the directories in this way: what a pattern says about a directory counts only where no pattern before it
// had said the same.
func (m *matcher) matches(name string) (bool, error) {
	depth := strings.Count(filepath.ToSlash(name), "/")
	var directory patternmatcher.MatchInfo
	if depth > 0 {
		directory = m.above[depth-1]
	}
	ignored, info, err := m.MatchesUsingParentResults(name, directory)
	m.above = append(m.above[:depth], info)
	return ignored, err
}

// holds reports whether a directory has the Dockerfile in it.
func holds(dir, dockerfile string) bool {
	inside, err := filepath.Rel(dir, dockerfile)
	return err == nil && filepath.IsLocal(inside)
}

// Hidden returns a function that reports whether a build sees nothing of a directory, which is given by its path in the build
// context: the ignore file names it, and makes no exception for what may be in it.
func Hidden(root, dockerfile string) (func(dir string) bool, error) {
	_, hides, err := hiding(root, dockerfile)
	return hides, err
}

// hiding returns the patterns of the ignore file, and Hidden.
func hiding(root, dockerfile string) (patterns []string, hides func(dir string) bool, err error) {
	patterns, ignoreFile, err := ignored(root, dockerfile)
	if err != nil {
		return nil, nil, err
	}
	if _, err := patternmatcher.New(patterns); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", filepath.Join(root, ignoreFile), err)
	}
	return patterns, func(dir string) bool {
		skip, err := isIgnored(patterns, dir)
		return err == nil && skip && !holds(dir, dockerfile) && !slices.ContainsFunc(patterns, func(p string) bool {
			exception, ok := strings.CutPrefix(p, "!")
			return ok && mayMatchIn(exception, dir)
		})
	}, nil
}

// Finds returns a function that reports whether an instruction that reads a path of the build context finds something there, and
// if not, whether it is the ignore file that hides it. A path may have wildcards.
func Finds(root, dockerfile string) (func(name string) (found, hidden bool), error) {
	patterns, hides, err := hiding(root, dockerfile)
	if err != nil {
		return nil, err
	}
	return func(name string) (found, hidden bool) {
		matches, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(name)))
		if err != nil || name == "." {
			return true, false // an engine says what is wrong with it
		}
		for _, match := range matches {
			below, err := filepath.Rel(root, match)
			info, failed := os.Lstat(match)
			if err != nil || failed != nil || throughLink(root, below) {
				return true, false // what is behind a link may be elsewhere
			}
			if skip, err := isIgnored(patterns, below); err != nil || !skip || info.IsDir() && !hides(below) {
				return true, false
			}
			hidden = true
		}
		return false, hidden
	}, nil
}

// throughLink reports whether a directory on the way to a path is a link.
func throughLink(root, name string) bool {
	for dir := filepath.Dir(name); dir != "."; dir = filepath.Dir(dir) {
		if info, err := os.Lstat(filepath.Join(root, dir)); err == nil && info.Mode().Type() == fs.ModeSymlink {
			return true
		}
	}
	return false
}

// isIgnored reports whether a path is ignored.
func isIgnored(patterns []string, name string) (ignored bool, err error) {
	matcher, err := newMatcher(patterns)
	if err != nil {
		return false, err
	}
	words := strings.Split(filepath.ToSlash(name), "/")
	for i := range words {
		if ignored, err = matcher.matches(strings.Join(words[:i+1], "/")); err != nil {
			return false, err
		}
	}
	return ignored, nil
}

// mayMatchIn reports whether a pattern may match something in a directory.
func mayMatchIn(pattern, dir string) bool {
	words := strings.Split(filepath.ToSlash(dir), "/")
	for i, p := range strings.Split(strings.Trim(pattern, "/"), "/") {
		if p == "**" || i >= len(words) {
			return true
		}
		if ok, err := path.Match(p, words[i]); err == nil && !ok {
			return false
		}
	}
	return true
}

// ignored reads the patterns of the Dockerfile's own ignore file, else those of the context's.
func ignored(root, dockerfile string) (patterns []string, file string, err error) {
	for _, name := range []string{filepath.Clean(dockerfile) + ".dockerignore", ".dockerignore"} {
		f, err := os.Open(filepath.Join(root, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, "", err
		}
		defer f.Close()
		patterns, err = ignorefile.ReadAll(f)
		if err != nil {
			return nil, "", fmt.Errorf("%s: %w", f.Name(), err)
		}
		return patterns, name, nil
	}
	return nil, "", nil
}

// Mode returns the permissions that git gives a file or a directory with the usual umask.
func Mode(mode fs.FileMode) fs.FileMode {
	if mode.IsDir() || mode&0o100 != 0 {
		return 0o755
	}
	return 0o644
}

// Canonical returns a directory with the build context in which each file has the permissions that git knows, since the
// umask of a clone is no part of the source, and which has no sockets, pipes and devices: an engine would make files of them.
// The directory is root where the context is like this already. Else it is a copy, and done removes it.
func Canonical(ctx context.Context, root, dockerfile string) (dir string, done func() error, err error) {
	done = func() error { return nil }
	other := errors.New("other permissions, or no source")
	err = Walk(root, dockerfile, func(_ string, d fs.DirEntry) error {
		info, err := d.Info()
		if err == nil && d.Type() != fs.ModeSymlink && info.Mode()&^fs.ModeDir != Mode(info.Mode()) {
			return other // the mode of a socket, a pipe or a device says what it is
		}
		return err
	})
	if !errors.Is(err, other) {
		return root, done, err
	}
	if dir, err = os.MkdirTemp("", "aksflow-context-"); err != nil {
		return "", done, err
	}
	done = func() error { return os.RemoveAll(dir) }
	err = Walk(root, dockerfile, func(name string, d fs.DirEntry) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return copyEntry(filepath.Join(root, name), filepath.Join(dir, name), d)
	})
	if err != nil {
		return "", done, errors.Join(fmt.Errorf("copying the build context: %w", err), done())
	}
	return dir, done, nil
}

// copyEntry copies a file, a link or a directory without what is in it.
func copyEntry(from, to string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	switch {
	case d.IsDir():
		return errors.Join(os.MkdirAll(to, 0o755), os.Chmod(to, 0o755))
	case d.Type() == fs.ModeSymlink:
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(target, to)
	case !d.Type().IsRegular():
		return nil // a socket, a pipe or a device is no source
	}
	// A directory that is ignored may hold a file that is not.
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Close()); err != nil {
		return err
	}
	return errors.Join(os.Chmod(to, Mode(info.Mode())), os.Chtimes(to, info.ModTime(), info.ModTime()))
}
