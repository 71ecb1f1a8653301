package compose

import (
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/google/shlex"
	"go.yaml.in/yaml/v3"
)

// parse is what a file says about a service. Its paths are relative to dir.
func (y service) parse(file, dir, name string, variables map[string]string) Service {
	s := Service{Name: name, File: file, Needs: names(resolved(y.DependsOn)), Published: len(y.Ports) > 0, Optional: len(y.Profiles) > 0}
	s.Image, _ = interpolated(y.Image, variables)
	s.Build = build(resolved(y.Build), dir, variables)
	for _, p := range y.Ports {
		s.Ports = append(s.Ports, containerPort(resolved(p), variables))
	}
	for _, p := range y.Expose {
		s.Ports = append(s.Ports, strings.TrimSuffix(p, "/tcp"))
	}
	s.Ports = distinct(slices.DeleteFunc(s.Ports, func(p string) bool { return !number.MatchString(p) }))
	for _, link := range y.Links {
		other, alias, _ := strings.Cut(link, ":")
		s.Needs = append(s.Needs, other)
		s.called(alias, other)
	}
	for _, alias := range append(aliases(resolved(y.Networks)), y.ContainerName, y.Hostname) {
		s.called(alias, name)
	}
	s.Env, s.Unset = pairs(resolved(y.Environment))
	s.Entrypoint, s.Command = command(resolved(y.Entrypoint)), command(resolved(y.Command))
	s.EnvFiles = paths(resolved(y.EnvFile))
	for _, v := range y.Volumes {
		s.volume(resolved(v), dir)
	}
	return s
}

// called notes a further name of a host, and the service that it means.
func (s *Service) called(alias, name string) {
	if alias == "" || alias == name || strings.Contains(alias, "$") {
		return
	}
	if s.Aliases == nil {
		s.Aliases = map[string]string{}
	}
	s.Aliases[alias] = name
}

// aliases are the names that a service has in its networks.
func aliases(networks yaml.Node) (all []string) {
	var of map[string]struct{ Aliases []string }
	if networks.Kind == yaml.MappingNode {
		_ = networks.Decode(&of) // what is not known of it is left out
	}
	for _, name := range slices.Sorted(maps.Keys(of)) {
		all = append(all, of[name].Aliases...)
	}
	return all
}

// build reads the path of a build context, or a mapping. The context is "" where it is not said.
func build(n yaml.Node, dir string, variables map[string]string) *Build {
	local := func(context string) string {
		context, _ = interpolated(context, variables)
		if context == "" || remote(context) {
			return context
		}
		return path.Join(dir, context)
	}
	switch n.Kind {
	case yaml.ScalarNode:
		return &Build{Context: local(n.Value), dir: dir}
	case yaml.MappingNode:
		var of struct {
			Context, Dockerfile, Target string
			Inline                      string `yaml:"dockerfile_inline"`
			Args                        yaml.Node
			Contexts                    yaml.Node `yaml:"additional_contexts"`
		}
		_ = n.Decode(&of) // what is not known of it is left out
		b := &Build{Context: local(of.Context), Inline: of.Inline != "", dir: dir}
		b.Dockerfile, _ = interpolated(of.Dockerfile, variables)
		b.Target, _ = interpolated(of.Target, variables)
		b.Args, b.Unset = pairs(resolved(of.Args))
		contexts, unknown := pairs(resolved(of.Contexts))
		b.Contexts = append(slices.Sorted(maps.Keys(contexts)), unknown...)
		return b
	}
	return nil
}

// remote reports whether a build context or an included file is somewhere else: a URL, or a repository of git.
func remote(name string) bool {
	return strings.Contains(name, ":") || strings.HasSuffix(name, ".git")
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
func (s *Service) volume(n yaml.Node, dir string) {
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
		s.Mounts = append(s.Mounts, path.Join(dir, v.Source))
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

var number = regexp.MustCompile(`^[0-9]+$`)

// variable matches a variable in a Compose file, with what stands with it for the case that it has no value or one, and a dollar sign.
// https://docs.docker.com/reference/compose-file/interpolation/
var variable = regexp.MustCompile(`\$\$|\$\{([A-Za-z_][A-Za-z0-9_]*)(?:(:?[-?+])((?:[^{}]|\{[^{}]*\})*))?\}|\$([A-Za-z_][A-Za-z0-9_]*)|\$`)

// interpolated replaces the variables of a value by those that are given, else by the default values that stand with them, which may
// have variables, too. known reports whether all had one; the others stay as they are.
func interpolated(text string, variables map[string]string) (out string, known bool) {
	known = true
	out = variable.ReplaceAllStringFunc(text, func(found string) string {
		m := variable.FindStringSubmatch(found)
		operator, word := m[2], m[3]
		value, set := variables[m[1]+m[4]]
		if strings.HasPrefix(operator, ":") {
			set = set && value != ""
		}
		otherwise := set && strings.HasSuffix(operator, "+") || !set && strings.HasSuffix(operator, "-")
		switch {
		case found == "$$":
			return "$"
		case otherwise:
			word, all := interpolated(word, variables)
			known = known && all
			return word
		case set:
			return value
		}
		known = false
		return found
	})
	return out, known
}

// variables are those of a file such as .env; a file that is not there has none.
func (r *reader) variables(name string) map[string]string {
	variables := map[string]string{}
	text, err := r.read(name)
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
