package config

import (
	"fmt"
	"maps"
	"regexp"
	"slices"

	"github.com/compose-spec/compose-go/v2/template"

	"github.com/aksflow/aksflow/internal/core/fault"
)

// Lookup finds a variable's value.
type Lookup func(name string) (string, bool)

// Expand returns a copy of c with the variables of its values replaced, for the environment of that name; "" means none. A
// variable is looked up with lookup first, then in the environment's Variables.
//
// The error is about the environment. What is wrong with the values for a build or for tests stands in Build.Unset and
// Test.Unset, so that a variable which only tests need is no obstacle to a build or a rollback.
func (c *Config) Expand(environment string, lookup Lookup) (*Config, error) {
	out := *c
	x := &expander{doc: c.file, lookup: lookup}
	if e := c.Environments[environment]; e != nil {
		own := map[string]string{}
		for name, value := range e.Variables {
			own[name] = x.expand(value, "environments", environment, "variables", name)
		}
		x.lookup = func(name string) (string, bool) {
			if v, ok := lookup(name); ok {
				return v, true
			}
			v, ok := own[name]
			return v, ok
		}
		expanded := *e
		expanded.Registry = x.expand(e.Registry, "environments", environment, "registry")
		if err := checkRegistry(expanded.Registry); err != nil && x.err == nil && expanded.Platform != LocalPlatform {
			if expanded.Registry == "" && e.Registry != "" {
				err = isEmpty(e.Registry)
			}
			x.err = x.doc.errorf([]any{"environments", environment, "registry"}, "%w", err)
		}
		for key, s := range map[string]*string{"kubeconfig": &expanded.Cluster.Kubeconfig, "context": &expanded.Cluster.Context} {
			*s = x.kept(*s, "environments", environment, "cluster", key)
		}
		if aks := e.Cluster.AKS; aks != nil {
			expanded.Cluster.AKS = x.aks(*aks, environment)
		}
		if e.Sign != nil {
			sign := *e.Sign
			sign.Key = x.kept(sign.Key, "environments", environment, "sign", "key")
			expanded.Sign = &sign
		}
		expanded.GitOps.Repo = x.kept(e.GitOps.Repo, "environments", environment, "gitops", "repo")
		out.Environments = maps.Clone(c.Environments)
		out.Environments[environment] = &expanded
	}
	if x.err != nil {
		return nil, fault.Usage(x.err)
	}
	out.Build.Args = maps.Clone(c.Build.Args)
	for name, value := range out.Build.Args {
		out.Build.Args[name] = x.expand(value, "build", "args", name)
	}
	out.Build.Unset, x.err = fault.Usage(x.err), nil
	out.Test = x.test(c.Test)
	out.Test.Unset = fault.Usage(x.err)
	return &out, nil
}

// aks expands what names an AKS cluster. A variable that is not set would leave a part empty.
func (x *expander) aks(aks AKS, environment string) *AKS {
	for _, part := range []struct {
		key   string
		value *string
	}{{"subscription", &aks.Subscription}, {"resourceGroup", &aks.ResourceGroup}, {"name", &aks.Name}} {
		written := *part.value
		*part.value = x.expand(written, "environments", environment, "cluster", "aks", part.key)
		if *part.value == "" && x.err == nil {
			x.err = x.doc.errorf([]any{"environments", environment, "cluster", "aks", part.key}, "%w", isEmpty(written))
		}
	}
	return &aks
}

// isEmpty is the error for a value that must not be empty, and is without the variables that it is written with.
func isEmpty(written string) error {
	return fmt.Errorf("%q is empty: set the variable that it names", written)
}

type expander struct {
	doc      *document
	lookup   Lookup
	err      error // the first one
	warnings []string
}

// test returns t with its variables replaced.
func (x *expander) test(t Test) Test {
	suite := func(s *Suite, name string) *Suite {
		if s == nil {
			return nil
		}
		expanded := *s
		expanded.Env = x.env(s.Env, "test", name)
		return &expanded
	}
	t.Unit, t.Integration = suite(t.Unit, "unit"), suite(t.Integration, "integration")
	t.App.Env = x.env(t.App.Env, "test", "app")
	t.Services = slices.Clone(t.Services)
	for i := range t.Services {
		s := &t.Services[i]
		s.Image = x.expand(s.Image, "test", "services", i, "image")
		s.Env = x.env(s.Env, "test", "services", i)
	}
	t.Warnings = x.warnings
	return t
}

// looksSecret matches names that people give to variables with secrets in them: as DB_PASSWORD, PGPASSWORD and dbPassword.
var looksSecret = regexp.MustCompile(`(?i:passw(or)?d|passphrase|secret|credential|connection_?string|(api|access|account|private|signing)[_-]?key)|` +
	`(?i:(^|[_-])(pass|pwd|pat|token|sas)([_-]|$))|[a-z0-9](Pass|Pwd|Token)([A-Z_]|$)`)

// plain matches a variable that is written without a default and without a word on its absence; $$ is a dollar sign.
var plain = regexp.MustCompile(`\$\$|\$\{([A-Za-z_][A-Za-z0-9_]*)\}|\$([A-Za-z_][A-Za-z0-9_]*)`)

// env replaces the variables of an environment for tests. It warns of values from variables whose names look secret,
// because these values are public: results are remembered under them, and they stand in the image's configuration. It
// warns of variables that are not set, too.
func (x *expander) env(env map[string]string, at ...any) map[string]string {
	if env == nil {
		return nil
	}
	out := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		path := append(slices.Clone(at), "env", name)
		out[name] = x.expand(env[name], path...)
		for _, m := range plain.FindAllStringSubmatch(env[name], -1) {
			used := m[1] + m[2]
			if _, ok := x.lookup(used); !ok && used != "" {
				x.warnings = append(x.warnings, x.doc.errorf(path, "the variable %s is not set, so its place is empty: write ${%s:-DEFAULT} if it may be absent, ${%s:?} if not", used, used, used).Error())
			}
		}
		for _, used := range slices.Sorted(maps.Keys(template.ExtractVariables(map[string]any{"v": env[name]}, template.DefaultPattern))) {
			if looksSecret.MatchString(used) || looksSecret.MatchString(name) {
				x.warnings = append(x.warnings, x.doc.errorf(path,
					"the value of %s is public here and may be kept in caches: if it is a secret, name it under secrets in place of env (secrets: {%s: {env: %s}})", used, name, used).Error())
			}
		}
	}
	return out
}

// kept is expand for what means something else when it is empty: the current context, an image without a signature. A value that
// is nothing but variables without values stays as it is written, so that those who use it say that there is no such context.
func (x *expander) kept(value string, path ...any) string {
	out := x.expand(value, path...)
	if out == "" && plain.MatchString(value) {
		return value
	}
	return out
}

func (x *expander) expand(value string, path ...any) string {
	out, err := template.SubstituteWithOptions(value, template.Mapping(x.lookup), template.WithoutLogging)
	if err != nil && x.err == nil {
		x.err = x.doc.errorf(path, "%w", err)
	}
	return out
}
