package build_test

import (
	"context"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dagger.io/dagger"
	"github.com/joshdk/go-junit"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/build"
)

// TestEngine runs pipelines on a real engine.
func TestEngine(t *testing.T) {
	client, base := connect(t)
	sample, err := filepath.Abs("../../app")
	require.NoError(t, err)
	s := &suite{
		client: client,
		base:   base,
		sample: client.Host().Directory(sample, dagger.HostDirectoryOpts{Exclude: []string{"**/__pycache__"}}),
	}
	t.Run("Sample", s.passes)
	// The stages are built now, and the rest can share the machine.
	for name, test := range map[string]func(*testing.T){
		"BrokenAssertion":       s.brokenAssertion,
		"RedisUnreachable":      s.redisUnreachable,
		"RedisDoesNotStart":     s.redisDoesNotStart,
		"ImageDoesNotStart":     s.imageDoesNotStart,
		"AppNeverListens":       s.appNeverListens,
		"Services":              s.services,
		"SlowTests":             s.slowTests,
		"OnlyTheAppChanged":     s.onlyTheAppChanged,
		"TarballIsWhatIsTested": s.tarballIsWhatIsTested,
		"Runner":                s.runner,
		"DoesNotBuild":          s.doesNotBuild,
		"BothSay":               s.bothSay,
		"Interrupted":           s.interrupted,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t)
		})
	}
}

type suite struct {
	client *dagger.Client
	base   string
	sample *dagger.Directory
}

// app is the sample with some files replaced.
func (s *suite) app(files map[string]string) build.App {
	dir := s.sample
	for _, name := range slices.Sorted(maps.Keys(files)) {
		dir = dir.WithNewFile(name, files[name])
	}
	return build.App{Source: dir, BuildArgs: map[string]string{"BASE": s.base}}
}

// tests is how the sample is tested. Each test of this package has a Redis of its own: services that are the same are one
// instance, and votes would meet.
func (s *suite) tests(t *testing.T) build.Tests {
	return build.Tests{
		Unit:        &build.Suite{Target: "test"},
		Integration: &build.Suite{Target: "integration"},
		App:         build.Service{Env: map[string]string{"REDIS": "redis", "REDIS_PWD": "test"}},
		Services:    []build.Service{{Name: "redis", Target: "redis", Env: map[string]string{"REDIS_PWD": "test", "FOR": t.Name()}}},
	}
}

// run tests app within a time that says that something hangs.
func (s *suite) run(t *testing.T, app build.App, image *dagger.File, tests build.Tests) (*build.Results, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	results, err := build.Test(ctx, s.client, app, image, tests)
	require.NoError(t, context.Cause(ctx))
	require.NotNil(t, results, "%v", err)
	for _, r := range results.Suites {
		assert.NotEmpty(t, r.Reports, "%s has no JUnit XML", r.Name)
		reported := 0
		for name, text := range r.Reports {
			assert.True(t, strings.HasPrefix(name, r.Name), name)
			suites, err := junit.Ingest(text)
			require.NoError(t, err)
			for i := range suites {
				suites[i].Aggregate()
				reported += suites[i].Totals.Tests
			}
		}
		assert.Len(t, r.Cases, reported)
	}
	return results, err
}

// fails wants a build.TestFailure, and returns the failed tests by their names.
func fails(t *testing.T, err error) map[string]build.Case {
	t.Helper()
	var failure *build.TestFailure
	require.ErrorAs(t, err, &failure)
	failed := map[string]build.Case{}
	for _, c := range failure.Failed {
		failed[c.String()] = c
		assert.Contains(t, err.Error(), c.String())
	}
	return failed
}

func (s *suite) passes(t *testing.T) {
	first, err := s.run(t, s.app(nil), nil, s.tests(t))
	require.NoError(t, err)
	require.Len(t, first.Suites, 2)
	for i, name := range []string{build.Unit, build.Integration} {
		assert.Equal(t, name, first.Suites[i].Name)
		assert.Equal(t, []string{name + ".xml"}, slices.Collect(maps.Keys(first.Suites[i].Reports)))
		assert.NotEmpty(t, first.Suites[i].Cases)
		assert.Contains(t, first.Suites[i].Output, "passed")
	}
	assert.Empty(t, first.Failed())

	again, err := s.run(t, s.app(nil), nil, s.tests(t))
	require.NoError(t, err)
	assert.Equal(t, first.Suites[1].Reports, again.Suites[1].Reports, "nothing changed, and the tests ran again")

	tests := s.tests(t)
	tests.NoCache = true
	fresh, err := s.run(t, s.app(nil), nil, tests)
	require.NoError(t, err)
	for i := range fresh.Suites {
		assert.NotEqual(t, first.Suites[i].Reports, fresh.Suites[i].Reports, "the tests did not run again")
	}
	t.Logf("first %v, again %v, tests run again %v", first.Suites[1].Elapsed, again.Suites[1].Elapsed, fresh.Suites[1].Elapsed)
}

func (s *suite) brokenAssertion(t *testing.T) {
	results, err := s.run(t, s.app(map[string]string{
		"tests/unit/test_broken.py": "def test_sum():\n    assert 1 + 1 == 3, 'sums are off'\n",
	}), nil, s.tests(t))
	failed := fails(t, err)
	require.Len(t, failed, 1)
	c := failed["unit: tests.unit.test_broken.test_sum"]
	assert.Equal(t, "tests/unit/test_broken.py", c.File)
	assert.Equal(t, 2, c.Line)
	assert.Contains(t, c.Message, "sums are off")
	assert.Contains(t, string(results.Suites[0].Reports["unit.xml"]), "test_sum")
	assert.Contains(t, results.Suites[0].Output, "1 failed")
	// The other suite has its say all the same.
	assert.Greater(t, len(results.Suites[1].Cases), 3)
}

func (s *suite) redisUnreachable(t *testing.T) {
	tests := s.tests(t)
	tests.Unit = nil
	tests.App.Env["REDIS"] = "nowhere"
	_, err := s.run(t, s.app(nil), nil, tests)
	failed := fails(t, err)
	assert.Contains(t, failed["integration: tests.integration.test_vote.test_ready"].Detail, "/readyz still answers 503")
	assert.NotContains(t, failed, "integration: tests.integration.test_vote.test_healthy")
}

func (s *suite) redisDoesNotStart(t *testing.T) {
	tests := s.tests(t)
	tests.Unit = nil
	tests.Services[0].Args = []string{"sh", "-c", "echo making room; echo no room left >&2; exit 3"}
	results, err := s.run(t, s.app(nil), nil, tests)
	failed := fails(t, err)
	require.Len(t, failed, 1)
	c := failed["integration: services.redis starts"]
	assert.Equal(t, "redis ended before it answered on the ports that its image exposes: exit code 3: no room left", c.Message)
	xml := string(results.Suites[0].Reports["integration.xml"])
	for _, text := range []string{"redis starts", "exit code 3", "making room", "no room left"} {
		assert.Contains(t, xml, text)
	}
}

func (s *suite) imageDoesNotStart(t *testing.T) {
	tests := s.tests(t)
	tests.Unit = nil
	results, err := s.run(t, s.app(map[string]string{"vote/wsgi.py": "raise RuntimeError('nothing to serve')\n"}), nil, tests)
	failed := fails(t, err)
	require.Len(t, failed, 1)
	c := failed["integration: services.app starts"]
	assert.Contains(t, c.Message, "app ended before it answered on TCP port 8080")
	assert.Contains(t, string(results.Suites[0].Reports["integration.xml"]), "nothing to serve")
}

func (s *suite) appNeverListens(t *testing.T) {
	tests := s.tests(t)
	tests.Unit = nil
	tests.App.Args = []string{"sh", "-c", "echo warming up; exec sleep 600"}
	tests.StartTimeout = 5 * time.Second
	began := time.Now()
	_, err := s.run(t, s.app(nil), nil, tests)
	c := fails(t, err)["integration: services.app starts"]
	assert.Equal(t, "app did not answer on TCP port 8080 within 5s", c.Message)
	assert.Less(t, time.Since(began), 2*time.Minute)
	assert.Contains(t, c.Detail, "warming up")
}

// services: one of an image beside one of the Dockerfile's stages, the app's host name and port, variables, secrets.
func (s *suite) services(t *testing.T) {
	const serve = `$s = IO::Socket::INET->new(Listen => 5, LocalPort => 7000) or die; while ($c = $s->accept) { print $c $ENV{WORD}; close $c }`
	const client = `
import os, pathlib, socket
assert os.environ["APP_URL"] == "http://front:9000", os.environ["APP_URL"]
for name, port, want in ("words", 7000, "hello"), ("front", 9000, "42"):
    got = socket.create_connection((name, port)).makefile().read()
    assert got == want, (name, got)
pathlib.Path("/tmp/reports").mkdir()
pathlib.Path("/tmp/reports/integration.xml").write_text('<testsuite><testcase name="words"/></testsuite>')
`
	app := s.app(map[string]string{"Dockerfile": `ARG BASE
FROM $BASE AS client
RUN apt-get update && apt-get install -y --no-install-recommends python3-minimal libpython3-stdlib
FROM $BASE
RUN --mount=type=secret,id=answer cp /run/secrets/answer /answer
# It asks the service on its way: a service that others depend on is up before them.
CMD ["perl", "-MIO::Socket::INET", "-e", "IO::Socket::INET->new('words:7000') or die 'no words'; open F, '/answer'; $a = <F>; $s = IO::Socket::INET->new(Listen => 5, LocalPort => 9000) or die; while ($c = $s->accept) { print $c $a; close $c }"]
`})
	app.Secrets = []*dagger.Secret{s.client.SetSecret("answer", "42")}
	_, err := s.run(t, app, nil, build.Tests{
		Integration: &build.Suite{Target: "client", Command: []string{"python3", "-c", client}, Reports: "/tmp/reports"},
		App:         build.Service{Name: "front", Ports: []int{9000}},
		Services: []build.Service{{
			Name: "words", Image: s.base, Args: []string{"perl", "-MIO::Socket::INET", "-e", serve},
			Env: map[string]string{"WORD": "hello"}, Ports: []int{7000},
		}},
	})
	require.NoError(t, err)
}

// slowTests: tests that take longer than services may take to start keep their services.
func (s *suite) slowTests(t *testing.T) {
	tests := s.tests(t)
	tests.Unit = nil
	tests.NoCache = true
	tests.StartTimeout = 2 * time.Second
	tests.Integration.Command = []string{"sh", "-c", "sleep 15 && exec python3 -m pytest tests/integration --junit-xml=/reports/slow.xml"}
	results, err := s.run(t, s.app(nil), nil, tests)
	require.NoError(t, err)
	assert.Contains(t, results.Suites[0].Reports, "integration-slow.xml")
}

// onlyTheAppChanged: the tests and their container are the same, so an engine that looks at nothing else remembers that
// they passed.
func (s *suite) onlyTheAppChanged(t *testing.T) {
	tests := s.tests(t)
	tests.Unit = nil
	_, err := s.run(t, s.app(nil), nil, tests)
	require.NoError(t, err)
	ballot, err := s.sample.File("vote/ballot.py").Contents(t.Context())
	require.NoError(t, err)
	twice := strings.Replace(ballot, "incr(choice)", "incr(choice, 2)", 1)
	require.NotEqual(t, ballot, twice)
	_, err = s.run(t, s.app(map[string]string{"vote/ballot.py": twice}), nil, tests)
	assert.Contains(t, fails(t, err), "integration: tests.integration.test_vote.test_three_cats_and_a_dog")
}

func (s *suite) tarballIsWhatIsTested(t *testing.T) {
	good, bad := filepath.Join(t.TempDir(), "good.tar"), filepath.Join(t.TempDir(), "bad.tar")
	_, err := s.app(nil).Tarball().Export(t.Context(), good)
	require.NoError(t, err)
	_, err = s.app(map[string]string{"vote/wsgi.py": "raise RuntimeError('nothing to serve')\n"}).Tarball().Export(t.Context(), bad)
	require.NoError(t, err)
	tests := s.tests(t)
	tests.Unit = nil
	_, err = s.run(t, s.app(nil), s.client.Host().File(good), tests)
	require.NoError(t, err)
	_, err = s.run(t, s.app(nil), s.client.Host().File(bad), tests)
	assert.Contains(t, fails(t, err), "integration: services.app starts")
}

// runner: whatever a test runner does wrong, the tests are not green.
func (s *suite) runner(t *testing.T) {
	tests := map[string]struct {
		script  string
		name    string
		message string
	}{
		"fails unreported": {"exit 5", "exit code", "the test runner exited with 5, and its report names no failed test"},
		"killed":           {"echo half way; kill -9 $$", "exit code", "the test runner was killed: exit code 137"},
		"no directory":     {"true", "report", "the test runner left no JUnit XML: no directory /reports"},
		"no test": {
			`mkdir /reports; echo '<testsuite name="x"/>' >/reports/x.xml`, "report",
			"no test ran: there is none in the JUnit XML in /reports",
		},
		"no XML": {"mkdir /reports; echo oops >/reports/x.xml", "report", "/reports/x.xml is no JUnit XML: it holds no test suite"},
		"fails though green": {
			`mkdir /reports; echo '<testsuite><testcase name="x"/></testsuite>' >/reports/x.xml; exit 1`, "exit code",
			"the test runner exited with 1, and its report names no failed test",
		},
		"red though it exits with 0": {
			`mkdir /reports; echo '<testsuite><testcase name="x"><failure message="no"/></testcase></testsuite>' >/reports/x.xml`, "x", "no",
		},
	}
	source := s.client.Directory().WithNewFile("Dockerfile", "ARG BASE\nFROM $BASE AS test\n")
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			app := build.App{Source: source, BuildArgs: map[string]string{"BASE": s.base}}
			_, err := s.run(t, app, nil, build.Tests{Unit: &build.Suite{Target: "test", Command: []string{"sh", "-c", tt.script}}})
			var failure *build.TestFailure
			require.ErrorAs(t, err, &failure)
			require.Len(t, failure.Failed, 1)
			assert.Equal(t, tt.name, failure.Failed[0].Name)
			assert.Equal(t, tt.message, failure.Failed[0].Message)
		})
	}
}

func (s *suite) doesNotBuild(t *testing.T) {
	app := build.App{
		Source: s.client.Directory().WithNewFile("Dockerfile",
			"ARG BASE\nFROM $BASE AS good\nFROM good AS bad\nRUN echo compiling; echo no compiler >&2; exit 4\n"),
		BuildArgs: map[string]string{"BASE": s.base},
	}
	for name, tt := range map[string]struct {
		tests build.Tests
		want  []string
	}{
		"stage":         {build.Tests{Unit: &build.Suite{Target: "bad"}}, []string{"unit tests", `the Dockerfile's stage "bad"`, "exit code: 4", "compiling", "no compiler"}},
		"image":         {build.Tests{Integration: &build.Suite{Target: "good"}}, []string{"integration tests", "the image under test", "exit code: 4", "no compiler"}},
		"unknown stage": {build.Tests{Unit: &build.Suite{Target: "none"}}, []string{`the Dockerfile's stage "none"`}},
	} {
		t.Run(name, func(t *testing.T) {
			results, err := s.run(t, app, nil, tt.tests)
			var failure *build.TestFailure
			assert.False(t, errors.As(err, &failure), "no test failed")
			for _, text := range tt.want {
				assert.ErrorContains(t, err, text)
			}
			assert.Equal(t, build.Error, results.Suites[0].Cases[0].Status)
		})
	}
}

// bothSay: what failed in one suite is named beside what kept the other from running.
func (s *suite) bothSay(t *testing.T) {
	app := build.App{
		Source:    s.client.Directory().WithNewFile("Dockerfile", "ARG BASE\nFROM $BASE AS test\n"),
		BuildArgs: map[string]string{"BASE": s.base},
	}
	_, err := s.run(t, app, nil, build.Tests{
		Unit:        &build.Suite{Target: "test", Command: []string{"sh", "-c", "exit 5"}},
		Integration: &build.Suite{Target: "none"},
	})
	assert.Contains(t, fails(t, err), "unit: runner.exit code")
	assert.ErrorContains(t, err, `integration tests: building the Dockerfile's stage "none"`)
	assert.ErrorContains(t, err, "1 of 1 tests failed")
}

func (s *suite) interrupted(t *testing.T) {
	source := s.client.Directory().WithNewFile("Dockerfile", "ARG BASE\nFROM $BASE AS test\n")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	began := time.Now()
	_, err := build.Test(ctx, s.client, build.App{Source: source, BuildArgs: map[string]string{"BASE": s.base}}, nil,
		build.Tests{Unit: &build.Suite{Target: "test", Command: []string{"sleep", "601"}}, NoCache: true})
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Less(t, time.Since(began), time.Minute)
}
