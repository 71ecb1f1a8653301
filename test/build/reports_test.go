package build_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/build"
)

// TestReportFiles is about what stands in a directory of reports beside plain files.
func TestReportFiles(t *testing.T) {
	client, base := connect(t)
	s := &suite{client: client, base: base}
	const one = `mkdir -p /reports; echo '<testsuite><testcase name="one"/></testsuite>' >/reports/a.xml; `
	for name, tt := range map[string]struct {
		reports, script string
		want            []string // names of tests
		files           []string
		fails           string // the message
	}{
		"links": {
			script: one + `echo '<testsuite><testcase name="two"/></testsuite>' >/two.xml; ln -s /two.xml /reports/two.xml; ` +
				`ln -s a.xml /reports/latest.xml; ln -s nowhere /reports/broken.xml; ln -s /etc /reports/etc; ln -s . /reports/self`,
			want: []string{"one", "two"}, files: []string{"unit-a.xml", "unit-two.xml"},
		},
		"a pipe":             {script: one + "mkfifo /reports/pipe.xml", want: []string{"one"}, files: []string{"unit-a.xml"}},
		"a directory's name": {script: one + "mkdir /reports/x.xml; mv /reports/a.xml /reports/x.xml; echo no >/reports/x.xml/y", want: []string{"one"}, files: []string{"unit-x.xml-a.xml"}},
		"names":              {script: one + "mv /reports/a.xml '/reports/TEST: a|b.XML'", want: []string{"one"}, files: []string{"unit-TEST- a-b.xml"}},
		"a file":             {reports: "/reports/a.xml", script: one, want: []string{"one"}, files: []string{"unit-a.xml"}},
		"many": {
			script: one + "for i in $(seq 300); do echo \"<testsuite><testcase name='many'/><!-- $i --></testsuite>\" >/reports/$i.xml; done; rm /reports/a.xml",
			want:   slices.Repeat([]string{"many"}, 300),
		},
		"another kind": {
			script: "mkdir /reports; touch /reports/results.trx",
			fails:  "the test runner left no JUnit XML: there is no .xml file in /reports, which has results.trx",
		},
		"nothing": {script: "mkdir /reports", fails: "the test runner left no JUnit XML: there is no .xml file in /reports, which is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			results, err := s.run(t, s.small("FROM $BASE AS test\n"), nil, build.Tests{Unit: &build.Suite{
				Target: "test", Reports: tt.reports, Command: []string{"sh", "-c", tt.script},
			}})
			if tt.fails != "" {
				assert.Equal(t, tt.fails, fails(t, err)["unit: runner.report"].Message)
				return
			}
			require.NoError(t, err)
			var names []string
			for _, c := range results.Cases() {
				names = append(names, c.Name)
			}
			assert.Equal(t, tt.want, names)
			if tt.files != nil {
				assert.Equal(t, tt.files, slices.Sorted(maps.Keys(results.Suites[0].Reports)))
			}
		})
	}
	_, err := s.run(t, s.small("FROM $BASE AS test\n"), nil, build.Tests{Unit: &build.Suite{
		Target: "test", Command: []string{"sh", "-c", one + `touch "/reports/$(printf 'caf\351.xml')"`},
	}})
	assert.ErrorContains(t, err, "a file in /reports has a name that is not UTF-8")
}
