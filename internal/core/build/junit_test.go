package build

import (
	"encoding/xml"
	"os"
	"path/filepath"
	"testing"
	"time"

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
		"empty suite": {xml: `<testsuites><testsuite name="pytest" tests="0"/></testsuites>`},
		"Node.js": {
			xml: `<?xml version="1.0" encoding="utf-8"?>
<testsuites>
	<testcase name="arithmetic still works" time="0.004550" classname="test"/>
	<testsuite name="inner"><testcase name="inside" classname="test"><failure message="no"/></testcase></testsuite>
	<!-- tests 1 -->
</testsuites>`,
			want: []Case{
				{Class: "test", Name: "arithmetic still works", Status: Passed, Elapsed: 4_550_000},
				{Class: "test", Name: "inside", Status: Failed, Message: "no", Detail: "no"},
			},
		},
		"GoogleTest": {
			xml:  `<testsuites><testsuite name="S"><testcase name="a" status="run" result="completed"/><testcase name="b" status="notrun" result="suppressed"/></testsuite></testsuites>`,
			want: []Case{{Name: "a", Status: Passed}, {Name: "b", Status: Skipped}},
		},
		"illegal characters": {
			xml:  "<testsuite><testcase name='a\x1b[31mb&#27;c&#x1B;d\xff'/></testsuite>",
			want: []Case{{Name: "a\ufffd[31mb\ufffdc\ufffdd\ufffd", Status: Passed}},
		},
		"ISO-8859-1":              {xml: "<?xml version='1.0' encoding='ISO-8859-1'?><testsuite><testcase name='caf\xe9'/></testsuite>", want: []Case{{Name: "café", Status: Passed}}},
		"UTF-16LE without BOM":    {xml: "<\x00t\x00e\x00s\x00t\x00s\x00u\x00i\x00t\x00e\x00>\x00<\x00t\x00e\x00s\x00t\x00c\x00a\x00s\x00e\x00 \x00n\x00a\x00m\x00e\x00=\x00'\x00\xe9\x00'\x00/\x00>\x00<\x00/\x00t\x00e\x00s\x00t\x00s\x00u\x00i\x00t\x00e\x00>\x00", want: []Case{{Name: "é", Status: Passed}}},
		"UTF-16BE without BOM":    {xml: "\x00<\x00t\x00e\x00s\x00t\x00s\x00u\x00i\x00t\x00e\x00/\x00>"},
		"Latin-1 that says UTF-8": {xml: "<?xml version='1.0' encoding='UTF-8'?><testsuite><testcase name='caf\xe9'/></testsuite>", want: []Case{{Name: "caf\ufffd", Status: Passed}}},
		"XML 1.1":                 {xml: "<?xml version='1.1'?><testsuite><testcase name='x'/></testsuite>", want: []Case{{Name: "x", Status: Passed}}},
		"merged": {
			xml:  "<testsuites><testsuites name='a'><testsuite><testcase name='x'><failure message='no'/></testcase></testsuite></testsuites><testsuites/><!-- </testsuites> --></testsuites><!-- </testsuites> -->",
			want: []Case{{Name: "x", Status: Failed, Message: "no", Detail: "no"}},
		},
		"what a test printed": {
			xml:  "<testsuites><testcase name='x'><system-out><![CDATA[<testsuites></testsuites>]]></system-out></testcase></testsuites>",
			want: []Case{{Name: "x", Status: Passed}},
		},
		"PHPUnit": {
			xml: `<?xml version="1.0" encoding="UTF-8"?><testsuites><testsuite name="/app/phpunit.xml" tests="2"><testsuite name="unit"><testsuite name="Tests\ATest" file="/app/tests/ATest.php">
<testcase name="testA" file="/app/tests/ATest.php" line="9" class="Tests\ATest" classname="Tests.ATest" assertions="1" time="0.5"/>
<testcase name="testB" file="/app/tests/ATest.php" line="14" class="Tests\ATest" classname="Tests.ATest" time="0.25"><failure type="ExpectationFailedException">Tests\ATest::testB
Failed asserting that false is true.</failure></testcase></testsuite></testsuite></testsuite></testsuites>`,
			want: []Case{
				{Class: "Tests.ATest", Name: "testA", Status: Passed, Elapsed: 500_000_000},
				{Class: "Tests.ATest", Name: "testB", Status: Failed, Elapsed: 250_000_000, Message: `Tests\ATest::testB`, Detail: "Tests\\ATest::testB\nFailed asserting that false is true."},
			},
		},
		"Surefire": {
			xml: `<?xml version="1.0" encoding="UTF-8"?><testsuite xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:noNamespaceSchemaLocation="https://maven.apache.org/surefire/maven-surefire-plugin/xsd/surefire-test-report.xsd" version="3.0" name="a.AppTest" time="1,234.5" tests="3" errors="1" skipped="1" failures="0"><properties><property name="a" value="b"/></properties>
<testcase name="slow" classname="a.AppTest" time="1,234.5"/><testcase name="off" classname="a.AppTest" time="0"><skipped/></testcase>
<testcase name="flaky" classname="a.AppTest" time="1"><flakyFailure message="once" type="E"><stackTrace>x</stackTrace></flakyFailure></testcase>
<testcase name="npe" classname="a.AppTest" time="0"><error type="java.lang.NullPointerException"><![CDATA[java.lang.NullPointerException
	at a.App.run(App.java:7)]]></error><system-err>log</system-err></testcase></testsuite>`,
			want: []Case{
				{Class: "a.AppTest", Name: "slow", Status: Passed, Elapsed: 1_234_500_000_000},
				{Class: "a.AppTest", Name: "off", Status: Skipped},
				{Class: "a.AppTest", Name: "flaky", Status: Passed, Elapsed: 1_000_000_000},
				{Class: "a.AppTest", Name: "npe", Status: Error, Message: "java.lang.NullPointerException", Detail: "java.lang.NullPointerException\n\tat a.App.run(App.java:7)"},
			},
		},
		"gotestsum, a package that does not build": {
			xml:  `<testsuites tests="1" failures="1" errors="1" time="0.1"><testsuite tests="0" failures="1" name="a" timestamp="2026-11-26T00:00:00Z"><properties><property name="go.version" value="go1.26"/></properties><testcase classname="" name="TestMain" time="0.000"><failure message="Failed" type="">a_test.go:3:1: undefined: x</failure></testcase></testsuite></testsuites>`,
			want: []Case{{Name: "TestMain", Status: Failed, Message: "Failed", Detail: "a_test.go:3:1: undefined: x", File: "a_test.go", Line: 3}},
		},
		"jest-junit": { // its suites that cannot be loaded are not in the report
			xml: `<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="jest tests" tests="3" failures="1" errors="0" time="50.403">
  <testsuite name="sum" errors="0" failures="1" skipped="1" timestamp="2026-11-26T22:23:09" time="33.938" tests="3">
    <testcase classname="sum adds" name="sum adds" time="0.25">
    </testcase>
    <testcase classname="sum subtracts" name="sum subtracts" time="0.5">
      <failure>Error: expect(received).toBe(expected) // Object.is equality

Expected: 2
Received: 1
    at Object.toBe (/app/src/sum.test.js:4:43)
    at new Promise (&lt;anonymous&gt;)</failure>
    </testcase>
    <testcase classname="sum multiplies" name="sum multiplies" time="0">
      <skipped/>
    </testcase>
  </testsuite>
</testsuites>`,
			want: []Case{
				{Class: "sum adds", Name: "sum adds", Status: Passed, Elapsed: 250_000_000},
				{
					Class: "sum subtracts", Name: "sum subtracts", Status: Failed, Elapsed: 500_000_000, Message: "Error: expect(received).toBe(expected) // Object.is equality",
					Detail: "Error: expect(received).toBe(expected) // Object.is equality\n\nExpected: 2\nReceived: 1\n    at Object.toBe (/app/src/sum.test.js:4:43)\n    at new Promise (<anonymous>)",
				},
				{Class: "sum multiplies", Name: "sum multiplies", Status: Skipped},
			},
		},
		"Vitest": {
			xml: `<?xml version="1.0" encoding="UTF-8" ?>
<testsuites name="vitest tests" tests="5" failures="2" errors="0" time="1.336280731">
    <testsuite name="src/broken.test.js" timestamp="2026-11-26T22:26:21.818Z" hostname="vm" tests="1" failures="1" errors="0" skipped="0" time="0">
        <testcase classname="src/broken.test.js" name="src/broken.test.js" time="0">
            <failure message="cannot load" type="Error">
Error: cannot load
 ❯ src/broken.test.js:1:7
            </failure>
        </testcase>
    </testsuite>
    <testsuite name="src/sum.test.js" timestamp="2026-11-26T22:26:22.473Z" hostname="vm" tests="2" failures="0" errors="0" skipped="1" time="1.25">
        <testcase classname="src/sum.test.js" name="sum &gt; adds" time="0.25">
        </testcase>
        <testcase classname="src/sum.test.js" name="sum &gt; multiplies" time="0">
            <skipped/>
        </testcase>
    </testsuite>
</testsuites>`,
			want: []Case{
				{
					Class: "src/broken.test.js", Name: "src/broken.test.js", Status: Failed, Message: "cannot load", File: "src/broken.test.js", Line: 1,
					Detail: "\nError: cannot load\n ❯ src/broken.test.js:1:7\n            ",
				},
				{Class: "src/sum.test.js", Name: "sum > adds", Status: Passed, Elapsed: 250_000_000},
				{Class: "src/sum.test.js", Name: "sum > multiplies", Status: Skipped},
			},
		},
		"failed, then skipped": {
			xml: `<testsuite><testcase name="x"><failure message="no"/><skipped message="the rest"/></testcase>` +
				`<testcase name="y"><skipped message="not now"/><error message="its fixture does not end">teardown</error></testcase></testsuite>`,
			want: []Case{
				{Name: "x", Status: Failed, Message: "no", Detail: "no"},
				{Name: "y", Status: Error, Message: "its fixture does not end", Detail: "teardown"},
			},
		},
		"GoogleTest, several assertions": {
			xml: `<testsuites><testsuite name="S"><testcase name="a" status="run" result="completed"><failure message="a.cc:3&#10;1"><![CDATA[a.cc:3
1]]></failure><failure message="a.cc:4&#10;2"><![CDATA[a.cc:4
2]]></failure></testcase></testsuite></testsuites>`,
			want: []Case{{Name: "a", Status: Failed, Message: "a.cc:3", Detail: "a.cc:3\n1\na.cc:4\n2"}},
		},
		"a failure and an error": {
			xml:  `<testsuite><testcase name="x"><failure message="no">assert</failure><error message="teardown">broken</error></testcase></testsuite>`,
			want: []Case{{Name: "x", Status: Failed, Message: "no", Detail: "assert\nbroken"}},
		},
		"a status without an element": {
			xml: `<testsuite><testcase name="x" status="FAILED"/><testcase name="y" result="error"/><testcase name="z" status="passed"/></testsuite>`,
			want: []Case{
				{Name: "x", Status: Failed, Message: "the report gives it the status failed"},
				{Name: "y", Status: Failed, Message: "the report gives it the status error"},
				{Name: "z", Status: Passed},
			},
		},
		"a suite that fails": {
			xml: `<testsuites><testsuite name="db"><error message="no connection" type="E">dial tcp: refused</error></testsuite><testsuite name="ok"><testcase name="x"/></testsuite></testsuites>`,
			want: []Case{
				{Class: "db", Name: "suite", Status: Error, Message: "no connection", Detail: "dial tcp: refused"},
				{Name: "x", Status: Passed},
			},
		},
		"jest-junit, a file that cannot be loaded": {
			xml: `<testsuites name="jest tests" tests="1" failures="0" errors="1"><testsuite name="broken" errors="1" failures="0" skipped="0" tests="0"></testsuite>` +
				`<testsuite name="ok" errors="0" failures="0" tests="1"><testcase name="x" classname="x"/></testsuite></testsuites>`,
			want: []Case{
				{Class: "broken", Name: "suite", Status: Error, Message: "the report counts 1 failures and errors in this suite, and holds no test of it"},
				{Class: "x", Name: "x", Status: Passed},
			},
		},
		"times": {
			xml: `<testsuite><testcase name="a" time="0,25"/><testcase name="b" time="1,234,567.5"/><testcase name="c" time="NaN"/><testcase name="d" time="-1"/>` +
				`<testcase name="e" time="1e300"/><testcase name="f" time="250ms"/><testcase name="g" time=""/><testcase name="h" time="1,234,567"/></testsuite>`,
			want: []Case{
				{Name: "a", Status: Passed, Elapsed: 250 * time.Millisecond},
				{Name: "b", Status: Passed, Elapsed: 1234567500 * time.Millisecond},
				{Name: "c", Status: Passed}, {Name: "d", Status: Passed}, {Name: "e", Status: Passed},
				{Name: "f", Status: Passed, Elapsed: 250 * time.Millisecond},
				{Name: "g", Status: Passed},
				{Name: "h", Status: Passed, Elapsed: 1234567 * time.Second},
			},
		},
		"Mocha through npm": {
			xml:  "\n> app@1.0.0 test\n> tsc && mocha -R xunit\n\n<testsuite name=\"Mocha Tests\" tests=\"1\"><testcase classname=\"a\" name=\"b\" time=\"0.25\"/></testsuite>\n",
			want: []Case{{Class: "a", Name: "b", Status: Passed, Elapsed: 250 * time.Millisecond}},
		},
		"entities of HTML": {xml: `<testsuite><testcase name="a&nbsp;b"/></testsuite>`, want: []Case{{Name: "a\u00a0b", Status: Passed}}},
		"two documents": {
			xml:  "<?xml version='1.0'?>\n<testsuite><testcase name='x'/></testsuite>\n<?xml version='1.0'?>\n<testsuite><testcase name='y'><failure/></testcase></testsuite>",
			want: []Case{{Name: "x", Status: Passed}, {Name: "y", Status: Failed}},
		},
		"NUnit 3":         {xml: `<?xml version="1.0"?><test-run id="2" result="Failed"><test-suite/></test-run>`, err: "its root element is <test-run>"},
		"UTF-16":          {xml: "\xff\xfe<\x00t\x00e\x00s\x00t\x00s\x00u\x00i\x00t\x00e\x00/\x00>\x00"},
		"UTF-8 with BOM":  {xml: "\ufeff<testsuite><testcase name='x'/></testsuite>", want: []Case{{Name: "x", Status: Passed}}},
		"declared UTF-16": {xml: "<?xml version='1.0' encoding='utf-16'?><testsuite><testcase name='x'/></testsuite>", want: []Case{{Name: "x", Status: Passed}}},
		"odd encoding":    {xml: "<?xml version='1.0' encoding='klingon'?><testsuite/>", err: `its encoding "klingon" is not known`},
		"coverage":        {xml: `<?xml version="1.0" ?><!DOCTYPE coverage SYSTEM "x.dtd"><coverage/>`, err: "its root element is <coverage>"},
		"no suite":        {xml: `<html/>`, err: "its root element is <html>"},
		"not XML":         {xml: `{"tests": 3}`, err: "it holds no element"},
		"nothing":         {xml: "", err: "it holds no element"},
		"cut in half":     {xml: `<testsuite><testcase name="x">`, err: "unexpected EOF"},
		"other closes":    {xml: `<testsuite></testcase>`, err: "closed by"},
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

// A made-up report says what it was made of, whatever a log holds.
func TestMadeUpReportIsParsed(t *testing.T) {
	want := Case{
		Suite: Integration, Class: "services", Name: "redis starts", Status: Error,
		Message: `redis ended: "<no> & why"`, Detail: "line 1\n]]> \tline 2 é",
	}
	got, err := parse(Integration, newJUnitSuite(Integration, []Case{want}).file())
	require.NoError(t, err)
	assert.Equal(t, []Case{want}, got)
	_, err = parse(Integration, newJUnitSuite(Integration, []Case{{Status: Error, Detail: "\x00\x1b[31m\xff"}}).file())
	require.NoError(t, err)
}

// Reports of tests that did not run again are read as those of the run that they are of, and say that they are not of this one.
func TestRemembered(t *testing.T) {
	cases := []Case{
		{Suite: Integration, Class: "vote", Name: "stays", Status: Passed},
		{Suite: Unit, Class: "tests.test_page", Name: "title[1.5-\x1b]", Status: Passed},
		{Suite: Unit, Class: "tests.test_page", Name: "later", Status: Skipped},
		{Suite: "../../elsewhere", Name: "planted", Status: Passed},
	}
	results := Remembered(cases, "https://ci.example/7", time.Date(2026, 2, 3, 4, 5, 6, 0, time.FixedZone("", 3600)))
	assert.Equal(t, "3 passed, 1 skipped", results.Summary())
	dir := filepath.Join(t.TempDir(), "reports")
	paths, err := results.Write(dir)
	require.NoError(t, err)
	require.Equal(t, []string{filepath.Join(dir, "unit.xml"), filepath.Join(dir, "integration.xml")}, paths)

	unit, err := os.ReadFile(paths[0])
	require.NoError(t, err)
	for _, want := range []string{
		`<testsuite name="unit" tests="3" errors="0" skipped="1" timestamp="2026-02-03T03:05:06">`,
		`<property name="aksflow.remembered" value="true">`,
		`<property name="aksflow.time" value="2026-02-03T03:05:06Z">`,
		`<property name="aksflow.run" value="https://ci.example/7">`,
	} {
		assert.Contains(t, string(unit), want)
	}
	assert.NotContains(t, string(unit), " time=", "nothing took time")
	got, err := parse(Unit, unit)
	require.NoError(t, err)
	want := results.Suites[0].Cases
	want[0].Name = "title[1.5-\ufffd]"
	assert.Equal(t, want, got)

	none, err := Remembered(nil, "", time.Now()).Write(dir)
	require.NoError(t, err)
	assert.Empty(t, none)
	assert.NoFileExists(t, paths[0], "the reports of an earlier run are removed")
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`<testsuites><testsuite name="s"><testcase classname="a" name="b"><failure message="m">x.py:3: t</failure></testcase></testsuite></testsuites>`))
	f.Add([]byte(`<testsuite><testsuite><testcase time="1e9"><skipped/></testcase></testsuite></testsuite>`))
	f.Add([]byte(`<testsuite errors="1"><error/></testsuite><error/><testcase><testcase status="failed"/></testcase>`))
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

// A report is left as it is unless strict readers would refuse it.
func TestPortable(t *testing.T) {
	for _, good := range []string{
		"<testsuite/>", `<?xml version="1.0"?><testsuite/>`, `<?xml version="1.0" encoding="UTF-8"?>` + "\n<testsuite name='é'/>\n", "not XML",
	} {
		assert.Equal(t, good, string(portable([]byte(good))))
	}
	for _, odd := range []string{
		"<testsuite name='\x1b'/>", "<?xml version='1.0' encoding='ISO-8859-1'?><testsuite name='\xe9'/>",
		"<?xml version='1.0' encoding='utf-16'?><testsuite/>", "<testsuite name='&#0;'/>", "> tsc && mocha\n<testsuite/>",
	} {
		var document struct {
			XMLName xml.Name `xml:"testsuite"`
		}
		assert.NoError(t, xml.Unmarshal(portable([]byte(odd)), &document), "%q", odd)
	}
}

// Whatever a runner writes is read or refused.
func FuzzPortable(f *testing.F) {
	f.Add([]byte("<testsuites><testcase name='a'/></testsuites>"))
	f.Add([]byte("<?xml version='1.0' encoding='utf-16'?><testsuite><testcase/></testsuite>"))
	f.Add([]byte("\xff\xfe<\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		cases, err := parse(Unit, data)
		if again, againErr := parse(Unit, portable(data)); err == nil {
			require.NoError(t, againErr)
			assert.Equal(t, cases, again)
		}
	})
}
