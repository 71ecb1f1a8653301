package adopt

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// composeFile is the part of a Compose file that is looked at. Where two forms are allowed, yaml.Node takes both.
// https://docs.docker.com/reference/compose-file/
type composeFile struct {
	Services map[string]struct {
		Image       string
		Build       yaml.Node
		Ports       []yaml.Node
		Expose      []string
		Environment yaml.Node
		DependsOn   yaml.Node `yaml:"depends_on"`
	}
}

// compose reads the services of a Compose file.
func (w *walk) compose(name string) error {
	text, err := w.read(name)
	if err != nil {
		return err
	}
	var file composeFile
	if err := yaml.Unmarshal(text, &file); err != nil {
		w.Notices = append(w.Notices, fmt.Sprintf("%s cannot be read: %v", name, err))
		return nil
	}
	for _, service := range slices.Sorted(maps.Keys(file.Services)) {
		from := file.Services[service]
		s := ComposeService{Name: service, File: name, Image: from.Image, Env: pairs(from.Environment), Needs: names(from.DependsOn)}
		switch from.Build.Kind {
		case yaml.ScalarNode:
			s.Context = path.Join(path.Dir(name), from.Build.Value)
		case yaml.MappingNode:
			var build struct{ Context, Dockerfile string }
			if from.Build.Decode(&build) == nil {
				s.Context, s.Dockerfile = path.Join(path.Dir(name), build.Context), build.Dockerfile
			}
		}
		for _, p := range from.Ports {
			s.Ports = append(s.Ports, containerPort(p))
		}
		s.Ports = append(s.Ports, from.Expose...)
		s.Ports = slices.DeleteFunc(s.Ports, func(p string) bool { return !number.MatchString(p) })
		w.Compose = append(w.Compose, s)
	}
	return nil
}

// containerPort is the port in the container of "8080:80", "127.0.0.1:8080:80/tcp", 80, or {target: 80}.
func containerPort(n yaml.Node) string {
	if n.Kind == yaml.MappingNode {
		var long struct{ Target string }
		_ = n.Decode(&long) // what has no such port has none
		return long.Target
	}
	port, _, _ := strings.Cut(n.Value[strings.LastIndex(n.Value, ":")+1:], "/")
	return port
}

// pairs reads a mapping, or a list of NAME=VALUE. A name without a value is left out: it comes from the caller.
func pairs(n yaml.Node) map[string]string {
	out := map[string]string{}
	var list []string
	var mapping map[string]*string
	switch {
	case n.Kind == yaml.SequenceNode && n.Decode(&list) == nil:
		for _, one := range list {
			if name, value, found := strings.Cut(one, "="); found {
				out[name] = value
			}
		}
	case n.Kind == yaml.MappingNode && n.Decode(&mapping) == nil:
		for name, value := range mapping {
			if value != nil {
				out[name] = *value
			}
		}
	}
	return out
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
