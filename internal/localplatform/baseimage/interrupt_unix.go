//go:build unix

package baseimage

import (
	"os/exec"
	"syscall"
	"time"
)

// interruptible makes all processes of mmdebstrap get SIGINT when the context ends, as by Ctrl-C, and gives them time to
// remove their mounts and temporary directory.
func interruptible(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = 15 * time.Second
}
