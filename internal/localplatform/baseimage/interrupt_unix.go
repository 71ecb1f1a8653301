//go:build unix

package baseimage

import (
	"os/exec"
	"syscall"
	"time"
)

// interruptible lets mmdebstrap undo its mounts and temporary directory when the context ends: all its processes get the
// signal that Ctrl-C would send, and time to follow it.
func interruptible(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = 15 * time.Second
}
