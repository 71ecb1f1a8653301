package adopt

import (
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
