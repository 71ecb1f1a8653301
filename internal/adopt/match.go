package adopt

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aksflow/aksflow/internal/adopt/compose"
	"github.com/aksflow/aksflow/internal/adopt/declared"
	"github.com/aksflow/aksflow/internal/core/build/dockerfile"
	"github.com/aksflow/aksflow/internal/core/image/ref"
	"github.com/aksflow/aksflow/internal/core/manifest"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/render"
)

// Service is an image that the repository builds.
type Service struct {
	Name, Context, Dockerfile string // Dockerfile is relative to Context
	Image                     string // the path of its repository, below a registry
	Target                    string // the stage that becomes the image; "" is the last one
	Ports                     []string
	Compose                   *compose.Service // what a Compose file says of it
	others                    []string         // services of that file that run the image, too
	said                      declared.Image   // what files of other tools say of the image, a Compose file among them
	args                      map[string]string
	file                      Dockerfile
	apart                     bool   // other images are built from the same Dockerfile
	alias                     string // the name of the directory, of a service that has the repository's name; or ""
	home                      string // what its namespaces are named after
	// Manifests are those that run the image, the best ones first.
	Manifests []Deployable
	// Shared reports that the best manifests cannot be deployed for this service alone: they run images of other services,
	// too (Several), or stand among other files.
	Shared, Several bool
}

// Deployable are manifests that render, and the image in them that is the service's.
type Deployable struct {
	Manifests
	Reference string // as it stands in the manifests
	score     int
	objects   []*unstructured.Unstructured
	own       []*unstructured.Unstructured // those of objects that go with the service, where not all do
	others    []string                     // workloads in own of which no image is built here
	mixed     bool                         // the directory cannot be deployed as it is: it holds other YAML files, or objects more than once
	twice     []string                     // the objects that the directory holds more than once
}

// contextOf is the build context of a Dockerfile: the nearest directory, from its own upwards, that has what it copies.
func (r *Repository) contextOf(d Dockerfile) string {
	for _, wildcards := range []bool{true, false} { // an engine copies nothing where a wildcard fits nothing
		for dir := path.Dir(d.Path); ; dir = path.Dir(dir) {
			if r.copies(d, dir, wildcards) {
				return dir
			}
			if dir == "." {
				break
			}
		}
	}
	return path.Dir(d.Path)
}

// copies reports whether what the stages of a Dockerfile copy is below a context, by names with wildcards, too, if that is wanted.
func (r *Repository) copies(d Dockerfile, context string, wildcards bool) bool {
	for i := range d.parsed.Stages {
		made, err := d.parsed.Closure(strconv.Itoa(i), nil, "")
		if err == nil && slices.ContainsFunc(made.Reads, func(read dockerfile.Read) bool { return !r.hasCopied(context, read.Path, wildcards) }) {
			return false
		}
	}
	return true
}

// hasCopied reports whether a context has what a path in a COPY names. A name with a wildcard at its end, such as yarn.lock*, is of a
// file that need not be there.
func (r *Repository) hasCopied(context, name string, wildcards bool) bool {
	switch {
	case strings.Contains(name, "$"):
		return true
	case !strings.ContainsAny(name, "*?["):
		return r.exists(path.Join(context, name))
	case !wildcards || strings.HasSuffix(name, "*"):
		return true
	}
	found, err := filepath.Glob(filepath.Join(r.Dir, filepath.FromSlash(context), filepath.FromSlash(name)))
	return err != nil || len(found) > 0
}

// generic are names of directories that say little of what is in them. Those of roles are names of services where there is
// nothing better, those of containers are not.
var (
	roles   = []string{"app", "backend", "web", "server", "service"}
	generic = append([]string{
		".", "src", "docker", "dockerfiles", "container", "containers", "image", "images", "build", "code", "source", "package", "packaging",
		"deploy", "deployment", "deployments", "ops", "devops", "infra", "infrastructure", "k8s", "kubernetes", "scripts",
		"apps", "services", "servers", "packages", "projects", "modules", "components", "microservices", "cmd",
	}, roles...)
)

// says reports whether the name of a directory says what is in it: neither a word that fits every app, nor that of a base image.
func says(part string) bool { return !slices.Contains(generic, part) && !variant.MatchString(part) }

// nameOf is the name of a service: that of its directory, unless it says nothing, or of the repository.
func (r *Repository) nameOf(s *Service, repository string) string {
	dir, said := path.Dir(s.file.Path), s.saidName()
	if said != "" && (s.apart || s.said.IsService()) {
		return said
	}
	if len(r.Dockerfiles) == 1 {
		if base := path.Base(dir); s.Context != "." && says(base) {
			return label(base)
		}
		return label(repository)
	}
	if dir == "." {
		return label(repository)
	}
	if name := telling(dir, says); name != "" {
		return label(strings.TrimSuffix(name+"-"+s.formOf(), "-"))
	}
	if said != "" {
		return said
	}
	word := s.fileWord()
	if s.formOf() != "" { // a manifest that names an image of that name means the base image
		word = repository + "-" + s.formOf()
	}
	return label(cmp.Or(telling(dir, func(part string) bool { return slices.Contains(roles, part) }), word, repository))
}

// variant matches words that say how an image is made and not what is in it: base images, systems and processors.
var variant = regexp.MustCompile(`(?i)^(alpine|debian|ubuntu|buster|bullseye|bookworm|trixie|focal|jammy|noble|slim|fpm|apache|distroless|scratch|ubi|rhel|centos|rocky|fedora|arm|armv|armhf|arm64|aarch64|amd64|386|x86_64|ppc64le|s390x|riscv64|goreleaser|release|cuda|gpu|cpu)([_-]?[0-9][0-9.]*)?$`)

// formOf is the word of the Dockerfile's name or of its directory's that says how the image is made; "" if there is none.
func (s *Service) formOf() string {
	for _, word := range []string{s.fileWord(), path.Base(path.Dir(s.file.Path))} {
		if variant.MatchString(word) {
			return word
		}
	}
	return ""
}

// formDir is the directory that is of one image with all its forms.
func (s *Service) formDir() string {
	dir := path.Dir(s.file.Path)
	if variant.MatchString(path.Base(dir)) {
		return path.Dir(dir)
	}
	return dir
}

// production matches words of Dockerfiles that are for production beside one that is not.
var production = regexp.MustCompile(`(?i)^prod(uction)?$`)

// beside returns the other one of a Dockerfile without a further name and one that is for production, in one directory; "" where
// there are not both.
func (r *Repository) beside(d Dockerfile) string {
	for _, other := range r.Dockerfiles {
		one, two := fileWord(d.Path), fileWord(other.Path)
		if path.Dir(other.Path) == path.Dir(d.Path) && (one == "" && production.MatchString(two) || two == "" && production.MatchString(one)) {
			return other.Path
		}
	}
	return ""
}

// forProduction returns the Dockerfile that is for production beside that of a service; "" where there is none.
func (r *Repository) forProduction(s *Service) string {
	if fileWord(s.file.Path) != "" || s.declared() {
		return ""
	}
	return r.beside(s.file)
}

// declared reports whether a file of a tool that deploys the image names its Dockerfile.
func (s *Service) declared() bool { return s.said.File != "" && !compose.IsFile(s.said.File) }

// variantOf returns the service of whose image the Dockerfile makes another form: that of one in the same directory.
func (s *Service) variantOf(services []*Service) *Service {
	for _, other := range services {
		if production.MatchString(fileWord(s.file.Path)) && fileWord(other.file.Path) == "" && path.Dir(other.file.Path) == path.Dir(s.file.Path) && other.declared() {
			return other
		}
		if s.formOf() == "" {
			continue
		}
		same := other != s && other.formDir() == s.formDir()
		if same && (other.fileWord() == "" && path.Dir(other.file.Path) == s.formDir() || other.formOf() != "" && other.file.Path < s.file.Path) {
			return other
		}
	}
	return nil
}

// telling returns the last part of a path for which says is true; "" if there is none.
func telling(dir string, says func(part string) bool) string {
	parts := strings.Split(dir, "/")
	for _, part := range slices.Backward(parts) {
		if says(part) {
			return part
		}
	}
	return ""
}

// fileWord is the part of the Dockerfile's name that says which one it is, such as "worker" of Dockerfile.worker. That it is for
// production says nothing of what is in it.
func (s *Service) fileWord() string {
	if word := fileWord(s.file.Path); !production.MatchString(word) {
		return word
	}
	return ""
}

func fileWord(name string) string {
	return strings.Trim(dockerfileWord.ReplaceAllString(path.Base(name), ""), ".-_")
}

// label makes a DNS label of a name.
func label(name string) string {
	out := strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
			return c
		case c >= 'A' && c <= 'Z':
			return c - 'A' + 'a'
		}
		return '-'
	}, name)
	if out = strings.Trim(out, "-"); len(out) > 50 { // room for the name of an environment
		out = strings.Trim(out[:50], "-")
	}
	return cmp.Or(out, "app")
}

// distinct gives services that have one name in common names of their own: those of a Compose file, else those of their files in
// one directory or of their directories, and where that is not enough numbers. A name that only one service has stays.
func distinct(services []*Service) {
	count, dirs, saidTimes := map[string]int{}, map[string]map[string]bool{}, map[string]int{}
	for _, s := range services {
		saidTimes[s.saidName()]++
		if count[s.Name]++; dirs[s.Name] == nil {
			dirs[s.Name] = map[string]bool{}
		}
		dirs[s.Name][path.Dir(s.file.Path)] = true
	}
	taken := map[string]bool{}
	for name, n := range count {
		taken[name] = n == 1
	}
	for _, s := range services {
		if count[s.Name] == 1 {
			continue
		}
		name := s.longer(len(dirs[s.Name]) > 1)
		if own := s.saidName(); own != "" && saidTimes[own] == 1 && count[own] == 0 {
			name = own
		}
		for n, base := 2, name; taken[name]; n++ {
			name = fmt.Sprintf("%s-%d", base[:min(len(base), 46)], n)
		}
		s.Name, taken[name] = name, true
	}
}

// saidName is the name of the service in the file of another tool, or that of its image there; "" where there is none.
func (s *Service) saidName() string {
	name := s.said.Name
	if name == "" && !strings.ContainsAny(s.said.Reference, "${") {
		name = lastPart(s.said.Reference)
	}
	words := strings.FieldsFunc(name, func(c rune) bool { return strings.ContainsRune("-_.", c) })
	if !slices.ContainsFunc(words, func(word string) bool { return !variant.MatchString(word) }) {
		return "" // no name, or one that says how the image is made
	}
	return label(name)
}

// longer is a name of a service that says in which file it was found, and if that is wanted in which directory.
func (s *Service) longer(directory bool) string {
	name := s.Name
	if dir := path.Dir(s.file.Path); directory && dir != "." {
		for name = dir; len(name) > 40 && strings.Contains(name, "/"); { // what is near says more
			_, name, _ = strings.Cut(name, "/")
		}
	}
	if of := fileWord(s.file.Path); of != "" {
		name += "-" + of
	}
	return label(name)
}

// dockerfileWord is the part of a file's name that says what it is.
var dockerfileWord = regexp.MustCompile(`(?i)(docker|container)file`)

// usage is an image in rendered manifests.
type usage struct {
	reference, container string
	object               *unstructured.Unstructured
}

// match finds for each service the manifests that run it. What does not render is left out, with the reason.
func (r *Repository) match(ctx context.Context, services []*Service) {
	var unused, others []string
	ctx = onceEach(ctx)
	for _, m := range r.Manifests {
		deploys := slices.ContainsFunc(services, func(s *Service) bool { return s.said.Deploys(m.Path) })
		if aside.MatchString(m.Path+"/") && !deploys {
			continue
		}
		objects, mixed, err := r.render(ctx, m)
		if unfilled := placeholders(objects); err != nil || len(unfilled) > 0 {
			r.doesNotRender(m, services, unfilled, err)
			continue
		}
		objects, twice := once(objects)
		uses, used := usages(objects), false
		for _, s := range services {
			best, at := 0, usage{}
			for _, u := range uses {
				if score := s.scoreOf(u); score > best && score == highest(services, u) {
					best, at = score, u
				}
			}
			if best > 0 {
				used = true
				s.Manifests = append(s.Manifests, Deployable{Manifests: m, Reference: at.reference, score: best + m.preference(s), objects: objects, twice: twice,
					mixed: mixed || len(twice) > 0 || m.Form == Plain && holds(m.Path, s.Context)})
			}
		}
		if open := withoutImage(objects); !used && len(open) > 0 && !m.example() {
			r.notice("%s leaves the image of %s open. If that is built here, name the directory as manifests in an aksflow.yaml above it and the Dockerfile, and give the chart its name by values of each environment, as in values: {image: NAME}",
				directoryName(m.Path), firstOf(open))
			continue
		}
		if !used && len(uses) > 0 && !m.example() {
			unused = append(unused, m.Path)
			for _, u := range uses {
				others = append(others, u.reference)
			}
		}
	}
	r.unused(unused, distinctStrings(others))
	for _, s := range services {
		s.decide(services)
	}
}

// placeholder matches what azd replaces in manifests.
var placeholder = regexp.MustCompile(`\{\{-?\s*\.Env\.(\w+)[^}]*\}\}`)

// placeholders returns the names of what azd replaces in values of objects.
func placeholders(objects []*unstructured.Unstructured) (names []string) {
	for _, o := range objects {
		text, err := json.Marshal(o.Object)
		if err != nil {
			continue // it was read from YAML
		}
		for _, found := range placeholder.FindAllSubmatch(text, -1) {
			names = append(names, string(found[1]))
		}
	}
	return names
}

// example reports whether manifests are examples.
func (m Manifests) example() bool { return helper.MatchString(m.Path + "/") }

// aside matches directories of tests and of documentation: what is in them is not what is deployed.
var aside = regexp.MustCompile(`(?i)(^|/)(` + testDirectory + `|docs?|documentation|website)/`)

// doesNotRender notices manifests that do not render, or that render with placeholders of azd, and why.
func (r *Repository) doesNotRender(m Manifests, services []*Service, names []string, err error) {
	r.broken = append(r.broken, m.Path)
	var of []string
	for _, s := range services {
		if !s.said.Deploys(m.Path) {
			continue
		}
		if of = append(of, s.Name); s.said.Written != "" && !r.exists(s.said.Written) {
			r.notice("%s does not render without %s, which azd writes from k8s.kustomize.env of %s: write it with values that are no secrets, and name the directory in aksflow.yaml as the manifests of %s", directoryName(m.Path), s.said.Written, s.said.File, s.Name)
			return
		}
	}
	if len(of) == 0 && m.example() {
		return // an example, or for tests: nobody misses it
	}
	if err != nil {
		for _, name := range r.yamlFiles(m.Path) {
			text, _ := r.read(name)
			for _, found := range placeholder.FindAllSubmatch(text, -1) {
				names = append(names, string(found[1]))
			}
		}
	}
	switch names = distinctStrings(names); {
	case len(names) > 0 && len(of) > 0:
		r.notice("%s has placeholders that azd fills in ({{ .Env.NAME }} for %s), and cannot be deployed without it: what %s needs of it has to be written into manifests without them", directoryName(m.Path), strings.Join(names, ", "), strings.Join(of, ", "))
	case len(names) > 0:
		r.notice("%s has placeholders that azd fills in ({{ .Env.NAME }} for %s), and cannot be deployed without it", directoryName(m.Path), strings.Join(names, ", "))
	case len(r.lacks[m.Path]) > 0:
		r.notice("the chart %s needs %s, which is not below its charts directory: run `helm dependency build %s`, and then init again", m.Path, strings.Join(r.lacks[m.Path], ", "), m.Path)
	case m.Form == Chart:
		r.notice("%s does not render: %v; if it needs values, name it in aksflow.yaml as manifests, and them as valuesFiles or values of the environment", directoryName(m.Path), err)
	default:
		r.notice("%s does not render: %v. If the app is deployed from it, mend that first, and then run init again", directoryName(m.Path), err)
	}
}

// yamlFiles are the YAML files in a directory, as paths of the repository.
func (r *Repository) yamlFiles(dir string) (names []string) {
	entries, err := os.ReadDir(filepath.Join(r.Dir, filepath.FromSlash(dir)))
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if e.Type().IsRegular() && slices.Contains([]string{".yaml", ".yml"}, path.Ext(e.Name())) {
			names = append(names, path.Join(dir, e.Name()))
		}
	}
	return names
}

// once returns objects without those that are there before, and the names of these.
func once(objects []*unstructured.Unstructured) (kept []*unstructured.Unstructured, twice []string) {
	seen := map[string]bool{}
	for _, o := range objects {
		kind := o.GroupVersionKind().GroupKind()
		if id := fmt.Sprint(kind, cmp.Or(o.GetNamespace(), anyNamespace), "/", o.GetName()); seen[id] {
			twice = append(twice, o.GetKind()+"/"+o.GetName())
		} else {
			seen[id] = true
			kept = append(kept, o)
		}
	}
	return kept, distinctStrings(twice)
}

// firstOf names the first ones of many, and says how many others there are.
func firstOf(names []string) string {
	const named = 3
	if len(names) <= named+1 {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d others", strings.Join(names[:named], ", "), len(names)-named)
}

// highest is the score of the service that an image in manifests fits best.
func highest(services []*Service, u usage) (score int) {
	for _, s := range services {
		score = max(score, s.scoreOf(u))
	}
	return score
}

// decide sorts the manifests of a service, and takes its image from the best ones.
func (s *Service) decide(services []*Service) {
	slices.SortStableFunc(s.Manifests, func(a, b Deployable) int {
		return cmp.Or(cmp.Compare(b.score, a.score), strings.Compare(a.Path, b.Path))
	})
	s.Image = s.Name
	if len(s.Manifests) == 0 {
		return
	}
	best := s.Manifests[0]
	s.Image = cmp.Or(imagePath(best.Reference), s.Name)
	for _, other := range services {
		for _, u := range usages(best.objects) {
			if other != s && other.scoreOf(u) > s.scoreOf(u) {
				s.Several = true
			}
		}
	}
	s.Shared = s.Several || best.mixed
}

// pathPart matches an element of the path of a repository.
var pathPart = regexp.MustCompile(`^[a-z0-9]+([._-]+[a-z0-9]+)*$`)

// imagePath is the path of the repository that a reference in manifests names, below the registry; "" for none. Elements up to a
// placeholder, such as <registry>, are left out.
func imagePath(reference string) string {
	_, image := ref.Read(reference).Canonical()
	parts := strings.Split(strings.TrimPrefix(image, "library/"), "/")
	for i, part := range slices.Backward(parts) {
		if !pathPart.MatchString(part) {
			return path.Join(parts[i+1:]...)
		}
	}
	return path.Join(parts...)
}

// holds reports whether a directory is another one or holds it: aksflow.yaml would stand among the manifests there.
func holds(dir, other string) bool {
	return dir == "." || dir == other || strings.HasPrefix(other, dir+"/")
}

// unused notices directories of manifests that run no image of the repository, as far as names say, and the images that they run.
func (r *Repository) unused(dirs, images []string) {
	if len(dirs) > 0 {
		r.notice("nothing in %s runs an image that is built here, as far as names say (%s). If one of them is, name it as image and its directory as manifests in an aksflow.yaml above both the directory and the Dockerfile; what else is needed can stand beside the app's manifests",
			firstOf(directoryNames(dirs)), firstOf(images))
	}
}

// render renders manifests. A plain directory may hold other YAML, too, or one object in several directories below it: then the
// objects in its own files alone are rendered, and it is mixed.
func (r *Repository) render(ctx context.Context, m Manifests) (objects []*unstructured.Unstructured, mixed bool, err error) {
	dir := filepath.Join(r.Dir, filepath.FromSlash(m.Path))
	options := render.Options{Namespace: anyNamespace}
	if len(r.lacks[m.Path]) > 0 {
		objects, err = r.renderAlone(ctx, dir, options)
		return objects, false, err
	}
	var events []report.Event // of a try that may fail
	objects, err = render.Render(report.With(ctx, report.SinkFunc(func(e report.Event) { events = append(events, e) })), dir, options)
	if _, twice := once(objects); m.Form != Plain || err == nil && len(twice) == 0 {
		for _, e := range events {
			report.Emit(ctx, e)
		}
		return objects, false, err
	}
	scratch, failed := os.MkdirTemp("", "aksflow-init-")
	if failed != nil {
		return nil, false, failed
	}
	defer os.RemoveAll(scratch)
	if failed := r.copyObjects(m.Path, scratch); failed != nil {
		return nil, false, failed
	}
	named := report.With(ctx, report.SinkFunc(func(e report.Event) {
		e.Message = strings.ReplaceAll(e.Message, scratch, dir) // the user's path
		report.Emit(ctx, e)
	}))
	own, failed := render.Render(named, scratch, options)
	if failed != nil {
		return objects, false, err
	}
	return own, true, nil
}

// renderAlone renders a copy of a chart that names no dependencies.
func (r *Repository) renderAlone(ctx context.Context, dir string, options render.Options) ([]*unstructured.Unstructured, error) {
	scratch, err := os.MkdirTemp("", "aksflow-init-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(scratch)
	copied := filepath.Join(scratch, filepath.Base(dir))
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		return nil, err
	}
	name := filepath.Join(copied, "Chart.yaml")
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	chart := map[string]any{}
	if err := yaml.Unmarshal(text, &chart); err != nil {
		return nil, err
	}
	delete(chart, "dependencies")
	if text, err = yaml.Marshal(chart); err != nil {
		return nil, err
	}
	if err := os.Remove(name); err != nil { // a copied link would lead to the user's own file
		return nil, err
	}
	if err := os.WriteFile(name, text, 0o600); err != nil {
		return nil, err
	}
	quiet := report.With(ctx, report.SinkFunc(func(report.Event) {})) // of paths that are not the user's
	return render.Render(quiet, copied, options)
}

// copyObjects copies the files of a directory that hold objects.
func (r *Repository) copyObjects(from, to string) error {
	for _, name := range r.yamlFiles(from) {
		text, err := r.read(name)
		if err != nil || !object.Match(text) {
			continue
		}
		if err := os.WriteFile(filepath.Join(to, path.Base(name)), text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// onceEach returns a context that passes on each message once: several overlays have one base.
func onceEach(ctx context.Context) context.Context {
	seen := map[string]bool{}
	return report.With(ctx, report.SinkFunc(func(e report.Event) {
		if e.Message == "" || !seen[e.Message] {
			seen[e.Message] = true
			report.Emit(ctx, e)
		}
	}))
}

// anyNamespace stands for the namespace of an environment.
const anyNamespace = "default"

// object finds the two keys that every object has.
var object = regexp.MustCompile(`(?ms)^apiVersion:.*^kind:|^kind:.*^apiVersion:`)

// namespaces are those that objects name by themselves: the one that most are in, and the others.
func namespaces(objects []*unstructured.Unstructured) (first string, others []string) {
	count := map[string]int{}
	for _, o := range objects {
		if n := o.GetNamespace(); n != "" && n != anyNamespace {
			count[n]++
		}
	}
	all := slices.SortedFunc(maps.Keys(count), func(a, b string) int {
		return cmp.Or(cmp.Compare(count[b], count[a]), strings.Compare(a, b))
	})
	if len(all) == 0 {
		return "", nil
	}
	return all[0], all[1:]
}

// preference is what manifests are worth beside the match: those beside the service are its own, and an overlay says more
// than its base.
func (m Manifests) preference(s *Service) int {
	worth := map[Form]int{Kustomization: 6, Plain: 4, Chart: 2}[m.Form]
	if m.Base {
		worth -= 3
	}
	if s.Context != "." && strings.HasPrefix(m.Path, s.Context+"/") {
		worth += 20
	}
	if s.said.Deploys(m.Path) {
		worth += 30
	}
	if m.example() {
		worth -= 40
	}
	return worth
}

func usages(objects []*unstructured.Unstructured) []usage {
	var uses []usage
	for _, o := range objects {
		manifest.Images(o.Object, func(i manifest.Image) {
			if i.Field != manifest.Volumes {
				uses = append(uses, usage{i.Ref(), i.Name, o})
			}
		})
	}
	return uses
}

// lastPart is the last part of the repository that a reference names, which may have variables.
func lastPart(reference string) string {
	name, _, _ := strings.Cut(path.Base(strings.ToLower(reference)), ":")
	return name
}

// scoreOf says how well an image in manifests fits a service; 0 is not at all.
func (s *Service) scoreOf(u usage) int {
	used := ref.Read(u.reference).Repository
	last := strings.ToLower(path.Base(used))
	switch {
	case s.isSaid(used):
		return 100
	case last == s.Name:
		return 90
	case s.Compose != nil && (last == s.Compose.Name || last == lastPart(s.Compose.Image)):
		return 80
	case strings.HasSuffix(last, "-"+s.Name), strings.HasSuffix(last, "_"+s.Name), strings.HasPrefix(last, s.Name+"-"):
		return 60
	case strings.Contains(last, "-") && strings.HasSuffix(s.Name, "-"+last): // the name of the directory says more
		return 58
	case s.alias != "" && last == s.alias:
		return 55
	case u.container == s.Name && label(u.object.GetName()) == s.Name && strings.Contains(used, s.Name):
		return 50
	}
	return 0
}

// isSaid reports whether a file of another tool says that the service's image has the repository of that name.
func (s *Service) isSaid(repository string) bool {
	said := []string{s.said.Reference}
	if s.Compose != nil {
		said = append(said, s.Compose.Image)
	}
	return slices.ContainsFunc(said, func(r string) bool { return r != "" && ref.Read(r).Repository == repository })
}
