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
	"slices"
	"strings"
	"time"
)

// DefaultIdle is how long a daemon stays up unused.
const DefaultIdle = 15 * time.Minute

// StartLimit is how long Acquire waits for a daemon to listen, or for one that ends; and how long one may take after that until
// it answers.
const StartLimit = 2 * time.Minute

// Options says how a daemon is started. They mean nothing if one runs already.
type Options struct {
	Dir  string        // the daemon's state directory
	Idle time.Duration // how long it stays up unused; 0 means DefaultIdle
	// Env is the caller's environment as os.Environ returns it. The daemon gets what it needs of it: how the network is
	// reached and what is trusted there. It outlives the caller, whose other variables may be secrets.
	Env []string
}

// inherited are the variables that the daemon gets from its caller. Proxies are also written in lower case.
var inherited = []string{"HOME", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "GODEBUG"}

// variable returns the value of a variable of the caller's environment, "" if it is not set.
func (o Options) variable(name string) string {
	for _, v := range slices.Backward(o.Env) { // the last one counts
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}

// inherit returns the part of the caller's environment that the daemon gets.
func (o Options) inherit() []string {
	var env []string
	for _, v := range o.Env {
		if name, _, _ := strings.Cut(v, "="); slices.Contains(inherited, strings.ToUpper(name)) {
			env = append(env, v)
		}
	}
	return env
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
