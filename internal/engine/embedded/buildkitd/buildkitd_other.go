//go:build !linux

package buildkitd

import "context"

// Daemon is a running BuildKit daemon that this process uses.
type Daemon struct{}

// Acquire returns ErrUnsupported.
func Acquire(context.Context, Options) (*Daemon, error) { return nil, ErrUnsupported }

// Addr is empty.
func (*Daemon) Addr() string { return "" }

// LogTail is empty.
func (*Daemon) LogTail() string { return "" }

// Release does nothing.
func (*Daemon) Release() error { return nil }

// Stop does nothing: there is no daemon.
func Stop(context.Context, string) error { return nil }

// InUse is false: there is no daemon.
func InUse(string) bool { return false }

// Remove does nothing: there is no state.
func Remove(context.Context, Options) error { return nil }

// SharedNetwork is false: there is no daemon.
func SharedNetwork() bool { return false }
