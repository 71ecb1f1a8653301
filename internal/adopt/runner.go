package adopt

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
)

// runner looks whether a file says how tests are run.
func (w *walk) runner(name string) error {
	base := path.Base(name)
	find := func(r Runner) {
		r.Dir = path.Dir(name)
		if !slices.ContainsFunc(w.Runners, func(o Runner) bool { return o.Dir == r.Dir && o.Language == r.Language }) {
			w.Runners = append(w.Runners, r)
		}
	}
	switch {
	case base == "package.json":
		text, err := w.read(name)
		var p nodePackage
		if err != nil || json.Unmarshal(text, &p) != nil {
			return err
		}
		if script := p.Scripts["test"]; script != "" && !strings.Contains(script, "no test specified") {
			find(p.runner(w.managerOf(path.Dir(name))))
		}
	case strings.HasPrefix(base, "test_") && path.Ext(base) == ".py", base == "pytest.ini", base == "conftest.py":
		install := "RUN pip install pytest"
		if w.exists(path.Join(path.Dir(name), "requirements.txt")) {
			install = "RUN pip install -r requirements.txt pytest"
		}
		find(Runner{Language: "Python", Steps: []string{install, `CMD ["pytest", "--junitxml=/reports/unit.xml"]`}})
	case strings.HasSuffix(base, "_test.go"):
		find(Runner{Language: "Go", Steps: []string{"RUN go install gotest.tools/gotestsum@latest", `CMD ["gotestsum", "--junitfile", "/reports/unit.xml", "./..."]`}})
	case base == "pom.xml":
		find(Runner{Language: "Java (Maven)", Steps: []string{shell("mvn -B test; s=$?; mkdir -p /reports; cp target/surefire-reports/*.xml /reports/; exit $s")}})
	case base == "build.gradle", base == "build.gradle.kts":
		find(Runner{Language: "Java (Gradle)", Steps: []string{shell("./gradlew test; s=$?; mkdir -p /reports; cp build/test-results/test/*.xml /reports/; exit $s")}})
	case path.Ext(base) == ".csproj" && strings.Contains(strings.ToLower(base), "test"):
		find(Runner{Language: ".NET", Steps: []string{`CMD ["dotnet", "test", "--logger", "junit;LogFilePath=/reports/unit.xml"]`}})
	case base == "Cargo.toml":
		find(Runner{Language: "Rust", Steps: []string{"RUN cargo install cargo-nextest",
			shell("cargo nextest run --profile ci; s=$?; mkdir -p /reports; cp target/nextest/ci/junit.xml /reports/; exit $s")}})
	}
	return nil
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
			return Runner{Language: "JavaScript", Steps: k.steps}
		}
	}
	for _, k := range known {
		if p.Dependencies[k.tool] != "" || p.DevDependencies[k.tool] != "" {
			return Runner{Language: "JavaScript", Steps: k.steps}
		}
	}
	return Runner{Language: "JavaScript", Steps: []string{install,
		"# CMD: a command that writes JUnit XML to /reports. The script test of package.json is:", "#   " + strings.ReplaceAll(script, "\n", " ")}}
}

// runnerOf returns the runner of a build context: in it, or below it.
func (r *Repository) runnerOf(context string) (Runner, bool) {
	best, found := Runner{}, false
	for _, one := range r.Runners {
		if context != "." && one.Dir != context && !strings.HasPrefix(one.Dir, context+"/") {
			continue
		}
		if !found || len(one.Dir) < len(best.Dir) {
			best, found = one, true
		}
	}
	return best, found
}
