package build

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"dagger.io/dagger"
	"golang.org/x/sync/errgroup"

	"github.com/aksflow/aksflow/internal/core/report"
)

// Test runs the app's tests: the unit tests in a container of their own and, side by side with them, the integration
// tests as a client of the image under test and of the services. The image under test is the OCI tarball image, or the
// one that app builds if image is nil.
//
// The Results are there also when Test fails, and hold JUnit XML for every suite: the runner's own, or made up when the
// suite could not run. The error is a [TestFailure] when a test failed, when the app or a service did not start, or when
// a suite ran no test at all. Any other error is about what stands around the tests: a stage that does not build, an
// engine that is gone, a context that ended.
func Test(ctx context.Context, client *dagger.Client, app App, image *dagger.File, tests Tests) (*Results, error) {
	tests = tests.withDefaults()
	if err := tests.validate(); err != nil {
		return nil, err
	}
	if image == nil {
		image = app.Tarball()
	}
	t := &tester{client: client, app: app, image: image, tests: tests}

	type plan struct {
		name  string
		suite *Suite
		run   func(context.Context, *runner) error
	}
	var plans []plan
	if s := tests.Unit; s != nil {
		plans = append(plans, plan{Unit, s, t.unit})
	}
	if s := tests.Integration; s != nil {
		plans = append(plans, plan{Integration, s, t.integration})
	}
	results := &Results{Suites: make([]SuiteResult, len(plans))}
	errs := make([]error, len(plans))
	var wg sync.WaitGroup
	for i, p := range plans {
		r := &runner{name: p.name, suite: p.suite, noCache: tests.NoCache, result: &results.Suites[i]}
		wg.Go(func() {
			began := time.Now()
			if err := p.run(ctx, r); err != nil {
				errs[i] = fmt.Errorf("%s tests: %w", p.name, err)
				r.makeUp(Case{Name: "run", Message: "the tests could not run", Detail: err.Error()})
			}
			r.result.Name, r.result.Elapsed = p.name, time.Since(began)
			report.Progressf(ctx, p.name, "%s", (&Results{Suites: []SuiteResult{*r.result}}).Summary())
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return results, fmt.Errorf("testing was cut short: %w", err)
	}
	// The tests that failed are named beside what kept the other suite from running.
	ran := &Results{}
	for i, err := range errs {
		if err == nil {
			ran.Suites = append(ran.Suites, results.Suites[i])
		}
	}
	if failed := ran.Failed(); len(failed) > 0 {
		errs = append(errs, &TestFailure{Failed: failed, Total: len(ran.Cases())})
	}
	return results, errors.Join(errs...)
}

// tester knows what is tested.
type tester struct {
	client *dagger.Client
	app    App
	image  *dagger.File
	tests  Tests
}

// server is a service in the graph, and what its users call it.
type server struct {
	Service
	container *dagger.Container // that it runs in
	dagger    *dagger.Service
}

func (t *tester) unit(ctx context.Context, r *runner) error {
	ctr, err := t.built(ctx, r.suite.Target)
	if err != nil {
		return err
	}
	return r.killed(r.run(ctx, ctr))
}

func (t *tester) integration(ctx context.Context, r *runner) error {
	// Everything is built before anything starts: side by side, and so that an error says which part does not build.
	var (
		group, gctx = errgroup.WithContext(ctx)
		client      *dagger.Container
		app         = t.client.Container(dagger.ContainerOpts{Platform: t.app.Platform}).Import(t.image)
		services    = make([]*dagger.Container, len(t.tests.Services))
	)
	group.Go(func() (err error) {
		client, err = t.built(gctx, r.suite.Target)
		return err
	})
	group.Go(func() error {
		report.Progressf(gctx, r.name, "making the image")
		if _, err := app.Sync(gctx); err != nil {
			return fmt.Errorf("the image under test: %w", Explain(err))
		}
		return nil
	})
	for i, s := range t.tests.Services {
		group.Go(func() (err error) {
			if s.Target != "" {
				services[i], err = t.built(gctx, s.Target)
				return err
			}
			services[i] = t.client.Container().From(s.Image)
			if _, err := services[i].Sync(gctx); err != nil {
				return fmt.Errorf("service %s, image %s: %w", s.Name, s.Image, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}

	var servers []server
	for i, s := range t.tests.Services {
		servers = append(servers, s.serve(services[i], servers))
	}
	servers = append(servers, t.tests.App.serve(app, servers))
	url := fmt.Sprintf("http://%s:%d", t.tests.App.Name, t.tests.App.Ports[0])
	client = bind(client, servers).WithEnvVariable("APP_URL", url)

	// The services start when the tests do, and not at all when the engine remembers how the tests ended. So whether
	// they came up is asked only of tests that take longer than that, or that could not run.
	runCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	var late *Case
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-runCtx.Done():
		case <-time.After(t.tests.StartTimeout):
			if late = t.start(runCtx, servers, slack); late != nil {
				cancel()
			}
		}
	}()
	err := r.run(runCtx, client)
	cancel()
	<-watched
	if err == nil || ctx.Err() != nil {
		return err
	}
	if late != nil {
		r.makeUp(*late)
		return nil
	}
	if s := blamed(err, servers); s != nil {
		r.makeUp(s.down(err))
		return nil
	}
	if late = t.start(ctx, servers, t.tests.StartTimeout); late != nil {
		r.makeUp(*late)
		return nil
	}
	return r.killed(err)
}

// blamed returns the server that the engine names as the one that is not up: the last name in its error, because a
// server that waits for another is named before it. Nil if it names none.
func blamed(err error, servers []server) *server {
	var found *server
	last := -1
	for i, s := range servers {
		if at := strings.LastIndex(err.Error(), "(aliased as "+s.Name+")"); at > last {
			found, last = &servers[i], at
		}
	}
	return found
}

// down is a test that says that the server starts, and is not so.
func (s server) down(err error) Case {
	c := Case{Class: "services", Name: s.Name + " starts", Detail: err.Error()}
	var exit *dagger.ExecError
	if !errors.As(err, &exit) {
		c.Message = fmt.Sprintf("%s is not up: %s", s.Name, firstLine(err.Error()))
		return c
	}
	c.Message = fmt.Sprintf("%s ended before it answered on %s: exit code %d", s.Name, ports(s.Ports), exit.ExitCode)
	if last := lastLine(exit.Stderr, exit.Stdout); last != "" {
		c.Message += ": " + last
	}
	// The rest of the message may be the output once more.
	c.Detail = firstLine(exit.Message()) + "\n" + output(exit.Stdout, exit.Stderr)
	return c
}

// slack is how long a server that should be up may take to answer that it is.
const slack = 10 * time.Second

// start starts the servers one after the other; one that runs already answers at once. It returns what to say about the
// first that does not answer within timeout, nil if all do.
//
// They run until the session ends. Stopping them would be a mistake: Dagger counts the users of a service by what it
// consists of, and 10 s after a command it takes that command off the count of whatever instance runs by then.
func (t *tester) start(ctx context.Context, servers []server, timeout time.Duration) *Case {
	for _, s := range servers {
		startCtx, cancel := context.WithTimeout(ctx, timeout)
		_, err := s.dagger.Start(startCtx)
		late := startCtx.Err() != nil
		cancel()
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			continue
		}
		c := s.down(err)
		if late {
			c.Message = fmt.Sprintf("%s did not answer on %s within %v", s.Name, ports(s.Ports), t.tests.StartTimeout)
			if log := s.log(ctx); log != "" {
				c.Detail = "its log:\n" + log
			}
		}
		return &c
	}
	return nil
}

// log returns what a server that does not get ready writes in its first seconds. An engine tells that of one that ended;
// the output of one that hangs has to be asked for, by running its command as a command. It is "" where the image has
// no timeout(1).
func (s server) log(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 2*slack)
	defer cancel()
	args := s.Args
	if len(args) == 0 {
		args, _ = s.container.DefaultArgs(ctx)
	}
	entrypoint, _ := s.container.Entrypoint(ctx)
	command := slices.Concat([]string{"timeout", "5"}, entrypoint, args)
	run := s.container.WithExec(command, dagger.ContainerWithExecOpts{Expect: dagger.ReturnTypeAny})
	if code, err := run.ExitCode(ctx); err != nil || code == 127 {
		return ""
	}
	stdout, _ := run.Stdout(ctx)
	stderr, _ := run.Stderr(ctx)
	return output(stdout, stderr)
}

// built returns a stage of the Dockerfile once it is built.
func (t *tester) built(ctx context.Context, target string) (*dagger.Container, error) {
	report.Progressf(ctx, target, "building the stage")
	ctr, err := t.app.stage(target).Sync(ctx)
	if err != nil {
		return nil, fmt.Errorf("building the Dockerfile's stage %q: %w", target, Explain(err))
	}
	return ctr, nil
}

// serve adds to the graph that s runs in ctr and reaches others.
func (s Service) serve(ctr *dagger.Container, others []server) server {
	ctr = bind(environment(ctr, s.Env), others)
	for _, p := range s.Ports {
		ctr = ctr.WithExposedPort(p)
	}
	return server{s, ctr, ctr.AsService(dagger.ContainerAsServiceOpts{Args: s.Args, UseEntrypoint: true})}
}

// bind lets ctr reach servers by their names.
func bind(ctr *dagger.Container, servers []server) *dagger.Container {
	for _, s := range servers {
		ctr = ctr.WithServiceBinding(s.Name, s.dagger)
	}
	return ctr
}

// environment sets variables in the order of their names, so that the same variables are the same query.
func environment(ctr *dagger.Container, env map[string]string) *dagger.Container {
	for _, name := range slices.Sorted(maps.Keys(env)) {
		ctr = ctr.WithEnvVariable(name, env[name])
	}
	return ctr
}

// runner runs one suite and fills its result.
type runner struct {
	name    string
	suite   *Suite
	noCache bool
	result  *SuiteResult
}

// run runs the suite's command in ctr. An error says that it did not run to its end; tests that fail are no error.
func (r *runner) run(ctx context.Context, ctr *dagger.Container) error {
	dir := r.suite.Reports
	if dir == "" {
		dir = DefaultReports
	}
	ctr = environment(ctr, r.suite.Env)
	if r.noCache {
		ctr = ctr.WithEnvVariable("AKSFLOW_RUN", rand.Text())
	}
	report.Progressf(ctx, r.name, "running the tests")
	ctr = ctr.WithExec(r.suite.Command, dagger.ContainerWithExecOpts{
		UseEntrypoint: len(r.suite.Command) == 0,
		Expect:        dagger.ReturnTypeAny,
	})
	code, err := ctr.ExitCode(ctx)
	if err != nil {
		return err
	}
	stdout, err := ctr.Stdout(ctx)
	if err != nil {
		return fmt.Errorf("reading their output: %w", err)
	}
	stderr, err := ctr.Stderr(ctx)
	if err != nil {
		return fmt.Errorf("reading their output: %w", err)
	}
	r.result.Output = output(stdout, stderr)
	for line := range strings.Lines(r.result.Output) {
		report.Logf(ctx, r.name, "%s", strings.TrimRight(line, "\r\n"))
	}

	// A directory that is not there and one without reports are the same: the runner's exit code says what to make of it.
	files, missing := ctr.Directory(dir).Entries(ctx)
	r.result.Reports = map[string][]byte{}
	for _, name := range files {
		if path.Ext(name) != ".xml" {
			continue
		}
		text, err := ctr.File(path.Join(dir, name)).Contents(ctx)
		if err != nil {
			return fmt.Errorf("reading their report %s: %w", path.Join(dir, name), err)
		}
		cases, err := parse(r.name, []byte(text))
		if err != nil {
			r.makeUp(Case{Name: "report", Message: fmt.Sprintf("%s is no JUnit XML: %v", path.Join(dir, name), err), Detail: text})
			continue
		}
		if !strings.HasPrefix(name, r.name) {
			name = r.name + "-" + name
		}
		r.result.Reports[name] = []byte(text)
		r.result.Cases = append(r.result.Cases, cases...)
	}

	failed := slices.ContainsFunc(r.result.Cases, func(c Case) bool { return c.Status == Failed || c.Status == Error })
	switch {
	case code != 0 && !failed:
		r.makeUp(Case{Name: "exit code", Message: fmt.Sprintf("the test runner exited with %d, and its report names no failed test", code), Detail: r.result.Output})
	case len(r.result.Cases) == 0 && missing != nil:
		r.makeUp(Case{Name: "report", Message: fmt.Sprintf("the test runner left no JUnit XML: no directory %s", dir), Detail: r.result.Output})
	case len(r.result.Cases) == 0:
		r.makeUp(Case{Name: "report", Message: fmt.Sprintf("no test ran: there is none in the JUnit XML in %s", dir), Detail: r.result.Output})
	}
	return nil
}

// killed notes that the runner did not end by itself: the one way for a command of which any exit code is accepted to
// fail. Other errors pass.
func (r *runner) killed(err error) error {
	var exit *dagger.ExecError
	if !errors.As(err, &exit) {
		return err
	}
	r.makeUp(Case{
		Name:    "exit code",
		Message: fmt.Sprintf("the test runner was killed: exit code %d", exit.ExitCode),
		Detail:  output(exit.Stdout, exit.Stderr),
	})
	return nil
}

// makeUp adds to the result what the suite's runner could not say, as a test that could not run with a report of its own.
func (r *runner) makeUp(c Case) {
	c.Suite, c.Status = r.name, Error
	if c.Class == "" {
		c.Class = "runner"
	}
	if r.result.Reports == nil {
		r.result.Reports = map[string][]byte{}
	}
	name := r.name + ".xml"
	for n := 2; r.result.Reports[name] != nil; n++ {
		name = fmt.Sprintf("%s-%d.xml", r.name, n)
	}
	r.result.Reports[name] = compose(c)
	r.result.Cases = append(r.result.Cases, c)
}

// output puts together what a command wrote.
func output(stdout, stderr string) string {
	if stdout != "" && stderr != "" && !strings.HasSuffix(stdout, "\n") {
		stdout += "\n"
	}
	return stdout + stderr
}

// ports names TCP ports for a reader.
func ports(ports []int) string {
	if len(ports) == 0 {
		return "the ports that its image exposes"
	}
	var s []string
	for _, p := range ports {
		s = append(s, strconv.Itoa(p))
	}
	return "TCP port " + strings.Join(s, ", ")
}

// lastLine returns the last line with text in it of the first text that has one.
func lastLine(texts ...string) string {
	for _, t := range texts {
		if t = strings.TrimSpace(t); t != "" {
			return t[strings.LastIndexByte(t, '\n')+1:]
		}
	}
	return ""
}

// firstLine returns the first line of s with text in it, without space around it.
func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	return strings.TrimSpace(s)
}

// lastLines returns the last n lines of a text, with a line before them that says how many were left out.
func lastLines(text string, n int) string {
	text = strings.TrimRight(text, "\r\n")
	if text == "" {
		return ""
	}
	lines := strings.Split(text, "\n")
	if left := len(lines) - n; left > 0 {
		lines = append([]string{fmt.Sprintf("… %d lines before these …", left)}, lines[left:]...)
	}
	return strings.Join(lines, "\n")
}
