package hostnet

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// ioctlPtr is ioctl(2) with a pointer argument, which x/sys/unix offers only for the requests that it knows.
func ioctlPtr(fd int, request uint, arg *byte) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(unsafe.Pointer(arg)))
	if errno != 0 {
		return errno
	}
	return nil
}
