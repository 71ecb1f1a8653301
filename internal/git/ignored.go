package git

import (
	"path"
	"path/filepath"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/format/gitignore"
)

// Ignored returns a function that reports whether git ignores a file or a directory, by its absolute path, in the repository
// that dir is in. The file or directory need not exist. Where there is no repository, or its files cannot be read, nothing is
// ignored. The function is for one goroutine at a time, and reads each .gitignore once.
func Ignored(dir string) func(name string, isDir bool) bool {
	none := func(string, bool) bool { return false }
	repository, err := openWorkTree(dir)
	if err != nil || repository == nil {
		return none
	}
	s := &sourceFinder{repository: repository}
	if err := s.locate(dir, nil); err != nil {
		return none
	}
	everywhere, err := s.patternsAbove(".")
	if err != nil {
		return none
	}
	known := map[string][]gitignore.Pattern{}
	var inside func(dir string) []gitignore.Pattern // the patterns that hold for what is in a directory
	inside = func(dir string) []gitignore.Pattern {
		if patterns, ok := known[dir]; ok {
			return patterns
		}
		above := everywhere
		if dir != "." {
			above = inside(path.Dir(dir))
		}
		patterns, err := s.readIgnore(above, dir)
		if err != nil {
			patterns = above
		}
		known[dir] = patterns
		return patterns
	}
	return func(name string, isDir bool) bool {
		rel, err := filepath.Rel(s.root, resolved(name))
		if err != nil || !filepath.IsLocal(rel) || rel == "." {
			return false
		}
		rel = filepath.ToSlash(rel)
		return gitignore.NewMatcher(inside(path.Dir(rel))).Match(strings.Split(rel, "/"), isDir)
	}
}

// resolved is a path without symbolic links, as far as it exists.
func resolved(name string) string {
	if real, err := filepath.EvalSymlinks(name); err == nil {
		return real
	}
	if dir := filepath.Dir(name); dir != name {
		return filepath.Join(resolved(dir), filepath.Base(name))
	}
	return name
}
