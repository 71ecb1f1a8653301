package config

import (
	"errors"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/aksflow/aksflow/internal/core/image/ref"
)

var (
	// dnsLabel is RFC 1123's label, which Kubernetes asks of namespaces and Services.
	dnsLabel = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
)

// checker collects what is wrong.
type checker struct {
	doc  *document
	errs []error
}

func (c *checker) errorf(path []any, format string, args ...any) {
	c.errs = append(c.errs, c.doc.errorf(path, format, args...))
}

func (c *checker) oneOf(path []any, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		c.errorf(path, "%q: want %s", value, strings.Join(allowed, " or "))
	}
}

// local refuses a path that leaves the directory of the file: what it names would not be in the repository.
func (c *checker) local(path []any, value string) {
	if value != "" && !filepath.IsLocal(value) {
		c.errorf(path, "%q leaves the directory of %s: want a path below it", value, filepath.Base(c.doc.path))
	}
}

// namespace wants a DNS label, as Kubernetes does of a namespace's name.
func (c *checker) namespace(path []any, value string) {
	if value != "" && !dnsLabel.MatchString(value) {
		c.errorf(path, "%q: want a DNS label: lower-case letters, digits and dashes, 63 at most", value)
	}
}

// check validates what the types alone do not.
func (c *Config) check() error {
	k := &checker{doc: c.file}
	if c.App == "" {
		k.errorf([]any{"app"}, "missing: name the application")
	} else if !dnsLabel.MatchString(c.App) {
		k.errorf([]any{"app"}, "%q: want a DNS label: lower-case letters, digits and dashes, 63 at most", c.App)
	}
	if r, err := ref.Parse(c.Image); c.Image != "" && (err != nil || r.Repository != c.Image || r.Host() != "") {
		k.errorf([]any{"image"}, "%q: want a repository path such as team/app, without registry, tag and digest", c.Image)
	}
	k.local([]any{"build", "context"}, c.Build.Context)
	k.local([]any{"build", "dockerfile"}, c.Build.Dockerfile)
	for _, name := range slices.Sorted(maps.Keys(c.Build.Secrets)) {
		if s := c.Build.Secrets[name]; (s.Env == "") == (s.File == "") {
			k.errorf([]any{"build", "secrets", name}, "want either env or file")
		}
	}
	c.checkTest(k)
	for _, name := range c.Names() {
		at := []any{"environments", name}
		if e := c.Environments[name]; e != nil {
			e.check(k, at)
		} else { // YAML reads the key as a number or the like: 0x10 is 16
			k.errorf(at, "the name is not read as it is written: quote it")
		}
	}
	return errors.Join(k.errs...)
}

func (c *Config) checkTest(k *checker) {
	for name, suite := range map[string]*Suite{"unit": c.Test.Unit, "integration": c.Test.Integration} {
		if suite != nil && suite.Target == "" {
			k.errorf([]any{"test", name, "target"}, "missing: name the Dockerfile stage that runs these tests")
		}
	}
	seen := map[string]bool{}
	for i, s := range c.Test.Services {
		at := []any{"test", "services", i}
		switch {
		case s.Name == "":
			k.errorf(append(at, "name"), "missing: it is the host name by which the tests reach the service")
		case seen[s.Name]:
			k.errorf(append(at, "name"), "%q is there already: give each service its own host name", s.Name)
		}
		seen[s.Name] = true
		if (s.Image == "") == (s.Target == "") {
			k.errorf(at, "want either image, a reference, or target, a stage of the Dockerfile")
		}
	}
}

func (e *Environment) check(k *checker, at []any) {
	field := func(names ...any) []any { return slices.Concat(at, names) }
	if !dnsLabel.MatchString(e.Name) {
		k.errorf(at, "the name %q: want a DNS label: lower-case letters, digits and dashes, 63 at most", e.Name)
	}
	for _, list := range []struct {
		key      string
		patterns []string
	}{{"branches", e.Branches}, {"tags", e.Tags}} {
		for i, p := range list.patterns {
			if !doublestar.ValidatePattern(p) {
				k.errorf(field(list.key, i), "%q is no pattern: quote it and check its brackets", p)
			}
		}
	}
	k.oneOf(field("target"), e.Target, Targets()...)
	k.oneOf(field("gitops", "operator"), e.GitOps.Operator, ArgoCD, Flux)
	k.oneOf(field("rollout", "strategy"), e.Rollout.Strategy, Rolling, Canary, BlueGreen)
	if e.Platform != "" {
		k.oneOf(field("platform"), e.Platform, LocalPlatform)
	}
	if e.Manifests == "" {
		k.errorf(field("manifests"), "missing: name the kustomization, chart or directory that is deployed")
	}
	k.local(field("manifests"), e.Manifests)
	k.local(field("gitops", "setup"), e.GitOps.Setup)
	k.local(field("gitops", "path"), filepath.FromSlash(e.GitOps.Path))
	for i, keys := range e.GitOps.Images {
		keys.check(k, field("gitops", "images", i))
	}
	for i, file := range e.ValuesFiles {
		k.local(field("valuesFiles", i), file)
	}
	k.namespace(field("namespace"), e.Namespace)
	for i, namespace := range e.Namespaces {
		k.namespace(field("namespaces", i), namespace)
	}
	if e.Platform == LocalPlatform {
		return
	}
	if e.Registry == "" {
		k.errorf(field("registry"), "missing: name the registry's host, such as myregistry.azurecr.io, or set platform: local")
	} else if !strings.Contains(e.Registry, "$") { // Expand checks what variables stand in
		if err := ref.CheckRegistry(e.Registry); err != nil {
			k.errorf(field("registry"), "%w", err)
		}
	}
	if e.Target == Pull && e.GitOps.Repo == "" {
		k.errorf(field("gitops", "repo"), "missing: target pull writes to a git repository")
	}
}

func (i ImageKeys) check(k *checker, at []any) {
	parts := i.Registry + i.Repository + i.Tag + i.Digest
	switch {
	case i.File == "":
		k.errorf(slices.Concat(at, []any{"file"}), "missing: name the file that holds the reference, relative to gitops.path")
	case (i.Image == "") == (parts == ""):
		k.errorf(at, "want either image, the path of a whole reference, or the paths of its parts: repository, tag, digest")
	case parts != "" && i.Tag == "" && i.Digest == "":
		k.errorf(at, "missing: the path of tag or digest")
	}
	k.local(slices.Concat(at, []any{"file"}), filepath.FromSlash(i.File))
}
