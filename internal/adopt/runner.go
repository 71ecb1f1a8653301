package adopt

import (
	"cmp"
	"encoding/json"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// runner looks whether a file is a test, or says how tests are run.
func (w *walk) runner(name string) error {
	dir, base := path.Dir(name), path.Base(name)
	switch ext := path.Ext(base); {
	case base == "package.json":
		text, err := w.read(name)
		var p nodePackage
		if err != nil || json.Unmarshal(text, &p) != nil {
			return err
		}
		if script := p.Scripts["test"]; script != "" && !strings.Contains(script, "no test specified") {
			r := p.runner(w.managerOf(dir))
			r.Dir, r.Tests = dir, []string{name}
			if above := w.workspaceAbove(dir); above != "" {
				r.Missing = "it is a part of the workspace in " + directoryName(above)
			}
			w.Runners = append(w.Runners, r)
		}
	case strings.HasPrefix(base, "test_") && ext == ".py", strings.HasSuffix(base, "_test.py"), base == "pytest.ini", base == "conftest.py":
		w.test(languagePython, name, w.nearest(dir, "pyproject.toml", "requirements.txt", "setup.py", "Pipfile"), "neither pyproject.toml nor requirements.txt was found above the tests")
	case strings.HasSuffix(base, "_test.go"):
		w.test(languageGo, name, w.nearest(dir, "go.mod"), "no go.mod was found above the tests")
	case slices.Contains([]string{".java", ".kt", ".groovy"}, ext) && strings.Contains("/"+name, "/src/test/"):
		if root := w.outermost(dir, "pom.xml"); root != "" {
			w.test(languageMaven, name, root, "")
		} else if root := w.outermost(dir, "gradlew"); root != "" {
			w.test(languageGradle, name, root, "")
		}
	case slices.Contains([]string{".csproj", ".fsproj", ".vbproj"}, ext) && strings.Contains(strings.ToLower(base), "test"):
		w.test(languageDotnet, name, w.nearestExt(dir, ".sln", ".slnx"), "no solution (.sln) was found above the tests")
	case base == "phpunit.xml", base == "phpunit.xml.dist", base == "phpunit.dist.xml":
		w.test(languagePHP, name, w.nearest(dir, "composer.json"), "no composer.json was found above the tests")
	case strings.HasSuffix(base, "_spec.rb"), strings.HasSuffix(base, "_test.rb"):
		w.test(languageRuby, name, w.nearest(dir, "Gemfile"), "no Gemfile was found above the tests")
	case ext == ".rs":
		text, err := w.read(name)
		if err == nil && (strings.Contains(string(text), "#[test]") || strings.Contains(string(text), "::test]")) {
			w.test(languageRust, name, w.outermost(dir, "Cargo.toml"), "no Cargo.toml was found above the tests")
		}
		return err
	}
	return nil
}

// workspaceAbove returns the nearest directory above dir that makes one workspace of several packages; "" if there is none.
func (w *walk) workspaceAbove(dir string) string {
	for dir != "." {
		dir = path.Dir(dir)
		if w.exists(path.Join(dir, "pnpm-workspace.yaml")) || w.exists(path.Join(dir, "lerna.json")) {
			return dir
		}
		var p struct{ Workspaces any }
		if text, err := w.read(path.Join(dir, "package.json")); err == nil && json.Unmarshal(text, &p) == nil && p.Workspaces != nil {
			return dir
		}
	}
	return ""
}

// The languages of tests.
const (
	languageNode   = "JavaScript"
	languagePython = "Python"
	languageGo     = "Go"
	languageMaven  = "Java (Maven)"
	languageGradle = "Java (Gradle)"
	languageDotnet = ".NET"
	languageRust   = "Rust"
	languagePHP    = "PHP"
	languageRuby   = "Ruby"
)

// test remembers a test of the project in the directory root. Without a root the tests of each directory are by themselves, and
// missing says what is not known of them.
func (w *walk) test(language, name, root, missing string) {
	r := Runner{Language: language, Dir: root, Tests: []string{name}}
	if root == "" {
		r.Dir, r.Missing = path.Dir(name), missing
	}
	for i, o := range w.Runners {
		if o.Language == language && o.Dir == r.Dir {
			w.Runners[i].Tests = append(o.Tests, name)
			return
		}
	}
	w.Runners = append(w.Runners, r)
}

// nearest returns the nearest directory, from dir upwards, that has one of the files; "" if there is none.
func (w *walk) nearest(dir string, files ...string) string {
	for ; ; dir = path.Dir(dir) {
		if slices.ContainsFunc(files, func(f string) bool { return w.exists(path.Join(dir, f)) }) {
			return dir
		}
		if dir == "." {
			return ""
		}
	}
}

// outermost returns the highest directory, from dir upwards, that has the file; "" if there is none.
func (w *walk) outermost(dir, file string) (root string) {
	for ; ; dir = path.Dir(dir) {
		if w.exists(path.Join(dir, file)) {
			root = dir
		}
		if dir == "." {
			return root
		}
	}
}

// nearestExt is nearest for files by the ends of their names.
func (w *walk) nearestExt(dir string, ends ...string) string {
	for ; ; dir = path.Dir(dir) {
		for _, end := range ends {
			if found, err := filepath.Glob(filepath.Join(w.Dir, filepath.FromSlash(dir), "*"+end)); err == nil && len(found) > 0 {
				return dir
			}
		}
		if dir == "." {
			return ""
		}
	}
}

// shell is an instruction that runs a line of shell.
func shell(line string) string { return fmt.Sprintf(`CMD ["sh", "-c", %q]`, line) }

// nodePackage is what a package.json says of tests.
type nodePackage struct {
	Scripts                       map[string]string
	Dependencies, DevDependencies map[string]string
}

// manager is a package manager of JavaScript: how it installs what a lock file names, adds a package, and runs the tests with
// further arguments.
type manager struct{ install, add, test string }

// managerOf returns the package manager whose lock file is in a directory. Test runners are development dependencies, which an
// image that sets NODE_ENV=production does not get by itself.
func (w *walk) managerOf(dir string) manager {
	for _, m := range []struct {
		lock string
		manager
	}{
		{"pnpm-lock.yaml", manager{"corepack enable && pnpm install --prod=false --frozen-lockfile", "pnpm add --save-dev", "pnpm test"}},
		{"yarn.lock", manager{"yarn install --production=false --frozen-lockfile", "yarn add --dev", "yarn test"}},
		{"package-lock.json", manager{"npm ci --include=dev", "npm install --no-save", "npm test --"}},
	} {
		if w.exists(path.Join(dir, m.lock)) {
			return m.manager
		}
	}
	return manager{"npm install --include=dev", "npm install --no-save", "npm test --"}
}

// runner is how the package's tests are run so that they write JUnit XML. What is run is known by the script, or by a
// dependency where the script calls another one.
func (p nodePackage) runner(m manager) Runner {
	script := p.Scripts["test"]
	install, add := "RUN "+m.install, " && "+m.add+" "
	known := []struct {
		tool  string
		steps []string
	}{
		{"vitest", []string{install, `CMD ["npx", "vitest", "run", "--reporter=default", "--reporter=junit", "--outputFile.junit=/reports/unit.xml"]`}},
		{"react-scripts", []string{install + add + "jest-junit", shell("CI=1 JEST_JUNIT_OUTPUT_DIR=/reports " + m.test + " --reporters=default --reporters=jest-junit")}},
		{"jest", []string{install + add + "jest-junit", shell("JEST_JUNIT_OUTPUT_DIR=/reports " + m.test + " --reporters=default --reporters=jest-junit")}},
		{"mocha", []string{install, shell(m.test + " --reporter xunit --reporter-option output=/reports/unit.xml")}},
		{"node --test", []string{install, shell("mkdir -p /reports; NODE_OPTIONS='--test-reporter=junit --test-reporter-destination=/reports/unit.xml' " + strings.TrimSuffix(m.test, " --"))}},
	}
	for _, k := range known {
		if strings.Contains(script, k.tool) {
			return Runner{Language: languageNode, Steps: k.steps}
		}
	}
	for _, k := range known {
		if p.Dependencies[k.tool] != "" || p.DevDependencies[k.tool] != "" {
			return Runner{Language: languageNode, Steps: k.steps}
		}
	}
	return Runner{Language: languageNode, Steps: []string{install,
		"# CMD: a command that writes JUnit XML to /reports. The script test of package.json is:", "#   " + strings.ReplaceAll(script, "\n", " ")}}
}

// runnersOf returns the runners of a service, the best one first: of the project that its Dockerfile is in or that is below the Dockerfile's
// directory. Where the Dockerfile's directory says nothing, or there is only one Dockerfile, any project of the build context is
// the service's. One whose tests can run in a stage of the Dockerfile comes first.
func (r *Repository) runnersOf(s *Service) []Runner {
	dir := path.Dir(s.file.Path)
	any := len(r.Dockerfiles) == 1 || telling(dir, says) == ""
	var of []Runner
	for _, one := range r.Runners {
		inside := slices.ContainsFunc(one.Tests, func(test string) bool { return holds(s.Context, test) })
		if inside && (any || holds(dir, one.Dir) || holds(one.Dir, dir)) {
			of = append(of, one)
		}
	}
	runs := map[string]int{}
	for _, one := range of {
		if _, missing := s.testStage(r, one); missing != "" {
			runs[one.Dir+one.Language] = 2
		} else if n := len(one.Steps); n > 0 && strings.HasPrefix(one.Steps[n-1], "#") {
			runs[one.Dir+one.Language] = 1 // its command has to be written
		}
	}
	slices.SortStableFunc(of, func(a, b Runner) int {
		return cmp.Or(cmp.Compare(runs[a.Dir+a.Language], runs[b.Dir+b.Language]), cmp.Compare(len(a.Dir), len(b.Dir)))
	})
	return of
}
