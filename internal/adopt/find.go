// Package adopt proposes how a repository that is not set up yet is delivered: an aksflow.yaml for each image that it
// builds, the manifests that are missing, and the pipeline of a CI system. It finds out what is there, and writes new
// files only.
package adopt

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/google/shlex"
	"go.yaml.in/yaml/v3"

	"github.com/aksflow/aksflow/internal/adopt/compose"
	"github.com/aksflow/aksflow/internal/adopt/declared"
	"github.com/aksflow/aksflow/internal/core/build/dockerfile"
)

// Repository is what was found in a directory. All paths are slash-separated and relative to Dir.
type Repository struct {
	Dir         string
	Dockerfiles []Dockerfile
	Compose     []compose.Service
	// Declared are the images that files of other tools declare.
	Declared  []declared.Image
	Manifests []Manifests
	Runners   []Runner
	// Configured are the files named aksflow.yaml or aksflow.NAME.yaml that are there already.
	Configured []string
	// Notices say what was found and cannot be used, and why.
	Notices []string

	broken []string // manifests that do not render
	// lacks are the dependencies that charts name and that are not there, by the chart's directory.
	lacks map[string][]string
	// given are the services of Compose files that are delivered with a service, by file and name.
	given map[string]*Service
	// copiedBy are the services that copied objects go with, by KIND/NAME.
	copiedBy map[string]*Service
}

// Dockerfile is one that was found.
type Dockerfile struct {
	Path   string
	Stages []string // their names
	Last   string   // the name of the last stage; "" if it has none
	Ports  []string // that the last stage exposes
	parsed dockerfile.File
}

// Form is how manifests are written.
type Form string

// The forms of manifests.
const (
	Kustomization Form = "kustomization"
	Chart         Form = "chart"
	Plain         Form = "directory"
)

// Manifests are a directory that can be deployed.
type Manifests struct {
	Path string
	Form Form
	// Base reports that another kustomization includes this one.
	Base bool
}

// Runner is how the tests of a project are run.
type Runner struct {
	Language string
	// Dir is the project's directory: that of its go.mod, package.json or the like.
	Dir string
	// Tests are files of tests, or what names them.
	Tests []string
	// Steps are the last lines of a stage that has the files of Dir in its working directory. The last one runs the tests and
	// writes JUnit XML to /reports. Only JavaScript has them here: in other languages they depend on the Dockerfile, too.
	Steps []string
	// Missing says why no stage is known that runs the tests.
	Missing string

	some bool // Tests are not all of the project
}

// mostFiles bounds the walk: a directory with more is not one repository.
const mostFiles = 200_000

// skipped are directories that hold what others wrote, or what a build makes.
var skipped = []string{"node_modules", "vendor", "testdata", "target", "dist", "bin", "obj", "__pycache__", "venv"}

// Find looks through a directory.
func Find(dir string) (*Repository, error) {
	r := &Repository{Dir: dir, lacks: map[string][]string{}}
	w := walk{Repository: r, kustomizations: map[string][]string{}, charts: map[string]bool{}, plain: map[string]bool{}, components: map[string]bool{}}
	files := 0
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name != dir && (strings.HasPrefix(d.Name(), ".") || slices.Contains(skipped, d.Name())) {
				return filepath.SkipDir
			}
			return nil
		}
		if files++; files > mostFiles {
			return fmt.Errorf("%s has more than %d files: name the directory of one repository", dir, mostFiles)
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		return w.file(filepath.ToSlash(rel))
	})
	if err != nil {
		return nil, err
	}
	w.finish()
	return r, nil
}

// walk collects what is understood only when everything was seen.
type walk struct {
	*Repository
	kustomizations map[string][]string // a directory to those that it includes
	composeFiles   []string
	declaredFiles  []string // of other tools
	// Directories: with a chart, with objects, with a part of kustomizations that does not stand alone.
	charts, plain, components map[string]bool
}

var (
	dockerfileName = regexp.MustCompile(`^(Dockerfile|Containerfile)([-_.].+)?$|^dockerfile$|\.([Dd]ocker|[Cc]ontainer)file$`)
	// noDockerfile matches names of templates of Dockerfiles, of copies, and of what is about them.
	noDockerfile = regexp.MustCompile(`(?i)\.(j2|jinja2?|tmpl|gotmpl|tpl|template|erb|ejs|hbs|mustache|in|orig|bak|old|rej|md|txt|ya?ml|json|toml|dockerignore|containerignore)$|~$`)
	configName   = regexp.MustCompile(`^aksflow(\..+)?\.yaml$`)
)

// otherTools are tools that deploy to Kubernetes and whose files are not read, by the names of these.
var otherTools = map[string]string{
	"helmfile.yaml": "Helmfile", "helmfile.yaml.gotmpl": "Helmfile", "devspace.yaml": "DevSpace", "okteto.yml": "Okteto", "okteto.yaml": "Okteto",
	"werf.yaml": "werf", "garden.yml": "Garden", "project.garden.yml": "Garden", "Tiltfile": "Tilt", "tye.yaml": "Tye",
}

// file looks at one file.
func (w *walk) file(name string) error {
	base, dir := path.Base(name), path.Dir(name)
	switch {
	case configName.MatchString(base):
		w.Configured = append(w.Configured, name)
	case dockerfileName.MatchString(base) && !noDockerfile.MatchString(base):
		return w.dockerfile(name)
	case compose.IsFile(name):
		w.composeFiles = append(w.composeFiles, name)
		return nil
	case declared.IsFile(name):
		w.declaredFiles = append(w.declaredFiles, name)
		return nil
	case otherTools[base] != "":
		w.notice("%s is not read: what %s makes of images, values and manifests has to be written into aksflow.yaml", name, otherTools[base])
		return nil
	case slices.Contains([]string{"kustomization.yaml", "kustomization.yml", "Kustomization"}, base):
		return w.kustomization(name)
	case base == "Chart.yaml":
		w.charts[dir] = true
	case path.Ext(base) == ".yaml" || path.Ext(base) == ".yml":
		text, err := w.read(name)
		if err == nil && workload.Match(text) {
			w.plain[dir] = true
		}
		return err
	}
	return w.runner(name)
}

// workload finds an object that runs pods.
var workload = regexp.MustCompile(`(?m)^kind:\s*["']?(Deployment|StatefulSet|DaemonSet|CronJob|Rollout)["']?\s*$`)

// mostRead bounds a file that is read: configuration is smaller.
const mostRead = 1 << 20

func (r *Repository) read(name string) ([]byte, error) {
	full := filepath.Join(r.Dir, filepath.FromSlash(name))
	info, err := os.Stat(full)
	if err != nil || info.Size() > mostRead {
		return nil, err
	}
	return os.ReadFile(full)
}

func (w *walk) dockerfile(name string) error {
	text, err := w.read(name)
	if err != nil {
		return err
	}
	d := Dockerfile{Path: name, parsed: dockerfile.Parse(text)}
	if len(d.parsed.Stages) == 0 {
		return nil // a template, or something else of that name
	}
	for _, s := range d.parsed.Stages {
		if s.Name != "" {
			d.Stages = append(d.Stages, s.Name)
		}
	}
	d.Last = d.parsed.Stages[len(d.parsed.Stages)-1].Name
	d.Ports = d.ports("", nil)
	w.Dockerfiles = append(w.Dockerfiles, d)
	return nil
}

// ports returns the TCP ports that a stage exposes, by itself or through those that it is made from. args are build arguments.
func (d Dockerfile) ports(target string, args map[string]string) (ports []string) {
	d.evaluate(target, args, func(i dockerfile.Instruction, values map[string]string) {
		if i.Name != "EXPOSE" {
			return
		}
		for _, port := range strings.Fields(i.Rest) {
			port, protocol, _ := strings.Cut(expand(port, values), "/")
			if number.MatchString(port) && protocol != "udp" && !slices.Contains(ports, port) {
				ports = append(ports, port)
			}
		}
	})
	return ports
}

// evaluate calls visit for the instructions of a stage and of those that it is made from, with the variables as they are there.
func (d Dockerfile) evaluate(target string, args map[string]string, visit func(i dockerfile.Instruction, values map[string]string)) {
	chain, _ := d.parsed.Chain(target) // the stage is there
	global, values, fixed := map[string]string{}, map[string]string{}, map[string]bool{}
	for _, i := range d.parsed.Global {
		for _, arg := range i.Args() {
			name, value, _ := strings.Cut(arg, "=")
			global[name] = expand(cmp.Or(args[name], value), global)
		}
	}
	for _, s := range chain {
		for _, i := range s.Instructions {
			words, _ := shlex.Split(i.Rest)
			switch {
			case i.Name == "ENV" && len(words) == 2 && !strings.Contains(words[0], "="):
				values[words[0]], fixed[words[0]] = expand(words[1], values), true
			case i.Name == "ENV":
				for _, word := range words {
					if name, value, set := strings.Cut(word, "="); set {
						values[name], fixed[name] = expand(value, values), true
					}
				}
			case i.Name == "ARG":
				for _, word := range words {
					if name, value, _ := strings.Cut(word, "="); !fixed[name] { // ENV wins
						values[name] = expand(cmp.Or(args[name], value, global[name]), values)
					}
				}
			}
			visit(i, values)
		}
	}
}

// expand replaces variables by their values, or by the default values that stand with them.
func expand(text string, values map[string]string) string {
	return os.Expand(text, func(name string) string {
		name, otherwise, _ := strings.Cut(name, ":-")
		return cmp.Or(values[name], otherwise)
	})
}

var number = regexp.MustCompile(`^[0-9]+$`)

// kustomization remembers which directories a kustomization includes.
func (w *walk) kustomization(name string) error {
	text, err := w.read(name)
	if err != nil {
		return err
	}
	var k struct {
		Kind                         string
		Resources, Bases, Components []string
	}
	dir := path.Dir(name)
	if err := yaml.Unmarshal(text, &k); err != nil {
		w.notice("%s cannot be read: %v", name, err)
		return nil
	}
	if k.Kind == "Component" {
		w.components[dir] = true
		return nil
	}
	included := []string{}
	for _, r := range slices.Concat(k.Resources, k.Bases, k.Components) {
		included = append(included, path.Join(dir, r))
	}
	w.kustomizations[dir] = included
	return nil
}

// finish decides which directories can be deployed.
func (w *walk) finish() {
	var unread []string
	w.Compose, unread = compose.Read(w.composeFiles, w.read)
	w.Notices = append(w.Notices, unread...)
	w.Declared, unread = declared.Read(w.declaredFiles, w.read)
	w.Notices = append(w.Notices, unread...)
	w.namedDockerfiles()
	base := map[string]bool{}
	for _, included := range w.kustomizations {
		for _, dir := range included {
			base[dir] = true
		}
	}
	inside := func(dir string, of map[string]bool) bool {
		for at := path.Dir(dir); at != "." && at != "/"; at = path.Dir(at) {
			if of[at] {
				return true
			}
		}
		return of["."] && dir != "."
	}
	for dir := range w.kustomizations {
		if !w.charts[dir] && !inside(dir, w.charts) {
			w.Manifests = append(w.Manifests, Manifests{Path: dir, Form: Kustomization, Base: base[dir]})
		}
	}
	for dir := range w.charts {
		if !inside(dir, w.charts) && w.isChart(dir) {
			w.Manifests = append(w.Manifests, Manifests{Path: dir, Form: Chart})
		}
	}
	for dir := range w.plain {
		_, kustomized := w.kustomizations[dir]
		if !kustomized && !base[dir] && !w.components[dir] && !w.charts[dir] && !inside(dir, w.charts) && !w.partOf(dir) {
			w.Manifests = append(w.Manifests, Manifests{Path: dir, Form: Plain})
		}
	}
	slices.SortFunc(w.Manifests, func(a, b Manifests) int { return strings.Compare(a.Path, b.Path) })
}

// namedDockerfiles takes up the Dockerfiles that files of other tools name and that are in directories which are not looked into, or
// have other names.
func (w *walk) namedDockerfiles() {
	var names []string
	for _, c := range w.Compose {
		names = append(names, c.Build.Path())
	}
	for _, i := range w.Declared {
		names = append(names, i.Dockerfile)
	}
	for _, name := range names {
		known := slices.ContainsFunc(w.Dockerfiles, func(d Dockerfile) bool { return d.Path == name })
		info, err := os.Lstat(filepath.Join(w.Dir, filepath.FromSlash(name)))
		if known || outside(name) || err != nil || !info.Mode().IsRegular() { // what a link leads to is found by itself
			continue
		}
		if err := w.dockerfile(name); err != nil {
			w.notice("%s cannot be read: %v", name, err)
		}
	}
}

// outside reports whether a path leads out of the repository, or is none.
func outside(name string) bool { return !filepath.IsLocal(filepath.FromSlash(name)) }

// partOf reports whether a kustomization includes files of a directory, which is then no manifests of its own.
func (w *walk) partOf(dir string) bool {
	for _, included := range w.kustomizations {
		for _, file := range included {
			if path.Dir(file) == dir {
				return true
			}
		}
	}
	return false
}

// isChart reports whether a directory is a chart that can be installed, once its dependencies are there. It remembers those that are not.
func (w *walk) isChart(dir string) bool {
	text, err := w.read(path.Join(dir, "Chart.yaml"))
	var chart struct {
		Type         string
		Dependencies []struct{ Name string }
	}
	if err != nil || yaml.Unmarshal(text, &chart) != nil || chart.Type == "library" {
		return false
	}
	for _, d := range chart.Dependencies {
		found, err := filepath.Glob(filepath.Join(w.Dir, filepath.FromSlash(dir), "charts", d.Name+"*"))
		if err != nil || len(found) == 0 {
			w.lacks[dir] = append(w.lacks[dir], d.Name)
		}
	}
	return true
}

// exists reports whether a path of the repository is there.
func (r *Repository) exists(name string) bool {
	_, err := os.Lstat(filepath.Join(r.Dir, filepath.FromSlash(name)))
	return !errors.Is(err, fs.ErrNotExist)
}

// isFile reports whether a path of the repository is a regular file.
func (r *Repository) isFile(name string) bool {
	info, err := os.Stat(filepath.Join(r.Dir, filepath.FromSlash(name)))
	return err == nil && info.Mode().IsRegular()
}
