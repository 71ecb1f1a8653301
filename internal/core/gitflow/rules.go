package gitflow

import (
	"fmt"
	"slices"
	"strings"

	"github.com/aksflow/aksflow/internal/core/config"
)

// Rule says what becomes of some git refs.
type Rule struct {
	// Refs are patterns of branches, and of tags with "tag " before them.
	Refs []string `json:"refs"`
	// Environment is where they are delivered to; "" when they are built and tested only.
	Environment string `json:"environment,omitempty"`
	// From is the environment whose image is promoted; "" when the image is built.
	From string `json:"from,omitempty"`
	// Does says it in words.
	Does string `json:"does"`
}

// Rules are what a configuration with a branch model does with each git ref: what Decide and a delivery follow, in words.
// There are none without a branch model.
func Rules(c *config.Config) []Rule {
	if c.Flow == "" {
		return nil
	}
	var rules []Rule
	for _, name := range c.Names() {
		e := c.Environments[name]
		add := func(branches, tags []string, does string) {
			r := Rule{Refs: slices.Clone(branches), Environment: name, From: e.From, Does: does}
			for _, tag := range tags {
				r.Refs = append(r.Refs, "tag "+tag)
			}
			if len(r.Refs) > 0 {
				rules = append(rules, r)
			}
		}
		if e.From != "" {
			add(e.Branches, e.Tags, fmt.Sprintf("promoted to %s from %s: the same digest, nothing is built", name, e.From))
			continue
		}
		candidates, others := partition(e.Branches, isCandidate)
		add(others, e.Tags, "built, tested and delivered to "+name)
		add(candidates, nil, fmt.Sprintf("built, tested and delivered to %s as a release candidate, such as %s", name, exampleVersion(candidates)))
	}
	rest := Rule{Does: "built and tested only"}
	if c.Flow == config.GitFlow {
		rest.Refs = append(rest.Refs, "feature/*")
	}
	rest.Refs = append(rest.Refs, "all others", "pull requests")
	return append(rules, rest)
}

// isCandidate reports whether a pattern is for the branches that are named after the version they prepare.
func isCandidate(pattern string) bool {
	prefix, _, ok := strings.Cut(pattern, "/")
	return ok && candidateBranch(prefix)
}

// exampleVersion is the version that a branch of the first pattern has.
func exampleVersion(patterns []string) string {
	if len(patterns) == 0 {
		return ""
	}
	prefix, _, _ := strings.Cut(patterns[0], "/")
	return fmt.Sprintf("%s of %s/1.2.0", version(branch, prefix+"/1.2.0", "1a2b3c4"), prefix)
}

// partition returns the patterns for which pred is true, then the rest.
func partition(patterns []string, pred func(string) bool) (yes, no []string) {
	for _, p := range patterns {
		if pred(p) {
			yes = append(yes, p)
		} else {
			no = append(no, p)
		}
	}
	return yes, no
}
