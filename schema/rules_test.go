package schema_test

import (
	"encoding/json"
	"slices"
	"strconv"
	"testing"

	"github.com/invopop/jsonschema"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/config"
)

// The patterns of names.
const (
	label    = `^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`
	argument = `^[A-Za-z_][A-Za-z0-9_]*$`
	// span is a time of Go that is not negative.
	span = `^\+?(0|(([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$`
	// leaving is the beginning of a path that leaves the directory of aksflow.yaml, or a \ in it.
	leaving = `^/|^\.\.(/|$)|^[A-Za-z]:|\\`
	// noGitRef is what no pattern of a git ref has: see neverMatches in package config.
	noGitRef = `^$|^refs/(heads|tags)/|^[!/]|\$\{|\]\+|^[^\[]*[\^~:\\]`
)

// truths are the words that are read as a truth value beside true and false.
var truths = map[bool][]any{true: {true, "y", "Y", "yes", "on"}, false: {"n", "N", "no", "off"}}

// ruled is a type's schema, to which rules add what config.Load checks beyond the types.
type ruled struct {
	*testing.T
	*jsonschema.Schema
}

func (r ruled) property(name string) *jsonschema.Schema {
	p, ok := r.Properties.Get(name)
	require.True(r, ok, name)
	return p
}

// enum lists the values of a property. An empty text is none.
func (r ruled) enum(name string, values ...string) {
	p := r.property(name)
	for _, v := range append(values, "") {
		p.Enum = append(p.Enum, v)
	}
	p.Enum = append(p.Enum, nil)
	p.Type = ""
}

// local forbids properties to leave the directory of aksflow.yaml.
func (r ruled) local(names ...string) {
	for _, name := range names {
		r.property(name).Not = &jsonschema.Schema{Type: "string", Pattern: leaving}
	}
}

func (r ruled) between(name string, low, high int) {
	bound(r.property(name), low, high)
}

func bound(s *jsonschema.Schema, low, high int) {
	s.Minimum, s.Maximum = json.Number(strconv.Itoa(low)), json.Number(strconv.Itoa(high))
}

// with returns a schema of objects that have all of these keys, with values.
func with(names ...string) *jsonschema.Schema {
	s := &jsonschema.Schema{Required: names, Properties: jsonschema.NewProperties()}
	for _, name := range names {
		s.Properties.Set(name, &jsonschema.Schema{Not: &jsonschema.Schema{Enum: []any{nil, "", []any{}}}})
	}
	return s
}

// without returns a schema of objects that have none of these keys.
func without(names ...string) *jsonschema.Schema {
	return &jsonschema.Schema{Not: anyOf(each(names)...)}
}

// having returns a schema of objects whose key has one of some values.
func having(name string, values ...any) *jsonschema.Schema {
	s := &jsonschema.Schema{Required: []string{name}, Properties: jsonschema.NewProperties()}
	s.Properties.Set(name, &jsonschema.Schema{Enum: values})
	return s
}

func anyOf(s ...*jsonschema.Schema) *jsonschema.Schema { return &jsonschema.Schema{AnyOf: s} }
func allOf(s ...*jsonschema.Schema) *jsonschema.Schema { return &jsonschema.Schema{AllOf: s} }

// each returns with for each of the names.
func each(names []string) (all []*jsonschema.Schema) {
	for _, name := range names {
		all = append(all, with(name))
	}
	return all
}

// rules adds what config.Load checks of a type, and lets its values be written in all the ways that are read.
func rules(t *testing.T, name string, s *jsonschema.Schema) {
	t.Helper()
	r := ruled{t, s}
	for _, of := range []func(ruled, string){ruled.image, ruled.tests, ruled.environment, ruled.target, ruled.proofs, ruled.gates} {
		of(r, name)
	}
	for p := s.Properties.Oldest(); p != nil; p = p.Next() {
		if !slices.Contains(s.Required, p.Key) {
			optional(p.Value)
		}
		asRead(p.Value)
	}
}

// image adds rules to what says how the image is built.
func (r ruled) image(name string) {
	switch name {
	case "Config":
		r.Required = []string{"app"}
		r.property("app").Pattern = label
		r.property("image").Pattern = `^([a-z0-9_-][a-z0-9_-]*(/[a-z0-9._-]+)*|[a-z0-9._-]*)$`
		r.enum("flow", config.GitFlow, config.GitHubFlow, config.Trunk)
		r.PatternProperties = map[string]*jsonschema.Schema{"^" + config.Extension: {Description: "A key of your own, for anchors to refer to. Nothing reads it."}}
		r.property("environments").PropertyNames = &jsonschema.Schema{Pattern: label}
	case "Build":
		r.enum("cache", config.CacheRegistry)
		r.local("context", "dockerfile")
		r.property("platform").Pattern = `^([a-z0-9]+/[a-z0-9_]+(/[a-z0-9]+)?)?$`
		r.property("platform").Not = &jsonschema.Schema{Type: "string", Pattern: `x86_64|x64|aarch64`}
		r.property("refresh").Pattern = `^(\+?[1-9][0-9]*d|\+?([0-9.]+h([0-9.]+(m|s))*|[0-9]{2,}m)|)$`
		r.property("args").PropertyNames = &jsonschema.Schema{Pattern: argument}
	case "Secret":
		r.OneOf = each([]string{"env", "file"})
	}
}

// tests adds rules to what says how the image is tested.
func (r ruled) tests(name string) {
	const host = `^([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?)?$`
	switch name {
	case "Suite", "TestApp", "Service":
		r.property("env").PropertyNames = &jsonschema.Schema{Pattern: `^[^= \t\n\x00]+$`}
	}
	switch name {
	case "Suite":
		r.Required = []string{"target"}
		r.property("target").MinLength = one()
		r.property("cache").Items.Pattern = "^/"
	case "TestApp":
		r.between("port", 0, 65535)
		r.property("name").Pattern = host
	case "Service":
		r.Required = []string{"name"}
		r.property("name").MinLength = one()
		r.property("name").Pattern = host
		r.OneOf = each([]string{"image", "target"})
		bound(r.property("ports").Items, 1, 65535)
	}
}

// environment adds rules to an environment.
func (r ruled) environment(name string) {
	if name != "Environment" {
		return
	}
	r.Required = []string{"manifests"}
	r.property("manifests").MinLength = one()
	r.local("manifests")
	r.enum("target", config.Targets()...)
	r.enum("platform", config.LocalPlatform)
	r.property("namespace").Pattern = `^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?$`
	r.property("namespaces").Items.Pattern = label
	for _, refs := range []string{"branches", "tags"} {
		r.property(refs).Items.Not = &jsonschema.Schema{Type: "string", Pattern: noGitRef}
	}
	files := r.property("valuesFiles").Items
	files.MinLength, files.Not = one(), &jsonschema.Schema{Type: "string", Pattern: leaving}
	registry := with("registry")
	registry.Properties.Set("registry", &jsonschema.Schema{Not: anyOf(&jsonschema.Schema{Enum: []any{nil, ""}}, &jsonschema.Schema{Type: "string", Pattern: `://|/$|\s`})})
	r.AnyOf = []*jsonschema.Schema{registry, having("platform", config.LocalPlatform)}
	r.If = allOf(having("target", config.Pull), &jsonschema.Schema{Not: having("platform", config.LocalPlatform)})
	r.Then = &jsonschema.Schema{Required: []string{"gitops"}, Properties: jsonschema.NewProperties()}
	r.Then.Properties.Set("gitops", allOf(&jsonschema.Schema{Type: "object"}, with("repo")))
	r.AllOf = []*jsonschema.Schema{{If: with("gates"), Then: anyOf(with("from"), emptyGates())}}
	r.AllOf[0].If.Properties.Set("gates", &jsonschema.Schema{Type: "object"})
	r.property("variables").PropertyNames = &jsonschema.Schema{}
}

// emptyGates is for gates without one.
func emptyGates() *jsonschema.Schema {
	s := &jsonschema.Schema{Properties: jsonschema.NewProperties()}
	s.Properties.Set("gates", without("soak", "freeze", "approve", "override"))
	return s
}

// target adds rules to what says where an environment is, and how it gets the image.
func (r ruled) target(name string) {
	switch name {
	case "AKS":
		r.Required = []string{"subscription", "resourceGroup", "name"}
		for _, part := range r.Required {
			r.property(part).MinLength = one()
		}
	case "Cluster":
		r.Not = allOf(&jsonschema.Schema{Required: []string{"aks"}, Properties: with("aks").Properties}, anyOf(each([]string{"kubeconfig", "context"})...))
	case "Rollout":
		r.enum("strategy", config.Rolling, config.Canary, config.BlueGreen)
		bound(r.property("percent").Items, 1, 99)
	case "Smoke":
		r.property("path").Pattern = "^(/|$)"
		r.property("status").AnyOf = []*jsonschema.Schema{{Enum: []any{0, nil}}, {Minimum: "100", Maximum: "599"}}
		port := r.property("port")
		bound(port, 1, 65535)
		port.Not = &jsonschema.Schema{Type: "string", Pattern: `^(0+|[-+].*|[0-9]{6,})$`}
	case "GitOps":
		r.enum("operator", config.ArgoCD, config.Flux)
		r.local("path", "setup")
		r.property("replace").Items.MinLength = one()
		r.property("branch").Not = &jsonschema.Schema{Type: "string", Pattern: "^refs/heads/"}
		r.property("passwordEnv").Pattern = `^([A-Za-z_][A-Za-z0-9_]*)?$`
	case "ImageKeys":
		r.Required = []string{"file"}
		r.property("file").MinLength = one()
		r.local("file")
		r.OneOf = []*jsonschema.Schema{
			allOf(with("image"), without("registry", "repository", "tag", "digest")),
			allOf(without("image"), anyOf(each([]string{"tag", "digest"})...)),
		}
	}
}

// proofs adds rules to how proofs are signed and verified.
func (r ruled) proofs(name string) {
	kind := `^(test|sbom|provenance|proved:.+)$`
	switch name {
	case "Sign":
		r.OneOf = []*jsonschema.Schema{with("key"), having("keyless", truths[true]...)}
		r.If, r.Then = with("services"), having("keyless", truths[true]...)
		r.local("services")
	case "Verify":
		r.property("require").Items.Pattern = kind
		r.local("root")
		r.AnyOf = []*jsonschema.Schema{with("require", "signers"), allOf(with("root"), without("require", "signers"))}
	case "Signer":
		r.property("for").Items.Pattern = kind
		r.local("key")
		r.signer()
	case "Approver":
		r.signer()
	}
}

// signer wants a key, or an identity with its issuer.
func (r ruled) signer() {
	r.OneOf = []*jsonschema.Schema{
		allOf(with("key"), without("identity", "issuer", "refs")), allOf(without("key"), with("identity", "issuer")),
	}
}

// gates adds rules to what must hold before an image is promoted.
func (r ruled) gates(name string) {
	switch name {
	case "Gates":
		r.If, r.Then = with("override"), anyOf(each([]string{"soak", "freeze", "approve"})...)
	case "Freeze":
		r.OneOf = []*jsonschema.Schema{
			allOf(with("schedule", "duration"), without("from", "to")), allOf(without("schedule", "duration"), with("from", "to")),
		}
		for _, moment := range []string{"from", "to"} {
			r.property(moment).Pattern = `^([0-9]{4}-[0-9]{2}-[0-9]{2}( [0-9]{1,2}:[0-9]{2})?)?$`
		}
	case "Approve":
		r.AnyOf = append(each([]string{"github", "signed"}), having("pullRequest"))
		r.AnyOf[2].Properties.Set("pullRequest", &jsonschema.Schema{Type: "integer", Minimum: "1"})
		r.property("pullRequest").Minimum = "0"
	case "Signed":
		r.Required = []string{"by"}
		r.property("by").MinItems = one()
		r.property("count").Minimum = "0"
	case "Override":
		r.Required = []string{"by"}
		r.property("by").MinItems = one()
	}
}

func one() *uint64 { return new(uint64(1)) }

// optional lets a key have no value, which is as if it were not there.
func optional(s *jsonschema.Schema) {
	switch {
	case s.Ref != "":
		s.AnyOf = []*jsonschema.Schema{{Ref: s.Ref}, {Type: "null"}}
		s.Ref = ""
	case s.Type == "boolean":
		s.AnyOf = []*jsonschema.Schema{{Type: "boolean"}, {Enum: slices.Concat(truths[true][1:], truths[false], []any{nil})}}
		s.Type = ""
	case s.Type != "":
		types(s, s.Type, "null")
	}
}

// types lets a schema have several types.
func types(s *jsonschema.Schema, names ...string) {
	s.Type, s.Extras = "", map[string]any{"type": names}
}

// asRead lets a text, and the texts in a list or in a mapping, be written as a number or a truth value, as YAML reads these
// without quotes. What has a pattern of its own in which no such value fits, such as a time, stays a text.
func asRead(s *jsonschema.Schema) {
	if s.Pattern == span {
		return
	}
	text := s.Type == "string"
	listed, _ := s.Extras["type"].([]string)
	null := slices.Equal(listed, []string{"string", "null"})
	switch {
	case text:
		types(s, "string", "number", "boolean")
	case null:
		types(s, "string", "number", "boolean", "null")
	}
	for _, inner := range []*jsonschema.Schema{s.Items, s.AdditionalProperties} {
		if inner != nil {
			asRead(inner)
		}
	}
}
