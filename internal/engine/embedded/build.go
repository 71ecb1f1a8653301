package embedded

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/containerd/platforms"
	bkclient "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/entitlements"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/aksflow/aksflow/internal/engine/embedded/api"
	"github.com/aksflow/aksflow/internal/engine/embedded/progress"
	"github.com/aksflow/aksflow/internal/engine/embedded/shim/contract"
)

// build is one job at the daemon: what is worked out and solved in it is released together when it ends.
type build struct {
	engine  *Engine
	gateway gateway.Client

	privileged bool // may run privileged containers

	mu    sync.Mutex
	needs []*api.Node // the services of the steps that it asked for
	// clients are the host names of the services that steps talk to, by the steps' digests.
	clients map[digest.Digest][]string
}

func (b *build) need(services []*api.Node) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.needs = append(b.needs, services...)
}

// result is what a build returns to be exported: a file system and, for an image, its configuration.
type result struct {
	ref  gateway.Reference
	meta map[string][]byte
}

// job runs f as a build, and exports what it returns, and what is to be kept of it in a cache.
func (e *Engine) job(ctx context.Context, exports []bkclient.ExportEntry, f func(context.Context, *build) (*result, error), keep ...bkclient.CacheOptionsEntry) (map[string]string, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	b := &build{engine: e, clients: map[digest.Digest][]string{}, privileged: e.privileged.Load()}
	status := make(chan *bkclient.SolveStatus)
	watch := e.progress.Watch(ctx)
	defer e.services.watch(b, watch, cancel)()
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for s := range status {
			watch.Update(s)
		}
	}()
	opt := bkclient.SolveOpt{Exports: exports, CacheExports: keep, SourcePolicy: e.pins.Policy(), SharedSession: e.session, SessionPreInitialized: true}
	opt.Internal = true // no record of it, which would hold what its steps print, and a step may print a secret
	if b.privileged {
		opt.AllowedEntitlements = []string{entitlements.EntitlementSecurityInsecure.String()}
	}
	if len(exports) > 0 && exports[0].Type == bkclient.ExporterLocal {
		// Its target is part of a session, so it needs one of its own.
		opt.SharedSession, opt.SessionPreInitialized = nil, false
		opt.Session = e.attachables
	}
	var inner error // f's own error: what comes back through the daemon has lost its types
	response, err := e.client.Build(ctx, opt, "aksflow", func(ctx context.Context, gw gateway.Client) (*gateway.Result, error) {
		b.gateway = gw
		r, err := f(ctx, b)
		if err != nil {
			inner = err
			return nil, err
		}
		out := gateway.NewResult()
		if r != nil && len(exports)+len(keep) > 0 {
			if r.ref != nil {
				out.SetRef(r.ref)
			}
			for k, v := range r.meta {
				out.AddMeta(k, v)
			}
		}
		return out, nil
	}, status)
	<-watched
	if inner != nil {
		err = inner
	}
	if ended := context.Cause(ctx); err != nil && ended != nil {
		return nil, ended
	}
	if err != nil {
		return nil, e.host.Explain(e.hosts.OddName(watch.Explain(err)))
	}
	return response.ExporterResponse, nil
}

// errNeedPrivilege says that a build must be permitted to run privileged containers.
var errNeedPrivilege = errors.New("a container needs insecureRootCapabilities")

// privilege permits privileged containers to the builds of the session that start from now on. The error ends the current
// one if it may not have them. The Dockerfiles of a session that never asks for it run without the permission.
func (b *build) privilege() error {
	b.engine.privileged.Store(true)
	if !b.privileged {
		return errNeedPrivilege
	}
	return nil
}

// attempts bounds how often a build is tried again because services that ran have ended meanwhile.
const attempts = 3

// run runs f as a build. If a step in it needs services, they are started and f runs once more, and works out anew what
// it solves: the services have addresses then.
func (e *Engine) run(ctx context.Context, exports []bkclient.ExportEntry, f func(context.Context, *build) (*result, error)) (map[string]string, error) {
	for try := 1; ; try++ {
		var needs []*api.Node
		privileged := e.privileged.Load()
		response, err := e.job(ctx, exports, func(ctx context.Context, b *build) (*result, error) {
			r, err := f(ctx, b)
			needs = b.needs
			return r, err
		})
		if err != nil && !privileged && e.privileged.Load() {
			continue // it may have failed for want of the permission
		}
		if err == nil {
			e.cache.Write(e.base, e.writeCache)
			return response, nil
		}
		if !errors.Is(err, progress.ErrNeedServices) {
			return nil, e.services.blame(err, needs)
		}
		if try == attempts {
			return nil, e.services.blame(fmt.Errorf("%w, and they do not stay up", progress.ErrNeedServices), needs)
		}
		if err := e.services.startAll(ctx, needs); err != nil {
			return nil, err
		}
	}
}

// writeCache writes the results of a Dockerfile's build to a cache.
func (e *Engine) writeCache(ctx context.Context, id string, to []bkclient.CacheOptionsEntry) error {
	_, err := e.job(ctx, nil, func(ctx context.Context, b *build) (*result, error) {
		c, err := b.container(ctx, e.api.Must(id))
		if err != nil {
			return nil, err
		}
		return b.image(ctx, c)
	}, to...)
	return err
}

// solve has the daemon make a file system, and all else that its steps leave. Nil stands for an empty one.
func (b *build) solve(ctx context.Context, t tree, platform ocispecs.Platform) (gateway.Reference, error) {
	b.need(t.needs())
	ref, err := b.solveState(ctx, t.state, platform)
	if err != nil {
		return nil, err
	}
	group, ctx := errgroup.WithContext(ctx)
	t.walk(func(s *step) {
		if s.solved.Load() {
			return
		}
		group.Go(func() error {
			for _, output := range s.outputs {
				if _, err := b.solveState(ctx, output, platform); err != nil {
					return err
				}
			}
			s.solved.Store(true)
			return nil
		})
	})
	return ref, group.Wait()
}

func (b *build) solveState(ctx context.Context, st llb.State, platform ocispecs.Platform) (gateway.Reference, error) {
	def, err := st.Marshal(ctx, llb.Platform(platform))
	if err != nil {
		return nil, err
	}
	if len(def.Def) == 0 {
		return nil, nil
	}
	if err := b.noteClients(def); err != nil {
		return nil, err
	}
	r, err := b.gateway.Solve(ctx, gateway.SolveRequest{Definition: def.ToPB(), Evaluate: true})
	if err != nil {
		return nil, err
	}
	return r.SingleRef()
}

// noteClients notes which of a definition's steps talk to services.
func (b *build) noteClients(def *llb.Definition) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, data := range def.Def {
		d := digest.FromBytes(data)
		if _, known := b.clients[d]; known {
			continue
		}
		var op pb.Op
		if err := op.UnmarshalVT(data); err != nil {
			return err
		}
		hosts := []string{}
		for _, h := range op.GetExec().GetMeta().GetExtraHosts() {
			hosts = append(hosts, h.Host)
		}
		b.clients[d] = hosts
	}
	return nil
}

// platform is the daemon's own.
func (b *build) platform() ocispecs.Platform {
	if w := b.gateway.BuildOpts().Workers; len(w) > 0 && len(w[0].Platforms) > 0 {
		return platforms.Normalize(w[0].Platforms[0])
	}
	return platforms.Normalize(platforms.DefaultSpec())
}

// host is the address of a service as a step's hosts file gets it, whether or not it runs.
func (b *build) host(service *api.Node) (ip net.IP, runs bool) {
	if ip := b.engine.services.address(service); ip != nil {
		return ip, true
	}
	return net.ParseIP(contract.NotRunning), false
}
