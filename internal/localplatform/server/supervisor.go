//go:build linux

package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aksflow/aksflow/internal/localplatform"
	"github.com/aksflow/aksflow/internal/localplatform/cgroup"
	"github.com/aksflow/aksflow/internal/localplatform/process"
	"github.com/aksflow/aksflow/internal/localplatform/standin"
)

// startTime limits the platform's start, which takes 15 s on an idle machine with two cores. A busy one needs longer.
const startTime = 5 * time.Minute

// task is a part of the start.
type task struct {
	name  string
	after []string // tasks that must be done before
	run   func(context.Context) error
	quiet bool // not reported to the user
}

// supervisor starts the parts and watches them.
type supervisor struct {
	*config
	inherited map[string]net.Listener

	standin        *standin.Server // with the part Azure only
	authentication string          // the API server's AuthenticationConfiguration; "" for none

	mu     sync.Mutex
	events *json.Encoder

	done    map[string]chan struct{}   // by task: closed when it is done
	failed  chan error                 // the first error, which ends the platform
	joining atomic.Pointer[supervisor] // starts more parts, for one who waits
}

// supervise runs inside the namespaces until a server ends.
func supervise() error {
	c, err := loadConfig()
	if err != nil {
		return err
	}
	s := &supervisor{
		config: c, inherited: map[string]net.Listener{}, done: map[string]chan struct{}{},
		events: json.NewEncoder(os.NewFile(eventsFD, "events")),
		// Only the first error is read. The buffer keeps its sender from waiting.
		failed: make(chan error, 1),
	}
	err = s.run()
	s.tell(event{Error: err.Error()})
	return err
}

func (s *supervisor) tell(e event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.events.Encode(e) // an error means that the keeper has ended, and then this process ends, too
}

func (s *supervisor) fail(err error) {
	select {
	case s.failed <- err:
	default:
	}
}

// run starts the parts, and returns the error that ends the platform.
func (s *supervisor) run() error {
	if err := cgroup.Mount(s.Hierarchies); err != nil {
		return err
	}
	for _, dir := range []string{s.State.run("tmp"), s.State.run("home")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	for i, name := range s.listeners() {
		f := os.NewFile(uintptr(listenersFD+i), name)
		l, err := net.FileListener(f)
		f.Close()
		if err != nil {
			return fmt.Errorf("taking over the listener for %s: %w", name, err)
		}
		s.inherited[name] = l
	}

	if s.has(localplatform.Azure) {
		if err := s.azureServer(); err != nil {
			return err
		}
	}
	tasks, err := s.tasks(s.Parts)
	if err != nil {
		return err
	}
	more, err := s.listenForParts()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	ready := s.start(ctx, tasks)
	for {
		select {
		case err := <-s.failed:
			if more := s.joining.Load(); more != nil {
				more.tell(event{Error: err.Error()})
			}
			return err
		case <-ready:
			s.tell(event{Ready: true})
			ready = nil
			cancel()
			go s.takeParts(more)
		}
	}
}

// tasks returns the tasks that start parts.
func (s *supervisor) tasks(parts []localplatform.Part) ([]task, error) {
	var tasks []task
	for _, part := range []struct {
		localplatform.Part
		tasks func() ([]task, error)
	}{
		{localplatform.Registry, s.registry}, {localplatform.Git, s.git}, {localplatform.Kubernetes, s.kubernetes}, {localplatform.ArgoCD, s.argocd}, {localplatform.ArgoCDServer, s.argocdServer}, {localplatform.Flux, s.flux}, {localplatform.Azure, s.azure},
	} {
		if !slices.Contains(parts, part.Part) {
			continue
		}
		more, err := part.tasks()
		if err != nil {
			return nil, err
		}
		tasks = append(tasks, more...)
	}
	return tasks, nil
}

// start runs each task as soon as the tasks before it are done. The channel is closed when these and all earlier tasks are
// done.
func (s *supervisor) start(ctx context.Context, tasks []task) <-chan struct{} {
	began := time.Now()
	done := s.done
	for _, t := range tasks {
		done[t.name] = make(chan struct{})
	}
	for _, t := range tasks {
		for _, need := range t.after {
			if done[need] == nil {
				s.fail(fmt.Errorf("%s waits for %s, which nobody starts", t.name, need))
			}
		}
	}
	for _, t := range tasks {
		go func() {
			for _, need := range t.after {
				<-done[need] // stays open if that task failed; then the platform ends
			}
			if err := t.run(ctx); err != nil {
				s.fail(err)
				return
			}
			elapsed := time.Since(began)
			fmt.Fprintf(os.Stderr, "%6.2f s: %s is ready\n", elapsed.Seconds(), t.name)
			if !t.quiet {
				s.tell(event{Part: t.name, Elapsed: elapsed})
			}
			close(done[t.name])
		}()
	}
	all, waits := make(chan struct{}), slices.Collect(maps.Values(done))
	go func() {
		for _, wait := range waits {
			<-wait
		}
		close(all)
	}()
	return all
}

// serve returns a task that starts a server and waits until it is ready. When the server ends, the platform ends.
func (s *supervisor) serve(spec process.Spec, after ...string) task {
	return task{name: spec.Name, after: after, quiet: true, run: func(ctx context.Context) error {
		p, err := process.Start(context.Background(), spec, s.State.logs()) // it outlives ctx, which bounds the start
		if err != nil {
			return err
		}
		go func() {
			<-p.Done()
			s.fail(p.Err())
		}()
		return p.AwaitReady(ctx)
	}}
}

// keep is like serve for a server that is started again when it ends, as a kubelet does with static pods. A server that
// ends before it was ready is not started again.
func (s *supervisor) keep(spec process.Spec, after ...string) task {
	return task{name: spec.Name, after: after, quiet: true, run: func(ctx context.Context) error {
		start := func(ctx context.Context) (*process.Process, error) {
			p, err := process.Start(context.Background(), spec, s.State.logs())
			if err != nil {
				return nil, err
			}
			return p, p.AwaitReady(ctx)
		}
		p, err := start(ctx)
		if err != nil {
			return err
		}
		go func() {
			for {
				<-p.Done()
				fmt.Fprintf(os.Stderr, "%v\n%s is started again\n", p.Err(), spec.Name)
				ctx, cancel := context.WithTimeout(context.Background(), startTime)
				p, err = start(ctx)
				cancel()
				if err != nil {
					s.fail(err)
					return
				}
			}
		}()
		return nil
	}}
}

// registry returns the task that starts the image registry: a process on loopback inside the namespaces, which the host
// reaches through the inherited listener.
func (s *supervisor) registry() ([]task, error) {
	type object = map[string]any
	port := strconv.Itoa(s.Ports[registryListener])
	configuration := object{
		"version": "0.1",
		"log":     object{"level": "warn", "accesslog": object{"disabled": true}},
		"storage": object{
			"filesystem": object{"rootdirectory": s.State.Path("registry")},
			"delete":     object{"enabled": true},
		},
		// The secret is the same after a restart, so that uploads can go on.
		"http": object{"addr": "127.0.0.1:" + port, "secret": s.GitPassword},
	}
	if s.RegistryUser != "" {
		file := s.State.run("htpasswd")
		if err := writePassword(file, s.RegistryUser, s.RegistryPassword); err != nil {
			return nil, err
		}
		configuration["auth"] = object{"htpasswd": object{"realm": "registry", "path": file}}
	}
	file := s.State.run("registry.yml")
	if err := writeYAML(file, configuration); err != nil {
		return nil, err
	}
	serve := s.serve(process.Spec{
		Name: registryListener, Path: s.Programs["registry"], Args: []string{"serve", file},
		Env:   []string{"OTEL_TRACES_EXPORTER=none"},
		Ready: listens("127.0.0.1:" + port),
	})
	serve.quiet = false
	forward(s.inherited[registryListener], "127.0.0.1:"+port)
	return []task{serve}, nil
}

// git returns the task that starts the git server, in this process.
func (s *supervisor) git() ([]task, error) {
	if err := os.MkdirAll(s.State.Repositories(), 0o755); err != nil {
		return nil, fmt.Errorf("serving git: %w", err)
	}
	handler, err := s.config.git().Handler()
	if err != nil {
		return nil, err
	}
	return []task{{name: string(localplatform.Git), run: func(context.Context) error {
		inside, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(s.Ports[gitListener]))
		if err != nil {
			return fmt.Errorf("serving git: %w", err)
		}
		for _, l := range []net.Listener{inside, s.inherited[gitListener]} {
			s.serveHTTP(l, handler)
		}
		return nil
	}}}, nil
}

// serveHTTP serves until this process ends.
func (s *supervisor) serveHTTP(l net.Listener, handler http.Handler) {
	go func() {
		server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
		s.fail(fmt.Errorf("serving on %s: %w", l.Addr(), server.Serve(l)))
	}()
}

// forward forwards the connections that l accepts to an address inside the namespaces.
func forward(l net.Listener, address string) {
	carry := func(outside net.Conn) {
		defer outside.Close()
		inside, err := net.Dial("tcp", address)
		if err != nil {
			return // the caller sees a closed connection
		}
		defer inside.Close()
		var both sync.WaitGroup
		for _, way := range [2][2]*net.TCPConn{
			{inside.(*net.TCPConn), outside.(*net.TCPConn)}, {outside.(*net.TCPConn), inside.(*net.TCPConn)},
		} {
			both.Go(func() {
				_, _ = io.Copy(way[0], way[1]) // a broken connection ends both ways
				_ = way[0].CloseWrite()
			})
		}
		both.Wait()
	}
	go func() {
		for {
			conn, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				go carry(conn)
			}
		}
	}()
}

// listens returns a readiness check: the server is ready when it accepts connections.
func listens(address string) func(context.Context) error {
	return func(ctx context.Context) error {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return conn.Close()
	}
}

// write writes a file of the platform, with the directories above it.
func write(path string, data []byte) error {
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("configuring the platform: %w", err)
	}
	return nil
}
