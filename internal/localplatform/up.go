//go:build linux

package localplatform

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
	"github.com/aksflow/aksflow/internal/localplatform/cgroup"
	"github.com/aksflow/aksflow/internal/tool"
)

const (
	gitUser   = "aksflow"
	lockRetry = 50 * time.Millisecond
	// cleanupTime bounds what undoes a start that was cancelled.
	cleanupTime = 30 * time.Second
)

// Up starts the platform, or finds that it runs already with all that is asked for, and returns when every part answers.
// A platform that lacks a part is started anew with it, as is one that a crash has stopped. The cluster is a new one
// each time; what the registry and the git server hold stays.
//
// Cancelling ctx stops what Up has started. The platform outlives the caller once Up has returned.
func Up(ctx context.Context, o Options) (*Info, error) {
	s, err := openState(o.State)
	if err != nil {
		return nil, fault.Usage(err)
	}
	if os.Getenv(roleVariable) != "" { // this is the keeper-to-be: another start would start another, and so on
		return nil, errors.New("starting the local platform: the program that starts it must call platform.Main first thing")
	}
	if os.Geteuid() != 0 {
		return nil, fault.Usagef("starting the local platform: it makes namespaces and containers, which needs root: run it with sudo")
	}
	if len(o.Parts) == 0 {
		o.Parts = []Part{Registry, Git, Kubernetes, ArgoCD}
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

	info, err := Load(string(s))
	if err == nil {
		missing := slices.DeleteFunc(slices.Clone(parts), info.Has)
		if len(missing) == 0 && info.Has(Registry) {
			return info, pushImages(ctx, info, o)
		}
		if len(missing) == 0 {
			return info, nil
		}
		report.Info(ctx, "the platform runs without %s: starting it anew", join(missing))
		if parts, err = withDependencies(append(parts, info.Parts...)); err != nil {
			return nil, err
		}
		if err := Down(ctx, string(s)); err != nil {
			return nil, err
		}
	} else if crashed := (*CrashError)(nil); errors.As(err, &crashed) {
		report.Warn(ctx, "%v", crashed)
	}

	c, err := configure(s, parts, o)
	if err != nil {
		return nil, err
	}
	return start(ctx, c, o)
}

// configure finds the programs that parts need and what else the platform's processes are told.
func configure(s state, parts []Part, o Options) (*config, error) {
	c := &config{
		State: s, Parts: parts, FreePorts: o.FreePorts, ArgoCDPoll: o.ArgoCDPoll,
		RegistryUser: o.RegistryUser, RegistryPassword: o.RegistryPassword, GitUser: gitUser,
	}
	programs := map[string]string{}
	for part, needs := range map[Part]map[string]string{
		Registry: {"registry": ""},
		Git:      {"git": "git"},
		Kubernetes: {
			"kubernetes": "", "coredns": "", "pause": "", "containerd": "containerd",
			"containerd-shim-runc-v2": "containerd", "ctr": "containerd", "runc": "runc", "iptables": "iptables",
		},
		ArgoCD: {"argocd": "", "kustomize": "", "redis-server": "redis-server", "git": "git"},
		Flux:   {"source-controller": "", "kustomize-controller": ""},
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
	if c.has(Kubernetes) {
		if c.CNI, err = findCNI(); err != nil {
			return nil, fmt.Errorf("starting the local platform: %w", err)
		}
	}
	if c.GitPassword, err = keepPassword(s.gitPasswordFile()); err != nil {
		return nil, err
	}
	return c, nil
}

// cniPlugins are those that pods are connected with.
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
	return "", fmt.Errorf("the CNI plugins %s are not there: install Debian's package containernetworking-plugins",
		strings.Join(cniPlugins, ", "))
}

// keepPassword returns the password in a file, made on first use.
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

// start starts the keeper, the host's one process of the platform, and follows it until all is ready.
func start(ctx context.Context, c *config, o Options) (_ *Info, err error) {
	s := c.State
	if err := os.MkdirAll(s.logs(), 0o700); err != nil {
		return nil, fmt.Errorf("starting the local platform: %w", err)
	}
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, fmt.Errorf("starting the local platform: %w", err)
	}
	defer ours.Close()
	defer theirs.Close()
	log, err := os.OpenFile(s.log(), os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("starting the local platform: %w", err)
	}
	defer log.Close()
	keeper := again(keeperRole)
	keeper.Stdout, keeper.Stderr, keeper.ExtraFiles = log, log, []*os.File{theirs}
	keeper.Dir = string(s)
	keeper.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // it outlives the terminal
	// Nothing of the caller's environment: a proxy, a kubeconfig, git's or etcd's variables would change what runs.
	keeper.Env = append(keeper.Env, "PATH="+searchPath(c.Programs), "HOME="+s.run("home"), "TMPDIR="+s.run("tmp"), "LANG=C.UTF-8")
	began := time.Now()
	if err := keeper.Start(); err != nil {
		return nil, fmt.Errorf("starting the local platform: %w", err)
	}
	theirs.Close()
	ended := make(chan struct{})
	go func() {
		_ = keeper.Wait() // how it ended stands in what it said
		close(ended)
	}()
	defer func() {
		if err != nil { // the closed socket tells it to end; it is waited for, so that nothing is left when Up returns
			ours.Close()
			<-ended
		}
	}()
	// A cancelled context wakes the reader below.
	defer context.AfterFunc(ctx, func() { _ = ours.SetDeadline(time.Unix(1, 0)) })()
	if err := json.NewEncoder(ours).Encode(c); err != nil {
		return nil, fmt.Errorf("starting the local platform: %w", err)
	}

	work, cancel := context.WithCancel(ctx)
	defer cancel()
	side, work := errgroup.WithContext(work)
	registry := make(chan string, 1)
	if c.has(Registry) {
		side.Go(func() error { return makeImages(work, c, o, registry) })
	}
	var ready []string
	for events := json.NewDecoder(ours); ; {
		var e event
		if err := events.Decode(&e); err != nil {
			if ctx.Err() != nil {
				return nil, fmt.Errorf("starting the local platform: %w; ready so far: %s; the others write to %s",
					ctx.Err(), cmp.Or(strings.Join(ready, ", "), "nothing"), s.logs())
			}
			return nil, fmt.Errorf("starting the local platform: its keeper ended; see %s: %w", s.log(), err)
		}
		switch {
		case e.Error != "":
			return nil, fmt.Errorf("starting the local platform: %s", e.Error)
		case e.Warning != "":
			report.Warn(ctx, "%s", e.Warning)
		case e.Ready:
			if err := side.Wait(); err != nil {
				return nil, err
			}
			if _, err := ours.Write([]byte{accepted}); err != nil {
				return nil, fmt.Errorf("starting the local platform: %w", err)
			}
			// The keeper hangs up when it has taken over.
			if err := events.Decode(&e); !errors.Is(err, io.EOF) {
				return nil, fmt.Errorf("starting the local platform: %w", cmp.Or(ctx.Err(), err))
			}
			info, err := Load(string(s))
			if err != nil {
				return nil, err
			}
			report.Progressf(ctx, "platform", "ready after %.1f s", time.Since(began).Seconds())
			return info, nil
		default:
			ready = append(ready, e.Part)
			report.Progressf(ctx, e.Part, "ready after %.1f s", e.Elapsed.Seconds())
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

func join(parts []Part) string {
	names := make([]string, len(parts))
	for i, p := range parts {
		names[i] = string(p)
	}
	return strings.Join(names, ", ")
}

func socketPair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	return os.NewFile(uintptr(fds[0]), "platform"), os.NewFile(uintptr(fds[1]), "up"), nil
}

// Load returns the platform that runs in state. When none does, the error says so; it is a [*CrashError] when the last
// one was not ended by [Down].
func Load(dir string) (*Info, error) {
	none := func() error { return fmt.Errorf("no local platform runs in %s: `aksflow up` starts one", dir) }
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, none()
	}
	s, err := openState(dir)
	if err != nil {
		return nil, fault.Usage(err)
	}
	running, err := s.running()
	if err != nil {
		return nil, err
	}
	info := new(Info)
	if running {
		if err = readJSON(s.infoFile(), info); err == nil {
			return info, nil
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("the local platform in %s is still starting: wait for `aksflow up`", s)
		}
		return nil, err
	}
	why := new(crash)
	switch err := readJSON(s.crashFile(), why); {
	case err == nil:
		return nil, &CrashError{State: string(s), Time: why.Time, Reason: why.Reason}
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	if readJSON(s.infoFile(), info) == nil {
		return nil, &CrashError{State: string(s), Reason: "it was killed"}
	}
	return nil, none()
}

// running tells whether the keeper lives: whether its lock is held.
func (s state) running() (bool, error) {
	lock := flock.New(s.lockFile())
	free, err := lock.TryRLock()
	if err != nil {
		return false, fmt.Errorf("looking for a platform in %s: %w", s, err)
	}
	if free {
		return false, lock.Unlock()
	}
	return true, nil
}

// Down ends the platform and removes what it left on the machine, also after a crash. The files in state stay, for a
// quicker next start. Nothing running is no error.
func Down(ctx context.Context, dir string) error {
	s, err := openState(dir)
	if err != nil {
		return fault.Usage(err)
	}
	lock := flock.New(s.lockFile())
	for {
		free, err := lock.TryLock()
		if err != nil {
			return fmt.Errorf("ending the local platform: %w", err)
		}
		if free {
			break
		}
		// The holder wrote its number into the lock it holds. It may be about to.
		if data, err := os.ReadFile(s.lockFile()); err == nil {
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

// clean removes what a platform leaves when it was killed. The caller holds its lock.
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
	for _, path := range []string{s.infoFile(), s.crashFile(), s.configFile(), s.kubeconfig(), s.run()} {
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("cleaning up after the local platform: %w", err)
		}
	}
	return nil
}

// Seed makes the bare repository name unless it is there, and commits the files of the directory dir as the first
// commit of branch; what dir's .gitignore names stays out. A branch that exists stays as it is. It returns the branch's
// commit.
func (i *Info) Seed(ctx context.Context, name, branch, dir string) (commit string, err error) {
	c := config{State: state(i.State)}
	return c.git().Seed(ctx, name, branch, dir)
}

// again is this program once more, as one of the platform's own processes.
func again(role string) *exec.Cmd {
	return &exec.Cmd{
		Path: "/proc/self/exe", // also when the file is replaced or gone, as that of a test is
		Args: []string{"aksflow-platform-" + role},
		Env:  []string{roleVariable + "=" + role},
	}
}
