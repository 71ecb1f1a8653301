// Package compose reads Compose files as Docker Compose does, as far as they say how services are built and what they need
// to run: override files, services that extend others, and included files count.
//
// https://docs.docker.com/reference/compose-file/
package compose

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Service is a service of a Compose file.
type Service struct {
	Name string
	// File is where the service stands, and Project the file that Compose is started with: another one where that includes File.
	File, Project string
	// Image is a reference. Build says what it is built from; nil for an image that is not built.
	Image string
	Build *Build
	Ports []string // in the container
	Env   map[string]string
	Needs []string // other services
	// Entrypoint and Command replace those of the image.
	Entrypoint, Command []string
	// Aliases are further names of hosts, and the service that each of them means.
	Aliases map[string]string
	// Unset are variables whose values the Compose file takes from elsewhere, and EnvFiles are files with more of them.
	Unset, EnvFiles []string
	// Data are directories in the container whose content outlives it, and Mounts are paths of the repository that stand in it.
	Data, Mounts []string
	// Published reports that the service is reachable from outside, and Optional that it is in a profile: not started by default.
	Published, Optional bool
}

// Build is how an image is built.
type Build struct {
	// Context is a path of the repository or a URL, and Dockerfile one below it; "" is the default one.
	Context, Dockerfile, Target string
	Args                        map[string]string
	// Unset are build arguments whose values the Compose file takes from elsewhere.
	Unset []string
	// Inline reports that the Dockerfile stands in the Compose file.
	Inline bool
	// Contexts are the names of further build contexts.
	Contexts []string

	dir string // the context where none is said
}

// Path is the path of the Dockerfile in the repository; "" for one that stands in the Compose file or elsewhere.
func (b *Build) Path() string {
	if b == nil || b.Inline || remote(b.Context) {
		return ""
	}
	return path.Join(b.Context, cmp.Or(b.Dockerfile, "Dockerfile"))
}

// String says where the service stands, for messages.
func (s Service) String() string { return fmt.Sprintf("the service %s of %s", s.Name, s.File) }

// fileName matches the names of Compose files, and overrideName one that is read together with the one that has the same name without
// the word: "override" by Compose itself, and what is for production because it is named on the command line.
var (
	fileName     = regexp.MustCompile(`^(docker-)?compose([.-][^/]*)?\.ya?ml$`)
	overrideName = regexp.MustCompile(`^((?:docker-)?compose)[.-](override|prod|production)\.ya?ml$`)
	defaultName  = regexp.MustCompile(`^(docker-)?compose\.ya?ml$`)
)

// IsFile reports whether a file is a Compose file by its name.
func IsFile(name string) bool { return fileName.MatchString(path.Base(name)) }

// IsDefault reports whether Compose takes a file by itself, by its name.
func IsDefault(name string) bool { return defaultName.MatchString(path.Base(name)) }

// document is the part of a Compose file that is looked at. Where two forms are allowed, yaml.Node takes both.
type document struct {
	Services map[string]service
	Include  []yaml.Node
}

type service struct {
	Image, Hostname             string
	ContainerName               string `yaml:"container_name"`
	Build, Extends, Environment yaml.Node
	Networks                    yaml.Node
	Command, Entrypoint         yaml.Node
	Ports, Volumes              []yaml.Node
	Expose, Links, Profiles     []string
	EnvFile                     yaml.Node `yaml:"env_file"`
	DependsOn                   yaml.Node `yaml:"depends_on"`
}

// goType matches what an error of the YAML decoder says of the program.
var goType = regexp.MustCompile(` into [\w.\[\]*]+`)

// reader reads the Compose files of a repository.
type reader struct {
	read     func(name string) ([]byte, error)
	files    map[string]*document // nil for one that cannot be read
	included map[string]bool
	includes int // of the file that Compose is started with, so far
	notices  []string
}

// Read returns the services of the Compose files of a repository, which are read with read. A file that another one includes
// or that overrides another one counts as a part of that one; one for production is taken in place of the override file, which is
// for developers. What cannot be read is said in the notices, and left out.
func Read(names []string, read func(name string) ([]byte, error)) (services []Service, notices []string) {
	r := &reader{read: read, files: map[string]*document{}, included: map[string]bool{}}
	slices.Sort(names)
	overrides := map[string]string{} // from the file that is changed
	for _, name := range names {
		if m := overrideName.FindStringSubmatch(path.Base(name)); m != nil {
			for _, ext := range []string{".yaml", ".yml"} {
				base := path.Join(path.Dir(name), m[1]+ext)
				if !slices.Contains(names, base) {
					continue
				}
				if r.included[name] = true; m[2] != "override" || overrides[base] == "" {
					overrides[base] = name
				}
			}
		}
	}
	projects := map[string]map[string]Service{}
	for _, name := range names {
		r.includes = 0
		of := project{name, path.Dir(name), nil, 0}
		projects[name] = r.project(of)
		if over := overrides[name]; over != "" {
			merge(projects[name], r.project(project{over, path.Dir(name), nil, 0}))
		}
	}
	for _, name := range names {
		if r.included[name] {
			continue
		}
		for _, key := range slices.Sorted(maps.Keys(projects[name])) {
			s := projects[name][key]
			if s.Project = name; s.Build != nil {
				s.Build.Context = cmp.Or(s.Build.Context, s.Build.dir)
			}
			services = append(services, s)
		}
	}
	return services, distinct(r.notices)
}

// merge puts what services say over what those of the same name say.
func merge(all, over map[string]Service) {
	for name, s := range over {
		if base, found := all[name]; found {
			s = s.over(base)
			s.File = base.File
		}
		all[name] = s
	}
}

// document returns a file, which is read once.
func (r *reader) document(name string) *document {
	if d, known := r.files[name]; known {
		return d
	}
	r.files[name] = nil
	text, err := r.read(name)
	if err != nil {
		return nil
	}
	var d document
	var form *yaml.TypeError
	switch err := yaml.Unmarshal(text, &d); {
	case errors.As(err, &form): // what is in a form that is not known is left out, and the rest of the file is read
		r.notice("%s is read in part: %s", name, goType.ReplaceAllString(strings.Join(form.Errors, "; "), ""))
	case err != nil:
		r.notice("%s cannot be read: %v", name, err)
		return nil
	}
	r.files[name] = &d
	return &d
}

func (r *reader) notice(format string, args ...any) {
	r.notices = append(r.notices, fmt.Sprintf(format, args...))
}

// project is a file that is read with those that it includes. Its paths are relative to dir, and variables are those of the
// file that includes it.
type project struct {
	file, dir string
	variables map[string]string
	depth     int
}

// deepest bounds how many services extend each other, and how many files include each other: they may do so in a circle.
const deepest = 10

// mostIncludes bounds the files that a project includes: those that include each other in a circle do so along many ways.
const mostIncludes = 1000

// project returns the services of a file and of those that it includes, by name.
func (r *reader) project(p project) map[string]Service {
	all := map[string]Service{}
	d := r.document(p.file)
	if d == nil || p.depth == deepest {
		return all
	}
	variables := r.variables(path.Join(p.dir, ".env"))
	maps.Copy(variables, p.variables)
	for _, include := range d.Include {
		maps.Copy(all, r.include(p, resolved(include), variables))
	}
	own := map[string]Service{}
	for name := range d.Services {
		own[name] = r.service(p.file, p.dir, name, variables, 0)
	}
	merge(all, own)
	return all
}

// include returns the services of what a file includes: a path, or {path, project_directory, env_file} with one path or with
// several, of which each changes those before it.
func (r *reader) include(p project, n yaml.Node, variables map[string]string) map[string]Service {
	var long struct {
		Path     yaml.Node
		Dir      string    `yaml:"project_directory"`
		EnvFiles yaml.Node `yaml:"env_file"`
	}
	files := paths(n)
	if n.Kind == yaml.MappingNode {
		_ = n.Decode(&long) // what is not known of it is left out
		files = paths(resolved(long.Path))
	}
	all := map[string]Service{}
	dir := ""
	for i, file := range files {
		name, known := interpolated(file, variables)
		if name = path.Join(p.dir, name); !known || remote(name) || strings.HasPrefix(file, "/") || strings.HasPrefix(name, "../") {
			r.notice("%s includes %s, which is not a file of this repository: the services in it are not known", p.file, file)
			return all
		}
		if _, err := r.read(name); errors.Is(err, fs.ErrNotExist) {
			r.notice("%s includes %s, which is not there: the services in it are not known", p.file, name)
			return all
		}
		if i == 0 {
			if dir = path.Dir(name); long.Dir != "" {
				dir = path.Join(p.dir, long.Dir)
			}
		}
		if r.includes++; r.includes > mostIncludes {
			r.notice("the includes of %s are read in part: there are more than %d, perhaps in a circle", p.file, mostIncludes)
			return all
		}
		of := project{name, dir, map[string]string{}, p.depth + 1}
		for _, file := range paths(resolved(long.EnvFiles)) {
			maps.Copy(of.variables, r.variables(path.Join(p.dir, file)))
		}
		maps.Copy(of.variables, variables)
		r.included[name] = true
		merge(all, r.project(of))
	}
	return all
}

// service returns a service of a file with what it has from the one that it extends.
func (r *reader) service(file, dir, name string, variables map[string]string, depth int) Service {
	d := r.document(file)
	if d == nil {
		return Service{Name: name, File: file}
	}
	from := d.Services[name]
	s := from.parse(file, dir, name, variables)
	extends := resolved(from.Extends)
	if extends.Kind == 0 || depth == deepest {
		return s
	}
	parent := struct{ Service, File string }{Service: extends.Value}
	if extends.Kind == yaml.MappingNode && extends.Decode(&parent) != nil {
		return s
	}
	if parent.File != "" {
		file = path.Join(dir, parent.File)
		dir = path.Dir(file)
	}
	return s.over(r.service(file, dir, parent.Service, variables, depth+1))
}

// over returns a service with what a file says about it over what another one says.
func (s Service) over(base Service) Service {
	s.Image = cmp.Or(s.Image, base.Image)
	s.Build = s.Build.over(base.Build)
	s.Env, s.Aliases = both(base.Env, s.Env), both(base.Aliases, s.Aliases)
	for _, list := range []struct{ own, base *[]string }{
		{&s.Ports, &base.Ports}, {&s.Needs, &base.Needs}, {&s.Unset, &base.Unset}, {&s.EnvFiles, &base.EnvFiles}, {&s.Data, &base.Data}, {&s.Mounts, &base.Mounts},
	} {
		*list.own = distinct(slices.Concat(*list.base, *list.own))
	}
	s.Unset = without(s.Unset, s.Env)
	if s.Entrypoint == nil {
		s.Entrypoint = base.Entrypoint
	}
	if s.Command == nil {
		s.Command = base.Command
	}
	s.Published, s.Optional = s.Published || base.Published, s.Optional || base.Optional
	return s
}

// over is what is said about a build over what another file says. The path of a build context counts where one is said.
func (b *Build) over(base *Build) *Build {
	if b == nil || base == nil {
		return cmp.Or(b, base)
	}
	args := both(base.Args, b.Args)
	merged := Build{
		Context: cmp.Or(b.Context, base.Context), Dockerfile: cmp.Or(b.Dockerfile, base.Dockerfile), Target: cmp.Or(b.Target, base.Target),
		Args: args, Unset: without(distinct(slices.Concat(base.Unset, b.Unset)), args),
		Inline: b.Inline || base.Inline && b.Dockerfile == "", Contexts: distinct(slices.Concat(base.Contexts, b.Contexts)), dir: base.dir,
	}
	return &merged
}

// both returns the values of two mappings; those of over win.
func both(base, over map[string]string) map[string]string {
	all := map[string]string{}
	maps.Copy(all, base)
	maps.Copy(all, over)
	return all
}

// without returns the names that a mapping does not have.
func without(names []string, set map[string]string) []string {
	return slices.DeleteFunc(names, func(name string) bool { _, found := set[name]; return found })
}

// distinct returns the strings without those that are there before.
func distinct(all []string) (kept []string) {
	for _, one := range all {
		if !slices.Contains(kept, one) {
			kept = append(kept, one)
		}
	}
	return kept
}
