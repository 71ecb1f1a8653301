package adopt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aksflow/aksflow/internal/core/fault"
)

// Options are what a repository does not say by itself.
type Options struct {
	// Name is the repository's.
	Name string
	// Registry is the host of the registry.
	Registry string
	// Target is push or pull, and Remote the repository that a pull delivery writes to.
	Target, Remote string
	// Branches are those of the repository.
	Branches []string
	// DefaultBranch is the one that the remote's HEAD names; "" where that is not known.
	DefaultBranch string
	// CI is the name of a CI system; "" and None write no file for one.
	CI string
	// DevContainer also writes a development container.
	DevContainer bool
	// Only is the name of the one service that is set up; "" means all.
	Only string
}

// Proposal is what would be written.
type Proposal struct {
	Services []*Service
	// Configs are the paths of the aksflow.yaml of each service.
	Configs []string
	Files   []File
	Notices []string
}

// File is a new file. Content differs from what is there when Exists is set.
type File struct {
	Path    string `json:"path"`
	Content string `json:"-"`
	// Exists reports that there is a file of this name already. It is not replaced.
	Exists bool `json:"exists,omitempty"`
}

// Write writes the files that are not there.
func (p *Proposal) Write(dir string) error {
	for _, f := range p.Files {
		if f.Exists {
			continue
		}
		name := filepath.Join(dir, filepath.FromSlash(f.Path))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return fault.Usage(err)
		}
		file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return fault.Usage(err)
		}
		_, err = file.WriteString(f.Content)
		if err := errors.Join(err, file.Close()); err != nil {
			return fmt.Errorf("writing %s: %w", name, err)
		}
	}
	return nil
}

// Environment is one that is proposed.
type environment struct {
	name           string
	branches, tags []string
	local          bool
	directories    []string // names of overlays that are this environment's
}

// environments follow the branches: GitFlow's, or one branch with tags for production. The trunk is main or master, else the
// default branch of the remote, else main.
func environments(branches []string, byDefault string) []environment {
	trunk := cmp.Or(byDefault, "main")
	if slices.Contains([]string{"develop", "development", "dev"}, trunk) {
		trunk = "main"
	}
	for _, b := range []string{"master", "main"} {
		if slices.Contains(branches, b) {
			trunk = b
		}
	}
	local := environment{name: "local", local: true, directories: []string{"local", "dev", "development", "test"}}
	dev := environment{name: "dev", branches: []string{trunk}, directories: []string{"dev", "development", "develop", "test"}}
	production := environment{name: "production", tags: []string{"v*"}, directories: []string{"production", "prod"}}
	for _, b := range []string{"develop", "development", "dev"} {
		if slices.Contains(branches, b) {
			dev.branches, production.branches = []string{b}, []string{trunk}
			staging := environment{name: "staging", branches: []string{"release/*", "hotfix/*"}, directories: []string{"staging", "stage", "qa"}}
			return []environment{local, dev, staging, production}
		}
	}
	return []environment{local, dev, production}
}

// Propose makes a proposal for what was found.
func (r *Repository) Propose(ctx context.Context, o Options) (*Proposal, error) {
	p := &Proposal{}
	if o.CI == None {
		o.CI = ""
	}
	all := r.services(o.Name)
	r.match(ctx, all)
	before := len(r.Notices)
	r.withoutDockerfile()
	services := r.choose(all, o.Only)
	if len(services) == 0 && !r.onlyAround(o) {
		return nil, r.nothing(all, before, o)
	}
	p.Services = services
	split(all, services)
	r.nameHomes(all, o.Name)
	envs := environments(o.Branches, o.DefaultBranch)
	inContext := map[string]int{}
	for _, s := range services {
		if inContext[s.Context]++; slices.Contains(r.Configured, path.Join(s.Context, "aksflow.yaml")) {
			inContext[s.Context]++ // another image's
		}
	}
	alone := len(services) == 1 && len(r.Configured) == 0
	r.alternatives(services, envs)
	for _, s := range services {
		config := s.configPath(alone, inContext[s.Context] == 1)
		base := path.Dir(config)
		r.outsideOfContext(s)
		r.takeArgs(s, config)
		r.neededArgs(s, config)
		dirs := r.directories(p, s, envs, config, alone || base != "." && inContext[base] == 1)
		r.add(p, config, s.configuration(r, o, envs, dirs, base))
		p.Configs = append(p.Configs, config)
	}
	r.copied(services)
	if o.CI != "" {
		configs, branches := r.delivered(p, envs)
		name, content, err := pipeline(o.CI, configs, branches)
		if err != nil {
			return nil, err
		}
		r.add(p, r.besideOther(o.CI, name), content)
	}
	if o.DevContainer {
		r.add(p, containerFile, devContainer(o.Name))
	}
	p.Notices = append(p.Notices, r.Notices...)
	return p, nil
}

// onlyAround reports whether all that is asked for is what stands around the aksflow.yaml that are there: a pipeline, or a
// development container.
func (r *Repository) onlyAround(o Options) bool {
	return o.Only == "" && len(r.Configured) > 0 && (o.CI != "" || o.DevContainer)
}

// nothing is the error of a repository without an image that can be set up. The notices from the one numbered first on say why.
func (r *Repository) nothing(all []*Service, first int, o Options) error {
	if len(all) > 0 {
		return fmt.Errorf("nothing is left to set up in %s: %s", r.Dir, cmp.Or(strings.Join(r.Notices[first:], "; "), "no image is named "+o.Only))
	}
	found := "no image to build was found in " + r.Dir
	if len(r.Manifests) > 0 {
		found += fmt.Sprintf(", only manifests in %s", directoryName(r.Manifests[0].Path))
	}
	if len(r.Notices) > first {
		return fmt.Errorf("%s: %s", found, strings.Join(r.Notices[first:], "; "))
	}
	return fmt.Errorf("%s: aksflow needs a Dockerfile. Write one beside the code, and run init again; directories whose names begin with a dot, and %s, are not looked into",
		found, strings.Join(skipped, ", "))
}

// delivered are the aksflow.yaml that a pipeline delivers, those that are there already and the new ones, and the branches of their
// environments.
func (r *Repository) delivered(p *Proposal, envs []environment) (configs, branches []string) {
	for _, name := range r.Configured {
		var file struct {
			Environments map[string]struct{ Branches []string }
		}
		text, err := r.read(name)
		if err != nil || helper.MatchString(name) || yaml.Unmarshal(text, &file) != nil {
			continue // doctor says what is wrong with it
		}
		configs = append(configs, name)
		for _, e := range slices.Sorted(maps.Keys(file.Environments)) {
			branches = append(branches, file.Environments[e].Branches...)
		}
	}
	if len(p.Configs) > 0 || len(branches) == 0 {
		for _, e := range envs {
			branches = append(branches, e.branches...)
		}
	}
	return distinctStrings(append(configs, p.Configs...)), distinctStrings(branches)
}

// choose leaves out images that are for tests or for a developer's machine, unless one is asked for by its name.
func (r *Repository) choose(services []*Service, only string) []*Service {
	var kept []*Service
	for _, s := range services {
		switch {
		case only != "" && s.Name != only:
		case s.forWindows():
			r.notice("%s is for Windows: only images for Linux are delivered", s.file.Path)
		case only == "" && helper.MatchString(s.file.Path):
			r.notice("%s is not delivered: it seems to be for tests or for development; --app %s sets it up", s.file.Path, s.Name)
		case only == "" && r.forProduction(s) != "":
			r.notice("%s is not delivered: %s beside it is for production; --app %s sets it up", s.file.Path, r.forProduction(s), s.Name)
		case only == "" && s.variantOf(services) != nil:
			r.notice("%s is not delivered: it seems to make another form of the image of %s; --app %s sets it up", s.file.Path, s.variantOf(services).file.Path, s.Name)
		case only == "" && len(services) > 1 && s.onlyNames():
			r.notice("%s is not delivered: it names an image and adds nothing to it; --app %s sets it up", s.file.Path, s.Name)
		case only == "" && s.configured(r) != "":
			r.notice("%s is set up already: %s", s.Name, s.configured(r))
		default:
			kept = append(kept, s)
		}
	}
	return kept
}

// onlyNames reports whether a Dockerfile of a further name says nothing but which image it is made from, and nothing else says that it
// is delivered: tools that bring versions up to date read such files.
func (s *Service) onlyNames() bool {
	for _, stage := range s.file.parsed.Stages {
		if len(stage.Instructions) > 0 {
			return false
		}
	}
	return s.fileWord() != "" && s.Compose == nil && s.said.File == "" && len(s.Manifests) == 0
}

// windows matches base images of Windows.
var windows = regexp.MustCompile(`(?i)windows|nanoserver|servercore`)

// forWindows reports whether the image is made from one of Windows.
func (s *Service) forWindows() bool {
	chain, err := s.file.parsed.Chain("")
	return err == nil && windows.MatchString(chain[0].From)
}

// configured returns the service's aksflow.yaml that is there already; "" if there is none.
func (s *Service) configured(r *Repository) string {
	own := "aksflow." + s.Name + ".yaml"
	for _, name := range []string{own, path.Join(s.Context, own)} {
		if slices.Contains(r.Configured, name) {
			return name
		}
	}
	for _, name := range r.Configured {
		if r.builds(name, s) {
			return name
		}
	}
	return ""
}

// builds reports whether an aksflow.yaml builds the image of a service. Of several images of one Dockerfile it is the one of the
// stage and with the build arguments.
func (r *Repository) builds(name string, s *Service) bool {
	var file struct {
		Build struct {
			Context, Dockerfile, Target string
			Args                        map[string]string
		}
	}
	if text, err := r.read(name); err == nil {
		_ = yaml.Unmarshal(text, &file) // what cannot be read builds what such a file builds by default
	}
	if path.Join(path.Dir(name), file.Build.Context, cmp.Or(file.Build.Dockerfile, "Dockerfile")) != s.file.Path {
		return false
	}
	return !s.apart || file.Build.Target == s.Target && !differ(file.Build.Args, s.args)
}

// configPath is where the service's aksflow.yaml is: at the top, or where several are, in its directory if its manifests
// are there, too, or will be. It may not name manifests outside of its directory.
func (s *Service) configPath(alone, aloneInContext bool) string {
	dir := s.Context
	switch {
	case alone || dir == "." && s.Dockerfile == "Dockerfile" && !s.apart:
		return "aksflow.yaml"
	case dir == "." || len(s.Manifests) > 0 && !s.Shared && !holds(dir, s.Manifests[0].Path):
		return "aksflow." + s.Name + ".yaml"
	case aloneInContext || s.Dockerfile == "Dockerfile" && !s.apart:
		return path.Join(dir, "aksflow.yaml")
	}
	return path.Join(dir, "aksflow."+s.Name+".yaml")
}

// directories returns the manifests for each environment, relative to the directory of the service's aksflow.yaml. Where there
// are none, or only such that cannot be deployed for this service alone, new ones are proposed.
func (r *Repository) directories(p *Proposal, s *Service, envs []environment, config string, alone bool) map[string]place {
	dirs, base := map[string]place{}, path.Dir(config)
	sources := r.sources(s, envs, config)
	if len(sources) > 0 && !s.Shared {
		for _, e := range envs {
			if m, found := sources[e.name]; found {
				dir, _ := relative(base, m.Path)
				at := m.at(dir)
				if name := r.valuesOf(m.Manifests, e); name != "" {
					at.values, _ = relative(base, name)
				}
				dirs[e.name] = at
				r.incomplete(s, m, m.objects)
			}
		}
		r.oneNamespace(envs, dirs, sources, config)
		return dirs
	}
	dir := "deploy"
	if !alone {
		dir = path.Join(dir, s.Name)
	}
	for r.exists(path.Join(base, dir)) || p.holds(path.Join(base, dir)) {
		dir += "-aksflow"
	}
	if len(sources) == 0 {
		r.addAll(p, path.Join(base, dir), s.newManifests(r, path.Join(base, dir)))
		for _, e := range envs {
			dirs[e.name] = place{directory: dir}
		}
		return dirs
	}
	copies := map[string]string{} // the directory of the copies of each directory
	for _, e := range envs {
		m, found := sources[e.name]
		if !found {
			continue
		}
		if copies[m.Path] == "" {
			copies[m.Path] = dir
			if several(sources) {
				copies[m.Path] = path.Join(dir, path.Base(m.Path))
			}
			r.leave(s, &m)
			r.incomplete(s, m, m.own)
			r.addAll(p, path.Join(base, copies[m.Path]), m.copies())
			if len(m.others) > 0 {
				r.notice("%s in %s: no image of it is built here, and it goes with %s: deliver that first", strings.Join(m.others, ", "), directoryName(m.Path), s.Name)
			}
		}
		dirs[e.name] = place{directory: copies[m.Path], namespaces: m.further()}
	}
	return dirs
}

// oneNamespace notices environments that have one namespace because their objects name it.
func (r *Repository) oneNamespace(envs []environment, dirs map[string]place, sources map[string]Deployable, config string) {
	in := map[string][]string{}
	for _, e := range envs {
		if at := dirs[e.name]; !e.local && at.namespace != "" {
			in[at.namespace] = append(in[at.namespace], e.name)
		}
	}
	for _, namespace := range slices.Sorted(maps.Keys(in)) {
		if names := in[namespace]; len(names) > 1 {
			r.notice("%s are all in the namespace %s, which the objects in %s name: in one cluster they would be one and the same. Take the namespace out of the objects, and name one for each environment in %s",
				strings.Join(names, ", "), namespace, directoryName(sources[names[0]].Path), config)
		}
	}
}

// holds reports whether files below a directory are proposed already.
func (p *Proposal) holds(dir string) bool {
	return slices.ContainsFunc(p.Files, func(f File) bool { return strings.HasPrefix(f.Path, dir+"/") })
}

// leave takes from the copies for a service what another service brings from elsewhere: two apps cannot have one object.
func (r *Repository) leave(s *Service, m *Deployable) {
	if r.copiedBy == nil {
		r.copiedBy = map[string]*Service{}
	}
	built := map[*unstructured.Unstructured]bool{}
	for _, u := range usages(m.own) {
		built[u.object] = built[u.object] || u.reference == m.Reference
	}
	var kept []*unstructured.Unstructured
	for _, o := range m.own {
		name := o.GetKind() + "/" + o.GetName()
		if other := r.copiedBy[name]; other != nil && other != s && !built[o] {
			r.notice("%s uses the %s that is delivered with %s", s.Name, name, other.Name)
			m.others = slices.DeleteFunc(slices.Clone(m.others), func(one string) bool { return one == name })
			continue
		}
		r.copiedBy[name] = s
		kept = append(kept, o)
	}
	m.own = kept
}

// further are the namespaces of copies beside the one of the environment.
func (d Deployable) further() []string {
	_, others := namespaces(d.own)
	return others
}

// several reports whether not all environments have the same manifests.
func several(sources map[string]Deployable) bool {
	paths := map[string]bool{}
	for _, m := range sources {
		paths[m.Path] = true
	}
	return len(paths) > 1
}

// sources returns the manifests of each environment: the best ones, or where directories beside those are named for
// environments, the one of its name. An environment without one is left out then: another one's may hold its namespace, its
// names and its sizes. Only the local platform, which nobody else uses, gets the best ones.
func (r *Repository) sources(s *Service, envs []environment, config string) map[string]Deployable {
	sources := map[string]Deployable{}
	if len(s.Manifests) == 0 {
		return sources
	}
	best, named := s.Manifests[0], false
	for _, e := range envs {
		if m, found := s.ownOf(e); found {
			sources[e.name], named = m, true
		}
	}
	for _, e := range envs {
		if _, found := sources[e.name]; found {
			continue
		}
		if !named || e.local {
			sources[e.name] = best
			continue
		}
		r.notice("%s has no environment %s: %s", config, e.name, r.whyNone(s, e))
	}
	return sources
}

// ownOf returns the manifests in the directory that is named for an environment, beside the best ones.
func (s *Service) ownOf(e environment) (Deployable, bool) {
	for _, name := range e.directories {
		for _, m := range s.Manifests {
			if m.Path == path.Join(path.Dir(s.Manifests[0].Path), name) {
				return m, true
			}
		}
	}
	return Deployable{}, false
}

// whyNone says why there are no manifests for an environment.
func (r *Repository) whyNone(s *Service, e environment) string {
	best := s.Manifests[0].Path
	for _, name := range e.directories {
		own := path.Join(path.Dir(best), name)
		switch {
		case slices.Contains(r.broken, own):
			return own + " does not render"
		case slices.ContainsFunc(r.Manifests, func(m Manifests) bool { return m.Path == own }):
			return own + " does not run the image of " + s.Name
		}
	}
	return fmt.Sprintf("no directory beside %s is named for it (%s)", best, strings.Join(e.directories, ", "))
}

// copied notices the services whose objects are proposed as copies.
func (r *Repository) copied(services []*Service) {
	of, holds := map[string][]string{}, map[string]string{}
	for _, s := range services {
		if !s.Shared {
			continue
		}
		dir, twice := s.Manifests[0].Path, s.Manifests[0].twice
		of[dir] = append(of[dir], s.Name)
		switch {
		case len(twice) > 0:
			holds[dir] = fmt.Sprintf("holds %s more than once, so that it cannot be deployed as it is, and the first of each is taken", firstOf(twice))
		case s.Several:
			holds[dir] = "holds more than one app, and aksflow delivers each by itself"
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(of)) {
		r.notice("%s %s: the objects of %s are proposed as copies", directoryName(dir),
			cmp.Or(holds[dir], "also holds YAML files that are not manifests, so that it cannot be deployed as it is"), strings.Join(of[dir], ", "))
	}
}

// alternatives notices services whose image runs in several directories that are worth the same, of which the first one is taken.
// Those that are named for environments are not meant.
func (r *Repository) alternatives(services []*Service, envs []environment) {
	for _, s := range services {
		var same []string
		for _, m := range s.Manifests {
			named := slices.ContainsFunc(envs, func(e environment) bool { return slices.Contains(e.directories, path.Base(m.Path)) })
			if m.score == s.Manifests[0].score && !named {
				same = append(same, directoryName(m.Path))
			}
		}
		if len(same) > 1 && same[0] == directoryName(s.Manifests[0].Path) {
			r.notice("the image of %s also runs in %s: %s is taken; name another one as manifests in its aksflow.yaml if that is the one to deploy", s.Name, firstOf(same[1:]), same[0])
		}
	}
}

// place is what an environment is deployed from, and the namespaces that its objects name by themselves.
type place struct {
	directory, namespace string
	namespaces           []string
	values               string // a chart's values file; "" for none
}

// valuesOf returns the values file in a chart that is named for an environment; "" where there is none.
func (r *Repository) valuesOf(m Manifests, e environment) string {
	if m.Form != Chart {
		return ""
	}
	for _, name := range e.directories {
		for _, form := range []string{"values-%s", "values.%s", "values_%s", "%s-values", "values/%s", "values/values-%s", "environments/%s", "env/%s"} {
			for _, ext := range []string{".yaml", ".yml"} {
				if file := path.Join(m.Path, fmt.Sprintf(form, name)+ext); r.isFile(file) {
					return file
				}
			}
		}
	}
	return ""
}

// at is the place of manifests whose path is directory.
func (d Deployable) at(directory string) place {
	p := place{directory: directory}
	p.namespace, p.namespaces = namespaces(d.objects)
	return p
}

// directoryName is how a message names a directory.
func directoryName(dir string) string {
	if dir == "." {
		return "the top directory"
	}
	return dir
}

func directoryNames(dirs []string) []string {
	out := make([]string, len(dirs))
	for i, dir := range dirs {
		out[i] = directoryName(dir)
	}
	return out
}

// relative returns a path below base.
func relative(base, name string) (string, bool) {
	if base == "." {
		return name, true
	}
	if name == base {
		return ".", true
	}
	return strings.CutPrefix(name, base+"/")
}

func (r *Repository) notice(format string, args ...any) {
	r.Notices = append(r.Notices, fmt.Sprintf(format, args...))
}

func (r *Repository) add(p *Proposal, name, content string) {
	p.Files = append(p.Files, File{Path: name, Content: content, Exists: r.exists(name)})
}

func (r *Repository) addAll(p *Proposal, dir string, files []File) {
	for _, f := range files {
		r.add(p, path.Join(dir, f.Path), f.Content)
	}
}
