//go:build amd64 || arm64

package wsgateway

import (
	"syscall"
	"unsafe"
)

// writeNow writes what the socket accepts without blocking. It uses RawSyscall, because the kernel never blocks this
// call. For a call that may block, the Go scheduler keeps a monitoring thread awake, which costs a tenth of a delivery.
func writeNow(fd uintptr, p []byte) (int, error) {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)),
		syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
