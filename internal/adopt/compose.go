package adopt

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/google/shlex"
	"go.yaml.in/yaml/v3"
)

// ComposeService is a service of a Compose file.
type ComposeService struct {
	Name, File string
	// Image is a reference. Context and Dockerfile say what it is built from; Context is "" for one that is not built.
	Image, Context, Dockerfile string
	Ports                      []string // in the container
	Env                        map[string]string
	Needs                      []string // other services
	// Entrypoint and Command replace those of the image.
	Entrypoint, Command []string
	// Unset are variables whose values the Compose file takes from elsewhere, and EnvFiles are files with more of them.
	Unset, EnvFiles []string
	// Data are directories in the container whose content outlives it, and Mounts are paths of the repository that stand in it.
	Data, Mounts []string

	published bool // reachable from outside
	optional  bool // in a profile: not started by default
}

// composeFile is the part of a Compose file that is looked at. Where two forms are allowed, yaml.Node takes both.
// https://docs.docker.com/reference/compose-file/
type composeFile struct {
	Services map[string]composeYAML
}

type composeYAML struct {
	Image                       string
	Build, Extends, Environment yaml.Node
	Command, Entrypoint         yaml.Node
	Ports, Volumes              []yaml.Node
	Expose, Links, Profiles     []string
	EnvFile                     yaml.Node `yaml:"env_file"`
	DependsOn                   yaml.Node `yaml:"depends_on"`
}

// composeFiles are the Compose files of a walk by their names.
type composeFiles map[string]composeFile

// compose reads a Compose file. What is in a form that is not known is left out, and the rest of the file is read.
func (w *walk) compose(name string) error {
	text, err := w.read(name)
	if err != nil {
		return err
	}
	var file composeFile
	var form *yaml.TypeError
	switch err := yaml.Unmarshal(text, &file); {
	case errors.As(err, &form):
		w.notice("%s is read in part: %v", name, err)
	case err != nil:
		w.notice("%s cannot be read: %v", name, err)
		return nil
	}
	w.composeFiles[name] = file
	return nil
}

// overrideName matches a file that Compose reads together with the one that has the same name without "override".
var overrideName = regexp.MustCompile(`^((?:docker-)?compose)\.override\.ya?ml$`)

// composed returns the services of all Compose files, those of override files as a part of the files that they change.
func (w *walk) composed() []ComposeService {
	overrides := map[string]string{} // from the file that is changed
	for _, name := range slices.Sorted(maps.Keys(w.composeFiles)) {
		if m := overrideName.FindStringSubmatch(path.Base(name)); m != nil {
			for _, ext := range []string{".yaml", ".yml"} {
				if base := path.Join(path.Dir(name), m[1]+ext); w.composeFiles[base].Services != nil {
					overrides[base] = name
				}
			}
		}
	}
	var services []ComposeService
	for _, name := range slices.Sorted(maps.Keys(w.composeFiles)) {
		if slices.Contains(slices.Collect(maps.Values(overrides)), name) {
			continue
		}
		for _, service := range slices.Sorted(maps.Keys(w.composeFiles[name].Services)) {
			s := w.composedService(name, service, 0)
			if over := overrides[name]; over != "" {
				if _, found := w.composeFiles[over].Services[service]; found {
					s = w.composedService(over, service, 0).over(s)
					s.File = name
				}
			}
			services = append(services, s)
		}
	}
	return services
}

// mostExtended bounds how many services extend each other: they may extend themselves.
const mostExtended = 10

// composedService returns a service with what it has from the one that it extends.
func (w *walk) composedService(name, service string, depth int) ComposeService {
	from := w.composeFiles[name].Services[service]
	s := from.service(name, service, w.variablesBeside(name))
	if from.Extends.Kind == 0 || depth == mostExtended {
		return s
	}
	parent := struct{ Service, File string }{Service: from.Extends.Value}
	if from.Extends.Kind == yaml.MappingNode && from.Extends.Decode(&parent) != nil {
		return s
	}
	file := name
	if parent.File != "" {
		file = path.Join(path.Dir(name), parent.File)
	}
	if _, known := w.composeFiles[file]; !known && w.exists(file) && w.compose(file) != nil {
		return s
	}
	return s.over(w.composedService(file, parent.Service, depth+1))
}

// over returns a service with what a file says about it over what another one says.
func (s ComposeService) over(base ComposeService) ComposeService {
	s.Image = cmp.Or(s.Image, base.Image)
	if s.Context == "" {
		s.Context = base.Context
	}
	s.Dockerfile = cmp.Or(s.Dockerfile, base.Dockerfile)
	env := maps.Clone(base.Env)
	maps.Copy(env, s.Env)
	s.Env = env
	for _, list := range []struct{ own, base *[]string }{
		{&s.Ports, &base.Ports}, {&s.Needs, &base.Needs}, {&s.Unset, &base.Unset}, {&s.EnvFiles, &base.EnvFiles}, {&s.Data, &base.Data}, {&s.Mounts, &base.Mounts},
	} {
		*list.own = distinctStrings(slices.Concat(*list.base, *list.own))
	}
	s.Unset = slices.DeleteFunc(s.Unset, func(name string) bool { _, set := env[name]; return set })
	if s.Entrypoint == nil {
		s.Entrypoint = base.Entrypoint
	}
	if s.Command == nil {
		s.Command = base.Command
	}
	s.published, s.optional = s.published || base.published, s.optional || base.optional
	return s
}

// distinctStrings returns the strings without those that are there before.
func distinctStrings(all []string) (kept []string) {
	for _, one := range all {
		if !slices.Contains(kept, one) {
			kept = append(kept, one)
		}
	}
	return kept
}

// service is what the file of that name says about a service. variables are those of the file .env beside it.
func (y composeYAML) service(file, name string, variables map[string]string) ComposeService {
	s := ComposeService{Name: name, File: file, Needs: names(resolved(y.DependsOn)), published: len(y.Ports) > 0, optional: len(y.Profiles) > 0}
	s.Image, _ = interpolated(y.Image, variables)
	switch build := resolved(y.Build); build.Kind {
	case yaml.ScalarNode:
		context, _ := interpolated(build.Value, variables)
		s.Context = path.Join(path.Dir(file), context)
	case yaml.MappingNode:
		var of struct{ Context, Dockerfile string }
		_ = build.Decode(&of) // what is not known of it is left out
		context, _ := interpolated(of.Context, variables)
		s.Context = path.Join(path.Dir(file), context)
		s.Dockerfile, _ = interpolated(of.Dockerfile, variables)
	}
	for _, p := range y.Ports {
		s.Ports = append(s.Ports, containerPort(resolved(p), variables))
	}
	for _, p := range y.Expose {
		s.Ports = append(s.Ports, strings.TrimSuffix(p, "/tcp"))
	}
	s.Ports = distinctStrings(slices.DeleteFunc(s.Ports, func(p string) bool { return !number.MatchString(p) }))
	for _, link := range y.Links {
		other, _, _ := strings.Cut(link, ":")
		s.Needs = append(s.Needs, other)
	}
	s.Env, s.Unset = pairs(resolved(y.Environment))
	s.Entrypoint, s.Command = command(resolved(y.Entrypoint)), command(resolved(y.Command))
	s.EnvFiles = paths(resolved(y.EnvFile))
	for _, v := range y.Volumes {
		s.volume(resolved(v))
	}
	return s
}

// resolved is a value, or the one that an alias stands for.
func resolved(n yaml.Node) yaml.Node {
	if n.Kind == yaml.AliasNode {
		return *n.Alias
	}
	return n
}

// containerPort is the TCP port in the container of "8080:80", "127.0.0.1:8080:80/tcp", 80, or {target: 80}; "" for another protocol.
func containerPort(n yaml.Node, variables map[string]string) string {
	var long struct{ Target, Protocol string }
	if n.Kind == yaml.MappingNode {
		_ = n.Decode(&long) // what has no such port has none
	} else {
		short, _ := interpolated(n.Value, variables)
		long.Target, long.Protocol, _ = strings.Cut(short[strings.LastIndex(short, ":")+1:], "/")
	}
	if strings.EqualFold(long.Protocol, "udp") {
		return ""
	}
	return long.Target
}

// volume takes up a volume: NAME:TARGET, ./PATH:TARGET[:OPTIONS], or {type, source, target}.
func (s *ComposeService) volume(n yaml.Node) {
	var v struct{ Type, Source, Target string }
	if n.Kind == yaml.MappingNode {
		_ = n.Decode(&v)
	} else if parts := strings.Split(n.Value, ":"); len(parts) > 1 {
		v.Source, v.Target = parts[0], parts[1]
	} else {
		v.Target = n.Value
	}
	switch {
	case v.Type == "tmpfs" || strings.Contains(v.Source, "$"), strings.HasPrefix(v.Source, "/"), strings.HasPrefix(v.Source, "~"):
	case v.Type == "bind" || strings.HasPrefix(v.Source, "."):
		s.Mounts = append(s.Mounts, path.Join(path.Dir(s.File), v.Source))
	default:
		s.Data = append(s.Data, v.Target)
	}
}

// pairs reads a mapping, or a list of NAME=VALUE. Names without a value of their own are unset: it comes from the caller.
func pairs(n yaml.Node) (env map[string]string, unset []string) {
	var list []string
	var mapping map[string]*string
	env = map[string]string{}
	set := func(name, value string, found bool) {
		if value, known := interpolated(value, nil); known && found {
			env[name] = value
		} else {
			unset = append(unset, name)
		}
	}
	switch {
	case n.Kind == yaml.SequenceNode && n.Decode(&list) == nil:
		for _, one := range list {
			set(strings.Cut(one, "="))
		}
	case n.Kind == yaml.MappingNode && n.Decode(&mapping) == nil:
		for _, name := range slices.Sorted(maps.Keys(mapping)) {
			if value := mapping[name]; value != nil {
				set(name, *value, true)
			} else {
				set(name, "", false)
			}
		}
	}
	return env, unset
}

// names reads a list, or the keys of a mapping.
func names(n yaml.Node) []string {
	var list []string
	var mapping map[string]yaml.Node
	if n.Kind == yaml.SequenceNode && n.Decode(&list) == nil {
		return list
	}
	if n.Kind == yaml.MappingNode && n.Decode(&mapping) == nil {
		return slices.Sorted(maps.Keys(mapping))
	}
	return nil
}

// paths reads one path, or a list of paths or of {path}.
func paths(n yaml.Node) (all []string) {
	switch n.Kind {
	case yaml.ScalarNode:
		return []string{n.Value}
	case yaml.MappingNode:
		var of struct{ Path string }
		_ = n.Decode(&of)
		return []string{of.Path}
	case yaml.SequenceNode:
		for _, one := range n.Content {
			all = append(all, paths(resolved(*one))...)
		}
	}
	return all
}

// command reads a command: a list, or words as a shell has them. One with variables whose values are not known is left out.
func command(n yaml.Node) []string {
	var words []string
	switch n.Kind {
	case yaml.SequenceNode:
		_ = n.Decode(&words)
	case yaml.ScalarNode:
		if words, _ = shlex.Split(n.Value); len(words) == 0 { // empty, or a quote has no end
			return nil
		}
	}
	for i, word := range words {
		value, known := interpolated(word, nil)
		if !known {
			return nil
		}
		words[i] = value
	}
	return words
}

// composeVariable matches a variable in a Compose file, with its default value, and a dollar sign.
var composeVariable = regexp.MustCompile(`\$\$|\$\{([A-Za-z_][A-Za-z0-9_]*)(:?-[^{}]*)?\}|\$([A-Za-z_][A-Za-z0-9_]*)|\$`)

// interpolated replaces the variables of a value by those that are given, else by the default values that stand with them.
// known reports whether all had one; the others stay as they are.
func interpolated(text string, variables map[string]string) (out string, known bool) {
	known = true
	out = composeVariable.ReplaceAllStringFunc(text, func(found string) string {
		m := composeVariable.FindStringSubmatch(found)
		value, set := variables[m[1]+m[3]]
		switch {
		case found == "$$":
			return "$"
		case set && (value != "" || !strings.HasPrefix(m[2], ":")):
			return value
		case m[2] != "":
			return strings.TrimPrefix(strings.TrimPrefix(m[2], ":"), "-")
		}
		known = false
		return found
	})
	return out, known
}

// variablesBeside are those of the file .env beside a Compose file, which Compose takes for the file's variables.
func (r *Repository) variablesBeside(name string) map[string]string {
	variables := map[string]string{}
	text, err := r.read(path.Join(path.Dir(name), ".env"))
	if err != nil {
		return variables
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimPrefix(strings.TrimSpace(line), "export ")
		if name, value, found := strings.Cut(line, "="); found && !strings.HasPrefix(line, "#") {
			variables[strings.TrimSpace(name)] = strings.Trim(strings.TrimSpace(value), `"'`)
		}
	}
	return variables
}

// composeOf returns the service of a Compose file that stands for a Dockerfile, and others of that file that run its image, too.
// The file that Compose takes by itself comes before others, and those for tests and development come last; in a file it is the
// service that is reachable from outside.
func (r *Repository) composeOf(d Dockerfile) (best *ComposeService, others []string) {
	var of []*ComposeService
	for i, c := range r.Compose {
		if c.Context != "" && path.Join(c.Context, cmp.Or(c.Dockerfile, "Dockerfile")) == d.Path {
			of = append(of, &r.Compose[i])
		}
	}
	if len(of) == 0 {
		return nil, nil
	}
	last := func(b bool) int {
		if b {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(of, func(a, b *ComposeService) int {
		return cmp.Or(
			cmp.Compare(last(helper.MatchString(a.File)), last(helper.MatchString(b.File))),
			cmp.Compare(last(!composeDefault.MatchString(a.File)), last(!composeDefault.MatchString(b.File))),
			cmp.Compare(strings.Count(a.File, "/"), strings.Count(b.File, "/")),
			strings.Compare(a.File, b.File),
			cmp.Compare(last(a.optional), last(b.optional)),
			cmp.Compare(last(!a.published), last(!b.published)),
			cmp.Compare(last(len(a.Ports) == 0), last(len(b.Ports) == 0)),
		)
	})
	for _, c := range of[1:] {
		if c.File == of[0].File && !c.optional {
			others = append(others, c.Name)
		}
	}
	return of[0], others
}

// composeDefault matches the names of files that Compose takes by itself.
var composeDefault = regexp.MustCompile(`(^|/)(docker-)?compose\.ya?ml$`)

// inCompose says where a service of a Compose file stands, for messages.
func (s ComposeService) inCompose() string {
	return fmt.Sprintf("the service %s of %s", s.Name, s.File)
}
