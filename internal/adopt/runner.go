package adopt

import (
	"encoding/json"
	"path"
	"slices"
	"strings"
)

// runner looks whether a file says how tests are run.
func (w *walk) runner(name string) error {
	base := path.Base(name)
	find := func(language string, stage ...string) {
		r := Runner{Dir: path.Dir(name), Language: language, Stage: strings.Join(stage, "\n")}
		if !slices.ContainsFunc(w.Runners, func(o Runner) bool { return o.Dir == r.Dir && o.Language == language }) {
			w.Runners = append(w.Runners, r)
		}
	}
	switch {
	case base == "package.json":
		text, err := w.read(name)
		var manifest struct{ Scripts map[string]string }
		if err != nil || json.Unmarshal(text, &manifest) != nil {
			return err
		}
		if script := manifest.Scripts["test"]; script != "" && !strings.Contains(script, "no test specified") {
			find("JavaScript", "RUN npm ci", "COPY . .", `CMD ["sh", "-c", "npm test -- --reporters=default --reporters=jest-junit; s=$?; mkdir -p /reports; cp junit.xml /reports/; exit $s"]`)
		}
	case strings.HasPrefix(base, "test_") && path.Ext(base) == ".py", base == "pytest.ini", base == "conftest.py":
		find("Python", "RUN pip install pytest", `CMD ["pytest", "--junitxml=/reports/unit.xml"]`)
	case strings.HasSuffix(base, "_test.go"):
		find("Go", "RUN go install gotest.tools/gotestsum@latest", `CMD ["gotestsum", "--junitfile", "/reports/unit.xml", "./..."]`)
	case base == "pom.xml":
		find("Java (Maven)", `CMD ["sh", "-c", "mvn -B test; s=$?; mkdir -p /reports; cp target/surefire-reports/*.xml /reports/; exit $s"]`)
	case base == "build.gradle", base == "build.gradle.kts":
		find("Java (Gradle)", `CMD ["sh", "-c", "./gradlew test; s=$?; mkdir -p /reports; cp build/test-results/test/*.xml /reports/; exit $s"]`)
	case path.Ext(base) == ".csproj" && strings.Contains(strings.ToLower(base), "test"):
		find(".NET", `CMD ["dotnet", "test", "--logger", "junit;LogFilePath=/reports/unit.xml"]`)
	case base == "Cargo.toml":
		find("Rust", "RUN cargo install cargo-nextest", `CMD ["sh", "-c", "cargo nextest run --profile ci; s=$?; mkdir -p /reports; cp target/nextest/ci/junit.xml /reports/; exit $s"]`)
	}
	return nil
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
