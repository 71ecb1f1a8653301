//go:build linux

package buildkitd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/aksflow/aksflow/internal/core/fault"
	"github.com/aksflow/aksflow/internal/tool"
)

// patience bounds what a test waits for.
const patience = time.Minute

func TestStartedReusedStopped(t *testing.T) {
	dir := stateDir(t)
	first := acquire(t, dir, 0)
	one := running(t, dir)
	second := acquire(t, dir, 0)
	assert.Equal(t, one, running(t, dir), "one daemon for all")
	require.NoError(t, first.Release())
	require.NoError(t, second.Release())

	require.NoError(t, Stop(t.Context(), dir))
	nothingLeft(t, one)
	require.NoError(t, Stop(t.Context(), dir), "of nothing")
}

func TestIdleDaemonEnds(t *testing.T) {
	dir := stateDir(t)
	d := acquire(t, dir, 200*time.Millisecond)
	one := running(t, dir)
	time.Sleep(time.Second) // it must not end while it is used, which nothing announces
	require.True(t, alive(one.PID))
	require.NoError(t, d.Release())
	require.Eventually(t, func() bool { return !alive(one.PID) }, patience, 20*time.Millisecond)
	nothingLeft(t, one)

	// The next command starts another.
	require.NoError(t, acquire(t, dir, 0).Release())
	assert.NotEqual(t, one.PID, running(t, dir).PID)
}

func TestKilledDaemonLeavesNothing(t *testing.T) {
	dir := stateDir(t)
	require.NoError(t, acquire(t, dir, 0).Release())
	killed := running(t, dir)
	mounts, err := os.ReadFile("/proc/self/mounts")
	require.NoError(t, err)
	assert.NotContains(t, string(mounts), dir, "the daemon's mounts are its own")
	kill(t, killed.PID)

	require.NoError(t, acquire(t, dir, 0).Release())
	assert.NotEqual(t, killed.PID, running(t, dir).PID)

	killed = running(t, dir)
	kill(t, killed.PID)
	require.NoError(t, Stop(t.Context(), dir))
	nothingLeft(t, killed)
}

// fakeBuildkitd makes a directory of tools whose buildkitd is a script.
func fakeBuildkitd(t *testing.T, script string) {
	t.Helper()
	bin := t.TempDir()
	shim, err := tool.Find("aksflow-shim", "")
	require.NoError(t, err)
	require.NoError(t, os.Symlink(shim, filepath.Join(bin, "aksflow-shim")))
	require.NoError(t, os.WriteFile(filepath.Join(bin, "buildkitd"), []byte("#!/bin/sh\n"+script+"\n"), 0o755))
	t.Setenv(tool.Dir, bin)
}

func TestDaemonThatDoesNotStart(t *testing.T) {
	dir := stateDir(t)
	fakeBuildkitd(t, "echo out of cheese >&2; exit 1")
	_, err := Acquire(t.Context(), Options{Dir: dir})
	require.ErrorContains(t, err, "ended while it started")
	require.ErrorContains(t, err, "out of cheese")
}

// A daemon whose socket was removed holds its lock, and answers nobody.
func TestDaemonWithoutItsSocket(t *testing.T) {
	dir := stateDir(t)
	require.NoError(t, acquire(t, dir, 0).Release())
	one := running(t, dir)
	require.NoError(t, os.Remove(SocketPath(dir)))
	err := ensure(t.Context(), dir, Options{Dir: dir}, 100*time.Millisecond)
	require.ErrorContains(t, err, fmt.Sprintf("(process %d) to listen on %s: `aksflow down` ends it", one.PID, SocketPath(dir)))

	require.NoError(t, Stop(t.Context(), dir))
	require.NoError(t, acquire(t, dir, 0).Release())
}

func TestDaemonThatDoesNotEnd(t *testing.T) {
	dir := stateDir(t)
	ending, err := os.OpenFile(filepath.Join(dir, "users.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	require.NoError(t, err)
	require.NoError(t, unix.Flock(int(ending.Fd()), unix.LOCK_EX))
	_, err = lockUsers(t.Context(), dir, 100*time.Millisecond)
	require.ErrorContains(t, err, "waited 100ms for the engine's daemon to end")
	require.NoError(t, ending.Close())
	users, err := lockUsers(t.Context(), dir, patience)
	require.NoError(t, err)
	require.NoError(t, users.Close())
}

func TestNewerProgramReplacesTheDaemon(t *testing.T) {
	dir := stateDir(t)
	used := acquire(t, dir, 0)
	old := running(t, dir)
	real, err := tool.Find("buildkitd", "")
	require.NoError(t, err)
	fakeBuildkitd(t, "exec "+real+` "$@"`)
	require.NoError(t, acquire(t, dir, 0).Release())
	assert.Equal(t, old.PID, running(t, dir).PID, "not while it is used")
	require.NoError(t, used.Release())
	require.NoError(t, acquire(t, dir, 0).Release())
	assert.NotEqual(t, old.PID, running(t, dir).PID)
}

func TestSideBySide(t *testing.T) {
	one, other := stateDir(t), stateDir(t)
	require.NoError(t, acquire(t, one, 0).Release())
	require.NoError(t, acquire(t, other, 0).Release())
	a, b := running(t, one).Network, running(t, other).Network
	assert.NotEqual(t, a.Bridge, b.Bridge)
	assert.False(t, a.Subnet.Overlaps(b.Subnet))
}

func TestMissingPrograms(t *testing.T) {
	needsRoot(t)
	t.Setenv(tool.Dir, t.TempDir())
	t.Setenv("PATH", t.TempDir())
	_, err := Acquire(t.Context(), Options{Dir: stateDir(t)})
	require.Error(t, err)
	for _, want := range []string{"buildkitd", "aksflow-shim", "make setup"} {
		assert.ErrorContains(t, err, want)
	}
}

func TestStateDirectoryTooLong(t *testing.T) {
	_, err := Acquire(t.Context(), Options{Dir: "/" + strings.Repeat("x", 120)})
	assert.Equal(t, fault.ExitUsage, fault.ExitCode(err))
	assert.ErrorContains(t, err, "--state")
}

func TestCanceledStart(t *testing.T) {
	dir := stateDir(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Acquire(ctx, Options{Dir: dir})
	require.ErrorIs(t, err, context.Canceled)
}

func acquire(t *testing.T, dir string, idle time.Duration) *Daemon {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	d, err := Acquire(ctx, Options{Dir: dir, Idle: idle})
	require.NoError(t, err)
	return d
}

func running(t *testing.T, dir string) info {
	t.Helper()
	i, ok := readInfo(dir)
	require.True(t, ok)
	require.True(t, alive(i.PID))
	return i
}

func kill(t *testing.T, pid int) {
	t.Helper()
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	require.Eventually(t, func() bool { return !alive(pid) }, patience, 20*time.Millisecond)
}

func alive(pid int) bool { return !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }

// nothingLeft checks that a daemon and what it had on the host are gone.
func nothingLeft(t *testing.T, i info) {
	t.Helper()
	assert.Eventually(t, func() bool { return !alive(i.PID) }, patience, 20*time.Millisecond, "its process")
	_, err := net.InterfaceByName(i.Network.Bridge)
	assert.Error(t, err, "its bridge")
	cgroups, err := filepath.Glob("/sys/fs/cgroup/*/" + i.Network.Cgroup)
	require.NoError(t, err)
	assert.Empty(t, cgroups)
}

func needsRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("the daemon needs root")
	}
}

// stateDir is a state directory, with no daemon left when the test ends.
func stateDir(t *testing.T) string {
	t.Helper()
	needsRoot(t)
	if testing.Short() {
		t.Skip("starts daemons")
	}
	if os.Getenv(tool.Dir) == "" { // where `make setup` puts the tools
		bin, err := filepath.Abs(filepath.Join("..", "..", "..", "bin"))
		require.NoError(t, err)
		t.Setenv(tool.Dir, bin)
	}
	dir, err := os.MkdirTemp("", "aksflow-buildkitd-*")
	require.NoError(t, err)
	t.Cleanup(func() {
		assert.NoError(t, Stop(context.Background(), dir))
		assert.NoError(t, os.RemoveAll(dir))
	})
	return dir
}
