// Package gitflow decides from a git ref where a delivery goes and which tags its image gets, by the branch model
// GitFlow: https://nvie.com/posts/a-successful-git-branching-model/
//
// It is pure: the same ref, commit and configuration give the same answer on a laptop and in CI.
package gitflow

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/agnivade/levenshtein"
	"github.com/bmatcuk/doublestar/v4"
	"golang.org/x/mod/semver"

	"github.com/aksflow/aksflow/internal/core/config"
)

// Decision is what a git ref means.
type Decision struct {
	// Environment is the one that the ref is delivered to; "" means that the ref is built and tested only.
	Environment string
	// Version by Semantic Versioning 2.0.0, without a leading v; "" when neither the ref nor a commit is known.
	Version string
	// Tags are those of the image: the version, then the ref's name. Each is valid by the OCI distribution specification.
	Tags []string
	// Reason says why, in one sentence.
	Reason string
}

// kind of a git ref.
type kind int

const (
	branch kind = iota
	tag
	pullRequest
	detached
)

// Decide maps a git ref, full (refs/heads/main) or the name of a branch, to an environment: the first one of the file
// with a pattern that matches. The commit is the one that the image is built from; it may be empty.
//
// The tag of a pre-release, such as v1.2.0-rc.1, is matched only by a pattern that names the pre-release, such as v*-*: a
// pattern that matches v1.2.0 too is for releases.
func Decide(c *config.Config, gitRef, commit string) Decision {
	k, name := parse(gitRef)
	d := Decision{Version: version(k, name, commit)}
	switch k {
	case tag, branch:
		d.Tags = unique(Tag(d.Version), Tag(name))
	case pullRequest:
		d.Tags = unique(Tag(d.Version), Tag("pr-"+name))
		d.Reason = fmt.Sprintf("pull request %s is built and tested only: pull requests are not delivered", name)
		return d
	case detached:
		d.Tags = unique(Tag(d.Version))
		d.Reason = "it is built and tested only: no branch or tag is checked out; name one with --ref, or the environment with --env"
		return d
	}
	d.Environment, d.Reason = environment(c, k, name)
	return d
}

// Branch returns the name of the branch that a git ref is; false for a tag, a pull request and a commit.
func Branch(gitRef string) (name string, ok bool) {
	k, name := parse(gitRef)
	return name, k == branch
}

// Dirty returns the decision for a work tree with changes that are not committed: what is built is not what the ref
// names, so it gets a version of its own and no other tag.
func (d Decision) Dirty() Decision {
	if d.Version == "" {
		return d
	}
	core, build, _ := strings.Cut(d.Version, "+")
	d.Version = core + "-dirty"
	if build != "" {
		d.Version += "+" + build
	}
	d.Tags = unique(Tag(d.Version))
	return d
}

// environment finds the environment of a branch or a tag, and says why it is the one or why there is none.
func environment(c *config.Config, k kind, name string) (environment, reason string) {
	what := map[kind]string{branch: "branch", tag: "tag"}[k]
	var near candidate
	for _, environment := range c.Names() {
		patterns := c.Environments[environment].Branches
		if k == tag {
			patterns = c.Environments[environment].Tags
		}
		for _, pattern := range patterns {
			if ok, _ := doublestar.Match(pattern, name); !ok {
				near = near.orNearer(pattern, environment, name)
				continue
			}
			if k == tag && !namesPreRelease(pattern, name) {
				near = candidate{pattern, environment, -1}
				continue
			}
			return environment, fmt.Sprintf("%s %s matches %s of the environment %s", what, name, pattern, environment)
		}
	}
	reason = fmt.Sprintf("%s %s is built and tested only: no environment of %s names it", what, name, c.Path())
	switch {
	case near.distance < 0:
		reason += fmt.Sprintf("; it is a pre-release, and %s of %s is for releases: a pattern such as %s-* names pre-releases", near.pattern, near.environment, near.pattern)
	case near.pattern != "":
		reason += fmt.Sprintf("; the nearest pattern is %s of %s", near.pattern, near.environment)
	}
	return "", reason
}

// candidate is a pattern that does not match, with its distance to the ref's name.
type candidate struct {
	pattern, environment string
	distance             int
}

// orNearer returns the nearer one of two patterns. The distance counts the changes that the beginning of the name needs
// to be that of the pattern, in thousandths of the pattern's length.
func (c candidate) orNearer(pattern, environment, name string) candidate {
	literal := pattern
	if i := strings.IndexAny(pattern, `*?[{\`); i >= 0 {
		literal = pattern[:i]
		name = name[:min(len(name), len(literal))]
	}
	distance := 1000 * levenshtein.ComputeDistance(strings.ToLower(literal), strings.ToLower(name)) / max(1, len(literal))
	if c.pattern == "" || c.distance >= 0 && distance < c.distance {
		return candidate{pattern, environment, distance}
	}
	return c
}

// ended splits a tag that ends in a version: app/v1.2.0-rc.1+build.7 is app/v1.2.0, -rc.1 and +build.7. Of versions that are not
// semantic, it knows v1.2-rc.1, and 1.2.0rc1 as Python writes it (PEP 440).
var ended = regexp.MustCompile(`^(.*?\d+\.\d+(?:\.\d+)*)(-[0-9A-Za-z.-]+|[._]?(?i:alpha|beta|rc|pre|preview|dev|snapshot|[abcm])[._-]?\d*)?(\+[0-9A-Za-z.-]+)?$`)

var semantic = regexp.MustCompile(`\d+\.\d+\.\d+$`)

// ofApp matches the tags of one app of several in a repository: app/v1.2.0, app@1.2.0 and app-v1.2.0.
var ofApp = regexp.MustCompile(`^.*(?:[/@]v?|-v)(\d+\.\d+\.\d+[^/@]*)$`)

// namesPreRelease reports whether a pattern that matches a tag may deliver it: always, unless the tag is a pre-release
// and the pattern would match the release, too.
func namesPreRelease(pattern, tag string) bool {
	m := ended.FindStringSubmatch(tag)
	if m == nil || m[2] == "" {
		return true
	}
	if strings.Trim(m[2][:2], "-0123456789") == "" && !semantic.MatchString(m[1]) {
		return true // 2026.11-1 is the second of a month
	}
	matchesRelease, _ := doublestar.Match(pattern, m[1])
	return !matchesRelease
}

// IsPullRequest reports whether a full git ref is that of a pull request, whose source may be anybody's.
func IsPullRequest(gitRef string) bool {
	k, _ := parse(gitRef)
	return k == pullRequest
}

// IsRelease reports whether a git ref is the tag of a release: its version is no pre-release, and stands for one image for ever.
func IsRelease(gitRef, version string) bool {
	k, _ := parse(gitRef)
	return k == tag && version != "" && semver.Prerelease("v"+version) == ""
}

// queued matches the branch that GitHub's merge queue makes for a pull request that it tries:
// https://docs.github.com/en/pull-requests/collaborating-with-pull-requests/incorporating-changes-from-a-pull-request/merging-a-pull-request-with-a-merge-queue
var queued = regexp.MustCompile(`^(?:refs/heads/)?gh-readonly-queue/.+/pr-(\d+)-[0-9a-f]+$`)

func parse(gitRef string) (kind, string) {
	if m := queued.FindStringSubmatch(gitRef); m != nil {
		return pullRequest, m[1]
	}
	if name, ok := strings.CutPrefix(gitRef, "refs/heads/"); ok {
		return branch, name
	}
	if name, ok := strings.CutPrefix(gitRef, "refs/tags/"); ok {
		return tag, name
	}
	for _, prefix := range []string{"refs/pull/" /* GitHub, Azure Repos, Jenkins */, "refs/merge-requests/" /* GitLab */} {
		if rest, ok := strings.CutPrefix(gitRef, prefix); ok {
			number, _, _ := strings.Cut(rest, "/")
			return pullRequest, number
		}
	}
	if gitRef == "" || gitRef == "HEAD" || strings.HasPrefix(gitRef, "refs/") {
		return detached, gitRef
	}
	return branch, gitRef
}

// labelLimit bounds what a version has of a branch's name, so that the version is short enough for the value of a
// Kubernetes label: 63 characters.
const labelLimit = 40

// version of a ref: that of a tag; a release candidate of the version that a release or hotfix branch is named after;
// else a pre-release of 0.0.0, which sorts before every release.
func version(k kind, name, commit string) string {
	if k == tag {
		if m := ofApp.FindStringSubmatch(name); m != nil {
			name = m[1]
		}
		if v, ok := release(name); ok {
			return v
		}
	}
	if commit == "" {
		return ""
	}
	short := commit[:min(7, len(commit))]
	if prefix, rest, ok := strings.Cut(name, "/"); ok && k == branch && candidateBranch(prefix) {
		if v, ok := release(rest); ok && !strings.ContainsAny(v, "-+") {
			return v + "-rc.g" + short
		}
	}
	label := name
	if k == pullRequest {
		label = "pr-" + name
	}
	// The g keeps a commit of digits only from being a number with a leading zero, which SemVer forbids.
	return "0.0.0-" + identifier(label) + ".g" + short
}

// Line returns a version without the commit that [Decide] ends it with, such as 0.0.0-develop of 0.0.0-develop.g1a2b3c4. ok is
// false for a version that names no commit, such as that of a release.
func Line(version string) (line string, ok bool) {
	line = ofCommit.ReplaceAllString(version, "")
	return line, line != version
}

// candidateBranch reports whether branches with this prefix are named after the version that they prepare.
func candidateBranch(prefix string) bool { return prefix == "release" || prefix == "hotfix" }

// release reads v1.2.3 or 1.2.3, with a pre-release if the tag has one.
func release(s string) (string, bool) {
	v := "v" + strings.TrimPrefix(s, "v")
	core, _, _ := strings.Cut(strings.ReplaceAll(v, "+", "-"), "-")
	if !semver.IsValid(v) || strings.Count(core, ".") != 2 {
		return "", false // package semver takes v1 and v1.2, too
	}
	return v[1:], true
}

var (
	notIdentifier = regexp.MustCompile(`[^0-9A-Za-z]+`)
	ofCommit      = regexp.MustCompile(`\.g[0-9a-f]{7}$`)
	notTag        = regexp.MustCompile(`[^0-9A-Za-z_.-]+`)
)

// identifier makes an alphanumeric pre-release identifier of Semantic Versioning.
func identifier(s string) string {
	s = strings.Trim(notIdentifier.ReplaceAllString(s, "-"), "-")
	s = strings.TrimRight(s[:min(len(s), labelLimit)], "-")
	if s == "" {
		return "x"
	}
	if strings.Trim(s, "0123456789") == "" { // digits alone may not start with 0
		return "x" + s
	}
	return s
}

// Tag makes s a tag by the grammar of the OCI distribution specification, [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}; "" if
// nothing of it can stay.
func Tag(s string) string {
	s = notTag.ReplaceAllString(strings.ReplaceAll(s, "+", "_"), "-")
	s = strings.TrimLeft(s, ".-")
	if len(s) > 128 {
		s = s[:128]
	}
	return s
}

// unique keeps the tags that are not empty, once each.
func unique(tags ...string) []string {
	var out []string
	seen := map[string]bool{"": true}
	for _, t := range tags {
		if !seen[t] {
			seen[t] = true
			out = append(out, t)
		}
	}
	return out
}
