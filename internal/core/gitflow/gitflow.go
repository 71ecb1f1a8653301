// Package gitflow decides from a git ref where a delivery goes and what its image is called, by the branch model that
// GitFlow names: https://nvie.com/posts/a-successful-git-branching-model/
//
// It is pure: the same ref, commit and configuration give the same answer on a laptop and in CI.
package gitflow

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
	"golang.org/x/mod/semver"

	"github.com/aksflow/aksflow/internal/core/config"
)

// Decision is what a ref means.
type Decision struct {
	// Environment is where to; "" means that the ref is built and tested, and goes nowhere.
	Environment string
	// Version by Semantic Versioning 2.0.0, without a leading v.
	Version string
	// Tags for the image, each valid by the OCI distribution specification.
	Tags []string
	// Reason says in one sentence why.
	Reason string
}

// kind of a ref.
type kind int

const (
	branch kind = iota
	tag
	pullRequest
	detached
)

// Decide maps a git ref, full (refs/heads/main) or a bare branch name, to an environment. The commit may be empty. The
// first environment of the file with a pattern that matches wins.
func Decide(c *config.Config, ref, commit string) Decision {
	k, name := parse(ref)
	d := Decision{Version: version(k, name, commit)}
	switch k {
	case tag:
		d.Tags = unique(Tag(name), Tag(d.Version))
	case branch:
		d.Tags = unique(Tag(name))
	case pullRequest:
		d.Tags = unique(Tag("pr-" + name))
		d.Reason = fmt.Sprintf("pull request %s is built and tested: pull requests are delivered nowhere", name)
		return d
	case detached:
		d.Reason = "no branch or tag is checked out: name one with --ref, or the environment with --env"
		return d
	}
	what := map[kind]string{branch: "branch", tag: "tag"}[k]
	for _, environment := range c.Names() {
		e := c.Environments[environment]
		patterns := e.Branches
		if k == tag {
			patterns = e.Tags
		}
		for _, pattern := range patterns {
			if ok, _ := doublestar.Match(pattern, name); ok {
				d.Environment = environment
				d.Reason = fmt.Sprintf("%s %s matches %s of the environment %s", what, name, pattern, environment)
				return d
			}
		}
	}
	d.Reason = fmt.Sprintf("%s %s is built and tested: no environment of %s names it", what, name, c.Path())
	return d
}

func parse(ref string) (kind, string) {
	if name, ok := strings.CutPrefix(ref, "refs/heads/"); ok {
		return branch, name
	}
	if name, ok := strings.CutPrefix(ref, "refs/tags/"); ok {
		return tag, name
	}
	if rest, ok := strings.CutPrefix(ref, "refs/pull/"); ok { // GitHub's and Azure Repos' merge refs
		number, _, _ := strings.Cut(rest, "/")
		return pullRequest, number
	}
	if ref == "" || ref == "HEAD" || strings.HasPrefix(ref, "refs/") {
		return detached, ref
	}
	return branch, ref
}

// version of a ref: a tag's own, a release candidate of the version that a release or hotfix branch is named after,
// else a pre-release of 0.0.0 that sorts before every release.
func version(k kind, name, commit string) string {
	short := commit
	if len(short) > 7 {
		short = short[:7]
	}
	if short == "" {
		short = "0000000"
	}
	if k == tag {
		if v, ok := release(name); ok {
			return v
		}
	}
	if prefix, rest, ok := strings.Cut(name, "/"); ok && k == branch && (prefix == "release" || prefix == "hotfix") {
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

// release reads v1.2.3 or 1.2.3, with a pre-release if there is one.
func release(s string) (string, bool) {
	v := "v" + strings.TrimPrefix(s, "v")
	if !semver.IsValid(v) || strings.Count(strings.SplitN(v, "-", 2)[0], ".") != 2 {
		return "", false // semver takes v1 and v1.2 too
	}
	return v[1:], true
}

var (
	notIdentifier = regexp.MustCompile(`[^0-9A-Za-z]+`)
	notTag        = regexp.MustCompile(`[^0-9A-Za-z_.-]+`)
)

// identifier makes an alphanumeric pre-release identifier of Semantic Versioning.
func identifier(s string) string {
	s = strings.Trim(notIdentifier.ReplaceAllString(s, "-"), "-")
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
