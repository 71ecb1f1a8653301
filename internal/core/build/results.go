package build

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2/maybe"
)

// Results is the outcome of the tests, also when they failed.
type Results struct {
	// Suites that were asked for, unit tests first.
	Suites []SuiteResult
}

// SuiteResult is the outcome of one suite.
type SuiteResult struct {
	// Name is Unit or Integration.
	Name string
	// Reports are the JUnit XML files by name: as the runner wrote them, or made up when it could not run. Names start
	// with the suite's, so that the suites' files can share a directory.
	Reports map[string][]byte
	// Cases are the tests in Reports.
	Cases []Case
	// Output is what the runner wrote to standard output, then what it wrote to standard error.
	Output string
	// Elapsed is how long the run took. It is short when nothing had changed and the engine remembered the outcome.
	Elapsed time.Duration
}

// Status is the outcome of a test.
type Status string

// The outcomes, as JUnit has them. Failed is an assertion that did not hold; Error is a test that could not run.
const (
	Passed  Status = "passed"
	Skipped Status = "skipped"
	Failed  Status = "failed"
	Error   Status = "error"
)

// Case is one test.
type Case struct {
	Suite   string        // Unit or Integration
	Class   string        // what the test belongs to: a module, a class; may be empty
	Name    string        // the test's own name
	File    string        // where it stands, if the runner says so, relative to where it ran; else empty
	Line    int           // 1-based; 0 when unknown
	Status  Status        //
	Message string        // why it failed, in one line
	Detail  string        // why it failed, with trace or log
	Elapsed time.Duration //
}

// String names the test: "unit: tests.test_page.test_title".
func (c Case) String() string {
	name := c.Name
	if c.Class != "" {
		name = c.Class + "." + name
	}
	return c.Suite + ": " + name
}

// Cases returns the tests of all suites.
func (r *Results) Cases() []Case {
	var all []Case
	for _, s := range r.Suites {
		all = append(all, s.Cases...)
	}
	return all
}

// Failed returns the tests that failed or could not run.
func (r *Results) Failed() []Case {
	return slices.DeleteFunc(r.Cases(), func(c Case) bool { return c.Status != Failed && c.Status != Error })
}

// Summary counts: "23 passed, 1 failed, 2 skipped".
func (r *Results) Summary() string {
	count := map[Status]int{}
	for _, c := range r.Cases() {
		count[c.Status]++
	}
	var parts []string
	for _, s := range []Status{Passed, Failed, Error, Skipped} {
		switch n := count[s]; {
		case n == 0:
		case s == Error:
			parts = append(parts, fmt.Sprintf("%d could not run", n))
		default:
			parts = append(parts, fmt.Sprintf("%d %s", n, s))
		}
	}
	if len(parts) == 0 {
		return "no test ran"
	}
	return strings.Join(parts, ", ")
}

// Write puts all reports into dir, which is made if need be, and returns their paths. The reports of an earlier run are
// removed: the XML files whose names are a suite's or begin with it and a dash. Each file appears complete.
func (r *Results) Write(dir string) (paths []string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("making the directory for test reports: %w", err)
	}
	if err := removeReports(dir); err != nil {
		return nil, fmt.Errorf("removing the test reports of an earlier run: %w", err)
	}
	for _, s := range r.Suites {
		for _, name := range slices.Sorted(maps.Keys(s.Reports)) {
			path := filepath.Join(dir, name)
			if err := maybe.WriteFile(path, s.Reports[name], 0o644); err != nil {
				return paths, fmt.Errorf("writing the test report %s: %w", path, err)
			}
			paths = append(paths, path)
		}
	}
	return paths, nil
}

func removeReports(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		stem, isXML := strings.CutSuffix(e.Name(), ".xml")
		suite, _, _ := strings.Cut(stem, "-")
		if !isXML || e.IsDir() || suite != Unit && suite != Integration {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// TestFailure is the error of tests that failed, and of an app or a service that was not up for them.
type TestFailure struct {
	// Failed is not empty.
	Failed []Case
	// Total is how many tests there were.
	Total int
}

// Bounds of what an error says; the reports have all.
const (
	named      = 20 // tests
	shownLines = 20 // of the output of a runner or a service that ended
)

// Error names the failed tests, one a line, each with where it stands and why it failed.
func (f *TestFailure) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %d tests failed:", len(f.Failed), f.Total)
	for i, c := range f.Failed {
		if i == named {
			fmt.Fprintf(&b, "\n  and %d more: the test report has them all", len(f.Failed)-named)
			break
		}
		fmt.Fprintf(&b, "\n  %s", c)
		if c.File != "" {
			fmt.Fprintf(&b, " (%s:%d)", c.File, c.Line)
		}
		if c.Message != "" {
			fmt.Fprintf(&b, ": %s", c.Message)
		}
		if c.Class == runnerClass || c.Class == servicesClass {
			// Nobody wrote a report of these: what was printed is all that says why. The message ends with its last line.
			printed := lastLines(c.Detail, shownLines)
			if strings.HasSuffix(c.Message, strings.TrimSpace(printed)) {
				continue
			}
			for line := range strings.Lines(printed) {
				fmt.Fprintf(&b, "\n    | %s", strings.TrimRight(line, "\r\n"))
			}
		}
	}
	return b.String()
}
