package build

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	tests := map[string]struct {
		xml  string
		want []Case
		err  string
	}{
		"pytest": {
			xml: `<?xml version="1.0" encoding="utf-8"?>
<testsuites name="pytest tests"><testsuite name="pytest" errors="1" failures="1" skipped="1" tests="4" time="0.5">
<testcase classname="tests.test_app" name="test_a" time="0.25"/>
<testcase classname="tests.test_app" name="test_b"><skipped type="pytest.skip" message="no need">tests/test_app.py:9: no need</skipped></testcase>
<testcase classname="tests.test_app" name="test_c"><failure message="assert 1 == 2&#10; +  where 1 = f()">    def test_c():
&gt;       assert 1 == f()

tests/test_app.py:31: AssertionError</failure></testcase>
<testcase classname="" name="tests.test_other"><error message="collection failure">ImportError</error></testcase>
</testsuite></testsuites>`,
			want: []Case{
				{Class: "tests.test_app", Name: "test_a", Status: Passed, Elapsed: 250_000_000},
				{Class: "tests.test_app", Name: "test_b", Status: Skipped, Message: "no need"},
				{
					Class: "tests.test_app", Name: "test_c", Status: Failed, Message: "assert 1 == 2", File: "tests/test_app.py", Line: 31,
					Detail: "    def test_c():\n>       assert 1 == f()\n\ntests/test_app.py:31: AssertionError",
				},
				{Name: "tests.test_other", Status: Error, Message: "collection failure", Detail: "ImportError"},
			},
		},
		"nested suites": {
			xml:  `<testsuite name="a"><testsuite name="b"><testcase name="inner"/></testsuite><testcase name="outer"/></testsuite>`,
			want: []Case{{Name: "inner", Status: Passed}, {Name: "outer", Status: Passed}},
		},
		"failure without a message": {
			xml:  `<testsuite><testcase name="x"><failure>` + "\n  app_test.go:7: got 1\n  more</failure></testcase></testsuite>",
			want: []Case{{Name: "x", Status: Failed, Message: "app_test.go:7: got 1", Detail: "\n  app_test.go:7: got 1\n  more", File: "app_test.go", Line: 7}},
		},
		"empty suite":  {xml: `<testsuites><testsuite name="pytest" tests="0"/></testsuites>`},
		"no suite":     {xml: `<html/>`, err: "it holds no test suite"},
		"not XML":      {xml: `{"tests": 3}`, err: "it holds no test suite"},
		"nothing":      {xml: "", err: "it holds no test suite"},
		"cut in half":  {xml: `<testsuite><testcase name="x">`, err: "closed by"},
		"other closes": {xml: `<testsuite></testcase>`, err: "closed by"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := parse(Unit, []byte(tt.xml))
			if tt.err != "" {
				assert.ErrorContains(t, err, tt.err)
				return
			}
			require.NoError(t, err)
			for i := range tt.want {
				tt.want[i].Suite = Unit
			}
			assert.Equal(t, tt.want, got)
		})
	}
}

func TestPlace(t *testing.T) {
	tests := map[string]struct {
		trace string
		file  string
		line  int
	}{
		"innermost of the project": {"tests/a.py:3: in test\nvote/app.py:14: in page\n/usr/lib/python3/redis.py:99: ConnectionError", "vote/app.py", 14},
		"outside the project":      {"../lib/x.py:3: Error", "", 0},
		"Go":                       {"    app_test.go:12: got 1, want 2", "app_test.go", 12},
		"a URL is no place":        {"http://app:8080: refused", "", 0},
		"a time is no place":       {"at 12:30:45 it failed", "", 0},
		"number too large":         {"a.py:99999999999999999999: Error", "", 0},
		"nothing":                  {"", "", 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			file, line := place(tt.trace)
			assert.Equal(t, tt.file, file)
			assert.Equal(t, tt.line, line)
		})
	}
}

// TestComposeIsParsed: a made-up report says what it was made of, whatever a log holds.
func TestComposeIsParsed(t *testing.T) {
	want := Case{
		Suite: Integration, Class: "services", Name: "redis starts", Status: Error,
		Message: `redis ended: "<no> & why"`, Detail: "line 1\n]]> \tline 2 é",
	}
	got, err := parse(Integration, compose(want))
	require.NoError(t, err)
	assert.Equal(t, []Case{want}, got)
	_, err = parse(Integration, compose(Case{Detail: "\x00\x1b[31m\xff"}))
	require.NoError(t, err)
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`<testsuites><testsuite name="s"><testcase classname="a" name="b"><failure message="m">x.py:3: t</failure></testcase></testsuite></testsuites>`))
	f.Add([]byte(`<testsuite><testsuite><testcase time="1e9"><skipped/></testcase></testsuite></testsuite>`))
	f.Fuzz(func(t *testing.T, data []byte) {
		cases, err := parse(Unit, data)
		if err != nil {
			assert.Empty(t, cases)
		}
		for _, c := range cases {
			assert.NotContains(t, c.Message, "\n")
			assert.Contains(t, []Status{Passed, Skipped, Failed, Error}, c.Status)
		}
	})
}
