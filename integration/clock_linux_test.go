//go:build faults

package integration

import (
	"syscall"
	"unsafe"
)

// machineClock is the monotonic clock of the machine: the times of several processes compare.
func machineClock() int64 {
	const monotonic = 1
	var ts syscall.Timespec
	if _, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, monotonic, uintptr(unsafe.Pointer(&ts)), 0); errno != 0 {
		panic(errno)
	}
	return ts.Nano()
}
