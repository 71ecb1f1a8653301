// Package buildkitd runs BuildKit's daemon as the embedded engine wants it: one for each state directory, started by
// the first command that needs it, used by those that follow, and gone when it was idle for a while. It lives in PID
// and mount namespaces of its own, so that ending it, in whatever way, leaves no process and no mount.
//
// The state directory holds
//
//	buildkitd.log     what the daemon says
//	buildkitd.sock    its API
//	buildkitd.toml    its configuration, written at each start
//	cache/            images, build results, cache volumes
//	content/          OCI blobs that go in and out (see package engine)
//	daemon.lock       locked by the daemon as long as it runs; holds what is to know about it
//	users.lock        share-locked by everyone who uses the daemon
package buildkitd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// DefaultIdle is how long a daemon stays up unused.
const DefaultIdle = 15 * time.Minute

// Options says how a daemon is started. They mean nothing if one runs already.
type Options struct {
	Dir  string        // the daemon's state directory
	Idle time.Duration // how long it stays up unused; 0 means DefaultIdle
}

// ErrUnsupported says that this operating system cannot run the daemon.
var ErrUnsupported = errors.New("the embedded engine runs on Linux only: use a Dagger engine (--engine dagger)")

// SocketPath is where the daemon of a state directory listens.
func SocketPath(dir string) string { return filepath.Join(dir, "buildkitd.sock") }

// logTail returns the end of a daemon's log, as the end of an error message.
func logTail(path string) string {
	const lines = 15
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	all := strings.Split(strings.TrimSpace(string(data)), "\n")
	return fmt.Sprintf("; its log %s ends with:\n%s", path, strings.Join(all[max(0, len(all)-lines):], "\n"))
}
