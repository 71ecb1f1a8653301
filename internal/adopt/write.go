package adopt

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/aksflow/aksflow/internal/core/config"
	"github.com/aksflow/aksflow/internal/core/image/ref"
	"github.com/aksflow/aksflow/schema"
)

// helper matches files that are not for what is delivered: Dockerfiles, Compose files, manifests.
var helper = regexp.MustCompile(`(?i)(^|/)(` + testDirectory + `|cypress|playwright|seed-data|examples?|samples?|\.devcontainer|\.ci|load-?gen(erator)?|genproto|protogen|codegen|hack|fuzz(ing)?|bench(marks?)?|lint(ers?)?)/` +
	`|(^|[/._-])(dev|develop|development|tests?|debug|ci|local|builder|cypress)([._-]|$)|(^|/)buildx\.|for-app-service` +
	`|(docker|container)file[._-]([a-z0-9]+[._-])*` + toolWord + `$|(^|/)([a-z0-9]+[._-])*` + toolWord + `\.(docker|container)file$`)

// testDirectory matches directories of tests, and toolWord what Dockerfiles are called that hold a tool for developers.
const (
	testDirectory = `([a-z0-9]+-)?tests?|testdata[0-9]*|e2e|integration(-?tests?)?|fixtures`
	toolWord      = `(lint|linter|golangci|golangci-lint|vendor|authors|fuzz|bench|benchmark|check|shellcheck|e2e|integration|playwright|cypress|selenium|storybook|tilt|tools|devcontainer)`
)

// forTests matches Compose files that start what tests need.
var forTests = regexp.MustCompile(`(?i)(^|/)(` + testDirectory + `|cypress|playwright)/|compose([._-][a-z0-9]+)*[._-](tests?|e2e|ci|integration)([._-]|$)`)

// secretName matches variables whose values do not belong into a file.
var secretName = regexp.MustCompile(`(?i)passw|pwd|secret|token|key|credential|connection`)

// noSecret matches words that only look as if they were about secrets.
var noSecret = regexp.MustCompile(`(?i)valkey|keycloak|keydb|keyspace|keyboard|monkey|(connection|token)s?_?(limit|count|timeout|pool|expir|ttl|lifetime|max)\w*`)

// isSecret reports whether the value of a variable does not belong into a file, by its name.
func isSecret(name string) bool { return secretName.MatchString(noSecret.ReplaceAllString(name, "")) }

// configuration is the text of the service's aksflow.yaml, in the directory base.
func (s *Service) configuration(r *Repository, o Options, envs []environment, dirs map[string]place, base string) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# yaml-language-server: $schema=%s", schema.URL)
	line("app: %s", scalar(s.Name))
	if s.Image != s.Name {
		line("# The repository below the registry, as the manifests name it.\nimage: %s", scalar(s.Image))
	}
	line("")
	b.WriteString(s.build(base))
	line("")
	b.WriteString(s.tests(r))
	line("environments:")
	for _, e := range envs {
		at, found := dirs[e.name]
		if !found {
			continue
		}
		line("  %s:", e.name)
		if len(e.branches) > 0 {
			line("    branches: [%s]", quoted(e.branches))
		}
		if len(e.tags) > 0 {
			line("    tags: [%s]", quoted(e.tags))
		}
		if e.local {
			line("    platform: local # aksflow up")
		} else {
			line("    registry: %s", o.Registry)
		}
		line("    manifests: %s", at.directory)
		if at.values != "" {
			line("    valuesFiles: [%s]", at.values)
		}
		line("    namespace: %s", cmp.Or(at.namespace, s.home+"-"+e.name))
		if len(at.namespaces) > 0 {
			line("    namespaces: [%s] # further ones that the manifests name", strings.Join(at.namespaces, ", "))
		}
		if operated := (&config.Environment{Target: o.Target}).OperatorApplies(); operated && !e.local {
			line("    target: %s", o.Target)
			line("    gitops:")
			line("      repo: %s", o.Remote)
			if len(s.Manifests) > 0 && !s.Shared {
				line("      replace: [%s]", quoted([]string{ref.Read(s.Manifests[0].Reference).Repository}))
			}
			line("      passwordEnv: GIT_TOKEN")
		}
	}
	return b.String()
}

// build is the part of aksflow.yaml, in the directory base, that says how the image is built.
func (s *Service) build(base string) string {
	context, _ := relative(base, s.Context)
	if context == "" || context == base {
		context = "."
	}
	lines := []string{"context: " + context}
	if s.Dockerfile != "Dockerfile" {
		lines = append(lines, "dockerfile: "+s.Dockerfile)
	}
	if s.Target != "" {
		lines = append(lines, "target: "+s.Target)
	}
	if len(s.args) == 0 {
		return "build: {" + strings.Join(lines, ", ") + "}\n"
	}
	lines = append(lines, "args:")
	for _, name := range slices.Sorted(maps.Keys(s.args)) {
		lines = append(lines, fmt.Sprintf("  %s: %q", name, strings.ReplaceAll(s.args[name], "$", "$$")))
	}
	return "build:\n  " + strings.Join(lines, "\n  ") + "\n"
}

func quoted(values []string) string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = fmt.Sprintf("%q", v)
	}
	return strings.Join(out, ", ")
}

var (
	unitStage        = []string{"test", "tests", "unit", "unit-test", "unittest", "unit-tests"}
	integrationStage = []string{"integration", "integration-test", "integration-tests", "e2e"}
)

// stage returns the first of the names that the Dockerfile has a stage of.
func (s *Service) stage(names []string) string {
	for _, name := range names {
		if slices.Contains(s.file.Stages, name) {
			return name
		}
	}
	return ""
}

// release is the stage that becomes the image, where that is not the last one: tests may come last.
func (s *Service) release() string {
	if !helperStage(s.file.Last) {
		return ""
	}
	return s.stage([]string{"release", "final", "runtime", "production", "prod", "app", "main"})
}

// helperStage reports whether a stage is for tests or for development by its name.
func helperStage(name string) bool {
	return slices.Contains(slices.Concat(unitStage, integrationStage), name) || helper.MatchString(name)
}

// tests is the part of aksflow.yaml about tests: the stages that are there, or else how to add one.
func (s *Service) tests(r *Repository) string {
	var b strings.Builder
	unit, integration := s.stage(unitStage), s.stage(integrationStage)
	if unit != "" || integration != "" {
		b.WriteString("test:\n")
		if unit != "" {
			fmt.Fprintf(&b, "  unit: {target: %s} # it has to write JUnit XML to /reports\n", unit)
		}
		if integration != "" {
			fmt.Fprintf(&b, "  integration: {target: %s} # a client of the image: APP_URL is its address\n", integration)
			b.WriteString(s.backing(r))
		}
		b.WriteString("\n")
		return b.String()
	}
	b.WriteString(s.foundTests(r))
	return b.String()
}

// foundTests is how tests that no stage runs can be run.
func (s *Service) foundTests(r *Repository) string {
	of := r.runnersOf(s)
	if len(of) == 0 {
		return "# No tests of a kind that init knows were found. A stage of the Dockerfile that runs them and writes JUnit XML to /reports is named so:\n# test: {unit: {target: test}}\n\n"
	}
	runner, where := of[0], directoryName(of[0].Dir)
	var b strings.Builder
	for _, other := range of[1:] {
		if other.Language != runner.Language && !strings.Contains(b.String(), other.Language) {
			fmt.Fprintf(&b, "# There are tests for %s in %s, too.\n", other.Language, directoryName(other.Dir))
		}
	}
	stage, missing := s.testStage(r, runner)
	if missing != "" {
		r.notice("%s: there are tests for %s in %s, but no stage that runs them is proposed: %s. Write a stage test that runs them and writes JUnit XML to /reports, and name it in aksflow.yaml as test: {unit: {target: test}}",
			s.file.Path, runner.Language, where, missing)
		fmt.Fprintf(&b, "# There are tests for %s in %s. A stage of %s that runs them and writes JUnit XML to /reports is named so:\n# test: {unit: {target: test}}\n\n",
			runner.Language, where, s.file.Path)
		return b.String()
	}
	fmt.Fprintf(&b, "# There are tests for %s in %s. With this stage in %s, before the last one, they run in each delivery:\n#\n", runner.Language, where, s.file.Path)
	for _, line := range stage {
		fmt.Fprintf(&b, "#   %s\n", line)
	}
	b.WriteString("#\n# test: {unit: {target: test}}\n\n")
	return b.String()
}

// backing are the services that a Compose file gives to this one.
func (s *Service) backing(r *Repository) string {
	needed := s.needs(r)
	if len(needed) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("  services:\n")
	for _, n := range needed {
		fmt.Fprintf(&b, "    - {name: %s, image: %q}\n", label(n.Name), n.Image)
	}
	return b.String()
}

// copies are a kustomization with those objects of shared manifests that go with the service. Those in the namespace of most get that
// of the environment.
func (d Deployable) copies() []File {
	var files []File
	taken, there := map[string]bool{}, map[string]bool{}
	home, _ := namespaces(d.own)
	for _, o := range d.own {
		o = o.DeepCopy()
		if o.GetNamespace() == home || o.GetNamespace() == anyNamespace {
			o.SetNamespace("")
		}
		id := fmt.Sprint(o.GroupVersionKind().GroupKind(), o.GetNamespace(), "/", o.GetName())
		if there[id] {
			continue // one named that namespace, and the other none
		}
		there[id] = true
		anyNodePort(o)
		text, err := yaml.Marshal(o.Object)
		if err != nil {
			continue // it was read from YAML
		}
		base := strings.NewReplacer(":", "-", "/", "-").Replace(strings.ToLower(o.GetKind()) + "-" + o.GetName())
		name := base + ".yaml"
		for number := 2; taken[name]; number++ { // of another group or in another namespace
			name = fmt.Sprintf("%s-%d.yaml", base, number)
		}
		taken[name] = true
		files = append(files, File{Path: name, Content: string(text)})
	}
	return kustomization(files)
}

// kustomization returns the files and before them the kustomization that includes them.
func kustomization(files []File) []File {
	var b strings.Builder
	b.WriteString("apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n")
	for _, f := range files {
		fmt.Fprintf(&b, "- %s\n", f.Path)
	}
	return append([]File{{Path: "kustomization.yaml", Content: b.String()}}, files...)
}

// anyNodePort leaves the choice of node ports to the cluster: two environments in one cluster cannot have the same.
func anyNodePort(o *unstructured.Unstructured) {
	ports, _, _ := unstructured.NestedSlice(o.Object, "spec", "ports")
	for _, p := range ports {
		if port, ok := p.(map[string]any); ok {
			delete(port, "nodePort")
		}
	}
	if o.GetKind() == "Service" && len(ports) > 0 {
		_ = unstructured.SetNestedSlice(o.Object, ports, "spec", "ports")
	}
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
