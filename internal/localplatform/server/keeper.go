//go:build linux

package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/gofrs/flock"

	"github.com/aksflow/aksflow/internal/localplatform"
	"github.com/aksflow/aksflow/internal/localplatform/cgroup"
	"github.com/aksflow/aksflow/internal/localplatform/process"
)

// accepted is the byte that Up sends when it has seen that all is ready. From then on the platform runs without it.
const accepted = 'y'

const firstEnded = "its first process ended"

// File descriptors of the platform's processes.
const (
	upFD        = 3 // keeper: the socket to Up
	eventsFD    = 3 // init and supervisor: the pipe to the keeper
	listenersFD = 4 // init and supervisor: the first of the listeners, in the order of config.listeners
)

// The host's listeners and their well-known ports.
const (
	registryListener = "registry"
	gitListener      = "git"
	apiListener      = "kubernetes"
	appsListener     = "apps"
	argocdListener   = "argocd-server"
	azureListener    = "azure"
)

// listeners returns the names of the listeners that the parts need, in a fixed order.
func (c *config) listeners() []string {
	var names []string
	for _, l := range []struct {
		part localplatform.Part
		name string
	}{
		{localplatform.Registry, registryListener}, {localplatform.Git, gitListener}, {localplatform.Kubernetes, apiListener}, {localplatform.Kubernetes, appsListener},
		{localplatform.ArgoCDServer, argocdListener}, {localplatform.Azure, azureListener},
	} {
		if c.has(l.part) {
			names = append(names, l.name)
		}
	}
	return names
}

var wellKnown = map[string]int{
	registryListener: 5000, gitListener: 3000, apiListener: 6443, appsListener: 8080, argocdListener: 8443, azureListener: 8090,
}

// reserved lists the ports that servers inside the namespaces use. A listener's port is used inside, too, so it must be
// another one.
var reserved = []int{
	etcdPort, etcdPeerPort, controllerManagerPort, schedulerPort, kubeletPort, kubeletHealthPort, proxyHealthPort,
	dnsReadyPort, argoRedisPort, argoRepoServerPort, argoMetricsPort, argoRepoMetricsPort, argoSetMetricsPort,
	argoSetProbePort, argoSetWebhookPort, argoServerMetricsPort, fluxArtifactsPort, fluxSourceMetricsPort,
	fluxSourceHealthPort, fluxKustomizeMetricsPort, fluxKustomizeHealthPort, azurePort, azureRegistryPort,
}

// keep is the platform's process on the host. It runs as long as the platform does.
func keep() error {
	up := os.NewFile(upFD, "up")
	defer up.Close()
	c := new(config)
	if err := json.NewDecoder(up).Decode(c); err != nil {
		return fmt.Errorf("reading what to start: %w", err)
	}
	err := c.host(up)
	if err != nil {
		_ = json.NewEncoder(up).Encode(event{Error: err.Error()}) // fails if Up has ended, which is harmless
	}
	return err
}

// host runs the platform and removes what it left. The error says why the platform did not become ready. The reason why
// a platform ended that was ready goes into a file, for the next [localplatform.Load].
func (c *config) host(up *os.File) (err error) {
	lock := flock.New(c.State.LockFile())
	// A second, because another process may hold the lock for a moment to see whether it is free.
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if ok, err := lock.TryLockContext(ctx, lockRetry); !ok {
		return fmt.Errorf("another platform holds %s: %w", lock.Path(), err)
	}
	defer lock.Unlock()
	if err := os.WriteFile(lock.Path(), []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
		return fmt.Errorf("taking the platform's lock: %w", err)
	}
	if err := c.tidy(); err != nil { // after a platform that was killed
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.tidy())
		}
	}()
	files, err := c.prepareHost(func(warning string) { _ = json.NewEncoder(up).Encode(event{Warning: warning}) })
	if err != nil {
		return err
	}
	first, events, err := startInit(files)
	if err != nil {
		return err
	}
	reason, taken, err := c.follow(first, events, up)
	ended := first.Wait()
	if err != nil {
		return err
	}
	if reason == firstEnded {
		reason = fmt.Sprintf("%s: %v; the end of %s:\n%s", firstEnded, ended, c.State.log(), process.Tail(c.State.log()))
	}
	if !taken {
		return errors.New(reason)
	}
	if err := c.tidy(); err != nil || reason == "" {
		return err
	}
	return writeJSON(c.State.CrashFile(), localplatform.CrashError{Time: time.Now(), Reason: reason})
}

// tidy removes what a platform leaves on the host.
func (c *config) tidy() error {
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTime)
	defer cancel()
	return c.State.clean(ctx)
}

// prepareHost makes the control group and the listeners, and writes the configuration for the processes to come.
func (c *config) prepareHost(warn func(string)) (listeners []*os.File, err error) {
	group, err := cgroup.New(c.State.group())
	if err != nil {
		return nil, err
	}
	if c.Hierarchies, err = cgroup.Hierarchies(); err != nil {
		return nil, err
	}
	if err := group.Create(); err != nil {
		return nil, err
	}
	if listeners, err = c.listen(warn); err != nil {
		return nil, err
	}
	return listeners, writeJSON(c.State.configFile(), c)
}

// startInit starts the first process of the namespaces, which the kernel ends when this process ends, and returns its
// events. The channel is closed when all processes in the namespaces have ended.
func startInit(listeners []*os.File) (*exec.Cmd, <-chan event, error) {
	// The kernel ends init when the thread that started it ends. A locked thread lives as long as its goroutine, which is
	// as long as this process.
	runtime.LockOSThread()
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, nil, fmt.Errorf("starting the platform: %w", err)
	}
	first := again(initRole)
	first.Env = append(first.Env, environment()...)
	first.Stdout, first.Stderr = os.Stdout, os.Stderr
	first.ExtraFiles = append([]*os.File{writer}, listeners...)
	first.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
		Pdeathsig:  syscall.SIGKILL,
	}
	if err := first.Start(); err != nil {
		return nil, nil, fmt.Errorf("starting the platform in namespaces of its own: %w", err)
	}
	for _, f := range first.ExtraFiles {
		f.Close()
	}
	events := make(chan event)
	go func() {
		defer close(events)
		for d := json.NewDecoder(reader); ; {
			var e event
			if d.Decode(&e) != nil {
				return
			}
			events <- e
		}
	}()
	return first, events, nil
}

// follow passes the events of the start on to Up, and returns when the namespaces are about to end. The reason is empty if
// the end was asked for after all was ready. taken reports whether Up had seen that all was ready.
func (c *config) follow(first *exec.Cmd, events <-chan event, up *os.File) (reason string, taken bool, err error) {
	answers := make(chan byte, 1)
	go func() {
		answer := []byte{0}
		_, _ = up.Read(answer) // stays 0 if Up has closed the socket
		answers <- answer[0]
	}()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(stop)
	tell := json.NewEncoder(up)
	info := c.info()
	for {
		select {
		case <-stop:
			if !taken {
				reason = "it was told to end"
			}
			return reason, taken, first.Process.Kill()
		case answer := <-answers:
			if answer != accepted {
				return "`aksflow up` ended before it was ready", false, first.Process.Kill()
			}
			info.Started = time.Now().Truncate(time.Second)
			if err := writeJSON(c.State.InfoFile(), info); err != nil {
				return "", false, errors.Join(err, first.Process.Kill())
			}
			taken = true
			up.Close()
		case e, ok := <-events:
			switch {
			case !ok:
				return firstEnded, taken, nil
			case e.Error != "":
				return e.Error, taken, nil
			case taken:
			default:
				if e.Part == registryListener {
					e.Info = info
				}
				_ = tell.Encode(e) // an Up that no longer reads is seen in answers
			}
		}
	}
}

// listen opens the host's listeners, on well-known ports if they are free.
func (c *config) listen(warn func(string)) ([]*os.File, error) {
	c.Ports = map[string]int{}
	var files []*os.File
	for _, name := range c.listeners() {
		l, err := listen(wellKnown[name], c.FreePorts)
		if err != nil {
			return nil, fmt.Errorf("listening for %s: %w", name, err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		if !c.FreePorts && port != wellKnown[name] {
			warn(fmt.Sprintf("port %d is taken by another program: %s listens on port %d", wellKnown[name], name, port))
		}
		c.Ports[name] = port
		f, err := l.(*net.TCPListener).File()
		l.Close()
		if err != nil {
			return nil, fmt.Errorf("listening for %s: %w", name, err)
		}
		files = append(files, f)
	}
	return files, nil
}

func listen(port int, free bool) (net.Listener, error) {
	if !free {
		if l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); !errors.Is(err, syscall.EADDRINUSE) {
			return l, err
		}
	}
	for {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil || !slices.Contains(reserved, l.Addr().(*net.TCPAddr).Port) {
			return l, err
		}
		defer l.Close() // held, so that the next listener gets another port
	}
}

// info describes the platform for its users.
func (c *config) info() *localplatform.Info {
	i := &localplatform.Info{
		State: c.State.String(), PID: os.Getpid(), Parts: c.Parts,
		Registry: "localhost:" + strconv.Itoa(c.Ports[registryListener]),
	}
	if c.has(localplatform.Git) {
		i.Git = "http://localhost:" + strconv.Itoa(c.Ports[gitListener])
		i.GitUser, i.GitPasswordFile = c.GitUser, c.State.gitPasswordFile()
	}
	if c.has(localplatform.Kubernetes) {
		i.Kubeconfig = c.State.kubeconfig()
		i.Apps = c.Ports[appsListener]
	}
	if c.has(localplatform.ArgoCD) {
		i.ArgoCDNamespace = argocdNamespace
	}
	if c.has(localplatform.Flux) {
		i.FluxNamespace = fluxNamespace
	}
	if c.has(localplatform.Azure) {
		i.Azure = c.azureInfo()
	}
	if c.has(localplatform.ArgoCDServer) {
		i.ArgoCD = "http://localhost:" + strconv.Itoa(c.Ports[argocdListener])
		i.ArgoCDPasswordFile = c.State.argocdPasswordFile()
	}
	return i
}

// environment returns the variables that a process of the platform passes to the next one.
func environment() []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "LANG"} {
		env = append(env, name+"="+os.Getenv(name))
	}
	return env
}
