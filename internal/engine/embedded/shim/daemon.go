//go:build linux

package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aksflow/aksflow/internal/engine/embedded/hostnet"
)

// stopGrace is how long the daemon may take to end by itself. It does so at once unless clients hold on to it.
const stopGrace = 2 * time.Second

// daemon is process 1 of the namespaces that buildkitd and all of its containers live in: when it ends, however it
// ends, they end with it, and their mounts vanish. It ends on SIGTERM, when buildkitd does, and when nobody held the
// users file's lock for the idle time.
func daemon(args []string) (int, error) {
	flags := flag.NewFlagSet("daemon", flag.ContinueOnError)
	users := flags.String("users", "", "file that every user holds a shared lock of")
	idle := flags.Duration("idle", 0, "end after being unused for so long")
	var network hostnet.Network
	flags.StringVar(&network.Bridge, "bridge", "", "the containers' bridge")
	flags.TextVar(&network.Subnet, "subnet", netip.Prefix{}, "the containers' subnet")
	flags.StringVar(&network.Cgroup, "cgroup", "", "the containers' parent cgroup")
	if err := flags.Parse(args); err != nil {
		return 2, err
	}
	command := flags.Args()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)

	// The lock that says a daemon runs came as descriptor 3. It is this process's alone.
	syscall.CloseOnExec(3)
	setup, teardown, err := namespaces(network)
	if err != nil {
		return 1, err
	}
	lock, err := os.OpenFile(*users, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return 1, err
	}
	if err := setup(); err != nil {
		return 1, err
	}

	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return 1, errors.Join(err, teardown())
	}
	ended := make(chan int, 1)
	go reap(cmd.Process.Pid, ended)

	code := -1
	select {
	case code = <-ended:
	case <-stop:
	case <-unused(lock, *idle):
	}
	if code < 0 {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case code = <-ended:
		case <-time.After(stopGrace):
			code = 0
		}
	}
	endAll()
	return code, teardown()
}

// namespaces prepares the namespaces that the daemon lives in, and returns how its network is set up and taken down.
func namespaces(network hostnet.Network) (setup, teardown func() error, err error) {
	state := os.Getenv("ROOTLESSKIT_STATE_DIR")
	if state == "" {
		if err := syscall.Mount("proc", "/proc", "proc", syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, ""); err != nil {
			return nil, nil, fmt.Errorf("mount /proc: %w", err)
		}
		return network.Setup, network.Teardown, nil
	}
	// Without root, rootlesskit has mounted what is needed: /run and /var/lib hold links to what the machine has there, in place
	// of which the daemon's programs write files of their own.
	const results = "/var/lib/cni"
	for _, link := range []string{"/run/xtables.lock", "/run/runc", "/run/buildkit", results} {
		if err := os.RemoveAll(link); err != nil {
			return nil, nil, err
		}
	}
	if err := os.Mkdir(results, 0o700); err != nil {
		return nil, nil, err
	}
	nothing := func() error { return nil }
	namespace := filepath.Join(state, "netns")
	if _, err := os.Stat(namespace); errors.Is(err, fs.ErrNotExist) {
		return nothing, nothing, nil // the containers have the machine's network
	}
	// What is set up vanishes with the namespace.
	return func() error { return within(namespace, network.Setup) }, nothing, nil
}

// within calls f in a network namespace. Programs that f starts run there, too.
func within(namespace string, f func() error) error {
	file, err := os.Open(namespace)
	if err != nil {
		return err
	}
	defer file.Close()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked, so that the thread ends with the goroutine
		if err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter the containers' network: %w", err)
			return
		}
		done <- f()
	}()
	return <-done
}

// endAll kills every other process in the namespace and buries them all: those in containers outlive buildkitd.
func endAll() {
	syscall.Kill(-1, syscall.SIGKILL)
	for {
		if _, err := syscall.Wait4(-1, nil, 0, nil); err != nil && !errors.Is(err, syscall.EINTR) {
			return // ECHILD
		}
	}
}

// reap waits for all children until pid ends.
func reap(pid int, ended chan<- int) {
	for {
		var status syscall.WaitStatus
		got, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			ended <- 1
			return
		case got == pid:
			ended <- status.ExitStatus()
			return
		}
	}
}

// unused sends when nobody held the lock for the idle time. The lock then stays taken, so that whoever comes now waits
// for this daemon's end and starts another, instead of connecting to one that goes.
func unused(lock *os.File, idle time.Duration) <-chan time.Time {
	c := make(chan time.Time, 1)
	go func() {
		poll := min(max(idle/10, 50*time.Millisecond), 5*time.Second)
		lastUse := time.Now()
		for now := range time.Tick(poll) {
			if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
				lastUse = now
				continue
			}
			if now.Sub(lastUse) >= idle {
				c <- now
				return
			}
			unix.Flock(int(lock.Fd()), unix.LOCK_UN)
		}
	}()
	return c
}
