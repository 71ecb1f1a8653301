package embedded

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	gatewaypb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/pb"
	"golang.org/x/sync/errgroup"

	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/engine/embedded/api"
	"github.com/aksflow/aksflow/internal/engine/embedded/failure"
	"github.com/aksflow/aksflow/internal/engine/embedded/flight"
	"github.com/aksflow/aksflow/internal/engine/embedded/healthcheck"
	"github.com/aksflow/aksflow/internal/engine/embedded/progress"
	"github.com/aksflow/aksflow/internal/engine/embedded/servicelog"
	"github.com/aksflow/aksflow/internal/engine/embedded/shim/contract"
)

// services are the session's services: one instance for each definition.
type services struct {
	engine *Engine
	// epoch changes whenever an address does.
	epoch  atomic.Int64
	starts flight.Group[*service]
	keys   flight.Group[string]

	mu      sync.Mutex
	names   map[string]string // the aliases under which services were bound first, by ID
	running map[string]*service
	failed  map[string]error // why a service ended that nobody stopped
	jobs    map[*build]job
}

// job is a build that is under way.
type job struct {
	watch  *progress.Watcher
	cancel context.CancelCauseFunc
}

// service is an instance of a service.
type service struct {
	name    string // in progress
	place   string // in errors
	ip      net.IP
	process atomic.Pointer[gateway.ContainerProcess]
	// container gets the container when its process has started.
	container chan gateway.Container
	end       context.CancelCauseFunc
	done      chan struct{} // closed when it has ended
	err       error         // how it ended
}

// watch has a build canceled when a service ends that one of its running steps talks to, until the function that it
// returns is called. A step that fails because its service died would else be taken for one that fails; and one of
// which any exit code is expected would be remembered.
func (s *services) watch(b *build, w *progress.Watcher, cancel context.CancelCauseFunc) func() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.jobs == nil {
		s.jobs = map[*build]job{}
	}
	s.jobs[b] = job{w, cancel}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.jobs, b)
	}
}

// cancelClients cancels the builds with a running step that talks to a service. The caller holds the lock.
func (s *services) cancelClients(n *api.Node, why error) {
	for b, j := range s.jobs {
		b.mu.Lock()
		for _, step := range j.watch.Runs() {
			if slices.Contains(b.clients[step], hostname(n)) {
				j.cancel(fmt.Errorf("a service ended while a step talked to it: %w", why))
			}
		}
		b.mu.Unlock()
	}
}

var errStopped = errors.New("the service was stopped")

// Times that a service is given.
const (
	stopGrace = 10 * time.Second // from the request to end until it is killed
	endGrace  = 5 * time.Second  // from the end of its processes until its end is known, and for its container to go
)

// hostname is the name by which containers that are bound to a service reach it, beside their alias for it.
func hostname(n *api.Node) string { return "svc-" + n.ID[:12] }

// address is where a service runs; nil if it does not.
func (s *services) address(n *api.Node) net.IP {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.running[n.ID]; r != nil {
		return r.ip
	}
	return nil
}

// name notes what a service is called where it is bound.
func (s *services) name(n *api.Node, alias string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.names == nil {
		s.names = map[string]string{}
	}
	if s.names[n.ID] == "" {
		s.names[n.ID] = alias
	}
}

// called is what a service is called in progress, and in errors: by its alias, which errors have in the words of a Dagger
// engine; by its program if it was never bound.
func (s *services) called(n *api.Node, cmd []string) (name, place string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if alias := s.names[n.ID]; alias != "" {
		return "service " + alias, "service " + alias + " (aliased as " + alias + ")"
	}
	name = "service " + path.Base(cmd[0])
	return name, name
}

// startAll starts services at the same time.
func (s *services) startAll(ctx context.Context, nodes []*api.Node) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, n := range slices.Compact(slices.SortedFunc(slices.Values(nodes), func(a, b *api.Node) int { return cmp.Compare(a.ID, b.ID) })) {
		group.Go(func() error {
			_, err := s.start(ctx, n)
			return err
		})
	}
	return group.Wait()
}

// start returns the running instance of a service, started if need be, when it is ready. Giving up on the start ends it,
// if nobody else waits for it.
func (s *services) start(ctx context.Context, n *api.Node) (*service, error) {
	return s.starts.Do(ctx, s.engine.base, n.ID, func(ctx context.Context) (*service, error) {
		s.mu.Lock()
		r := s.running[n.ID]
		s.mu.Unlock()
		if r != nil {
			return r, nil
		}
		return s.launch(ctx, n)
	})
}

// command is what a service runs: as Dagger has it, the given arguments or the container's own, after the entrypoint if
// that is asked for or nothing else is said.
func (c *container) serviceCommand(a api.Args) ([]string, error) {
	a, err := c.expand(a)
	if err != nil {
		return nil, err
	}
	given, config := a.List("args"), c.config.Config
	if len(given) == 0 && len(config.Cmd) == 0 && len(config.Entrypoint) == 0 {
		return nil, errors.New("no service command has been set")
	}
	cmd, useEntrypoint := config.Cmd, a.Flag("useEntrypoint") || len(config.Entrypoint) > 0 && !c.defaultArgs
	if len(given) > 0 {
		cmd, useEntrypoint = given, a.Flag("useEntrypoint")
	}
	if useEntrypoint {
		cmd = slices.Concat(config.Entrypoint, cmd)
	}
	return cmd, nil
}

// launch starts an instance and waits until it is ready.
func (s *services) launch(ctx context.Context, n *api.Node) (*service, error) {
	c, cmd, err := s.prepare(ctx, n)
	if err != nil {
		return nil, err
	}
	r := &service{done: make(chan struct{}), container: make(chan gateway.Container, 1)}
	r.name, r.place = s.called(n, cmd)
	log := s.run(ctx, n, r, s.serveCommand(c), cmd)
	giveUp := func(err error) (*service, error) {
		r.end(errStopped)
		<-r.done
		return nil, err
	}
	select {
	case r.ip = <-log.Address:
	case <-r.done:
		return nil, r.err
	case <-ctx.Done():
		return giveUp(context.Cause(ctx))
	}
	if err := r.ready(ctx, c); err != nil {
		select {
		case <-r.done:
			return nil, r.err
		default:
			return giveUp(fmt.Errorf("%s is not ready: %w%s", r.place, err, log.LastLines()))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-r.done: // at the last moment
		return nil, r.err
	default:
	}
	if s.running == nil {
		s.running = map[string]*service{}
	}
	s.running[n.ID] = r
	delete(s.failed, n.ID)
	s.epoch.Add(1)
	report.Donef(ctx, r.name, "ready")
	return r, nil
}

// prepare makes what a service consists of, and starts the services that it is bound to. It returns the service's
// container and command.
func (s *services) prepare(ctx context.Context, n *api.Node) (c *container, cmd []string, err error) {
	// What it consists of is made first: a failure there is not the service's.
	if _, err := s.engine.run(ctx, nil, func(ctx context.Context, b *build) (_ *result, err error) {
		if c, cmd, err = b.served(ctx, n); err != nil {
			return nil, err
		}
		if n.Args.Flag("insecureRootCapabilities") {
			if err := b.privilege(); err != nil {
				return nil, err
			}
		}
		_, err = b.refs(ctx, c)
		return nil, err
	}); err != nil {
		return nil, nil, err
	}
	var bound []*api.Node
	for _, b := range c.bindings {
		bound = append(bound, b.service)
	}
	return c, cmd, s.startAll(ctx, bound)
}

// serveCommand is how the shim runs the service of a container. In a network that all containers share, a port that is taken
// would be another service's, and that one would answer in this one's place: the shim then ends.
func (s *services) serveCommand(c *container) []string {
	var ports []string
	if s.engine.worker.SharedNetwork {
		for _, p := range c.allPorts() {
			if !p.udp {
				ports = append(ports, strconv.Itoa(p.number))
			}
		}
	}
	return []string{contract.Shim, "serve", "-free", strings.Join(ports, ","), "--"}
}

// run runs a service in the background until it ends or the session does.
func (s *services) run(ctx context.Context, n *api.Node, r *service, shim, cmd []string) *servicelog.Log {
	e := s.engine
	life, end := context.WithCancelCause(context.WithoutCancel(ctx))
	r.end = end
	stop := context.AfterFunc(e.base, func() { end(context.Cause(e.base)) })
	// The job outlives the service: it is what releases the container. Released without a job, it would be looked for in vain
	// for seconds.
	job, abandon := context.WithCancelCause(context.WithoutCancel(ctx))
	abandoning := context.AfterFunc(life, func() { time.AfterFunc(endGrace, func() { abandon(context.Cause(life)) }) })
	log := servicelog.New(ctx, r.name, e.secrets.Hide)
	e.work.Go(func() {
		defer stop()
		defer abandoning()
		defer close(r.done)
		_, err := e.job(job, nil, func(ctx context.Context, b *build) (*result, error) {
			return nil, b.serve(ctx, life, n, r, slices.Concat(shim, cmd), log)
		})
		abandon(nil)
		r.err = s.ended(n, r, cmd, log, err, context.Cause(life))
	})
	return log
}

// refs has everything made that a container consists of: its root, then its mounted directories.
func (b *build) refs(ctx context.Context, c *container) ([]gateway.Reference, error) {
	root, err := b.solve(ctx, c.root, c.platform)
	if err != nil {
		return nil, err
	}
	if root == nil {
		return nil, errors.New("a service needs an image: its container is empty")
	}
	refs := []gateway.Reference{root}
	for _, m := range c.mounts {
		var ref gateway.Reference
		if m.source != nil {
			if ref, err = b.solve(ctx, *m.source, c.platform); err != nil {
				return nil, err
			}
		}
		refs = append(refs, ref)
	}
	return refs, nil
}

// serve runs a service in a job until it ends, or its life does.
func (b *build) serve(job, life context.Context, n *api.Node, r *service, args []string, log *servicelog.Log) error {
	ctx, end := context.WithCancelCause(job)
	defer end(nil)
	defer context.AfterFunc(life, func() { end(context.Cause(life)) })()
	ctr, start, err := b.serviceProcess(ctx, n, args)
	if err != nil {
		return err
	}
	defer ctr.Release(job) //nolint:errcheck // the job's end releases it too
	start.Stdout, start.Stderr = &log.Stdout, &log.Stderr
	process, err := ctr.Start(ctx, start)
	if err != nil {
		return err
	}
	r.process.Store(&process)
	r.container <- ctr
	return process.Wait()
}

// serviceProcess makes a service's container, and says how to start its process.
func (b *build) serviceProcess(ctx context.Context, n *api.Node, args []string) (gateway.Container, gateway.StartRequest, error) {
	start := gateway.StartRequest{Args: args, RemoveMountStubsRecursive: true}
	c, _, err := b.served(ctx, n) // once more: the services that it is bound to have addresses now
	if err != nil {
		return nil, start, err
	}
	request, err := b.serviceContainer(ctx, c)
	if err != nil {
		return nil, start, err
	}
	start.Env, start.User, start.Cwd = c.env(), c.config.Config.User, c.abs(".")
	if n.Args.Flag("insecureRootCapabilities") {
		start.SecurityMode = pb.SecurityMode_INSECURE
	}
	for _, s := range c.secretEnv {
		start.SecretEnv = append(start.SecretEnv, &pb.SecretEnv{ID: s.secret, Name: s.name})
	}
	ctr, err := b.gateway.NewContainer(ctx, request)
	return ctr, start, err
}

// serviceContainer describes the container that a service runs in.
func (b *build) serviceContainer(ctx context.Context, c *container) (gateway.NewContainerRequest, error) {
	var request gateway.NewContainerRequest
	refs, err := b.refs(ctx, c)
	if err != nil {
		return request, err
	}
	shim, err := b.solveState(ctx, shimState(b.engine), b.platform())
	if err != nil {
		return request, err
	}
	request.Platform = &pb.Platform{OS: c.platform.OS, Architecture: c.platform.Architecture, Variant: c.platform.Variant}
	request.Mounts = []gateway.Mount{
		{Dest: "/", Ref: refs[0], MountType: pb.MountType_BIND},
		{Dest: contract.Shim, Ref: shim, Selector: shimName, Readonly: true, MountType: pb.MountType_BIND},
	}
	for i, m := range c.mounts {
		request.Mounts = append(request.Mounts, m.inService(refs[i+1]))
	}
	for _, h := range b.hosts(c.bindings) {
		request.ExtraHosts = append(request.ExtraHosts, &pb.HostIP{Host: h.name, IP: h.ip.String()})
	}
	return request, nil
}

// inService is a mount of a service's container; ref is the content of a mounted directory.
func (m mount) inService(ref gateway.Reference) gateway.Mount {
	g := gateway.Mount{Dest: m.path}
	switch {
	case m.secret != "":
		g.MountType = pb.MountType_SECRET
		g.SecretOpt = &pb.SecretOpt{ID: m.secret, Uid: uint32(m.uid), Gid: uint32(m.gid), Mode: uint32(m.mode)}
	case m.socket != "":
		g.MountType = pb.MountType_SSH
		g.SSHOpt = &pb.SSHOpt{ID: m.socket, Uid: uint32(m.uid), Gid: uint32(m.gid), Mode: uint32(m.mode)}
	case m.cache != "":
		sharing := map[llb.CacheMountSharingMode]pb.CacheSharingOpt{
			llb.CacheMountShared: pb.CacheSharingOpt_SHARED, llb.CacheMountPrivate: pb.CacheSharingOpt_PRIVATE, llb.CacheMountLocked: pb.CacheSharingOpt_LOCKED,
		}
		g.MountType = pb.MountType_CACHE
		g.CacheOpt = &pb.CacheOpt{ID: cacheID(m.cache), Sharing: sharing[m.sharing]}
	case ref == nil: // an empty directory
		g.MountType = pb.MountType_TMPFS
	default:
		g.MountType = pb.MountType_BIND
		g.Ref, g.Selector, g.Readonly = ref, m.dir, m.readOnly
	}
	return g
}

// ready waits until a service is healthy, if its image says how to tell, and its ports answer; or until it ended.
func (r *service) ready(ctx context.Context, c *container) error {
	var ctr gateway.Container
	select {
	case ctr = <-r.container:
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	as := gateway.StartRequest{Env: c.env(), User: c.config.Config.User, Cwd: c.abs(".")}
	if check := healthcheck.Of(c.config.Config); check != nil {
		if err := check.Await(ctx, ctr, as, r.done, func() error { return r.err }); err != nil {
			return err
		}
	}
	for _, p := range c.allPorts() {
		if p.udp || p.skip {
			continue
		}
		if err := r.answers(ctx, ctr, as, p.number); err != nil {
			return err
		}
	}
	return nil
}

// answers waits until a port of a service answers. The shim tries it from inside of the container, whose network may be on
// another machine.
func (r *service) answers(ctx context.Context, ctr gateway.Container, as gateway.StartRequest, port int) error {
	as.Args = []string{contract.Shim, "reach", strconv.Itoa(port)}
	process, err := ctr.Start(ctx, as)
	if err == nil {
		err = process.Wait()
	}
	if err == nil {
		return nil
	}
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return fmt.Errorf("port %d does not answer: %w", port, context.Cause(ctx))
	case <-time.After(endGrace): // it did not end with the service
		return fmt.Errorf("whether port %d answers: %w", port, err)
	}
}

// ended notes how a service ended, and returns it as an error.
func (s *services) ended(n *api.Node, r *service, cmd []string, log *servicelog.Log, err, cause error) error {
	if cause == nil { // nobody wanted it to end
		var exit *gatewaypb.ExitError
		var exec *failure.ExecError
		switch {
		case err == nil:
			err = log.Failure(r.place, cmd, 0)
		case errors.As(err, &exec):
			err = log.Failure(r.place, cmd, exec.ExitCode)
		case errors.As(err, &exit):
			err = log.Failure(r.place, cmd, int(exit.ExitCode))
		}
	} else {
		err = cause
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running[n.ID] == r {
		delete(s.running, n.ID)
		s.epoch.Add(1)
		if cause == nil {
			if s.failed == nil {
				s.failed = map[string]error{}
			}
			s.failed[n.ID] = err
			s.cancelClients(n, err)
		}
	}
	return err
}

// blame adds to an error which services ended meanwhile that they depend on.
func (s *services) blame(err error, needs []*api.Node) error {
	if err == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range needs {
		if why := s.failed[n.ID]; why != nil {
			err = fmt.Errorf("%w\nits %w", err, why)
		}
	}
	return err
}

// stop ends a service if it runs.
func (s *services) stop(ctx context.Context, n *api.Node, kill bool) error {
	s.mu.Lock()
	r := s.running[n.ID]
	delete(s.running, n.ID)
	if r != nil {
		s.epoch.Add(1)
	}
	s.mu.Unlock()
	if r == nil {
		return nil
	}
	if p := r.process.Load(); !kill && p != nil && (*p).Signal(ctx, syscall.SIGTERM) == nil {
		select {
		case <-r.done:
			return nil
		case <-time.After(stopGrace):
		case <-ctx.Done():
		}
	}
	r.end(errStopped)
	<-r.done
	return nil
}

// content is what a service's clients depend on: its image or files, and how it runs. It is known without running it.
func (s *services) content(ctx context.Context, n *api.Node) (string, error) {
	return s.keys.Once(ctx, s.engine.base, n.ID, func(ctx context.Context) (string, error) { return s.contentOf(ctx, n) })
}

func (s *services) contentOf(ctx context.Context, n *api.Node) (string, error) {
	e := s.engine
	var c *container
	var cmd []string
	digest, err := e.imageDigest(ctx, n, func(ctx context.Context, b *build) (_ *container, err error) {
		c, cmd, err = b.served(ctx, n)
		return c, err
	})
	if err != nil {
		return "", err
	}
	// The configuration goes in whole: user, working directory, environment, health check.
	parts := []any{digest, c.config.Config, cmd, n.Args.Flag("insecureRootCapabilities")}
	for i, m := range c.mounts {
		mounted := ""
		if m.source != nil {
			mounted, err = e.imageDigest(ctx, n, func(ctx context.Context, b *build) (*container, error) {
				c, _, err := b.served(ctx, n)
				if err != nil {
					return nil, err
				}
				only := &container{platform: c.platform, root: *c.mounts[i].source}
				only.config.Platform = c.config.Platform
				return only, nil
			})
			if err != nil {
				return "", err
			}
		}
		parts = append(parts, m.path, mounted, m.dir, m.readOnly, m.cache, m.secret, m.socket, m.temp, m.size, m.uid, m.gid, m.mode)
	}
	for _, v := range c.secretEnv {
		parts = append(parts, v.name, v.secret)
	}
	for _, bound := range c.bindings {
		key, err := s.content(ctx, bound.service)
		if err != nil {
			return "", err
		}
		parts = append(parts, bound.alias, key)
	}
	return api.Hash(parts), nil
}

// imageDigest is the digest of a container's file system as an image.
func (e *Engine) imageDigest(ctx context.Context, n *api.Node, find func(context.Context, *build) (*container, error)) (string, error) {
	identity := ""
	exports := []bkclient.ExportEntry{{Type: bkclient.ExporterImage}}
	response, err := e.run(ctx, exports, func(ctx context.Context, b *build) (*result, error) {
		c, err := find(ctx, b)
		if err != nil {
			return nil, err
		}
		if identity = c.root.identity; identity != "" {
			return nil, nil
		}
		return b.image(ctx, c)
	})
	return cmp.Or(identity, response[exptypes.ExporterImageDigestKey]), err
}
