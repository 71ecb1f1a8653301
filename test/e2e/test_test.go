package e2e

import (
	"encoding/xml"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// `aksflow test` fails when a test fails, names it, and always writes JUnit XML.
func TestTest(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*worktree)
		code   int
		says   []string
	}{
		{"as it is", func(*worktree) {}, 0, []string{"passed"}},
		{"a broken assertion", func(w *worktree) {
			w.replace("app/tests/unit/test_app.py", `== "Cats - 0 | Dogs - 0"`, `== "Cats - 7 | Dogs - 0"`)
		}, 1, []string{"test_page_starts_at_zero"}},
		// The tests did not change, so a cache whose key is the tests alone would stay green.
		{"only the app changed and broke", func(w *worktree) {
			w.replace("app/vote/templates/index.html", `{{ choice }} - {{ count }}`, `{{ choice }} : {{ count }}`)
		}, 1, []string{"unit: ", "integration: "}},
		{"Redis cannot be reached", func(w *worktree) {
			w.replace("aksflow.yaml", "env: {REDIS: redis,", "env: {REDIS: nowhere,")
		}, 1, []string{"integration: "}},
		{"the image does not start", func(w *worktree) {
			w.replace("app/Dockerfile", `CMD ["gunicorn", "vote.wsgi:app"]`, `CMD ["python3", "-c", "raise SystemExit('out of order')"]`)
		}, 1, []string{"app", "out of order"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorktree(t)
			tc.change(w)
			w.commit(tc.name)
			r := w.aksflow("test", "--env", "local", "--report", "reports")
			assert.Equal(t, tc.code, r.code)
			for _, s := range tc.says {
				assert.Contains(t, r.stderr, s)
			}
			assertJUnit(t, filepath.Join(w.dir, "reports"), tc.code != 0)
		})
	}
}

// assertJUnit reads every report in dir, and checks whether there is a failure among them.
func assertJUnit(t *testing.T, dir string, failed bool) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.xml"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	type suite struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Errors   int `xml:"errors,attr"`
	}
	tests, failures := 0, 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		var suites struct {
			Suites []suite `xml:"testsuite"`
		}
		require.NoError(t, xml.Unmarshal(data, &suites), file)
		for _, s := range suites.Suites {
			tests += s.Tests
			failures += s.Failures + s.Errors
		}
	}
	assert.Positive(t, tests)
	assert.Equal(t, failed, failures > 0, "%d of %d tests failed", failures, tests)
}
