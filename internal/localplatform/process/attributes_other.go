//go:build !linux

package process

import "syscall"

// attributes put a server into a process group of its own, so that a Ctrl-C in the terminal reaches only the caller,
// who then stops its servers in order.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
