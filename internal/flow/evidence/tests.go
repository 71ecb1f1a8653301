package evidence

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aksflow/aksflow/internal/core/build"
	"github.com/aksflow/aksflow/internal/proof"
)

// TestResult returns the proof of tests that passed.
func TestResult(definition, runURL string, results *build.Results) proof.TestResult {
	r := proof.TestResult{
		Result: proof.Passed, Configuration: proof.Definition(definition), URL: runURL, PassedTests: []string{},
		Time: time.Now().UTC().Truncate(time.Second),
	}
	for _, c := range results.Cases() {
		switch c.Status {
		case build.Passed:
			r.PassedTests = append(r.PassedTests, c.String())
		case build.Skipped:
			r.WarnedTests = append(r.WarnedTests, c.String())
		}
		r.Tests = append(r.Tests, proof.TestCase{Suite: c.Suite, Class: c.Class, Name: c.Name, Skipped: c.Status == build.Skipped})
	}
	return r
}

// Remembered returns the results that a proof is of. A proof that does not say how a report names its tests has their names
// only.
func Remembered(r *proof.TestResult) *build.Results {
	var cases []build.Case
	for _, t := range r.Tests {
		c := build.Case{Suite: t.Suite, Class: t.Class, Name: t.Name, Status: build.Passed}
		if t.Skipped {
			c.Status = build.Skipped
		}
		cases = append(cases, c)
	}
	if len(cases) == 0 {
		cases = append(named(r.PassedTests, build.Passed), named(r.WarnedTests, build.Skipped)...)
	}
	return build.Remembered(cases, r.URL, r.Time)
}

// named returns tests that are known by their names, in the form of build.Case.String.
func named(names []string, status build.Status) []build.Case {
	var cases []build.Case
	for _, name := range names {
		c := build.Case{Name: name, Status: status}
		if suite, rest, ok := strings.Cut(name, ": "); ok && (suite == build.Unit || suite == build.Integration) {
			c.Suite, c.Name = suite, rest
		}
		cases = append(cases, c)
	}
	return cases
}

// Summary counts the tests of a proof.
func Summary(r proof.TestResult) string {
	text := fmt.Sprintf("%d passed", len(r.PassedTests))
	if n := len(r.WarnedTests); n > 0 {
		text += fmt.Sprintf(", %d skipped", n)
	}
	return text
}

// PassedBy returns the newest result of the tests of a definition if the image passed them; nil if it did not, or if there is
// no result.
func PassedBy(results []proof.TestResult, definition string) *proof.TestResult {
	i := slices.IndexFunc(results, func(r proof.TestResult) bool { return definition != "" && r.Definition() == definition })
	if i < 0 || results[i].Result != proof.Passed {
		return nil
	}
	return &results[i]
}
