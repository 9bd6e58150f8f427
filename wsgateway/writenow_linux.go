//go:build amd64 || arm64

package wsgateway

import (
	"syscall"
	"unsafe"
)

// writeNow writes what the socket takes at once. The scheduler of Go is not told of this call, which the kernel never lets
// wait: for one that may wait it keeps a thread awake that looks for calls that do, and that costs a tenth of a delivery.
func writeNow(fd uintptr, p []byte) (int, error) {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)),
		syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
