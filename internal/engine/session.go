// Package engine decides where a Dagger graph runs, and connects to it: to a Dagger engine if there is one, else to the
// embedded engine of package embedded. Its callers get a [dagger.Client] and need not know which engine answers.
package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"dagger.io/dagger"
	"dagger.io/dagger/engineconn"

	"github.com/aksflow/aksflow/internal/core/delivery"
	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/engine/embedded"
	"github.com/aksflow/aksflow/internal/engine/embedded/bkhost"
	"github.com/aksflow/aksflow/internal/engine/embedded/buildkitd"
	"github.com/aksflow/aksflow/internal/engine/embedded/registryauth"
	"github.com/aksflow/aksflow/internal/engine/embedded/remotecache"
	"github.com/aksflow/aksflow/internal/engine/embedded/terminal"
	"github.com/aksflow/aksflow/internal/engine/serving"
)

// The engines that Options.Engine and the variable AKSFLOW_ENGINE may name.
const (
	Auto     = "auto"     // a Dagger engine if one is at hand, else the embedded one
	Dagger   = "dagger"   // a Dagger engine, or an error that says what is missing
	Embedded = "embedded" // the embedded engine (Linux), on the BuildKit of BUILDKIT_HOST if there is one
)

// Options says where a session runs. Nothing here reads the process's environment: package cli passes it in.
type Options struct {
	// Engine is Auto, Dagger or Embedded. Empty means AKSFLOW_ENGINE of Env, and Auto if that is empty too.
	Engine string
	// State is the state directory; the embedded engine keeps its daemon, cache and log in State/engine. Empty means
	// [StateDir]'s default.
	State string
	// Env is the caller's environment as os.Environ returns it.
	Env []string
	// Setenv sets a variable of the process. The Dagger SDK learns from one of them which dagger program to start.
	// Needed for Dagger engines only.
	Setenv func(name, value string) error
	// Login gives the embedded engine the credentials for a registry that images are pulled from; empty where Docker's
	// configuration has them.
	Login func(ctx context.Context, host string) (username, password string, err error)
	// Terminal is what the embedded engine gives to containers that ask for one; nil is none.
	Terminal *terminal.Terminal
	// Session says what the session is for.
	Session delivery.Session
	// IdleTimeout is how long the embedded engine's daemon stays up after its last session. Zero means 15 minutes.
	IdleTimeout time.Duration
}

// Session is a connection to an engine. Services that were started through it stop when it closes.
type Session struct {
	client *dagger.Client
	conn   engineconn.EngineConn
}

// Client is the connection; it is valid until Close.
func (s *Session) Client() *dagger.Client { return s.client }

// Serve serves the session to other programs on this machine: see [serving.Listen].
func (s *Session) Serve(ctx context.Context) (*serving.Server, error) {
	return serving.Listen(ctx, s.conn)
}

// Close ends the session and stops its services. The embedded engine's daemon stays for the next command.
func (s *Session) Close() error { return s.client.Close() }

// Connect opens a session. Canceling ctx ends whatever runs in it; Close is still to be called.
//
// An unknown engine name is a usage error (package fault). Every other error says what the chosen engine lacks and how to
// get it.
func Connect(ctx context.Context, o Options) (*Session, error) {
	env := newEnvironment(o.Env)
	switch want := cmp.Or(o.Engine, env["AKSFLOW_ENGINE"], Auto); want {
	case Embedded:
		return connectEmbedded(ctx, o, "")
	case Dagger:
		found, err := findDagger(ctx, env)
		if err != nil {
			return nil, err
		}
		return connectDagger(ctx, found, o)
	case Auto:
		found, err := findDagger(ctx, env)
		if err != nil {
			return connectEmbedded(ctx, o, err.Error())
		}
		report.Info(ctx, "engine: Dagger, because %s", found.why)
		return connectDagger(ctx, found, o)
	default:
		return nil, fault.Usagef("engine %q: want %s, %s or %s (--engine or AKSFLOW_ENGINE)", want, Auto, Dagger, Embedded)
	}
}

// connectEmbedded connects to the embedded engine, and says in one line where its containers run and why it was taken; an
// empty why says that it was chosen.
func connectEmbedded(ctx context.Context, o Options, why string) (*Session, error) {
	state, err := StateDir(o.State, o.Env)
	if err != nil {
		return nil, err
	}
	host, err := newHost(o)
	if err != nil {
		return nil, err
	}
	switch how := mode(host); {
	case why != "":
		report.Info(ctx, "engine: %s, because %s", how, why)
	case how != Embedded:
		report.Info(ctx, "engine: %s", how)
	}
	opts := embedded.Options{Dir: engineDir(state), Idle: o.IdleTimeout, Env: o.Env, Login: o.Login, Terminal: o.Terminal, Host: host}
	opts.NoCache = o.Session.NoCache
	if c := o.Session.Cache; c != nil {
		opts.Cache = remotecache.Options{Imports: c.Imports, Export: c.Export}
		opts.Login = loginFor(c, o.Login)
	}
	conn, err := embedded.Open(ctx, opts)
	if err != nil {
		return nil, err
	}
	return newSession(ctx, conn)
}

// newHost returns the BuildKit that the environment names, nil for none.
func newHost(o Options) (*bkhost.Host, error) {
	env := newEnvironment(o.Env)
	return bkhost.New(env[bkhost.Variable], env[bkhost.TLS])
}

// mode is how the embedded engine runs containers.
func mode(host *bkhost.Host) string {
	if host != nil {
		return fmt.Sprintf("%s, on the BuildKit of %s (%s)", Embedded, bkhost.Variable, host.Address)
	}
	if os.Geteuid() != 0 {
		return Embedded + ", rootless"
	}
	return Embedded
}

// loginFor returns a login that is the cache's own for its registry.
func loginFor(c *delivery.BuildCache, others registryauth.Login) registryauth.Login {
	return func(ctx context.Context, host string) (username, password string, err error) {
		if c.Login != nil && host == c.Host {
			return c.Login.Login(ctx)
		}
		if others == nil {
			return "", "", nil
		}
		return others(ctx, host)
	}
}

// newSession makes a session of a connection, which is closed if that fails.
func newSession(ctx context.Context, conn engineconn.EngineConn) (*Session, error) {
	client, err := dagger.Connect(ctx, dagger.WithConn(conn))
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &Session{client: client, conn: conn}, nil
}

// engineDir is the embedded engine's part of a state directory.
func engineDir(state string) string { return filepath.Join(state, "engine") }

// Down stops the embedded engine's daemon of a state directory, if it runs, and removes what it or a killed
// predecessor left on the machine: its bridge, iptables rules, network namespaces and mounts. The cache stays.
// Sessions that still use the daemon fail.
func Down(ctx context.Context, state string) error {
	if err := buildkitd.Stop(ctx, engineDir(state)); err != nil {
		return fmt.Errorf("stop the embedded engine: %w", err)
	}
	return nil
}

// StateDir is where aksflow keeps state: dir if it is not empty, else AKSFLOW_STATE, else aksflow in XDG_STATE_HOME, else
// aksflow in .local/state of HOME. The variables are those of env, which has the form of os.Environ. The answer is
// absolute; the directory may not exist yet.
func StateDir(dir string, env []string) (string, error) {
	vars := newEnvironment(env)
	if dir = cmp.Or(dir, vars["AKSFLOW_STATE"]); dir != "" {
		return filepath.Abs(dir)
	}
	base := vars["XDG_STATE_HOME"]
	if !filepath.IsAbs(base) { // the XDG specification says to ignore a relative one
		if vars["HOME"] == "" {
			return "", errors.New("where to keep state: HOME is not set; set AKSFLOW_STATE or pass --state")
		}
		base = filepath.Join(vars["HOME"], ".local", "state")
	}
	return filepath.Join(base, "aksflow"), nil
}

// environment are variables by name.
type environment map[string]string

// newEnvironment reads variables in the form of os.Environ.
func newEnvironment(env []string) environment {
	vars := environment{}
	for _, v := range env {
		name, value, _ := strings.Cut(v, "=")
		vars[name] = value
	}
	return vars
}
