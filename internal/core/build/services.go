package build

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"dagger.io/dagger"
	"golang.org/x/sync/errgroup"

	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/report"
)

// server is a service in the graph, and what its users call it.
type server struct {
	Service
	container *dagger.Container // that it runs in
	dagger    *dagger.Service
}

// parts are the containers of the integration tests, built.
type parts struct {
	client, app *dagger.Container
	services    []*dagger.Container
}

// build builds everything before anything starts, at the same time, so that an error says which part does not build.
func (t *tester) build(ctx context.Context, r *runner) (parts, error) {
	p := parts{
		app:      t.client.Container(dagger.ContainerOpts{Platform: t.app.Platform}).Import(t.image),
		services: make([]*dagger.Container, len(t.tests.Services)),
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		p.client, err = t.built(ctx, r.suite.Target)
		return err
	})
	group.Go(func() error {
		report.Progressf(ctx, r.name, "making the image")
		if _, err := p.app.Sync(ctx); err != nil {
			return fmt.Errorf("the image under test: %w", Explain(err))
		}
		return nil
	})
	for i, s := range t.tests.Services {
		group.Go(func() (err error) {
			if s.Target != "" {
				p.services[i], err = t.built(ctx, s.Target)
				return err
			}
			p.services[i] = t.client.Container().From(s.Image)
			if _, err := p.services[i].Sync(ctx); err != nil {
				return fmt.Errorf("service %s, image %s: %w", s.Name, s.Image, err)
			}
			return nil
		})
	}
	return p, group.Wait()
}

func (t *tester) integration(ctx context.Context, r *runner) error {
	parts, err := t.build(ctx, r)
	if err != nil {
		return err
	}
	under := t.tests.App
	if len(under.Ports) == 0 {
		port, err := t.appPort(ctx, parts.app)
		if err != nil {
			return err
		}
		under.Ports = []int{port}
	}
	var servers []server
	for i, s := range t.tests.Services {
		servers = append(servers, s.serve(parts.services[i], servers))
	}
	servers = append(servers, under.serve(parts.app, servers))
	url := fmt.Sprintf("http://%s:%d", under.Name, under.Ports[0])
	return t.against(ctx, r, bind(parts.client, servers).WithEnvVariable("APP_URL", url), servers)
}

// against runs the suite in client, which the servers are bound to.
//
// The services start when the tests do, and not at all when the engine remembers that they passed. So whether they came
// up is asked only of tests that take longer than a start may, or that could not run.
func (t *tester) against(ctx context.Context, r *runner, client *dagger.Container, servers []server) error {
	runCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	var late *Case
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		if late = t.watch(runCtx, servers); late != nil {
			cancel()
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
	for _, s := range servers {
		if late = s.start(ctx, s.StartTimeout); late != nil {
			r.makeUp(*late)
			return nil
		}
	}
	return r.killed(err)
}

// startSlack is how long a server that should be up may take to answer that it is.
const startSlack = 10 * time.Second

// watch waits until each server should be up, one after the other as they start, and returns what to say about the
// first that is not. It returns nil when all are up, or when ctx ends.
func (t *tester) watch(ctx context.Context, servers []server) *Case {
	for _, s := range servers {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(s.StartTimeout):
		}
		if late := s.start(ctx, startSlack); late != nil {
			return late
		}
	}
	return nil
}

// appPort is the port of an image under test for which none is configured.
func (t *tester) appPort(ctx context.Context, app *dagger.Container) (int, error) {
	var exposed []struct {
		Port     int
		Protocol string
	}
	if err := t.client.QueryBuilder().Select("node").Arg("id", app).InlineFragment("Container").
		Select("exposedPorts").SelectMultiple("port", "protocol").Bind(&exposed).Execute(ctx); err != nil {
		return 0, fmt.Errorf("the ports of the image under test: %w", err)
	}
	var numbers []int
	for _, e := range exposed {
		if e.Protocol == string(dagger.NetworkProtocolTcp) {
			numbers = append(numbers, e.Port)
		}
	}
	switch len(numbers) {
	case 0:
		return DefaultAppPort, nil
	case 1:
		return numbers[0], nil
	default:
		slices.Sort(numbers)
		return 0, fault.Usagef("the image exposes several ports (%s): name the one that the tests call with test.app.port", join(numbers))
	}
}

// aliasedAs is what an engine's error has before the name under which a service is bound.
const aliasedAs = "(aliased as "

// blamed returns the server that the engine names as the one that is not up: the last name in its error, because a
// server that waits for another is named before it. Nil if it names none.
func blamed(err error, servers []server) *server {
	var found *server
	last := -1
	for i, s := range servers {
		if at := strings.LastIndex(err.Error(), aliasedAs+s.Name+")"); at > last {
			found, last = &servers[i], at
		}
	}
	return found
}

// diedWhileUsed is what the embedded engine says of a service that was up and ended.
const diedWhileUsed = "a service ended while a step talked to it"

// servicesClass is the class of tests that are made up because a service was not up.
const servicesClass = "services"

// down returns a failed test case for a service that did not start, or that ended while the tests ran.
func (s server) down(err error) Case {
	c := Case{Class: servicesClass, Name: s.Name + " starts", Detail: err.Error()}
	when := "before it was ready"
	if len(s.Ports) > 0 {
		when = "before it answered on " + ports(s.Ports)
	}
	if strings.Contains(err.Error(), diedWhileUsed) {
		c.Name, when = s.Name+" runs", "while the tests ran"
	}
	var exit *dagger.ExecError
	if !errors.As(err, &exit) {
		c.Message = fmt.Sprintf("%s is not up: %s", s.Name, firstLine(err.Error()))
		return c
	}
	c.Message = fmt.Sprintf("%s ended %s: exit code %d", s.Name, when, exit.ExitCode)
	if last := lastLine(exit.Stderr, exit.Stdout); last != "" {
		c.Message += ": " + last
	}
	// The rest of the message may be the output once more.
	c.Detail = firstLine(exit.Message()) + "\n" + output(exit.Stdout, exit.Stderr)
	return c
}

// start starts a server; one that runs already answers at once. It returns what to say if it is not ready within timeout.
//
// It runs until the session ends. Stopping it would be a mistake: Dagger counts the users of a service by what it
// consists of, and 10 s after a command it takes that command off the count of whatever instance runs by then.
func (s server) start(ctx context.Context, timeout time.Duration) *Case {
	startCtx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	_, err := s.dagger.Start(startCtx)
	if err == nil || ctx.Err() != nil {
		return nil
	}
	c := s.down(err)
	if startCtx.Err() != nil {
		c.Message = fmt.Sprintf("%s was not ready within %s (it has to answer on %s, and to be healthy if its image has a HEALTHCHECK)",
			s.Name, report.Span(s.StartTimeout), ports(s.Ports))
		if log := s.log(ctx); log != "" {
			c.Message += "; it wrote: " + lastLine(log)
			c.Detail = "its log:\n" + log
		}
	}
	return &c
}

// log returns what a server that does not get ready writes in its first seconds. The error of a server that ended has its
// output; one that hangs is run once more as a command. The log is "" if the image has no timeout(1).
func (s server) log(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 2*startSlack)
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

// serve adds to the graph that s runs in ctr and reaches others.
func (s Service) serve(ctr *dagger.Container, others []server) server {
	ctr = bind(environment(ctr, s.Env, s.Secrets), others)
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

// ports names TCP ports for a reader.
func ports(ports []int) string {
	if len(ports) == 0 {
		return "the ports that its image exposes"
	}
	return "TCP port " + join(ports)
}

// join lists numbers: "80, 443".
func join(numbers []int) string {
	var s []string
	for _, n := range numbers {
		s = append(s, strconv.Itoa(n))
	}
	return strings.Join(s, ", ")
}
