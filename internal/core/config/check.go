package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/aksflow/aksflow/internal/core/image/ref"
	"github.com/aksflow/aksflow/internal/core/report"
)

var (
	// dnsLabel is RFC 1123's label, which Kubernetes asks of namespaces and Services.
	dnsLabel = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	drive    = regexp.MustCompile(`^[A-Za-z]:`) // of Windows
)

// checker collects the mistakes of a file.
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

// local refuses a path that leaves the directory of the file, since what it names would not be in the repository.
func (c *checker) local(path []any, value string) {
	if strings.Contains(value, `\`) || drive.MatchString(value) {
		c.errorf(path, "%q: want a path below the directory of %s, with / between its parts, so that it is the same on every machine", value, filepath.Base(c.doc.path))
	} else if value != "" && !filepath.IsLocal(filepath.FromSlash(value)) {
		c.errorf(path, "%q leaves the directory of %s: want a path below it", value, filepath.Base(c.doc.path))
	}
}

// namespace wants a DNS label, as Kubernetes does of a namespace's name.
func (c *checker) namespace(path []any, value string) {
	if value != "" && !dnsLabel.MatchString(value) {
		c.errorf(path, "%q: want a DNS label: lower-case letters, digits and dashes, 63 at most", value)
	}
}

// check finds the mistakes that the types do not exclude.
func (c *Config) check() error {
	k := &checker{doc: c.file}
	if c.App == "" {
		k.errorf([]any{"app"}, "missing: name the application")
	} else if !dnsLabel.MatchString(c.App) {
		k.errorf([]any{"app"}, "%q: want a DNS label: lower-case letters, digits and dashes, 63 at most", c.App)
	}
	if r, err := ref.Parse(c.Image); c.Image != c.App && (err != nil || r.Repository != c.Image || r.Host() != "") {
		k.errorf([]any{"image"}, "%q: want a repository path such as team/app, without registry, tag and digest", c.Image)
	}
	k.local([]any{"build", "context"}, c.Build.Context)
	k.local([]any{"build", "dockerfile"}, c.Build.Dockerfile)
	k.secrets(c.Build.Secrets, "build")
	k.platform(c.Build.Platform, "build", "platform")
	for _, name := range slices.Sorted(maps.Keys(c.Build.Args)) {
		if !argName.MatchString(name) {
			k.errorf([]any{"build", "args", name}, "%q is no name of an ARG: want letters, digits and _", name)
		}
	}
	if c.Build.Cache != "" {
		k.oneOf([]any{"build", "cache"}, c.Build.Cache, CacheRegistry)
	}
	if _, err := c.Build.RefreshEvery(); err != nil {
		k.errorf([]any{"build", "refresh"}, "%w", err)
	}
	c.checkTest(k)
	c.checkFlow(k)
	for _, name := range c.Names() {
		at := []any{"environments", name}
		if e := c.Environments[name]; e != nil {
			e.check(k, at)
			e.checkProof(k, c, func(names ...any) []any { return slices.Concat(at, names) })
			c.checkFrom(k, e, at)
		} else { // YAML reads the key as a number or the like: 0x10 is 16
			k.errorf(at, "the name is not read as it is written: quote it")
		}
	}
	return errors.Join(k.errs...)
}

// mostDays is a time that no image is used for. A longer one may be no time.Duration.
const mostDays = 36500

// RefreshEvery is Refresh as a duration; 0 when it is empty. A day has 24 hours.
func (b Build) RefreshEvery() (time.Duration, error) {
	if b.Refresh == "" {
		return 0, nil
	}
	every, err := time.ParseDuration(b.Refresh)
	if days, inDays := strings.CutSuffix(b.Refresh, "d"); inDays {
		var n int
		n, err = strconv.Atoi(days)
		every = time.Duration(min(n, mostDays)) * 24 * time.Hour
	}
	if err != nil || every < time.Hour {
		return 0, fmt.Errorf("%q: want a duration of an hour or more, such as 12h or 7d", b.Refresh)
	}
	return every, nil
}

func (c *Config) checkTest(k *checker) {
	for name, suite := range map[string]*Suite{"unit": c.Test.Unit, "integration": c.Test.Integration} {
		if suite == nil {
			continue
		}
		if suite.Target == "" {
			k.errorf([]any{"test", name, "target"}, "missing: name the Dockerfile stage that runs these tests")
		}
		for i, dir := range suite.Cache {
			if !path.IsAbs(dir) {
				k.errorf([]any{"test", name, "cache", i}, "%q: want the absolute path of a directory in the container, such as /root/.cache/pip", dir)
			}
		}
		k.secrets(suite.Secrets, "test", name)
		k.env(suite.Env, "test", name)
	}
	k.secrets(c.Test.App.Secrets, "test", "app")
	k.env(c.Test.App.Env, "test", "app")
	k.positive(c.Test.App.StartTimeout, "test", "app", "startTimeout")
	if c.Test.App.Port != 0 {
		k.port(c.Test.App.Port, "test", "app", "port")
	}
	k.hostName(c.Test.App.Name, "test", "app", "name")
	c.checkServices(k)
	if _, err := c.Test.Secrets(); err != nil {
		k.errs = append(k.errs, err)
	}
}

func (c *Config) checkServices(k *checker) {
	seen := map[string]bool{cmp.Or(c.Test.App.Name, "app"): true}
	for i, s := range c.Test.Services {
		at := []any{"test", "services", i}
		switch {
		case s.Name == "":
			k.errorf(append(at, "name"), "missing: it is the host name by which the tests reach the service")
		case seen[s.Name]:
			k.errorf(append(at, "name"), "%q is there already: give each service its own host name", s.Name)
		}
		seen[s.Name] = true
		k.hostName(s.Name, append(at, "name")...)
		if (s.Image == "") == (s.Target == "") {
			k.errorf(at, "want either image, a reference, or target, a stage of the Dockerfile")
		} else if _, err := ref.Parse(s.Image); err != nil && s.Image != "" && !strings.Contains(s.Image, "$") {
			k.errorf(append(at, "image"), "%w", err)
		}
		for n, port := range s.Ports {
			k.port(port, append(at, "ports", n)...)
		}
		k.secrets(s.Secrets, at...)
		k.env(s.Env, at...)
		k.positive(s.StartTimeout, append(at, "startTimeout")...)
	}
}

// secrets checks the sources of secrets, which stand in the key secrets of the value at a path.
func (c *checker) secrets(secrets map[string]Secret, at ...any) {
	for _, name := range slices.Sorted(maps.Keys(secrets)) {
		if s := secrets[name]; (s.Env == "") == (s.File == "") {
			c.errorf(slices.Concat(at, []any{"secrets", name}), "want either env or file")
		}
	}
}

func (c *checker) positive(d time.Duration, at ...any) {
	if d < 0 {
		c.errorf(at, "%s: want a time such as 90s", report.Span(d))
	}
}

// Secrets are those of the suites, the app and the services, by name. Two of one name have to be the same.
func (t Test) Secrets() (map[string]Secret, error) {
	all := map[string]Secret{}
	parts := []map[string]Secret{t.App.Secrets}
	for _, s := range []*Suite{t.Unit, t.Integration} {
		if s != nil {
			parts = append(parts, s.Secrets)
		}
	}
	for _, s := range t.Services {
		parts = append(parts, s.Secrets)
	}
	for _, part := range parts {
		for _, name := range slices.Sorted(maps.Keys(part)) {
			if other, there := all[name]; there && other != part[name] {
				return nil, fmt.Errorf("test: two secrets are named %s and come from different places: give each its own name", name)
			}
			all[name] = part[name]
		}
	}
	return all, nil
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
			} else if why := neverMatches(p); why != "" {
				k.errorf(field(list.key, i), "%q matches no git ref: %s", p, why)
			}
		}
	}
	k.oneOf(field("target"), e.Target, Targets()...)
	k.oneOf(field("gitops", "operator"), e.GitOps.Operator, ArgoCD, Flux)
	e.Rollout.check(k, field)
	if e.Platform != "" {
		k.oneOf(field("platform"), e.Platform, LocalPlatform)
	}
	if e.Manifests == "" {
		k.errorf(field("manifests"), "missing: name the kustomization, chart or directory that is deployed")
	}
	k.local(field("manifests"), e.Manifests)
	k.local(field("gitops", "setup"), e.GitOps.Setup)
	e.GitOps.check(k, e.Manifests, field)
	for i, file := range e.ValuesFiles {
		k.present(field("valuesFiles", i), file)
		k.local(field("valuesFiles", i), file)
	}
	k.namespace(field("namespace"), e.Namespace)
	for i, namespace := range e.Namespaces {
		k.present(field("namespaces", i), namespace)
		k.namespace(field("namespaces", i), namespace)
	}
	e.Cluster.check(k, field)
	if e.Platform == LocalPlatform {
		return
	}
	if e.Registry == "" {
		k.errorf(field("registry"), "missing: name the registry's host, such as myregistry.azurecr.io, or set platform: local")
	} else if !strings.Contains(e.Registry, "$") { // Expand checks what variables stand in
		if err := checkRegistry(e.Registry); err != nil {
			k.errorf(field("registry"), "%w", err)
		}
	}
	e.checkTarget(k, field)
}

// check finds what the repository of an operator cannot be. manifests is what an empty path stands for.
func (g GitOps) check(k *checker, manifests string, field func(...any) []any) {
	if g.Path != manifests { // else it is named already
		k.local(field("gitops", "path"), g.Path)
	}
	if name, full := strings.CutPrefix(g.Branch, "refs/heads/"); full {
		k.errorf(field("gitops", "branch"), "%q: want the name of a branch without refs/heads/: %s", g.Branch, name)
	}
	if g.PasswordEnv != "" && !argName.MatchString(g.PasswordEnv) { // it may be the password itself: it is not shown
		k.errorf(field("gitops", "passwordEnv"), "want the name of the variable that holds the password, such as GIT_TOKEN: letters, digits and _")
	}
	for i, name := range g.Replace {
		k.present(field("gitops", "replace", i), name)
	}
	for i, keys := range g.Images {
		keys.check(k, field("gitops", "images", i))
	}
}

// present wants a value.
func (c *checker) present(path []any, value string) {
	if value == "" {
		c.errorf(path, "there is no value: remove the item")
	}
}

// check wants one way to the cluster, and all that names an AKS cluster.
func (c Cluster) check(k *checker, field func(...any) []any) {
	if c.AKS == nil {
		return
	}
	if c.Kubeconfig != "" || c.Context != "" {
		k.errorf(field("cluster", "aks"), "want either aks, or kubeconfig and context")
	}
	for _, part := range []struct{ key, value string }{
		{"subscription", c.AKS.Subscription}, {"resourceGroup", c.AKS.ResourceGroup}, {"name", c.AKS.Name},
	} {
		if part.value == "" {
			k.errorf(field("cluster", "aks", part.key), "missing: an AKS cluster is named by subscription, resourceGroup and name")
		}
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
	k.local(slices.Concat(at, []any{"file"}), i.File)
}
