package build_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"dagger.io/dagger"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/aksflow/aksflow/internal/core/build"
	"github.com/aksflow/aksflow/internal/engine"
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
		"BrokenAssertion":        s.brokenAssertion,
		"RedisUnreachable":       s.redisUnreachable,
		"RedisDoesNotStart":      s.redisDoesNotStart,
		"ImageDoesNotStart":      s.imageDoesNotStart,
		"AppNeverListens":        s.appNeverListens,
		"Services":               s.services,
		"SlowTests":              s.slowTests,
		"OnlyTheAppChanged":      s.onlyTheAppChanged,
		"TarballIsWhatIsTested":  s.tarballIsWhatIsTested,
		"Runner":                 s.runner,
		"FailureIsNotRemembered": s.failureIsNotRemembered,
		"OtherReports":           s.otherReports,
		"CacheAndSecrets":        s.cacheAndSecrets,
		"PortOfTheImage":         s.portOfTheImage,
		"DyingService":           s.dyingService,
		"Healthcheck":            s.healthcheck,
		"StartTimeout":           s.startTimeout,
		"EmptyArgument":          s.emptyArgument,
		"DoesNotBuild":           s.doesNotBuild,
		"BothSay":                s.bothSay,
		"OneDigest":              s.oneDigest,
		"PythonModules":          s.pythonModules,
		"Interrupted":            s.interrupted,
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
			reported += strings.Count(string(text), "<testcase")
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
	assert.Equal(t, "redis ended before it was ready: exit code 3: no room left", c.Message)
	assert.ErrorContains(t, err, "| no room left", "the end of its log")
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
	assert.Equal(t, "app was not ready within 5s (it has to answer on TCP port 8080, and to be healthy if its image has a HEALTHCHECK); it wrote: warming up", c.Message)
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
	export := func(app build.App, file string) error {
		tarball, err := app.Tarball(t.Context())
		require.NoError(t, err)
		_, err = tarball.Export(t.Context(), file)
		return err
	}
	err := export(s.app(nil), good)
	require.NoError(t, err)
	err = export(s.app(map[string]string{"vote/wsgi.py": "raise RuntimeError('nothing to serve')\n"}), bad)
	require.NoError(t, err)
	tests := s.tests(t)
	tests.Unit = nil
	_, err = s.run(t, s.app(nil), s.client.Host().File(good), tests)
	require.NoError(t, err)
	_, err = s.run(t, s.app(nil), s.client.Host().File(bad), tests)
	assert.Contains(t, fails(t, err), "integration: services.app starts")
}

// Python compiles no module of the image again when a container starts: what was compiled while it was built still fits.
func (s *suite) pythonModules(t *testing.T) {
	file := filepath.Join(t.TempDir(), "image.tar")
	_, err := s.app(nil).Export(t.Context(), file, nil)
	require.NoError(t, err)
	said, err := s.client.Container().Import(s.client.Host().File(file)).
		WithExec([]string{"sh", "-c", "python3 -v -c 'import flask, redis, gunicorn.app.wsgiapp' 2>&1"}).Stdout(t.Context())
	require.NoError(t, err)
	compiled := regexp.MustCompile(`# code object from .*\.pyc`).FindAllString(said, -1)
	assert.Greater(t, len(compiled), 200)
	assert.Empty(t, regexp.MustCompile(`# code object from /usr/.*\.py\n`).FindAllString(said, -1))
}

// runner: whatever a test runner does wrong, the tests are not green.
func (s *suite) runner(t *testing.T) {
	tests := map[string]struct {
		script  string
		name    string
		message string
	}{
		"fails unreported": {"exit 5", "exit code", "the test runner exited with 5, and its report names no failed test"},
		"killed":           {"echo half way; kill -9 $$", "exit code", "the test runner was killed: exit code 137: half way"},
		"says why": {
			"echo collecting; echo \"PermissionError: [Errno 13] Permission denied: '/reports'\" >&2; exit 1", "exit code",
			"the test runner exited with 1, and its report names no failed test: PermissionError: [Errno 13] Permission denied: '/reports'",
		},
		"another kind of XML": {
			"mkdir /reports; echo '<coverage/>' >/reports/coverage.xml", "report",
			"the test runner left no JUnit XML in /reports: coverage.xml has the root element <coverage>",
		},
		"cut short": {
			`mkdir /reports; printf '<testsuite><testcase name="x"/>' >/reports/x.xml`, "report",
			"/reports/x.xml is no JUnit XML: XML syntax error on line 1: unexpected EOF",
		},
		"no directory": {"true", "report", "the test runner left no JUnit XML: no directory /reports"},
		"no test": {
			`mkdir /reports; echo '<testsuite name="x"/>' >/reports/x.xml`, "report",
			"no test ran: there is none in the JUnit XML in /reports",
		},
		"no XML": {"mkdir /reports; echo oops >/reports/x.xml", "report", "/reports/x.xml is no JUnit XML: it holds no element"},
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

// small is an app whose only stages are the base image.
func (s *suite) small(dockerfile string) build.App {
	return build.App{
		Client: s.client, Name: "small", BuildArgs: map[string]string{"BASE": s.base},
		Source: s.client.Directory().WithNewFile("Dockerfile", "ARG BASE\n"+dockerfile),
	}
}

// failureIsNotRemembered: a suite that failed runs again in the next session, and one that passed does not.
func (s *suite) failureIsNotRemembered(t *testing.T) {
	// A cache volume counts the runs: its content is no part of what an engine remembers a command by.
	// Each run is a process of its own, as each command is.
	run := func(name, ends string) (ran string, passed bool) {
		self, err := os.Executable()
		require.NoError(t, err)
		script := "runs=$(cat /count/runs 2>/dev/null || echo 0); runs=$((runs+1)); echo $runs > /count/runs; mkdir -p /reports; " +
			"echo \"<testsuite><testcase name='run $runs'/></testsuite>\" > /reports/x.xml; " + ends
		cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestOneRun$", "-test.v")
		cmd.Env = append(os.Environ(), oneRunName+"="+name, oneRunScript+"="+script, "AKSFLOW_TEST_BASE="+s.base)
		out, err := cmd.CombinedOutput()
		found := regexp.MustCompile(`ran as "(run [0-9]+)", passed: (true|false)`).FindStringSubmatch(string(out))
		require.Len(t, found, 3, "%s: %v", out, err)
		return found[1], found[2] == "true"
	}
	name := rand.Text()
	number := 0
	for i := range 3 {
		ran, passed := run(name, "exit 1")
		assert.False(t, passed)
		before := number
		_, err := fmt.Sscanf(ran, "run %d", &number)
		require.NoError(t, err)
		if i > 0 {
			assert.Equal(t, before+1, number, "it runs once each time")
		}
	}
	name = rand.Text()
	first, passed := run(name, "true")
	require.True(t, passed)
	second, passed := run(name, "true")
	require.True(t, passed)
	assert.Equal(t, first, second, "what passed ran again")
}

// What TestOneRun runs.
const (
	oneRunName   = "AKSFLOW_TEST_RUN"
	oneRunScript = "AKSFLOW_TEST_SCRIPT"
)

// TestOneRun is not a test of its own: failureIsNotRemembered runs it in other processes.
func TestOneRun(t *testing.T) {
	if os.Getenv(oneRunName) == "" {
		t.Skip("is run by another test")
	}
	client, base := connect(t)
	s := &suite{client: client, base: base}
	results, err := s.run(t, s.small("FROM $BASE AS test\n"), nil, build.Tests{Unit: &build.Suite{
		Target: "test", Command: []string{"sh", "-c", os.Getenv(oneRunScript)}, Cache: []string{"/count"},
		Env: map[string]string{"FOR": os.Getenv(oneRunName)},
	}})
	t.Logf("ran as %q, passed: %v", results.Cases()[0].Name, err == nil)
}

// otherReports: reports in subdirectories, of Node.js and in other charsets count; other XML and old reports do not.
func (s *suite) otherReports(t *testing.T) {
	app := s.small("FROM $BASE AS test\nRUN mkdir -p /reports && echo '<testsuite><testcase name=\"stale\"/></testsuite>' > /reports/stale.xml\n")
	results, err := s.run(t, app, nil, build.Tests{Unit: &build.Suite{Target: "test", Command: []string{"sh", "-c", `
		mkdir -p /reports/a /reports/b
		echo '<testsuites><testcase name="node" classname="test"/></testsuites>' > /reports/a/junit.xml
		echo '<testsuite><testcase name="deep"/></testsuite>' > /reports/b/junit.xml
		printf '<?xml version="1.0" encoding="ISO-8859-1"?><testsuite><testcase name="caf\351"/></testsuite>' > /reports/latin.xml
		printf '<testsuite><testcase name="colour"><system-out>\033[31mred</system-out></testcase></testsuite>' > /reports/colour.xml
		echo '<coverage line-rate="0.9"/>' > /reports/coverage.xml`}}})
	require.NoError(t, err)
	var names []string
	for _, c := range results.Cases() {
		names = append(names, c.Name)
	}
	slices.Sort(names)
	assert.Equal(t, []string{"café", "colour", "deep", "node"}, names)
	assert.Equal(t, []string{"unit-a-junit.xml", "unit-b-junit.xml", "unit-colour.xml", "unit-latin.xml"},
		slices.Sorted(maps.Keys(results.Suites[0].Reports)))

	_, err = s.run(t, app, nil, build.Tests{Unit: &build.Suite{Target: "test", Command: []string{"true"}}})
	assert.Contains(t, fails(t, err)["unit: runner.report"].Message, "was there before it ran (stale.xml)")
}

// cacheAndSecrets: a user without privileges may write to a cache, and a secret reaches the tests and nothing else.
func (s *suite) cacheAndSecrets(t *testing.T) {
	secret := "s3cr3t" + rand.Text()
	results, err := s.run(t, s.small("FROM $BASE AS test\nUSER 1234\n"), nil, build.Tests{Unit: &build.Suite{
		Target: "test", Reports: "/tmp/reports", Cache: []string{"/var/cache/mine"},
		Env:     map[string]string{"FOR": rand.Text()},
		Secrets: map[string]*dagger.Secret{"TOKEN": s.client.SetSecret("token", secret)},
		Command: []string{"sh", "-c", `set -e; touch /var/cache/mine/file; echo "token $TOKEN, mark ${AKSFLOW_PROCESS:-none}"; test ${#TOKEN} = 32
			mkdir /tmp/reports; echo '<testsuite><testcase name="x"/></testsuite>' > /tmp/reports/x.xml`},
	}})
	require.NoError(t, err, "%+v", results)
	assert.Equal(t, "token ***, mark none\n", results.Suites[0].Output)
}

// client is a stage whose command asks APP_URL and prints the answer's first line as its report.
const client = "FROM $BASE AS client\nCMD [\"bash\", \"-euc\", \"host=${APP_URL#http://}; read line < /dev/tcp/${host/:/\\/}; mkdir /reports; " +
	"echo \\\"<testsuite><testcase name='$line'/></testsuite>\\\" > /reports/x.xml\"]\n"

// answering is a CMD that answers connections to a port with a line.
func answering(port int, line string) string {
	return fmt.Sprintf("CMD [\"perl\", \"-MIO::Socket::INET\", \"-e\", \"$s = IO::Socket::INET->new(Listen => 5, LocalPort => %d, ReuseAddr => 1) or die; while ($c = $s->accept) { print $c qq(%s\\n); close $c }\"]\n", port, line)
}

// portOfTheImage: the one port that the image exposes is where it is called.
func (s *suite) portOfTheImage(t *testing.T) {
	results, err := s.run(t, s.small(client+"FROM $BASE\nEXPOSE 8000\n"+answering(8000, "here")), nil,
		build.Tests{Integration: &build.Suite{Target: "client"}})
	require.NoError(t, err)
	assert.Equal(t, "here", results.Cases()[0].Name)
	_, err = s.run(t, s.small(client+"FROM $BASE\nEXPOSE 8000 9000\n"+answering(8000, "here")), nil,
		build.Tests{Integration: &build.Suite{Target: "client"}})
	assert.ErrorContains(t, err, "the image exposes several ports (8000, 9000): name the one that the tests call with test.app.port")
}

// dyingService: a service that ends while the tests run is named, with what it wrote.
func (s *suite) dyingService(t *testing.T) {
	if os.Getenv("AKSFLOW_ENGINE") == engine.Dagger {
		t.Skip("a Dagger engine lets the tests run on without the service")
	}
	_, err := s.run(t, s.small(`FROM $BASE AS client
CMD ["bash", "-c", "echo die > /dev/tcp/db/5000; sleep 60"]
FROM $BASE AS db
EXPOSE 5000
CMD ["perl", "-MIO::Socket::INET", "-e", "$s = IO::Socket::INET->new(Listen => 5, LocalPort => 5000) or die; while ($c = $s->accept) { $l = <$c> // ''; die 'out of memory' if $l =~ /die/ }"]
FROM $BASE
`+answering(8080, "here")), nil, build.Tests{
		Integration: &build.Suite{Target: "client", Env: map[string]string{"FOR": rand.Text()}},
		Services:    []build.Service{{Name: "db", Target: "db"}},
	})
	assert.Contains(t, fails(t, err)["integration: services.db runs"].Message, "db ended while the tests ran")
	assert.ErrorContains(t, err, "out of memory")
}

// healthcheck: the tests start when the service is healthy, not when its port answers.
func (s *suite) healthcheck(t *testing.T) {
	results, err := s.run(t, s.small(client+`FROM $BASE
ENV FOR=`+rand.Text()+`
EXPOSE 8080
HEALTHCHECK --interval=500ms --start-period=1s --retries=60 CMD test -e /tmp/ready
CMD ["bash", "-c", "(sleep 4; touch /tmp/ready) & exec perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(Listen => 5, LocalPort => 8080) or die; while ($c = $s->accept) { print $c -e q(/tmp/ready) ? qq(ready\\n) : qq(early\\n); close $c }'"]
`), nil, build.Tests{Integration: &build.Suite{Target: "client"}})
	require.NoError(t, err)
	assert.Equal(t, "ready", results.Cases()[0].Name)
}

// startTimeout: each service may have its own time.
func (s *suite) startTimeout(t *testing.T) {
	slow := `FROM $BASE AS slow
ENV FOR=` + rand.Text() + `
EXPOSE 7000
CMD ["bash", "-c", "sleep 6; exec perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(Listen => 5, LocalPort => 7000) or die; sleep 600'"]
FROM $BASE
` + answering(8080, "here")
	tests := build.Tests{
		Integration:  &build.Suite{Target: "client"},
		Services:     []build.Service{{Name: "slow", Target: "slow", StartTimeout: time.Minute}},
		StartTimeout: 2 * time.Second,
	}
	_, err := s.run(t, s.small(client+slow), nil, tests)
	require.NoError(t, err)
	tests.Services[0].StartTimeout = 0
	tests.Services[0].Env = map[string]string{"OTHER": "1"}
	tests.Services[0].Args = []string{"sleep", "600"}
	_, err = s.run(t, s.small(client+slow), nil, tests)
	assert.Contains(t, fails(t, err)["integration: services.slow starts"].Message, "slow was not ready within 2s")
}

// emptyArgument: an empty build argument is passed, in place of the Dockerfile's default.
func (s *suite) emptyArgument(t *testing.T) {
	app := s.small("FROM $BASE\nARG SUFFIX=default\nRUN echo \"<$SUFFIX>\" > /seen\n")
	app.BuildArgs["SUFFIX"] = ""
	image, err := app.Build(t.Context())
	require.NoError(t, err)
	seen, err := image.File("/seen").Contents(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "<>\n", seen)
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
