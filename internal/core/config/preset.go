package config

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// The values of Config.Flow: branch models that are used often.
const (
	GitFlow    = "gitflow" // https://nvie.com/posts/a-successful-git-branching-model/
	GitHubFlow = "github"  // https://docs.github.com/en/get-started/using-github/github-flow
	Trunk      = "trunk"   // https://trunkbaseddevelopment.com
)

// Develop is the branch of GitFlow that the work of all is merged into.
const Develop = "develop"

// refs are what a preset delivers to one environment.
type refs struct {
	branches, tags []string
	from           string
}

// presets returns what each branch model delivers to the environments of these names. All other branches are built and
// tested only.
func presets() map[string]map[string]refs {
	return map[string]map[string]refs{
		GitFlow: {
			"dev":        {branches: []string{Develop}},
			"staging":    {branches: []string{"release/*", "hotfix/*"}},
			"production": {branches: []string{"main"}, tags: []string{"v*"}, from: "staging"},
		},
		GitHubFlow: {
			"staging":    {branches: []string{"main"}},
			"production": {tags: []string{"v*"}, from: "staging"},
		},
		Trunk: {
			"dev":        {branches: []string{"main"}},
			"staging":    {branches: []string{"release/*"}, tags: []string{"v*-*"}},
			"production": {tags: []string{"v*"}, from: "staging"},
		},
	}
}

// applyFlow gives the environments that the branch model names what they do not say themselves: the git refs, unless
// branches or tags are there, and the environment that they are promoted from.
func (c *Config) applyFlow() {
	for name, preset := range presets()[c.Flow] {
		e := c.Environments[name]
		if e == nil {
			continue
		}
		if len(e.Branches)+len(e.Tags) == 0 {
			e.Branches, e.Tags = preset.branches, preset.tags
		}
		if e.From == "" && c.Environments[preset.from] != nil {
			e.From = preset.from
		}
	}
}

// checkFlow wants a known branch model, and an environment that it delivers to.
func (c *Config) checkFlow(k *checker) {
	if c.Flow == "" {
		return
	}
	known := presets()
	preset, ok := known[c.Flow]
	if !ok {
		k.errorf([]any{"flow"}, "%q: want %s", c.Flow, strings.Join(slices.Sorted(maps.Keys(known)), " or "))
		return
	}
	wanted := slices.Sorted(maps.Keys(preset))
	if !slices.ContainsFunc(wanted, func(name string) bool { return c.Environments[name] != nil }) {
		k.errorf([]any{"flow"}, "%s delivers to the environments %s, and none of them is here: add one, or name branches and tags yourself", c.Flow, strings.Join(wanted, ", "))
	}
}

// checkFrom checks where an environment's images come from.
func (c *Config) checkFrom(k *checker, e *Environment, at []any) {
	for _, problem := range e.Gates.Validate() {
		k.errorf(slices.Concat(at, []any{"gates"}, problem.Path), "%w", problem.Err)
	}
	field := slices.Concat(at, []any{"from"})
	if e.From == "" {
		if !e.Gates.IsZero() {
			k.errorf(slices.Concat(at, []any{"gates"}), "gates are for an image that is promoted: say with from which environment it comes from")
		}
		return
	}
	if c.Environments[e.From] == nil {
		others := slices.DeleteFunc(c.Names(), func(name string) bool { return name == e.Name })
		k.errorf(field, "there is no environment %s to promote from: want one of %s", e.From, cmp.Or(strings.Join(others, ", "), "several, and this is the only one"))
		return
	}
	path := []string{e.Name}
	for at := e; at != nil && at.From != ""; at = c.Environments[at.From] {
		path = append(path, at.From)
		if at.From == e.Name {
			k.errorf(field, "%s: an image would never be built: remove one from", strings.Join(path, " is promoted from "))
			return
		}
		if slices.Contains(path[:len(path)-1], at.From) {
			return // a cycle of others, which their own check names
		}
	}
}

// After returns the names of the environments that get their images from an environment, directly or through others, in
// the order in which images travel.
func (c *Config) After(name string) []string {
	var after []string
	for todo := []string{name}; len(todo) > 0; todo = todo[1:] {
		for _, other := range c.Names() {
			if e := c.Environments[other]; e != nil && e.From == todo[0] && other != name && !slices.Contains(after, other) {
				after, todo = append(after, other), append(todo, other)
			}
		}
	}
	return after
}
