package adopt

import (
	"bytes"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// ownTests leaves those tests of a project that are of the service, where the project is a solution of .NET with several: its
// test projects that refer to the service's project. Of these, unit tests come before those that need more than the code.
func (r *Repository) ownTests(s *Service, of Runner) (own Runner, missing string) {
	dir := path.Dir(s.file.Path)
	projects, _ := filepath.Glob(filepath.Join(r.Dir, filepath.FromSlash(dir), "*.*proj"))
	if of.Language != languageDotnet || len(projects) == 0 || dir == of.Dir {
		return of, ""
	}
	all := of.Tests
	of.Tests = slices.DeleteFunc(slices.Clone(all), func(test string) bool { return !r.refersTo(test, dir, map[string]bool{}) })
	if len(of.Tests) == 0 {
		return of, "no test project refers to one in " + dir
	}
	units := slices.DeleteFunc(slices.Clone(of.Tests), func(test string) bool { return beyondUnit.MatchString(path.Base(test)) })
	if len(units) > 0 {
		of.Tests = units
	}
	of.some = len(of.Tests) < len(all)
	return of, ""
}

var (
	// beyondUnit matches the names of test projects that need a running app, a database, a browser or a container.
	beyondUnit = regexp.MustCompile(`(?i)functional|integration|e2e|endtoend|acceptance|playwright|selenium|\bui|load|performance|benchmark`)
	// projectReference finds the projects that a project refers to.
	projectReference = regexp.MustCompile(`<ProjectReference\s[^>]*Include\s*=\s*"([^"]+)"`)
)

// refersTo reports whether a project of .NET refers to one in a directory, by itself or through others.
func (r *Repository) refersTo(project, dir string, seen map[string]bool) bool {
	if seen[project] {
		return false
	}
	seen[project] = true
	text, err := r.read(project)
	if err != nil {
		return false
	}
	for _, m := range projectReference.FindAllSubmatch(text, -1) {
		other := path.Join(path.Dir(project), strings.ReplaceAll(string(m[1]), `\`, "/"))
		if path.Dir(other) == dir || r.refersTo(other, dir, seen) {
			return true
		}
	}
	return false
}

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
