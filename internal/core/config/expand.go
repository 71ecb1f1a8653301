package config

import (
	"maps"

	"github.com/compose-spec/compose-go/v2/template"

	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/image/ref"
)

// Lookup finds a variable's value.
type Lookup func(name string) (string, bool)

// Expand returns c, with the variables of its values replaced, as it is for the environment of that name; "" stands for
// none. The lookup is asked first, then the environment's Variables. c stays as it is.
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
		if err := ref.CheckRegistry(expanded.Registry); err != nil && x.err == nil && expanded.Platform != LocalPlatform {
			x.err = x.doc.errorf([]any{"environments", environment, "registry"}, "%w", err)
		}
		for key, s := range map[string]*string{"kubeconfig": &expanded.Cluster.Kubeconfig, "context": &expanded.Cluster.Context} {
			*s = x.expand(*s, "environments", environment, "cluster", key)
		}
		expanded.GitOps.Repo = x.expand(e.GitOps.Repo, "environments", environment, "gitops", "repo")
		out.Environments = maps.Clone(c.Environments)
		out.Environments[environment] = &expanded
	}
	out.Build.Args = maps.Clone(c.Build.Args)
	for name, value := range out.Build.Args {
		out.Build.Args[name] = x.expand(value, "build", "args", name)
	}
	out.Test.Services = append([]Service(nil), c.Test.Services...)
	for i := range out.Test.Services {
		s := &out.Test.Services[i]
		s.Image = x.expand(s.Image, "test", "services", i, "image")
	}
	return &out, fault.Usage(x.err)
}

type expander struct {
	doc    *document
	lookup Lookup
	err    error // the first one
}

func (x *expander) expand(value string, path ...any) string {
	out, err := template.SubstituteWithOptions(value, template.Mapping(x.lookup), template.WithoutLogging)
	if err != nil && x.err == nil {
		x.err = x.doc.errorf(path, "%w", err)
	}
	return out
}
