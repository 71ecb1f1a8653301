package build

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSummary(t *testing.T) {
	tests := map[string][]Status{
		"no test ran": nil,
		"2 passed":    {Passed, Passed},
		"1 passed, 2 failed, 1 could not run, 1 skipped": {Failed, Skipped, Passed, Error, Failed},
	}
	for want, statuses := range tests {
		var s SuiteResult
		for _, status := range statuses {
			s.Cases = append(s.Cases, Case{Status: status})
		}
		assert.Equal(t, want, (&Results{Suites: []SuiteResult{s}}).Summary())
	}
}

func TestTestFailureNamesTheTests(t *testing.T) {
	f := &TestFailure{Total: 30, Failed: []Case{
		{Suite: Unit, Class: "tests.test_app", Name: "test_page", File: "tests/test_app.py", Line: 12, Message: "assert 1 == 2"},
		{Suite: Integration, Class: "services", Name: "redis starts", Message: "redis ended before it answered on TCP port 6379: exit code 1"},
	}}
	assert.EqualError(t, f, strings.Join([]string{
		"2 of 30 tests failed:",
		"  unit: tests.test_app.test_page (tests/test_app.py:12): assert 1 == 2",
		"  integration: services.redis starts: redis ended before it answered on TCP port 6379: exit code 1",
	}, "\n"))

	f = &TestFailure{Total: 2, Failed: []Case{
		{Suite: Unit, Class: runnerClass, Name: "exit code", Message: "the test runner exited with 1: no password", Detail: "no password\n"},
		{Suite: Unit, Class: runnerClass, Name: "exit code", Message: "the test runner exited with 1: no password", Detail: "reading\nno password\n"},
	}}
	assert.EqualError(t, f, strings.Join([]string{
		"2 of 2 tests failed:",
		"  unit: runner.exit code: the test runner exited with 1: no password",
		"  unit: runner.exit code: the test runner exited with 1: no password",
		"    | reading",
		"    | no password",
	}, "\n"), "one line that the message has is not said again")

	f = &TestFailure{Total: 100}
	for i := range 25 {
		f.Failed = append(f.Failed, Case{Suite: Unit, Name: fmt.Sprintf("test_%d", i)})
	}
	assert.Equal(t, named+2, len(strings.Split(f.Error(), "\n")))
	assert.Contains(t, f.Error(), "and 5 more")
}

func TestWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	r := &Results{Suites: []SuiteResult{
		{Name: Unit, Reports: map[string][]byte{"unit.xml": []byte("<u/>"), "unit-more.xml": []byte("<m/>")}},
		{Name: Integration, Reports: map[string][]byte{"integration.xml": []byte("<i/>")}},
	}}
	require.NoError(t, os.MkdirAll(dir, 0o755))
	for _, name := range []string{"unit.xml", "unit-old.xml", "integration-old.xml", "unitary.xml", "coverage.xml", "unit.txt"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("of the run before"), 0o600))
	}
	for range 2 {
		paths, err := r.Write(dir)
		require.NoError(t, err)
		assert.Equal(t, []string{filepath.Join(dir, "unit-more.xml"), filepath.Join(dir, "unit.xml"), filepath.Join(dir, "integration.xml")}, paths)
	}
	got, err := os.ReadFile(filepath.Join(dir, "unit.xml"))
	require.NoError(t, err)
	assert.Equal(t, "<u/>", string(got))
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	var names []string
	for _, f := range files {
		names = append(names, f.Name())
	}
	assert.Equal(t, []string{"coverage.xml", "integration.xml", "unit-more.xml", "unit.txt", "unit.xml", "unitary.xml"}, names,
		"reports of an earlier run, or temporary files, are left, or another's file is gone")

	_, err = r.Write(filepath.Join(dir, "unit.xml"))
	assert.ErrorContains(t, err, "making the directory for test reports")
}
