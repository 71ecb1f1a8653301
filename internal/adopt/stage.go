package adopt

import (
	"bytes"
	"cmp"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"

	"github.com/aksflow/aksflow/internal/core/build/dockerfile"
	"github.com/aksflow/aksflow/internal/core/image/ref"
)

// tool is how a stage is known that has what a language's tests need.
type tool struct {
	image   *regexp.Regexp // the last part of the image that the stage is made from, with its tag
	command *regexp.Regexp // what the stage runs
	name    string
}

var tools = map[string]tool{
	languageNode:   {regexp.MustCompile(`^(node|nodejs.*)(:|@|$)`), regexp.MustCompile(`\b(npm|yarn|pnpm) (ci|install|add)\b`), "Node.js"},
	languagePython: {nil, regexp.MustCompile(`\b(pip3? install|uv sync|poetry install|pipenv (install|sync))\b`), "the dependencies"},
	languageGo:     {regexp.MustCompile(`^(golang|go-toolset)(:|@|$)`), nil, "Go"},
	languageMaven:  {regexp.MustCompile(`^maven(:|@|$)`), regexp.MustCompile(`\bmvnw? `), "Maven"},
	languageGradle: {regexp.MustCompile(`^gradle(:|@|$)`), regexp.MustCompile(`\bgradlew\b`), "Gradle"},
	languageDotnet: {regexp.MustCompile(`^sdk(:|@|$)`), regexp.MustCompile(`\bdotnet (restore|build|publish)\b`), "the .NET SDK"},
	languagePHP:    {nil, regexp.MustCompile(`\bcomposer install\b`), "Composer"},
	languageRuby:   {nil, regexp.MustCompile(`\bbundle install\b`), "Bundler"},
	languageRust:   {regexp.MustCompile(`^rust(:|@|$)`), regexp.MustCompile(`\bcargo build\b`), "Rust"},
}

// testStage returns the lines of a stage that runs the tests of a project. Where none is known, missing says why.
func (s *Service) testStage(r *Repository, of Runner) (lines []string, missing string) {
	if of.Missing != "" {
		return nil, of.Missing
	}
	if !holds(s.Context, of.Dir) {
		return nil, directoryName(of.Dir) + " is outside of the build context " + s.Context
	}
	if name := r.ignored(s, of.Tests); name != "" {
		return nil, "its .dockerignore leaves " + name + " out of the build context"
	}
	if of.Language == languageGo && r.needsOutside(of.Dir) {
		return nil, "the module in " + directoryName(of.Dir) + " needs other modules of this repository that are outside of its directory"
	}
	stage, found := s.stageWith(tools[of.Language])
	if !found {
		return nil, "no stage of the Dockerfile has " + tools[of.Language].name
	}
	steps := of.Steps
	if of.Language == languagePython {
		if steps, missing = r.pythonSteps(of, stage); missing != "" {
			return nil, missing
		}
	} else if len(steps) == 0 {
		if of, missing = r.ownTests(s, of); missing != "" {
			return nil, missing
		}
		if steps = r.stepsOf(s, of, stage); len(steps) == 0 {
			return nil, "what runs them is not known"
		}
	}
	source, _ := relative(s.Context, of.Dir)
	from := stage.Name
	if from == "" {
		from = stage.From
	}
	lines = []string{"FROM " + from + " AS test"}
	chain, _ := s.file.parsed.Chain(stage.Name)
	if stage.Name == "" {
		chain = nil // what the image itself has is not known
	}
	if has(chain, "USER") {
		lines = append(lines, "USER root")
	}
	// Some Python tests import their project by the name of its directory.
	lines = append(lines, "WORKDIR "+path.Join("/test", projectName(of, s)), "COPY "+source+" .")
	if has(chain, "ENTRYPOINT") {
		lines = append(lines, "ENTRYPOINT []")
	}
	return append(lines, steps...), ""
}

// projectName is the name of the directory that a project's files are copied to; "" where it does not matter.
func projectName(of Runner, s *Service) string {
	if of.Language != languagePython {
		return ""
	}
	if of.Dir == "." {
		return s.Name
	}
	return path.Base(of.Dir)
}

func has(chain []dockerfile.Stage, instruction string) bool {
	return slices.ContainsFunc(chain, func(s dockerfile.Stage) bool {
		return slices.ContainsFunc(s.Instructions, func(i dockerfile.Instruction) bool { return i.Name == instruction })
	})
}

// stageWith returns the first stage that has a tool: that runs it, or is made from its image.
func (s *Service) stageWith(t tool) (dockerfile.Stage, bool) {
	for _, stage := range s.file.parsed.Stages {
		if t.command != nil && slices.ContainsFunc(stage.Instructions, func(i dockerfile.Instruction) bool {
			return i.Name == "RUN" && t.command.MatchString(i.Rest)
		}) {
			return stage, true
		}
	}
	for i, stage := range s.file.parsed.Stages {
		from := stage.From
		if stage.Name != "" {
			if chain, err := s.file.parsed.Chain(stage.Name); err == nil {
				from = chain[0].From
			}
		}
		if t.image != nil && t.image.MatchString(path.Base(from)) {
			return s.file.parsed.Stages[i], true
		}
	}
	return dockerfile.Stage{}, false
}

// ignored returns the first of the files that .dockerignore leaves out of the build context of a service; "" if there is none.
func (r *Repository) ignored(s *Service, files []string) string {
	for _, name := range []string{path.Join(s.Context, s.Dockerfile) + ".dockerignore", path.Join(s.Context, ".dockerignore")} {
		text, err := r.read(name)
		if err != nil {
			continue
		}
		patterns, err := ignorefile.ReadAll(bytes.NewReader(text))
		if err != nil {
			return ""
		}
		matcher, err := patternmatcher.New(patterns)
		if err != nil {
			return ""
		}
		for _, file := range files {
			below, _ := relative(s.Context, file)
			if out, err := matcher.MatchesOrParentMatches(filepath.FromSlash(below)); err == nil && out {
				return file
			}
		}
		return ""
	}
	return ""
}

// outsideModule matches a replacement in go.mod by a directory outside of the module.
var outsideModule = regexp.MustCompile(`=>\s*\.\./`)

// needsOutside reports whether a Go module needs directories outside of its own.
func (r *Repository) needsOutside(dir string) bool {
	text, err := r.read(path.Join(dir, "go.mod"))
	if err != nil || outsideModule.Match(text) {
		return true
	}
	for dir != "." {
		if dir = path.Dir(dir); r.exists(path.Join(dir, "go.work")) {
			return true
		}
	}
	return false
}

// stepsOf are the last lines of a stage with the files of a project, which run the tests of a service. stage is what it is made from.
func (r *Repository) stepsOf(s *Service, of Runner, stage dockerfile.Stage) []string {
	switch of.Language {
	case languageGo:
		return []string{"RUN go install gotest.tools/gotestsum@latest", `CMD ["gotestsum", "--junitfile", "/reports/unit.xml", "./..."]`}
	case languageMaven:
		run := cmp.Or(wrapper(stage, "./mvnw"), "mvn") + " -B test"
		if module := r.moduleOf(s, of, "pom.xml"); module != "" {
			run += " -pl " + module + " -am"
		}
		return []string{shell(run + "; s=$?; mkdir -p /reports; find . -path '*/target/surefire-reports/*.xml' -exec cp {} /reports/ ';'; exit $s")}
	case languageGradle:
		run := cmp.Or(wrapper(stage, "./gradlew"), "gradle") + " "
		if module := r.moduleOf(s, of, "build.gradle", "build.gradle.kts"); module != "" {
			run += ":" + strings.ReplaceAll(module, "/", ":") + ":"
		}
		return []string{shell(run + "test; s=$?; mkdir -p /reports; find . -path '*/build/test-results/test/*.xml' -exec cp {} /reports/ ';'; exit $s")}
	case languageDotnet:
		return r.dotnetSteps(of)
	case languagePHP:
		return r.phpSteps(of)
	case languageRuby:
		return r.rubySteps(of)
	case languageRust:
		return r.rustSteps(s, of)
	}
	return nil
}

// wrapper returns the wrapper of a build tool if a stage runs it; "" if not.
func wrapper(stage dockerfile.Stage, name string) string {
	if slices.ContainsFunc(stage.Instructions, func(i dockerfile.Instruction) bool {
		return i.Name == "RUN" && strings.Contains(i.Rest, path.Base(name))
	}) {
		return name
	}
	return ""
}

// moduleOf is the directory of a service below the directory of the project that it is a module of, by a file of each module; "" for
// a service that is no module.
func (r *Repository) moduleOf(s *Service, of Runner, files ...string) string {
	dir := path.Dir(s.file.Path)
	module, below := relative(of.Dir, dir)
	if !below || module == "." || !slices.ContainsFunc(files, func(name string) bool { return r.exists(path.Join(dir, name)) }) {
		return ""
	}
	return module
}

// rustSteps are stepsOf for Rust: of one package where the service's directory is one, else of all.
func (r *Repository) rustSteps(s *Service, of Runner) (steps []string) {
	if !r.exists(path.Join(of.Dir, ".config/nextest.toml")) {
		steps = append(steps, `RUN mkdir -p .config && printf '[profile.ci.junit]\npath = "junit.xml"\n' > .config/nextest.toml`)
	}
	packages := "--workspace"
	if module := r.moduleOf(s, of, "Cargo.toml"); module != "" {
		text, _ := r.read(path.Join(of.Dir, module, "Cargo.toml"))
		if m := cratePackage.FindSubmatch(text); m != nil {
			packages = "-p " + string(m[1])
		}
	}
	return append(steps, "RUN cargo install --locked cargo-nextest",
		shell("cargo nextest run "+packages+" --profile ci; s=$?; mkdir -p /reports; cp target/nextest/ci/junit.xml /reports/; exit $s"))
}

// cratePackage finds the name of a package in its Cargo.toml.
var cratePackage = regexp.MustCompile(`(?ms)^\[package\][^\[]*?^name\s*=\s*"([^"]+)"`)

// dotnetSteps are stepsOf for .NET: of the solution, or of some of its test projects.
func (r *Repository) dotnetSteps(of Runner) (steps []string) {
	var projects []string
	for _, project := range of.Tests {
		text, err := r.read(project)
		below, _ := relative(of.Dir, project)
		if err == nil && !bytes.Contains(text, []byte("JunitXml.TestLogger")) {
			steps = append(steps, "RUN dotnet add "+below+" package JunitXml.TestLogger")
		}
		projects = append(projects, below)
	}
	switch {
	case !of.some:
		return append(steps, `CMD ["dotnet", "test", "--logger", "junit;LogFilePath=/reports/{assembly}.xml"]`)
	case len(projects) == 1:
		return append(steps, `CMD ["dotnet", "test", "`+projects[0]+`", "--logger", "junit;LogFilePath=/reports/{assembly}.xml"]`)
	}
	return append(steps, shell("s=0; for p in "+strings.Join(projects, " ")+"; do dotnet test $p --logger 'junit;LogFilePath=/reports/{assembly}.xml' || s=$?; done; exit $s"))
}

// phpSteps are stepsOf for PHP.
func (r *Repository) phpSteps(of Runner) []string {
	run := "vendor/bin/phpunit"
	if text, err := r.read(path.Join(of.Dir, "composer.json")); err == nil && bytes.Contains(text, []byte(`"pestphp/pest"`)) {
		run = "vendor/bin/pest"
	}
	return []string{"RUN composer install --no-interaction", `CMD ["` + run + `", "--log-junit", "/reports/unit.xml"]`}
}

// rubySteps are stepsOf for Ruby: RSpec, which needs a formatter. Images for production leave out the gems of tests.
func (r *Repository) rubySteps(of Runner) []string {
	if !strings.HasSuffix(of.Tests[0], "_spec.rb") {
		return nil
	}
	const all = "unset BUNDLE_WITHOUT BUNDLE_DEPLOYMENT BUNDLE_FROZEN; "
	install := "RUN " + all + "bundle install"
	if lock, err := r.read(path.Join(of.Dir, "Gemfile.lock")); err != nil || !bytes.Contains(lock, []byte("rspec_junit_formatter")) {
		install += " && bundle add rspec_junit_formatter"
	}
	return []string{install, shell(all + "bundle exec rspec --format progress --format RspecJunitFormatter --out /reports/unit.xml")}
}

var (
	requirements    = regexp.MustCompile(`(-r|--requirement)[ =]?(\S+)`)
	installsProject = regexp.MustCompile(`install( -\S+)* \.( |$)`)
	// systemPackages matches what may run again in another stage, since it needs no files.
	systemPackages = regexp.MustCompile(`^(set -\S+ *(&&|;) *)?(apt-get|apk|pip3?|python3? -m pip) `)
)

// managedSteps are stepsOf for Python with Poetry or Pipenv, which install the dependencies of tests unless they are told not to.
func (r *Repository) managedSteps(of Runner, stage dockerfile.Stage, install dockerfile.Instruction) (steps []string) {
	manager, lockFile, all := "poetry", "poetry.lock", "poetry install --no-interaction"
	if strings.Contains(install.Rest, "pipenv") {
		manager, lockFile, all = "pipenv", "Pipfile.lock", "pipenv install --dev --deploy"
	} else if !slices.ContainsFunc(stage.Instructions, func(i dockerfile.Instruction) bool {
		return strings.Contains(i.Rest, "poetry install") && !strings.Contains(i.Rest, "--no-root")
	}) {
		all += " --no-root" // the project is no package
	}
	steps = []string{"RUN " + all}
	if lock, err := r.read(path.Join(of.Dir, lockFile)); err != nil || !bytes.Contains(lock, []byte(`"pytest"`)) {
		steps = append(steps, "RUN "+manager+" run pip install pytest")
	}
	return append(steps, `CMD ["`+manager+`", "run", "python", "-m", "pytest", "--junitxml=/reports/unit.xml"]`)
}

// pythonSteps are stepsOf for Python: the dependencies are installed as the stage does it, with those of tests.
func (r *Repository) pythonSteps(of Runner, stage dockerfile.Stage) (steps []string, missing string) {
	for _, i := range stage.Instructions {
		if i.Name != "RUN" {
			continue
		}
		installs := "" // the last one: the others may install what it runs
		if all := tools[languagePython].command.FindAllString(i.Rest, -1); len(all) > 0 {
			installs = all[len(all)-1]
		}
		switch {
		case installs == "uv sync" && r.exists(path.Join(of.Dir, "uv.lock")):
			steps = append(steps, "RUN uv sync --frozen --no-install-project")
			if lock, err := r.read(path.Join(of.Dir, "uv.lock")); err != nil || !bytes.Contains(lock, []byte(`name = "pytest"`)) {
				steps = append(steps, "RUN uv pip install pytest")
			}
			return append(steps, `CMD ["uv", "run", "--no-sync", "python", "-m", "pytest", "--junitxml=/reports/unit.xml"]`), ""
		case strings.HasPrefix(installs, "poetry"), strings.HasPrefix(installs, "pipenv"):
			if stage.Name == "" {
				return nil, "the stage with the dependencies has no name"
			}
			return r.managedSteps(of, stage, i), ""
		case strings.HasPrefix(installs, "pip"):
			const run = `CMD ["python", "-m", "pytest", "--junitxml=/reports/unit.xml"]`
			file := requirements.FindStringSubmatch(i.Rest)
			switch {
			case file != nil && r.exists(path.Join(of.Dir, path.Base(file[2]))):
				return append(steps, "RUN pip install -r "+path.Base(file[2])+" pytest", run), ""
			case file == nil && installsProject.MatchString(i.Rest):
				return append(steps, "RUN pip install . pytest", run), ""
			case file != nil:
				return nil, directoryName(of.Dir) + " has no " + path.Base(file[2])
			}
		}
		if stage.Name == "" { // the stage cannot be named as the base of another one
			if !systemPackages.MatchString(i.Rest) {
				return nil, "the stage with the dependencies has no name"
			}
			steps = append(steps, "RUN "+i.Rest)
		}
	}
	return nil, "how the Dockerfile installs the dependencies of " + ref.Read(stage.From).Repository + " is not known"
}
