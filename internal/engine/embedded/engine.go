// Package embedded is the embedded engine: the part of Dagger's API that aksflow's pipeline uses, answered by BuildKit.
// The SDK connects to it with dagger.WithConn.
//
// A query (package api) is a chain of fields. Objects are what the chain says and nothing more.
// The fields that ask for something (leaves.go) work out what BuildKit is to do (container.go, exec.go, mount.go,
// directory.go, file.go, secret.go) and have it done (build.go). Services (services.go) run beside that, and images come
// in and go out by way of a store (store.go). BuildKit pulls, caches, runs and exports.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"dagger.io/dagger/engineconn"
	"github.com/containerd/containerd/v2/core/content"
	bkclient "github.com/moby/buildkit/client"
	bksession "github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/auth/authprovider"
	sessioncontent "github.com/moby/buildkit/session/content"
	"github.com/moby/buildkit/session/filesync"
	"github.com/moby/buildkit/session/grpchijack"
	"github.com/moby/buildkit/session/secrets/secretsprovider"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sirupsen/logrus"

	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/engine/embedded/api"
	"github.com/aksflow/aksflow/internal/engine/embedded/bkhost"
	"github.com/aksflow/aksflow/internal/engine/embedded/buildkitd"
	"github.com/aksflow/aksflow/internal/engine/embedded/dockerfile"
	"github.com/aksflow/aksflow/internal/engine/embedded/flight"
	"github.com/aksflow/aksflow/internal/engine/embedded/hostdirs"
	"github.com/aksflow/aksflow/internal/engine/embedded/nesting"
	"github.com/aksflow/aksflow/internal/engine/embedded/progress"
	"github.com/aksflow/aksflow/internal/engine/embedded/registryauth"
	"github.com/aksflow/aksflow/internal/engine/embedded/remotecache"
	"github.com/aksflow/aksflow/internal/engine/embedded/secretstore"
	"github.com/aksflow/aksflow/internal/engine/embedded/sockets"
	"github.com/aksflow/aksflow/internal/engine/embedded/store"
	"github.com/aksflow/aksflow/internal/engine/embedded/terminal"
)

// APIVersion is the version of Dagger whose API the engine answers.
const APIVersion = "v0.21.8"

// ErrClosed is why work ends that was under way when its session was closed.
var ErrClosed = errors.New("the engine's session was closed")

// Options says how an engine is opened.
type Options struct {
	Dir   string             // its state directory, shared by all sessions
	Idle  time.Duration      // how long its daemon stays up unused; 0 means buildkitd.DefaultIdle
	Env   []string           // the caller's environment as os.Environ returns it, for secrets with an env:// URI and the daemon
	Login registryauth.Login // for registries that images are pulled from; nil leaves them to Docker's configuration
	// Terminal is what containers may have for a while; nil is none.
	Terminal *terminal.Terminal
	// Cache is where results are kept beside the state directory.
	Cache remotecache.Options
	// NoCache builds Dockerfiles without what is in the cache.
	NoCache bool
	// Host is the BuildKit to use in place of a daemon of the engine's own, which is then not started; nil is none.
	Host *bkhost.Host
}

// Engine is one session of the embedded engine. It is safe for concurrent use.
type Engine struct {
	daemon *buildkitd.Daemon // nil where it is somebody else's
	host   *bkhost.Host      // nil where the daemon is the engine's own
	worker *bkhost.Worker
	client *bkclient.Client
	// session is BuildKit's: through it the daemon asks for host files, secrets, registry credentials and blobs.
	session     *bksession.Session
	attachables []bksession.Attachable
	store       *store.Store
	hosts       *hostdirs.Dirs
	secrets     *secretstore.Store
	sockets     *sockets.Forwarder
	nesting     *nesting.Session
	terminal    *terminal.Terminal
	credentials *registryauth.Credentials
	cache       *remotecache.Cache
	noCache     bool
	pins        dockerfile.Pins
	// privileged says that a container of the session asked for insecureRootCapabilities.
	privileged atomic.Bool

	base   context.Context // ends with the session
	cancel context.CancelCauseFunc
	work   sync.WaitGroup

	api      *api.Server
	memo     flight.Memo
	resolved sync.Map                          // reference and platform -> what a registry said
	images   flight.Group[ocispecs.Descriptor] // in the store: of containers that were exported, of tarballs that were read
	attached flight.Group[bool]                // the terminal was, to the container of a node
	services services
	progress progress.Session
}

var (
	_ engineconn.EngineConn = (*Engine)(nil)
	_ api.Backend           = (*Engine)(nil)
)

// quiet keeps BuildKit's libraries from writing to standard error: what matters comes back as an error or as progress.
var quiet = sync.OnceFunc(func() {
	logrus.SetOutput(io.Discard)
	log.SetOutput(io.Discard) // HTTP/2, of a session that ends as soon as it began
})

// Open opens a session, and starts the daemon if none runs and no other BuildKit is named. The end of ctx ends what runs in
// the session; Close is still to be called.
func Open(ctx context.Context, o Options) (_ *Engine, err error) {
	quiet()
	e := &Engine{
		host: o.Host, credentials: registryauth.New(o.Login),
		secrets: &secretstore.Store{Env: o.Env},
		sockets: &sockets.Forwarder{}, terminal: o.Terminal, cache: remotecache.New(o.Cache), noCache: o.NoCache,
	}
	e.services.engine = e
	e.progress.Hide = e.secrets.Hide
	e.base, e.cancel = context.WithCancelCause(ctx)
	e.api = api.New(e.base, e)
	e.nesting = &nesting.Session{Do: e.api.DoNested, Secrets: e.secrets, Sockets: e.sockets}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.Close())
		}
	}()
	if err := e.connect(ctx, o); err != nil {
		return nil, err
	}
	shim, err := findShim()
	if err != nil {
		return nil, fmt.Errorf("the embedded engine cannot start: %w", err)
	}
	e.hosts = hostdirs.New(shimName, filepath.Dir(shim))
	if e.store, err = store.Open(filepath.Join(o.Dir, "content")); err != nil {
		return nil, fmt.Errorf("the engine's state: %w", err)
	}
	if e.session, err = bksession.NewSession(e.base, ""); err != nil {
		return nil, err
	}
	e.attachables = []bksession.Attachable{
		filesync.NewFSSyncProvider(e.hosts),
		secretsprovider.NewSecretProvider(e.secrets),
		e.sockets,
		authprovider.NewDockerAuthProvider(authprovider.DockerAuthProviderConfig{AuthConfigProvider: e.credentials.Provide}),
		sessioncontent.NewAttachable(map[string]content.Store{
			"oci:" + storeID: e.store, // what OCI layout sources read
			"export":         e.store, // what the OCI exporter writes
		}),
	}
	for _, a := range e.attachables {
		e.session.Allow(a)
	}
	e.work.Go(func() {
		_ = e.session.Run(e.base, grpchijack.Dialer(e.client.ControlClient())) // its end shows in what needs it
	})
	return e, nil
}

// connect connects to the daemon.
func (e *Engine) connect(ctx context.Context, o Options) (err error) {
	if e.host != nil {
		if e.client, e.worker, err = e.host.Connect(ctx); err != nil {
			return err
		}
		for _, warning := range e.host.Warnings(e.worker) {
			report.Warn(ctx, "%s", warning)
		}
		return nil
	}
	if e.daemon, err = buildkitd.Acquire(ctx, buildkitd.Options{Dir: o.Dir, Idle: o.Idle, Env: o.Env}); err != nil {
		return err
	}
	if e.client, err = bkclient.New(ctx, e.daemon.Addr()); err != nil {
		return fmt.Errorf("connect to the engine's daemon: %w", err)
	}
	if e.worker, err = bkhost.Inspect(ctx, e.client, buildkitd.StartLimit); err != nil {
		return fmt.Errorf("the engine's daemon: %w%s", err, e.daemon.LogTail())
	}
	if e.worker.SharedNetwork {
		report.Warn(ctx, "%s; a /dev/net/tun that this user may open gives each its own", bkhost.Shares)
	}
	return nil
}

// Do implements [engineconn.EngineConn]: it answers a GraphQL request.
func (e *Engine) Do(r *http.Request) (*http.Response, error) { return e.api.Do(r) }

// Host implements [engineconn.EngineConn]. It stands in URLs that nobody dials.
func (e *Engine) Host() string { return "embedded" }

// Close ends what runs in the session, its services too, and returns when all of it has ended.
func (e *Engine) Close() error {
	e.cache.Wait()
	e.cancel(ErrClosed)
	errs := []error{e.nesting.Close()}
	if e.session != nil {
		errs = append(errs, e.session.Close())
	}
	e.work.Wait()
	if e.client != nil {
		errs = append(errs, e.client.Close())
	}
	if e.hosts != nil {
		errs = append(errs, e.hosts.Close())
	}
	if e.daemon != nil {
		errs = append(errs, e.daemon.Release())
	}
	return errors.Join(errs...)
}
