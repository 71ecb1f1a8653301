package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"
)

const (
	mostPackageLines  = 4000 // of a package, without its tests
	mostFunctionLines = 60   // of a function, without tests
)

// environment lists the packages that may read the process's environment, and why. All others get what they need from
// package cli, which reads it once, so that a value can be said by a flag, a variable or a test alike.
var environment = map[string]string{
	"internal/cli":                  "it is where flags and variables are read",
	"internal/azure":                "the variables of Azure's identities are read where the credentials are made",
	"internal/tool":                 "programs are looked for along PATH",
	"internal/localplatform/server": "a program of its own, that hands PATH on to the processes it starts",
	"internal/engine/embedded/shim": "a program of its own, that hands the container's environment on to the user's command",
}

// environmentCalls are the functions of package os that read or change the process's environment.
var environmentCalls = []string{"Getenv", "LookupEnv", "Environ", "ExpandEnv", "Setenv", "Unsetenv", "Clearenv"}

// exceptions lists what the guards below let pass, as they name it: the lock in kustomize guards the standard error of
// the process, of which there is one. Package embedded is larger than the others may be: it answers one API.
const exceptions = `
variable internal/kustomize.output
package internal/engine/embedded
`

// complain fails the test unless the exceptions have the finding, such as "function internal/render.chart".
func complain(t *testing.T, finding, format string, args ...any) {
	t.Helper()
	if !slices.Contains(strings.Split(exceptions, "\n"), finding) {
		t.Errorf(format, args...)
	}
}

// sourcePackage is a directory of Go files.
type sourcePackage struct {
	path                 string               // below the module's root; "." for the root
	files, tests         map[string]*ast.File // by path
	imports, testImports map[string][]string  // import path to the files that have it
	lines                int                  // of files
}

var fileSet = token.NewFileSet()

// sourcePackages reads every package of the repository, those of the nested modules included.
func sourcePackages(t *testing.T) []sourcePackage {
	t.Helper()
	packages := map[string]*sourcePackage{}
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || name == "bin" || name == "examples" || name == filepath.Join("ci", "internal")):
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(name) != ".go" || name == filepath.Join("ci", "dagger.gen.go"):
			return nil
		}
		name = filepath.ToSlash(name)
		file, err := parser.ParseFile(fileSet, name, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		p := packages[path.Dir(name)]
		if p == nil {
			p = &sourcePackage{
				path: path.Dir(name), files: map[string]*ast.File{}, tests: map[string]*ast.File{},
				imports: map[string][]string{}, testImports: map[string][]string{},
			}
			packages[p.path] = p
		}
		files, imports := p.files, p.imports
		if strings.HasSuffix(name, "_test.go") {
			files, imports = p.tests, p.testImports
		} else {
			p.lines += fileSet.File(file.Pos()).LineCount()
		}
		files[name] = file
		for _, spec := range file.Imports {
			if imported, err := strconv.Unquote(spec.Path.Value); err == nil {
				imports[imported] = append(imports[imported], name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var sorted []sourcePackage
	for _, name := range slices.Sorted(maps.Keys(packages)) {
		sorted = append(sorted, *packages[name])
	}
	return sorted
}

// productPackages are the packages without those that are made for tests: these import package testing.
func productPackages(t *testing.T) []sourcePackage {
	t.Helper()
	return slices.DeleteFunc(sourcePackages(t), func(p sourcePackage) bool { return p.imports["testing"] != nil })
}

func TestEnvironmentIsReadInFewPlaces(t *testing.T) {
	for _, p := range productPackages(t) {
		if within(p.path, slices.Collect(maps.Keys(environment))...) || within(p.path, "tools") {
			continue
		}
		for _, file := range p.files {
			ast.Inspect(file, func(n ast.Node) bool {
				if selector, ok := n.(*ast.SelectorExpr); ok {
					if pkg, ok := selector.X.(*ast.Ident); ok && pkg.Name == "os" && slices.Contains(environmentCalls, selector.Sel.Name) {
						complain(t, "environment "+p.path, "%s: os.%s: the process's environment is read in package cli only", fileSet.Position(n.Pos()), selector.Sel.Name)
					}
				}
				return true
			})
		}
	}
}

func TestSizes(t *testing.T) {
	for _, p := range productPackages(t) {
		if p.lines > mostPackageLines {
			complain(t, "package "+p.path, "package %s has %d lines without its tests: at most %d", p.path, p.lines, mostPackageLines)
		}
		for _, file := range p.files {
			for _, decl := range file.Decls {
				function, ok := decl.(*ast.FuncDecl)
				if !ok {
					continue
				}
				first, last := fileSet.Position(function.Pos()), fileSet.Position(function.End())
				if lines := last.Line - first.Line + 1; lines > mostFunctionLines {
					complain(t, "function "+p.path+"."+function.Name.Name, "%s: %s has %d lines: at most %d", first, function.Name.Name, lines, mostFunctionLines)
				}
			}
		}
	}
}

// TestNoGlobalState finds package-level variables that change: those that a function other than init assigns, and locks.
func TestNoGlobalState(t *testing.T) {
	for _, p := range productPackages(t) {
		variables := map[string]*ast.ValueSpec{}
		for _, file := range p.files {
			for _, decl := range file.Decls {
				if general, ok := decl.(*ast.GenDecl); ok && general.Tok == token.VAR {
					for _, spec := range general.Specs {
						value := spec.(*ast.ValueSpec)
						for _, name := range value.Names {
							variables[name.Name] = value
						}
					}
				}
			}
		}
		for name, value := range variables {
			if selector, ok := value.Type.(*ast.SelectorExpr); ok {
				if pkg, ok := selector.X.(*ast.Ident); ok && (pkg.Name == "sync" || pkg.Name == "atomic") {
					complain(t, "variable "+p.path+"."+name, "%s: the variable %s of the package is state that changes: put it into a value that callers hold", fileSet.Position(value.Pos()), name)
				}
			}
		}
		for _, file := range p.files {
			ast.Inspect(file, func(n ast.Node) bool {
				if f, ok := n.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
					return false // before main starts
				}
				for _, target := range assigned(n) {
					name := root(target)
					if name == nil || name.Name == "_" || variables[name.Name] == nil || (name.Obj != nil && name.Obj.Decl != variables[name.Name]) {
						continue
					}
					complain(t, "variable "+p.path+"."+name.Name, "%s: %s is a variable of the package and is assigned here: put it into a value that callers hold", fileSet.Position(n.Pos()), name.Name)
				}
				return true
			})
		}
	}
}

// assigned returns the expressions that a node changes.
func assigned(n ast.Node) []ast.Expr {
	switch n := n.(type) {
	case *ast.AssignStmt:
		if n.Tok != token.DEFINE {
			return n.Lhs
		}
	case *ast.IncDecStmt:
		return []ast.Expr{n.X}
	case *ast.RangeStmt:
		if n.Tok == token.ASSIGN {
			return []ast.Expr{n.Key, n.Value}
		}
	case *ast.CallExpr:
		if f, ok := n.Fun.(*ast.Ident); ok && f.Obj == nil && (f.Name == "delete" || f.Name == "clear") {
			return n.Args[:1]
		}
	}
	return nil
}

// root returns the identifier that an expression such as x.f[i] starts with.
func root(e ast.Expr) *ast.Ident {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x
		case *ast.SelectorExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		default:
			return nil
		}
	}
}

// What is committed is fetched by everyone who delivers from this repository, for ever.
func TestNoLargeFiles(t *testing.T) {
	const most = 1 << 20
	out, err := exec.CommandContext(t.Context(), "git", "ls-files", "-z").Output()
	if err != nil {
		t.Skipf("needs git and a checkout: %v", err)
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		info, err := os.Lstat(name)
		if err != nil {
			continue // deleted, and not committed yet
		}
		if info.Size() > most {
			t.Errorf("%s has %d MiB: is it left over from a run?", name, info.Size()>>20)
		}
	}
}

// compiledTogether are the modules whose programs a delivery to the local platform needs. What two of them require in one
// version is compiled once, which is most of the first run's time.
var compiledTogether = []string{".", "tools/registry", "tools/buildkit", "tools/rootlesskit", "tools/platform", gitops}

// gitops is the module that may have other versions than the rest: of what versionsOfGitOps names.
const gitops = "tools/gitops"

var versionsOfGitOps = map[string]string{
	"helm.sh/helm/v4":             "each version of Helm wants one of client-go, which is replaced",
	"github.com/google/uuid":      "Argo CD requires a commit of it",
	"github.com/json-iterator/go": "Flux requires a commit of it",
	"github.com/robfig/cron/v3":   "Argo CD requires a commit of it",
}

func TestVersionsAreShared(t *testing.T) {
	versions := map[string]map[string][]string{} // module, version, directories
	reasons := maps.Clone(versionsOfGitOps)
	for _, dir := range compiledTogether {
		for path, version := range selectedVersions(t, dir) {
			_, other := versionsOfGitOps[path]
			if dir == gitops && other {
				if versions[path][version] == nil {
					delete(reasons, path)
				}
				continue
			}
			if versions[path] == nil {
				versions[path] = map[string][]string{}
			}
			versions[path][version] = append(versions[path][version], dir)
		}
	}
	for path, found := range versions {
		if len(found) > 1 {
			t.Errorf("%s is compiled %d times, because it is required as %v: run `go get %s@VERSION` and `go mod tidy -e` in the directories that lag",
				path, len(found), found, path)
		}
	}
	for path := range reasons {
		t.Errorf("%s has the same version in %s as elsewhere: remove it from versionsOfGitOps", path, gitops)
	}
}

// selectedVersions reads what the go.mod of a directory requires, by module. What it replaces is compared with what others
// replace: the servers do so with the libraries of Kubernetes, whose version is theirs and not aksflow's.
func selectedVersions(t *testing.T, dir string) map[string]string {
	name := filepath.Join(dir, "go.mod")
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	file, err := modfile.Parse(name, data, nil)
	if err != nil {
		t.Fatal(err)
	}
	selected := map[string]string{}
	for _, r := range file.Require {
		selected[r.Mod.Path] = r.Mod.Version
	}
	for _, r := range file.Replace {
		if _, required := selected[r.Old.Path]; required {
			delete(selected, r.Old.Path)
			selected["the replacement of "+r.Old.Path] = r.New.Version
		}
	}
	return selected
}
