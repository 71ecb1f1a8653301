package adopt

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/aksflow/aksflow/internal/adopt/compose"
	"github.com/aksflow/aksflow/internal/adopt/declared"
	"github.com/aksflow/aksflow/internal/core/build/dockerfile"
	"github.com/aksflow/aksflow/internal/core/image/ref"
)

// services returns the images that the repository builds, under names of their own.
func (r *Repository) services(repository string) []*Service {
	var services []*Service
	for _, d := range r.Dockerfiles {
		of := r.imagesOf(d)
		for _, s := range of {
			s.apart = len(of) > 1
			r.complete(s)
			if s.Name = r.nameOf(s, repository); r.forProduction(s) != "" {
				s.Name = label(s.Name + "-dev")
			}
			if base := path.Base(path.Dir(d.Path)); len(r.Dockerfiles) == 1 && !s.apart && slices.Contains(roles, base) {
				s.alias = base
			}
			services = append(services, s)
		}
	}
	distinct(services)
	for _, s := range services {
		r.published(s)
	}
	return services
}

// published gives to a service that no Compose file builds what one says that runs its image as it is published, by its name.
func (r *Repository) published(s *Service) {
	if s.Compose != nil || s.apart {
		return
	}
	for i, c := range r.Compose {
		if c.Build != nil || !compose.IsDefault(c.Project) || c.Optional || helper.MatchString(c.Project) || lastPart(c.Image) != s.Name {
			continue
		}
		if s.Compose = &r.Compose[i]; len(s.Ports) == 0 {
			s.Ports = c.Ports
		}
		return
	}
}

// imagesOf returns a service for each image that is built from a Dockerfile: files of other tools may say that several are, of
// different stages or with different build arguments.
func (r *Repository) imagesOf(d Dockerfile) []*Service {
	var services []*Service
	known := func(i declared.Image) *Service {
		for _, s := range services {
			named := s.said.Reference != "" && i.Reference != "" && ref.Read(s.said.Reference).Repository == ref.Read(i.Reference).Repository
			if named || s.Target == d.target(i) && !differ(s.args, d.declares(i.Args)) {
				return s
			}
		}
		return nil
	}
	add := func(i declared.Image) *Service {
		s := &Service{file: d, said: i, Target: d.target(i), args: d.declares(i.Args)}
		services = append(services, s)
		return s
	}
	for _, i := range r.Declared {
		if !d.makes(i) || !i.IsService() && helperStage(strings.ToLower(i.Target)) {
			continue
		}
		if s := known(i); s != nil {
			s.said = s.said.With(i)
		} else {
			add(i)
		}
	}
	tools := len(services)
	composed := r.composed(d.Path)
	if len(composed) == 0 && production.MatchString(fileWord(d.Path)) {
		composed = r.composed(r.beside(d)) // the same app, on a developer's machine
	}
	for _, c := range composed {
		i := declared.Image{File: c.File, Name: c.Name, Reference: c.Image, Context: c.Build.Context, Dockerfile: d.Path, Target: c.Build.Target, Args: c.Build.Args, Unset: c.Build.Unset}
		s := known(i)
		switch {
		case len(services) > 0 && (c.Optional || helperStage(strings.ToLower(i.Target))):
			continue // not what is delivered
		case s == nil && tools > 0:
			s = services[0]
		case s == nil:
			s = add(i)
		}
		if s.Compose == nil {
			s.Compose = c
		} else {
			s.others = append(s.others, c.Name)
		}
	}
	if len(services) == 0 {
		add(declared.Image{})
	}
	return services
}

// makes reports whether an image that a file of another tool declares is made by a Dockerfile. One that the tool makes without
// a Dockerfile is made by the one in its directory, if there is one.
func (d Dockerfile) makes(i declared.Image) bool {
	return i.Dockerfile == d.Path || i.Builder != "" && path.Join(i.Context, "Dockerfile") == d.Path
}

// target is the stage that an image is said to be, as far as that is one to deliver; "" is the last one.
func (d Dockerfile) target(i declared.Image) string {
	name := strings.ToLower(i.Target)
	if !slices.Contains(d.Stages, name) || name == d.Last || helperStage(name) {
		return ""
	}
	return name
}

// declares are those of the build arguments that the Dockerfile has an ARG for. The others change nothing.
func (d Dockerfile) declares(args map[string]string) map[string]string {
	of, declared := map[string]string{}, d.parsed.Declared()
	for name, value := range args {
		if declared[name] {
			of[name] = value
		}
	}
	return of
}

// differ reports whether two sets of build arguments have different values for one of them.
func differ(a, b map[string]string) bool {
	for name, value := range a {
		if other, both := b[name]; both && other != value {
			return true
		}
	}
	return false
}

// complete fills in what follows from what is said of a service's image: its build context, stage, ports and build arguments.
func (r *Repository) complete(s *Service) {
	s.Target = cmp.Or(s.Target, s.release())
	s.Context = s.said.Context
	below, inside := relative(s.Context, s.file.Path)
	if s.Context == "" || !inside {
		s.Context = r.contextOf(s.file)
		below, _ = relative(s.Context, s.file.Path)
	}
	s.Dockerfile = below
	if s.Ports = s.file.ports(s.Target, s.args); s.Compose != nil {
		r.composePorts(s)
	}
	if port := s.basePort(); len(s.Ports) == 0 && port != "" {
		s.Ports = []string{port}
	}
}

// composePorts takes the ports of the Compose file where the Dockerfile exposes none, or where it exposes none of those at which the
// Compose file makes the same image reachable: what is tried out counts more than what is only said.
func (r *Repository) composePorts(s *Service) {
	c, exposed := s.Compose, s.Ports
	if len(exposed) == 0 {
		s.Ports = c.Ports
		return
	}
	developed := len(c.Command)+len(c.Entrypoint)+len(c.Mounts) > 0 || helperStage(strings.ToLower(c.Build.Target)) || helper.MatchString(c.Project)
	common := slices.ContainsFunc(c.Ports, func(port string) bool { return slices.Contains(exposed, port) })
	if c.Published && !developed && !common && len(c.Ports) > 0 {
		s.Ports = c.Ports
		r.notice("%s exposes %s, and %s reaches it at %s: that is proposed", s.file.Path, strings.Join(exposed, ", "), c.File, strings.Join(c.Ports, ", "))
	}
}

// basePort is the port that the image exposes which the service's is made from; "" where that is not known.
func (s *Service) basePort() string {
	chain, err := s.file.parsed.Chain(s.Target)
	if err != nil {
		return ""
	}
	base := ref.Read(chain[0].From)
	name := path.Base(strings.ToLower(base.Repository))
	if name == "php" && strings.Contains(base.Tag, "apache") {
		return "80"
	}
	return cmp.Or(webPorts[name], usualPorts[name])
}

// webPorts are the ports that images of web servers expose, by the last part of their repositories.
var webPorts = map[string]string{
	"nginx": "80", "nginx-unprivileged": "8080", "httpd": "80", "caddy": "80", "tomcat": "8080", "jetty": "8080", "wordpress": "80", "drupal": "80",
}

var (
	// portFlag finds the port in the flags of a command that starts a server.
	portFlag = regexp.MustCompile(`(?:^|[\s"',])(?:--(?:server[._-])?port|-p|--bind|-b|--host|--addr|--listen)(?:=|["',\s]+)(?:[\w.*:\[\]-]*:)?([0-9]{2,5})(?:[\s"',\]]|$)`)
	// portVariable matches variables that say to a server which port to listen on.
	portVariable = regexp.MustCompile(`^((APP|HTTP|SERVER|LISTEN|ASPNETCORE_HTTP)_)?PORTS?$`)
)

// likelyPort is the port of an image that exposes none: that of the command which starts it, or of a variable. from says where it
// stands; "" for a mere guess.
func (s *Service) likelyPort() (port, from string) {
	port = "8080"
	s.file.evaluate(s.Target, s.args, func(i dockerfile.Instruction, values map[string]string) {
		switch i.Name {
		case "CMD", "ENTRYPOINT":
			if m := portFlag.FindStringSubmatch(expand(i.Rest, values)); m != nil {
				port, from = m[1], ", which its "+i.Name+" names"
			}
		case "ENV":
			for _, name := range slices.Sorted(maps.Keys(values)) {
				if from == "" && portVariable.MatchString(name) && number.MatchString(values[name]) {
					port, from = values[name], ", which its variable "+name+" names"
				}
			}
		}
	})
	return port, from
}

// composed returns the services of a Compose file that are built from a Dockerfile, the one that stands for it first. The
// file that Compose takes by itself comes before others, and those for tests and development come last; in a file it is the service
// that is reachable from outside.
func (r *Repository) composed(file string) []*compose.Service {
	var of []*compose.Service
	for i, c := range r.Compose {
		if c.Build.Path() == file && file != "" && !forTests.MatchString(c.Project) {
			of = append(of, &r.Compose[i])
		}
	}
	last := func(b bool) int {
		if b {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(of, func(a, b *compose.Service) int {
		return cmp.Or(
			cmp.Compare(last(helper.MatchString(a.Project)), last(helper.MatchString(b.Project))),
			cmp.Compare(last(!compose.IsDefault(a.Project)), last(!compose.IsDefault(b.Project))),
			cmp.Compare(strings.Count(a.Project, "/"), strings.Count(b.Project, "/")),
			strings.Compare(a.Project, b.Project),
			cmp.Compare(last(a.Optional), last(b.Optional)),
			cmp.Compare(last(helperStage(a.Build.Target)), last(helperStage(b.Build.Target))),
			cmp.Compare(last(!a.Published), last(!b.Published)),
			cmp.Compare(last(len(a.Ports) == 0), last(len(b.Ports) == 0)),
			cmp.Compare(last(a.Name != a.Build.Target), last(b.Name != b.Build.Target)),
		)
	})
	return slices.DeleteFunc(of, func(c *compose.Service) bool { return c.Project != of[0].Project })
}

// developers matches values of build arguments that are for a developer's machine.
var developers = regexp.MustCompile(`(?i)^(dev|develop|development|debug|tests?|testing|local)$|\blocalhost\b|\b127\.0\.0\.1\b|host\.docker\.internal`)

// takeArgs leaves those build arguments that stand in the service's aksflow.yaml, and notices the others.
func (r *Repository) takeArgs(s *Service, config string) {
	var contexts []string
	if s.Compose != nil && s.Compose.Build != nil {
		contexts = s.Compose.Build.Contexts
	}
	if len(s.said.Args)+len(s.said.Unset)+len(contexts) == 0 {
		return
	}
	var secret, unset, local []string
	for _, name := range slices.Sorted(maps.Keys(s.args)) {
		switch {
		case isSecret(name) || withPassword.MatchString(s.args[name]):
			secret = append(secret, name)
		case developers.MatchString(s.args[name]):
			local = append(local, name+"="+s.args[name])
		default:
			continue
		}
		delete(s.args, name)
	}
	declares := s.file.parsed.Declared()
	for _, name := range s.said.Unset {
		switch {
		case !declares[name]:
		case isSecret(name):
			secret = append(secret, name)
		default:
			unset = append(unset, name)
		}
	}
	from := s.said.File
	if len(secret) > 0 {
		r.notice("%s gives the build of %s the argument %s, which seems to be a secret and would stand in the image's history: mount it in the Dockerfile (`RUN --mount=type=secret,id=%s`), and name it in %s under build.secrets",
			from, s.Name, strings.Join(secret, ", "), secret[0], config)
	}
	if len(local) > 0 {
		r.notice("%s builds %s with %s, which is for a developer's machine: %s has no such build argument; write the value for the cluster under build.args there, if the build needs it", from, s.Name, strings.Join(local, ", "), config)
	}
	if len(unset) > 0 {
		r.notice("%s takes the build argument %s of %s from elsewhere: write it into %s under build.args, if the build needs it", from, strings.Join(unset, ", "), s.Name, config)
	}
	if len(contexts) > 0 {
		r.notice("%s builds %s with further build contexts (%s), which aksflow has not: let the Dockerfile copy what it needs of them from %s, or from an image that it names", s.Compose.File, s.Name, strings.Join(contexts, ", "), directoryName(s.Context))
	}
}

// neededArgs notices build arguments that name what the Dockerfile copies and that nothing gives a value.
func (r *Repository) neededArgs(s *Service, config string) {
	needed := map[string]string{}
	for i := range s.file.parsed.Stages {
		unset := map[string]bool{}
		s.file.evaluate(strconv.Itoa(i), s.args, func(i dockerfile.Instruction, values map[string]string) {
			switch i.Name {
			case "ARG":
				for _, arg := range i.Args() {
					name, _, _ := strings.Cut(arg, "=")
					unset[name] = values[name] == "" && !platformArg.MatchString(name) && !slices.Contains(s.said.Unset, name)
				}
			case "COPY", "ADD":
				for _, m := range plainVariable.FindAllStringSubmatch(i.Rest, -1) {
					if name := m[1] + m[2]; unset[name] {
						needed[name] = cmp.Or(needed[name], i.Name+" "+i.Rest)
					}
				}
			}
		})
	}
	for _, name := range slices.Sorted(maps.Keys(needed)) {
		r.notice("%s has no value for its build argument %s (%s): write one into %s under build.args. What it copies has to be in git, or made in the Dockerfile", s.file.Path, name, needed[name], config)
	}
}

var (
	// platformArg matches build arguments that an engine gives by itself.
	platformArg = regexp.MustCompile(`^(TARGET|BUILD)(PLATFORM|OS|ARCH|VARIANT)$`)
	// plainVariable matches variables that have no default value.
	plainVariable = regexp.MustCompile(`\$\{(\w+)\}|\$(\w+)`)
)

// withoutDockerfile notices the images that files of other tools declare and that no Dockerfile makes.
func (r *Repository) withoutDockerfile() {
	made := func(i declared.Image) bool {
		return slices.ContainsFunc(r.Dockerfiles, func(d Dockerfile) bool { return d.makes(i) })
	}
	for _, i := range r.Declared {
		switch {
		case made(i) || helper.MatchString(i.File):
		case i.Builder != "":
			r.notice("%s is made by %s, and only Dockerfiles can be built: write one in %s, and run init again", i, i.Builder, directoryName(i.Context))
		case !r.exists(i.Dockerfile):
			r.notice("%s is not set up: its Dockerfile %s is not there%s", i, i.Dockerfile, r.submodule(i.Dockerfile))
		}
	}
	for _, c := range r.Compose {
		if c.Build == nil || helper.MatchString(c.File) || forTests.MatchString(c.File) || c.Optional {
			continue
		}
		switch name := c.Build.Path(); {
		case c.Build.Inline:
			r.notice("%s has its Dockerfile in that file (dockerfile_inline): write it to a file of its own in %s, and run init again", c, directoryName(c.Build.Context))
		case name == "":
			r.notice("%s is not set up: it is built from %s, which is elsewhere", c, c.Build.Context)
		case strings.Contains(name, "$"):
			r.notice("%s is not set up: %s, where its Dockerfile is, has variables without a value", c, name)
		case outside(name):
			r.notice("%s is not set up: its Dockerfile %s is outside of this directory; run init in one that holds it", c, name)
		case !r.exists(name):
			r.notice("%s is not set up: its Dockerfile %s is not there%s", c, name, r.submodule(name))
		}
	}
}

// submodulePath finds the directories of submodules in .gitmodules.
var submodulePath = regexp.MustCompile(`(?m)^\s*path\s*=\s*(.+?)\s*$`)

// submodule says, for a path that is not there, how it comes there; "" where it is in no submodule.
func (r *Repository) submodule(name string) string {
	text, err := r.read(".gitmodules")
	if err != nil {
		return ""
	}
	for _, m := range submodulePath.FindAllSubmatch(text, -1) {
		if dir := string(m[1]); holds(dir, name) {
			return fmt.Sprintf(": it is in the submodule %s, which `git submodule update --init` fetches", dir)
		}
	}
	return ""
}

// outsideOfContext notices services whose Dockerfile is outside of the build context that a file of another tool names.
func (r *Repository) outsideOfContext(s *Service) {
	if s.said.Context != "" && s.Context != s.said.Context {
		r.notice("%s is built in %s, and its Dockerfile %s is outside of that: %s is proposed as its build context; aksflow needs the Dockerfile in it", s.said, directoryName(s.said.Context), s.file.Path, directoryName(s.Context))
	}
}
