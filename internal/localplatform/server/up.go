//go:build linux

package server

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/localplatform"
	"github.com/aksflow/aksflow/internal/localplatform/cgroup"
	"github.com/aksflow/aksflow/internal/tool"
)

const (
	gitUser   = "aksflow"
	lockRetry = 50 * time.Millisecond
	// cleanupTime limits how long it may take to undo a start that was cancelled. The client waits longer.
	cleanupTime = 30 * time.Second
)

// Up starts the platform as [localplatform.Up] describes it. A program that calls Up must call [Main] first thing.
func Up(ctx context.Context, o localplatform.Options) (*localplatform.Info, error) {
	if os.Getenv(roleVariable) != "" { // this process should be the keeper: starting another would go on without end
		return nil, errors.New("starting the local platform: the program that starts it must call server.Main first thing")
	}
	s, err := openState(o.State)
	if err != nil {
		return nil, fault.Usage(err)
	}
	if os.Geteuid() != 0 {
		return nil, fault.Usagef("starting the local platform: it makes namespaces and containers, which needs root: run it with sudo")
	}
	if len(o.Parts) == 0 {
		o.Parts = []localplatform.Part{localplatform.Registry, localplatform.Git, localplatform.Kubernetes, localplatform.ArgoCD}
	}
	parts, err := withDependencies(o.Parts)
	if err != nil {
		return nil, fault.Usage(err)
	}

	one := flock.New(s.upLockFile())
	if ok, _ := one.TryLock(); !ok {
		report.Info(ctx, "another `aksflow up` works in %s: waiting for it", s)
		if _, err := one.TryLockContext(ctx, lockRetry); err != nil {
			return nil, fmt.Errorf("waiting for another `aksflow up` in %s: %w", s, err)
		}
	}
	defer one.Unlock()

	info, err := localplatform.Load(s.Path())
	if err == nil {
		missing := slices.DeleteFunc(slices.Clone(parts), info.Has)
		if len(missing) == 0 {
			return info, pushImages(ctx, info, o)
		}
		if done, err := join(ctx, s, info, missing, o); done {
			return info, err
		}
		report.Info(ctx, "the platform runs without %s: starting it anew%s", names(missing), lost(info))
		if parts, err = withDependencies(append(parts, info.Parts...)); err != nil {
			return nil, err
		}
		if err := Down(ctx, s.Path()); err != nil {
			return nil, err
		}
	} else if crashed := (*localplatform.CrashError)(nil); errors.As(err, &crashed) {
		report.Warn(ctx, "%v", crashed)
	}

	c, err := configure(s, parts, o)
	if err != nil {
		return nil, err
	}
	return start(ctx, c, o)
}

// lost says what a platform that starts anew no longer has; "" where that is nothing.
func lost(info *localplatform.Info) string {
	if !info.Has(localplatform.Kubernetes) {
		return ""
	}
	return "; its cluster will be empty, so deliver again what ran there"
}

// configure finds the programs that parts need, and completes the configuration for the platform's processes.
func configure(s state, parts []localplatform.Part, o localplatform.Options) (*config, error) {
	c := &config{
		State: s, Parts: parts, FreePorts: o.FreePorts, ArgoCDPoll: o.ArgoCDPoll, AzureTokens: o.AzureTokens,
		RegistryUser: o.RegistryUser, RegistryPassword: o.RegistryPassword, GitUser: gitUser,
	}
	programs := map[string]string{}
	for part, needs := range map[localplatform.Part]map[string]string{
		localplatform.Registry: {"registry": ""},
		localplatform.Git:      {"git": "git"},
		localplatform.Kubernetes: {
			"kubernetes": "", "coredns": "", "pause": "", "containerd": "containerd",
			"containerd-shim-runc-v2": "containerd", "ctr": "containerd", "runc": "runc", "iptables": "iptables",
		},
		localplatform.ArgoCD:       {"argocd": "", "kustomize": "", "redis-server": "redis-server", "git": "git"},
		localplatform.ArgoCDServer: {"argocd-server": ""},
		localplatform.Flux:         {"source-controller": "", "kustomize-controller": ""},
	} {
		if c.has(part) {
			for name, debian := range needs {
				programs[name] = debian
			}
		}
	}
	var err error
	if c.Programs, err = tool.All(programs); err != nil {
		return nil, fmt.Errorf("starting the local platform: %w", err)
	}
	if c.has(localplatform.Kubernetes) {
		if c.CNI, err = findCNI(); err != nil {
			return nil, fmt.Errorf("starting the local platform: %w", err)
		}
	}
	if c.GitPassword, err = keepPassword(s.gitPasswordFile()); err != nil {
		return nil, err
	}
	return c, nil
}

// cniPlugins are the plugins that the pods' network uses.
var cniPlugins = []string{"ptp", "host-local", "loopback", "portmap"}

func findCNI() (string, error) {
	for _, dir := range []string{"/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"} {
		missing := slices.DeleteFunc(slices.Clone(cniPlugins), func(name string) bool {
			_, err := os.Stat(filepath.Join(dir, name))
			return err == nil
		})
		if len(missing) == 0 {
			return dir, nil
		}
	}
	return "", fmt.Errorf("the CNI plugins %s were not found: install Debian's package containernetworking-plugins",
		strings.Join(cniPlugins, ", "))
}

// keepPassword returns the password in a file, and makes both if the file does not exist.
func keepPassword(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err == nil && len(data) > 0 {
		return string(data), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("reading a password of the platform: %w", err)
	}
	password := rand.Text()
	if err := os.WriteFile(path, []byte(password), 0o600); err != nil {
		return "", fmt.Errorf("keeping a password of the platform: %w", err)
	}
	return password, nil
}

// start starts the keeper, the one process of the platform on the host, and follows it until all is ready.
func start(ctx context.Context, c *config, o localplatform.Options) (_ *localplatform.Info, err error) {
	began := time.Now()
	ours, ended, err := startKeeper(c)
	if err != nil {
		return nil, fmt.Errorf("starting the local platform: %w", err)
	}
	defer ours.Close()
	defer func() {
		if err != nil { // the closed socket makes the keeper end; waiting for it leaves nothing behind when Up returns
			ours.Close()
			<-ended
		}
	}()
	// A cancelled context wakes the reader of the events.
	defer context.AfterFunc(ctx, func() { _ = ours.SetDeadline(time.Unix(1, 0)) })()
	if err := json.NewEncoder(ours).Encode(c); err != nil {
		return nil, fmt.Errorf("starting the local platform: %w", err)
	}

	work, cancel := context.WithCancel(ctx)
	defer cancel()
	side, work := errgroup.WithContext(work)
	registry := make(chan string, 1)
	if c.has(localplatform.Registry) {
		side.Go(func() error { return makeImages(work, c, o, registry) })
	}
	events := json.NewDecoder(ours)
	if err := awaitParts(ctx, c, events, registry); err != nil {
		return nil, err
	}
	if err := side.Wait(); err != nil {
		return nil, err
	}
	if _, err := ours.Write([]byte{accepted}); err != nil {
		return nil, fmt.Errorf("starting the local platform: %w", err)
	}
	// The keeper closes the socket when it has written the platform's file.
	if err := events.Decode(new(event)); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("starting the local platform: %w", cmp.Or(ctx.Err(), err))
	}
	info, err := localplatform.Load(c.State.Path())
	if err != nil {
		return nil, err
	}
	report.Donef(ctx, "platform", "ready after %.1f s", time.Since(began).Seconds())
	return info, nil
}

// startKeeper starts the keeper. It returns this end of the socket to it, and a channel that is closed when it has ended.
func startKeeper(c *config) (ours *os.File, ended <-chan struct{}, err error) {
	s := c.State
	if err := os.MkdirAll(s.logs(), 0o700); err != nil {
		return nil, nil, err
	}
	log, err := os.OpenFile(s.log(), os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, nil, err
	}
	defer log.Close()
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, nil, err
	}
	defer theirs.Close()
	keeper := again(keeperRole)
	keeper.Stdout, keeper.Stderr, keeper.ExtraFiles = log, log, []*os.File{theirs}
	keeper.Dir = s.Path()
	keeper.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // it outlives the terminal
	// Nothing of the caller's environment: a proxy, a kubeconfig, git's or etcd's variables would change what runs.
	keeper.Env = append(keeper.Env, "PATH="+searchPath(c.Programs), "HOME="+s.run("home"), "TMPDIR="+s.run("tmp"), "LANG=C.UTF-8")
	if err := keeper.Start(); err != nil {
		ours.Close()
		return nil, nil, err
	}
	done := make(chan struct{})
	go func() {
		_ = keeper.Wait() // its last event says how it ended
		close(done)
	}()
	return ours, done, nil
}

// awaitParts reports the events of the start until all parts are ready. It sends the registry's address to registry once
// the registry answers.
func awaitParts(ctx context.Context, c *config, events *json.Decoder, registry chan<- string) error {
	var ready []string
	for {
		var e event
		if err := events.Decode(&e); err != nil {
			if ctx.Err() != nil {
				return fmt.Errorf("starting the local platform: %w; ready so far: %s; the others write to %s",
					ctx.Err(), cmp.Or(strings.Join(ready, ", "), "nothing"), c.State.logs())
			}
			return fmt.Errorf("starting the local platform: its keeper ended; see %s: %w", c.State.log(), err)
		}
		switch {
		case e.Error != "":
			return fmt.Errorf("starting the local platform: %s", e.Error)
		case e.Warning != "":
			report.Warn(ctx, "%s", e.Warning)
		case e.Ready:
			return nil
		default:
			ready = append(ready, e.Part)
			report.Donef(ctx, e.Part, "ready after %.1f s", e.Elapsed.Seconds())
			if e.Info != nil {
				registry <- e.Info.Registry
			}
		}
	}
}

// searchPath is the PATH of the platform's processes: their own programs first.
func searchPath(programs map[string]string) string {
	var dirs []string
	for _, program := range programs {
		dirs = append(dirs, filepath.Dir(program))
	}
	slices.Sort(dirs)
	standard := []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}
	dirs = slices.DeleteFunc(slices.Compact(dirs), func(dir string) bool { return slices.Contains(standard, dir) })
	return strings.Join(append(dirs, standard...), string(filepath.ListSeparator))
}

func names(parts []localplatform.Part) string {
	out := make([]string, len(parts))
	for i, p := range parts {
		out[i] = string(p)
	}
	return strings.Join(out, ", ")
}

func socketPair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	return os.NewFile(uintptr(fds[0]), "platform"), os.NewFile(uintptr(fds[1]), "up"), nil
}

// Down ends the platform as [localplatform.Down] describes it.
func Down(ctx context.Context, dir string) error {
	s, err := openState(dir)
	if err != nil {
		return fault.Usage(err)
	}
	lock := flock.New(s.LockFile())
	for {
		free, err := lock.TryLock()
		if err != nil {
			return fmt.Errorf("ending the local platform: %w", err)
		}
		if free {
			break
		}
		// The process that holds the lock writes its process ID into it, maybe a moment later.
		if data, err := os.ReadFile(s.LockFile()); err == nil {
			var pid int
			if n, _ := fmt.Sscan(string(data), &pid); n == 1 && pid > 1 {
				if err := syscall.Kill(pid, syscall.SIGTERM); errors.Is(err, syscall.EPERM) {
					return fault.Usagef("ending the local platform: process %d is root's: run it with sudo", pid)
				}
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the local platform to end: %w", ctx.Err())
		case <-time.After(lockRetry):
		}
	}
	defer lock.Unlock()
	return s.clean(ctx)
}

// clean removes what a killed platform left. The caller holds the platform's lock.
func (s state) clean(ctx context.Context) error {
	if os.Geteuid() == 0 {
		group, err := cgroup.New(s.group())
		if err != nil {
			return err
		}
		if err := group.Remove(ctx); err != nil {
			return fmt.Errorf("cleaning up after the local platform: %w", err)
		}
	}
	for _, path := range []string{s.InfoFile(), s.CrashFile(), s.configFile(), s.kubeconfig(), s.run()} {
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("cleaning up after the local platform: %w", err)
		}
	}
	return nil
}

// again returns a command that starts this program again, as one of the platform's own processes.
func again(role string) *exec.Cmd {
	return &exec.Cmd{
		Path: "/proc/self/exe", // works also when the file was replaced or removed, as that of a test is
		Args: []string{"aksflow-platform-" + role},
		Env:  []string{roleVariable + "=" + role},
	}
}
