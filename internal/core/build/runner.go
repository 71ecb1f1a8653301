package build

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"

	"dagger.io/dagger"

	"github.com/aksflow/aksflow/internal/core/report"
)

// runner runs one suite and fills its result.
type runner struct {
	client  *dagger.Client
	app     string // its name
	name    string // Unit or Integration
	suite   *Suite
	noCache bool
	hide    func(string) string
	result  *SuiteResult
}

// runVariable differs from run to run where a suite has to run whatever an engine remembers.
const runVariable = "AKSFLOW_RUN"

// run runs the suite's command in ctr. An error says that it did not run to its end; tests that fail are no error.
//
// An engine remembers how a command ended that may end with any exit code, so it remembers failures too. A failure that
// comes from an earlier process is not reported: the suite runs again.
func (r *runner) run(ctx context.Context, ctr *dagger.Container) error {
	ctr, err := r.prepare(ctx, ctr)
	if err != nil {
		return err
	}
	before, err := r.xmlFiles(ctx, ctr)
	if err != nil {
		return err
	}
	marked, err := r.mark(ctx, ctr)
	if err != nil {
		return err
	}
	report.Progressf(ctx, r.name, "running the tests")
	ended, err := r.execute(ctx, marked, before.texts)
	if err != nil {
		return err
	}
	if ended.failed() && !ended.fresh {
		report.Progressf(ctx, r.name, "the tests failed in an earlier run: running them again")
		marked.Container, marked.fresh = marked.WithEnvVariable(runVariable, rand.Text()), true
		if ended, err = r.execute(ctx, marked, before.texts); err != nil {
			return err
		}
	}
	for line := range strings.Lines(ended.output) {
		report.Logf(ctx, r.name, "%s", strings.TrimRight(line, "\r\n"))
	}
	r.conclude(ended)
	return nil
}

// prepare adds to the suite's container what its configuration says.
func (r *runner) prepare(ctx context.Context, ctr *dagger.Container) (*dagger.Container, error) {
	ctr = environment(ctr, r.suite.Env, r.suite.Secrets)
	if len(r.suite.Cache) == 0 {
		return ctr, nil
	}
	user, err := ctr.User(ctx)
	if err != nil {
		return nil, err
	}
	for _, dir := range r.suite.Cache {
		volume := r.client.CacheVolume(strings.Join([]string{"aksflow", r.app, r.name, dir}, "/"))
		ctr = ctr.WithMountedCache(dir, volume, dagger.ContainerWithMountedCacheOpts{Owner: user})
	}
	return ctr, nil
}

// environment sets variables in the order of their names, so that the same variables are the same query.
func environment(ctr *dagger.Container, env map[string]string, secrets map[string]*dagger.Secret) *dagger.Container {
	for _, name := range slices.Sorted(maps.Keys(env)) {
		ctr = ctr.WithEnvVariable(name, env[name])
	}
	for _, name := range slices.Sorted(maps.Keys(secrets)) {
		ctr = ctr.WithSecretVariable(name, secrets[name])
	}
	return ctr
}

// marked is a container with the suite's command, which leaves a mark of the process that it ran for.
type marked struct {
	*dagger.Container
	command []string
	mark    string // what the mark reads if the command ran for this process
	fresh   bool   // the command runs now, whatever the mark reads
}

// The mark is a file in a directory of its own, and comes from a secret: secrets are not part of the key under which an
// engine remembers a command, so what the file holds says which process the remembered result is from.
const (
	markDir      = "/.aksflow-mark"
	markFile     = "process"
	markVariable = "AKSFLOW_PROCESS"
	markScript   = `{ printf %s "$` + markVariable + `" >` + markDir + `/` + markFile + `; } 2>/dev/null; unset ` + markVariable + `; exec "$@"`
)

// thisProcess is what the mark of this process reads. A failure is remembered as long as a process: a second run in it is
// asked for with NoCache.
var thisProcess = sync.OnceValue(rand.Text)

// mark wraps the suite's command in a shell that leaves the mark. Without a shell in the image the command always runs,
// and so it does where a shell would drop variables: their names are not those of shell variables.
func (r *runner) mark(ctx context.Context, ctr *dagger.Container) (marked, error) {
	m := marked{Container: ctr, command: r.suite.Command, mark: thisProcess()}
	if len(m.command) == 0 {
		entrypoint, err := ctr.Entrypoint(ctx)
		if err != nil {
			return m, err
		}
		args, err := ctr.DefaultArgs(ctx)
		if err != nil {
			return m, err
		}
		if m.command = slices.Concat(entrypoint, args); len(m.command) == 0 {
			return m, fmt.Errorf("the stage %q has neither ENTRYPOINT nor CMD: set test.%s.command", r.suite.Target, r.name)
		}
	}
	shell, err := r.hasShell(ctx, ctr)
	if err != nil {
		return m, err
	}
	if m.fresh = r.noCache || !shell; m.fresh {
		m.Container = ctr.WithEnvVariable(runVariable, rand.Text())
	}
	if shell {
		marks := r.client.Directory().WithNewFile(markFile, "", dagger.DirectoryWithNewFileOpts{Permissions: 0o666})
		m.Container = m.WithMountedDirectory(markDir, marks).
			WithSecretVariable(markVariable, r.client.SetSecret(markVariable, m.mark))
		m.command = slices.Concat([]string{"/bin/sh", "-c", markScript, "sh"}, m.command)
	}
	return m, nil
}

var shellVariable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// hasShell reports whether a container has a shell that passes all of its variables on.
func (r *runner) hasShell(ctx context.Context, ctr *dagger.Container) (bool, error) {
	if found, err := ctr.Exists(ctx, "/bin/sh"); err != nil || !found {
		return false, err
	}
	var variables []struct{ Name string }
	err := r.client.QueryBuilder().Select("node").Arg("id", ctr).InlineFragment("Container").
		Select("envVariables").Select("name").Bind(&variables).Execute(ctx)
	for _, v := range variables {
		if !shellVariable.MatchString(v.Name) {
			return false, err
		}
	}
	for name := range r.suite.Secrets {
		if !shellVariable.MatchString(name) {
			return false, err
		}
	}
	return true, err
}

// ended is how a suite's command ended.
type ended struct {
	code    int
	output  string
	reports map[string][]byte // JUnit XML by the name that it gets
	cases   []Case
	broken  []Case   // reports that cannot be read, as tests that could not run
	other   []string // XML files that are not JUnit
	found   reportFiles
	stale   []string // reports that were there before
	fresh   bool     // it ran for this process
}

func (e *ended) failed() bool {
	return e.code != 0 || len(e.broken) > 0 || len(e.cases) == 0 ||
		slices.ContainsFunc(e.cases, func(c Case) bool { return c.Status == Failed || c.Status == Error })
}

// execute runs the command, and reads what it left. Reports that it did not touch are those of before.
func (r *runner) execute(ctx context.Context, m marked, before map[string]string) (*ended, error) {
	// The command line is whole: the container's entrypoint is a part of it where one is wanted.
	ran := m.WithExec(m.command, dagger.ContainerWithExecOpts{Expect: dagger.ReturnTypeAny})
	code, err := ran.ExitCode(ctx)
	if err != nil {
		return nil, err
	}
	e := &ended{code: code, fresh: m.fresh, reports: map[string][]byte{}}
	stdout, err := ran.Stdout(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading their output: %w", err)
	}
	stderr, err := ran.Stderr(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading their output: %w", err)
	}
	e.output = r.hide(output(stdout, stderr))
	if !e.fresh {
		mark, err := ran.File(path.Join(markDir, markFile)).Contents(ctx)
		if err != nil {
			return nil, fmt.Errorf("finding out when they ran: %w", err)
		}
		e.fresh = mark == m.mark
	}
	if e.found, err = r.xmlFiles(ctx, ran); err != nil {
		return nil, err
	}
	read := map[string]bool{} // a second name of a file adds nothing, such as that of the latest report
	for _, name := range slices.Sorted(maps.Keys(e.found.texts)) {
		text := e.found.texts[name]
		if old, there := before[name]; there && old == text {
			e.stale = append(e.stale, name)
		} else if !read[text] {
			read[text] = true
			r.read(e, name, text)
		}
	}
	return e, nil
}

// reportDir is the directory of the suite's reports in its container.
func (r *runner) reportDir() string {
	if r.suite.Reports == "" {
		return DefaultReports
	}
	return r.suite.Reports
}

// read takes up one report.
func (r *runner) read(e *ended, name, text string) {
	text = r.hide(text)
	cases, err := parse(r.name, []byte(text))
	var other *notJUnit
	switch {
	case errors.As(err, &other):
		e.other = append(e.other, fmt.Sprintf("%s has the root element <%s>", name, other.root))
		return
	case err != nil:
		message := fmt.Sprintf("%s is no JUnit XML: %v", path.Join(r.reportDir(), name), err)
		e.broken = append(e.broken, Case{Name: "report", Message: message, Detail: text})
		return
	}
	stem := notInFileNames.ReplaceAllString(strings.TrimSuffix(name, path.Ext(name)), "-")
	if stem != r.name && !strings.HasPrefix(stem, r.name+"-") { // else the next run would not know it as one of these
		stem = r.name + "-" + stem
	}
	to := stem + ".xml"
	for n := 2; e.reports[to] != nil; n++ {
		to = fmt.Sprintf("%s-%d.xml", stem, n)
	}
	e.reports[to] = portable([]byte(text))
	e.cases = append(e.cases, cases...)
}

// conclude fills the result.
func (r *runner) conclude(e *ended) {
	r.result.Output, r.result.Reports, r.result.Cases = e.output, e.reports, e.cases
	for _, c := range e.broken {
		r.makeUp(c)
	}
	failed := slices.ContainsFunc(r.result.Cases, func(c Case) bool { return c.Status == Failed || c.Status == Error })
	dir := r.reportDir()
	switch {
	case e.code != 0 && !failed:
		r.makeUp(Case{Name: "exit code", Message: r.withLast(fmt.Sprintf("the test runner exited with %d, and its report names no failed test", e.code)), Detail: e.output})
	case len(r.result.Cases) > 0:
	case e.found.missing:
		r.makeUp(Case{Name: "report", Message: "the test runner left no JUnit XML: no directory " + dir, Detail: e.output})
	case len(e.stale) > 0:
		r.makeUp(Case{Name: "report", Message: fmt.Sprintf("the test runner left no JUnit XML: what is in %s was there before it ran (%s)", dir, strings.Join(e.stale, ", ")), Detail: e.output})
	case len(e.other) > 0:
		r.makeUp(Case{Name: "report", Message: fmt.Sprintf("the test runner left no JUnit XML in %s: %s", dir, strings.Join(e.other, ", ")), Detail: e.output})
	case len(e.found.texts) == 0:
		r.makeUp(Case{Name: "report", Message: "the test runner left no JUnit XML: there is no .xml file in " + dir + e.found.others(), Detail: e.output})
	default:
		r.makeUp(Case{Name: "report", Message: "no test ran: there is none in the JUnit XML in " + dir, Detail: e.output})
	}
}

// withLast adds the last line that the runner wrote to a message.
func (r *runner) withLast(message string) string {
	if last := lastLine(r.result.Output); last != "" {
		return message + ": " + last
	}
	return message
}

// killed notes that the runner did not end by itself: a command of which any exit code is accepted fails in no other
// way. Other errors pass.
func (r *runner) killed(err error) error {
	var exit *dagger.ExecError
	if !errors.As(err, &exit) {
		return err
	}
	r.result.Output = r.hide(output(exit.Stdout, exit.Stderr))
	r.makeUp(Case{
		Name:    "exit code",
		Message: r.withLast(fmt.Sprintf("the test runner was killed: exit code %d", exit.ExitCode)),
		Detail:  r.result.Output,
	})
	return nil
}

// runnerClass is the class of tests that are made up because a suite could not run.
const runnerClass = "runner"

// makeUp adds to the result what the suite's runner could not say, as a test that could not run with a report of its own.
func (r *runner) makeUp(c Case) {
	c.Suite, c.Status = r.name, Error
	if c.Class == "" {
		c.Class = runnerClass
	}
	if r.result.Reports == nil {
		r.result.Reports = map[string][]byte{}
	}
	name := r.name + ".xml"
	for n := 2; r.result.Reports[name] != nil; n++ {
		name = fmt.Sprintf("%s-%d.xml", r.name, n)
	}
	r.result.Reports[name] = newJUnitSuite(c.Suite, []Case{c}).file()
	r.result.Cases = append(r.result.Cases, c)
}
