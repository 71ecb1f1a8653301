package key

import (
	"path"
	"slices"
	"strings"

	"github.com/moby/patternmatcher"

	"github.com/aksflow/aksflow/internal/core/build/dockerfile"
)

// reading is what an instruction reads of a build context.
type reading struct {
	pattern []string // the parts of the path, with wildcards in them; empty for all of the build context
	exclude *patternmatcher.PatternMatcher
	// above is what the patterns of exclude say about directories, by their paths below what pattern matches. BuildKit goes down
	// in this way, and what it finds in a directory depends on what it found above.
	above map[string]patternmatcher.MatchInfo
}

func newReadings(reads []dockerfile.Read) []*reading {
	var out []*reading
	for _, r := range reads {
		one := &reading{above: map[string]patternmatcher.MatchInfo{}}
		if r.Path != "." {
			one.pattern = strings.Split(r.Path, "/")
		}
		if len(r.Exclude) > 0 {
			// An engine refuses patterns that cannot be read.
			if matcher, err := patternmatcher.New(r.Exclude); err == nil {
				one.exclude = matcher
			}
		}
		out = append(out, one)
	}
	return out
}

// all reports whether everything is read.
func (r *reading) all() bool { return len(r.pattern) == 0 && r.exclude == nil }

// sees reports whether a file is read. What is not certain is read.
func (r *reading) sees(name string) bool {
	rest, certain, ok := covers(r.pattern, name)
	if !ok || r.exclude == nil || !certain || rest == "" {
		return ok
	}
	excluded, _, err := r.excluded(rest)
	return err != nil || !excluded
}

// excluded reports whether a path below what the pattern matches is left out.
func (r *reading) excluded(rest string) (bool, patternmatcher.MatchInfo, error) {
	var above patternmatcher.MatchInfo
	if dir := path.Dir(rest); dir != "." {
		known, ok := r.above[dir]
		if !ok {
			var err error
			if _, known, err = r.excluded(dir); err != nil {
				return false, known, err
			}
			r.above[dir] = known
		}
		above = known
	}
	return r.exclude.MatchesUsingParentResults(rest, above)
}

// leadsTo reports whether a file stands in a path that is read: it is the path or a directory above it.
func (r *reading) leadsTo(name string) bool {
	depth := strings.Count(name, "/") + 1
	if depth > len(r.pattern) {
		return false
	}
	_, _, ok := covers(r.pattern[:depth], name)
	return ok
}

// covers reports whether a path, with wildcards in it, is that of a file or of a directory above it. rest is the path of the file
// below it, if that is certain.
func covers(pattern []string, name string) (rest string, certain, ok bool) {
	rest, certain = name, true
	for _, p := range pattern {
		if p == "**" {
			return "", false, true
		}
		if rest == "" {
			return "", false, false
		}
		var part string
		part, rest, _ = strings.Cut(rest, "/")
		if part == p {
			continue
		}
		matched, err := path.Match(p, part)
		if err != nil {
			certain = false
		} else if !matched {
			return "", false, false
		}
	}
	return rest, certain, true
}

// seen reports whether one of the readings sees a file.
func seen(name string, readings []*reading) bool {
	return slices.ContainsFunc(readings, func(r *reading) bool { return r.sees(name) })
}
