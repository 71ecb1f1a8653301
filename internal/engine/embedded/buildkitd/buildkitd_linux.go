package buildkitd

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/core/report"
	"github.com/aksflow/aksflow/internal/engine/embedded/hostnet"
	"github.com/aksflow/aksflow/internal/tool"
)

const (
	poll     = 20 * time.Millisecond // how often a lock or a socket is looked at
	maxLog   = 16 << 20              // bytes; a longer log starts anew with the daemon
	maxPath  = 106                   // bytes; what a socket's address holds
	stopTime = 20 * time.Second      // how long Stop waits before it kills

	noticeAfter = 5 * time.Second // when a wait is announced
)

// Daemon is a running BuildKit daemon that this process uses.
type Daemon struct {
	dir   string
	users *os.File
}

// Addr is the daemon's address as BuildKit's client wants it.
func (d *Daemon) Addr() string { return "unix://" + SocketPath(d.dir) }

// LogTail is the end of the daemon's log, as the end of an error.
func (d *Daemon) LogTail() string { return logTail(logPath(d.dir)) }

// Release says that this process no longer uses the daemon.
func (d *Daemon) Release() error { return d.users.Close() }

// info is the content of daemon.lock.
type info struct {
	PID     int             `json:"pid"`
	Network hostnet.Network `json:"network"`
	Version string          `json:"version"` // of program and configuration; see version
}

// Acquire returns the daemon of a state directory, started if none runs. The error of a machine that cannot run it
// names everything that is missing.
func Acquire(ctx context.Context, o Options) (*Daemon, error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, err
	}
	if longest := filepath.Join(dir, longestSocket()); len(longest) > maxPath {
		return nil, fault.Usagef("state directory %s: its path is too long for the engine's sockets (at most %d bytes): choose another with --state", dir, maxPath-len(longest)+len(dir))
	}
	if err := checkUser(); err != nil {
		return nil, err
	}
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	if err := replaceOld(ctx, dir, o); err != nil {
		return nil, fmt.Errorf("replace the engine's daemon by a newer one: %w", err)
	}
	users, err := lockUsers(ctx, dir, StartLimit)
	if err != nil {
		return nil, err
	}
	if err := ensure(ctx, dir, o, StartLimit); err != nil {
		users.Close()
		return nil, err
	}
	return &Daemon{dir: dir, users: users}, nil
}

// makeDir makes the state directory.
func makeDir(dir string) error {
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		err = unix.Access(dir, unix.W_OK|unix.X_OK)
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("the engine's state directory %s is another user's: run aksflow as that user (with sudo, if it is root's), or name another with --state", dir)
	}
	if err != nil {
		return fmt.Errorf("the engine's state: %w", err)
	}
	return nil
}

// replaceOld stops a daemon that another version of the program or of its configuration started, if nobody uses it.
func replaceOld(ctx context.Context, dir string, o Options) error {
	last, ok := readInfo(dir)
	if !ok || last.PID == 0 {
		return nil
	}
	p, err := findPrograms(o)
	if err != nil {
		return nil //nolint:nilerr // the daemon that runs may do; starting another would tell
	}
	if version(p, newConfig(dir, p, last.Network)) == last.Version {
		return nil
	}
	f, err := os.OpenFile(filepath.Join(dir, "users.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return nil // in use
	}
	return Stop(ctx, dir)
}

// version changes with the daemon's program and its configuration.
func version(p programs, c config) string {
	h := fnv.New64a()
	h.Write([]byte(c.toml + c.network))
	if st, err := os.Stat(p.buildkitd); err == nil {
		fmt.Fprint(h, st.Size(), st.ModTime().UnixNano())
	}
	return fmt.Sprintf("%016x", h.Sum64())
}

// lockUsers takes the shared lock that keeps a daemon from idling out. It waits as long as one is about to end.
func lockUsers(ctx context.Context, dir string, limit time.Duration) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "users.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := await(ctx, dir, "to end, so that a new one can start", limit, func() (bool, error) {
		return unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) == nil, nil
	}); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// ensure returns when a daemon answers.
func ensure(ctx context.Context, dir string, o Options, limit time.Duration) error {
	started := false
	return await(ctx, dir, "to listen on "+SocketPath(dir), limit, func() (bool, error) {
		if c, err := net.Dial("unix", SocketPath(dir)); err == nil {
			return true, c.Close()
		}
		lock, err := lockDaemon(dir)
		if err != nil || lock == nil { // one runs; it does not listen yet
			return false, err
		}
		defer lock.Close() // the daemon has a copy
		if started {
			return false, fmt.Errorf("the engine's daemon ended while it started%s", logTail(logPath(dir)))
		}
		started = true
		return false, start(ctx, dir, o, lock)
	})
}

// await calls done until it returns true or an error, up to a limit. The words say what the daemon is expected to do.
func await(ctx context.Context, dir, expected string, limit time.Duration, done func() (bool, error)) error {
	began, announced := time.Now(), false
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		waited := time.Since(began)
		if waited > limit {
			return fmt.Errorf("waited %s for the engine's daemon%s %s: `aksflow down` ends it, and the next command starts a new one%s",
				report.Span(limit), process(dir), expected, logTail(logPath(dir)))
		}
		if waited > noticeAfter && !announced {
			announced = true
			report.Info(ctx, "waiting for the engine's daemon%s %s, for up to %s", process(dir), expected, report.Span(limit))
		}
		if err := sleep(ctx, poll); err != nil {
			return fmt.Errorf("waiting for the engine's daemon %s: %w%s", expected, err, logTail(logPath(dir)))
		}
	}
}

// process names the process of the daemon, if it is known, for the middle of a sentence.
func process(dir string) string {
	if i, ok := readInfo(dir); ok && i.PID != 0 {
		return fmt.Sprintf(" (process %d)", i.PID)
	}
	return ""
}

func logPath(dir string) string { return filepath.Join(dir, "buildkitd.log") }

// lockDaemon takes the lock that a running daemon holds; nil means that one runs.
func lockDaemon(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "daemon.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, nil
		}
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return f, nil
}

// start starts a daemon and hands it the lock. It does not wait until it listens.
func start(ctx context.Context, dir string, o Options, lock *os.File) error {
	idle := cmp.Or(o.Idle, DefaultIdle)
	programs, err := findPrograms(o)
	if err != nil {
		return err
	}
	last, _ := readInfo(dir)
	last.PID = 0 // nobody is to signal what may be another's process by now
	if err := writeInfo(lock, last); err != nil {
		return err
	}
	network, err := chooseNetwork(dir, last.Network)
	if err != nil {
		return err
	}
	config := newConfig(dir, programs, network)
	if err := config.write(dir); err != nil {
		return fmt.Errorf("the engine's configuration: %w", err)
	}
	log, err := openLog(logPath(dir))
	if err != nil {
		return err
	}
	defer log.Close()

	args := []string{programs.shim, "daemon",
		"-users", filepath.Join(dir, "users.lock"), "-idle", idle.String(),
		"-bridge", network.Bridge, "-subnet", network.Subnet.String(), "-cgroup", network.Cgroup,
		"--", programs.buildkitd, "--config", filepath.Join(dir, configFile)}
	attributes := &syscall.SysProcAttr{Setsid: true} // Ctrl-C is for the command, not for the daemon
	if programs.rootlesskit != "" {
		args = rootless(programs.rootlesskit, dir, args)
	} else {
		attributes.Cloneflags = syscall.CLONE_NEWPID
		attributes.Unshareflags = syscall.CLONE_NEWNS // with mounts made private
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = "/"
	cmd.Env = append(o.inherit(),
		"PATH="+programs.path(o.variable("PATH")),
		"TMPDIR="+filepath.Join(dir, tmpDir),
		// All of a step's output, as fast as it comes: failing tests are read, not skimmed.
		"BUILDKIT_STEP_LOG_MAX_SIZE=-1", "BUILDKIT_STEP_LOG_MAX_SPEED=-1",
		"OTEL_TRACES_EXPORTER=", "OTEL_EXPORTER_OTLP_ENDPOINT=",
	)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{lock}
	cmd.SysProcAttr = attributes
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the engine's daemon: %w", err)
	}
	go cmd.Wait() //nolint:errcheck // its end shows at the lock; this only buries it
	report.Info(ctx, "started the embedded engine's daemon; it ends after %s without use", report.Span(idle))
	return writeInfo(lock, info{PID: cmd.Process.Pid, Network: network, Version: version(programs, config)})
}

func writeInfo(lock *os.File, i info) error {
	data, err := json.Marshal(i)
	if err != nil {
		return err
	}
	if err := lock.Truncate(0); err != nil {
		return err
	}
	_, err = lock.WriteAt(data, 0)
	return err
}

// readInfo returns what the last daemon was; false if there never was one.
func readInfo(dir string) (i info, ok bool) {
	data, err := os.ReadFile(filepath.Join(dir, "daemon.lock"))
	return i, err == nil && json.Unmarshal(data, &i) == nil
}

// chooseNetwork removes what the last daemon left, which may have had another subnet, and chooses one that is free now.
func chooseNetwork(dir string, last hostnet.Network) (hostnet.Network, error) {
	if last.Bridge != "" && os.Geteuid() == 0 { // else it vanished with its namespace
		if err := last.Teardown(); err != nil {
			return hostnet.Network{}, fmt.Errorf("clean up after an earlier daemon: %w", err)
		}
	}
	inUse, err := hostnet.InUse(hostnet.Name(dir))
	if err != nil {
		return hostnet.Network{}, fmt.Errorf("the host's routes: %w", err)
	}
	return hostnet.Choose(dir, inUse)
}

// programs are the absolute paths of what the daemon needs.
type programs struct {
	shim, buildkitd, runc, iptables string
	cni                             string // a directory
	rootlesskit                     string // "" for root, who can do without
}

// path is the daemon's PATH: where its programs are, then the caller's.
func (p programs) path(callers string) string {
	dirs := append([]string{filepath.Dir(p.runc), filepath.Dir(p.iptables)}, filepath.SplitList(callers)...)
	return strings.Join(append(dirs, "/usr/sbin", "/usr/bin", "/sbin", "/bin"), ":")
}

func findPrograms(o Options) (programs, error) {
	var p programs
	var errs []error
	find := func(to *string, name, pkg string) {
		path, err := tool.Find(name, pkg)
		errs = append(errs, err)
		*to = path
	}
	find(&p.buildkitd, "buildkitd", "")
	find(&p.shim, "aksflow-shim", "")
	find(&p.runc, "runc", "runc")
	find(&p.iptables, "iptables", "iptables")
	if os.Geteuid() != 0 {
		var program string // which rootlesskit finds by itself
		find(&p.rootlesskit, "rootlesskit", "")
		find(&program, "newuidmap", "uidmap")
		find(&program, "newgidmap", "uidmap")
		find(&program, "ip", "iproute2")
	}
	cni, err := findCNI(o.variable(tool.Dir))
	p.cni = cni
	if err := errors.Join(append(errs, err)...); err != nil {
		return p, fmt.Errorf("the embedded engine cannot start:\n%w", err)
	}
	return p, nil
}

// findCNI returns the directory of the CNI plugins: where AKSFLOW_BIN, Debian or other distributions have them.
func findCNI(bin string) (string, error) {
	places := []string{bin, "/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"}
	for _, dir := range places {
		missing := false
		for _, plugin := range []string{"bridge", "host-local", "loopback"} {
			if _, err := os.Stat(filepath.Join(dir, plugin)); err != nil {
				missing = true
			}
		}
		if dir != "" && !missing {
			return dir, nil
		}
	}
	return "", errors.New("the CNI plugins bridge, host-local and loopback are not there: apt-get install containernetworking-plugins")
}

// The daemon's configuration files.
const (
	configFile  = "buildkitd.toml"
	networkFile = "network.conflist"
)

// tmpDir is the daemon's own directory for temporary files: it leaves an empty one for each file that it has mounted.
const tmpDir = "tmp"

// config is what the daemon reads: the content of configFile, and of networkFile for the CNI plugins.
type config struct{ toml, network string }

func newConfig(dir string, p programs, n hostnet.Network) config {
	network, err := json.MarshalIndent(map[string]any{
		"cniVersion": "1.0.0",
		"name":       n.Bridge,
		"plugins": []any{map[string]any{
			"type":             "bridge",
			"bridge":           n.Bridge,
			"isDefaultGateway": true,
			"hairpinMode":      true,
			"mtu":              hostnet.MTU(), // 0 is the plugin's default
			"ipMasq":           false,         // hostnet has one rule for all of them, in place of a chain for each
			"ipam": map[string]any{
				"type":    "host-local",
				"dataDir": filepath.Join(dir, "ipam"),
				"ranges":  []any{[]any{map[string]any{"subnet": n.Subnet.String()}}},
			},
		}},
	}, "", "  ")
	if err != nil {
		panic(err) // strings and numbers always marshal
	}
	mode, rights := "cni", fmt.Sprintf("  defaultCgroupParent = %q", n.Cgroup)
	if p.rootlesskit != "" {
		rights = "  rootless = true"
	}
	if SharedNetwork() {
		mode = "host"
	}
	return config{
		network: string(network),
		toml: fmt.Sprintf(`# Written by aksflow at each start of the daemon.
root = %q
# For builds that a session permits it to (insecureRootCapabilities). Whoever reaches the daemon's socket is root already.
insecure-entitlements = ["security.insecure"]

[grpc]
  address = [%q]

# A record of a build holds what its steps printed, and a step may print a secret.
[history]
  maxEntries = 0

[worker.oci]
  enabled = true
  binary = %q
  gc = true
  networkMode = %q
  cniConfigPath = %q
  cniBinaryPath = %q
  cniPoolSize = 4
%s

[worker.containerd]
  enabled = false

[cdi]
  disabled = true
`, filepath.Join(dir, "cache"), "unix://"+SocketPath(dir), p.runc, mode, filepath.Join(dir, networkFile), p.cni, rights),
	}
}

// write writes the files, and removes what a killed daemon left in its directory.
func (c config) write(dir string) error {
	for _, stale := range []string{"buildkitd.sock", "ipam", tmpDir, filepath.Join("cache", "net")} {
		if err := os.RemoveAll(filepath.Join(dir, stale)); err != nil {
			return err
		}
	}
	return errors.Join(
		os.Mkdir(filepath.Join(dir, tmpDir), 0o700),
		os.WriteFile(filepath.Join(dir, networkFile), []byte(c.network), 0o600),
		os.WriteFile(filepath.Join(dir, configFile), []byte(c.toml), 0o600),
	)
}

func openLog(path string) (*os.File, error) {
	flags := os.O_CREATE | os.O_WRONLY | os.O_APPEND
	if st, err := os.Stat(path); err == nil && st.Size() > maxLog {
		flags |= os.O_TRUNC
	}
	return os.OpenFile(path, flags, 0o600)
}

// Stop ends the daemon of a state directory, if one runs, and removes what it or a killed one left on the host.
func Stop(ctx context.Context, dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	killAt := time.Now().Add(stopTime)
	for {
		lock, err := lockDaemon(dir)
		if err != nil {
			return err
		}
		if lock != nil {
			defer lock.Close() // none starts meanwhile
			break
		}
		i, ok := readInfo(dir)
		switch {
		case !ok || i.PID == 0: // it is just being started
		case time.Now().After(killAt):
			syscall.Kill(i.PID, syscall.SIGKILL)
		default: // again and again: one that just starts does not hear the first
			syscall.Kill(i.PID, syscall.SIGTERM)
		}
		if err := sleep(ctx, poll); err != nil {
			return fmt.Errorf("waiting for the engine's daemon to end: %w", err)
		}
	}
	if i, ok := readInfo(dir); ok && i.Network.Bridge != "" && os.Geteuid() == 0 {
		return i.Network.Teardown()
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
