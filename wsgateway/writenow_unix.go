//go:build unix && !(linux && (amd64 || arm64))

package wsgateway

import "syscall"

// writeNow writes what the socket accepts without blocking: the Go runtime makes its sockets non-blocking.
func writeNow(fd uintptr, p []byte) (int, error) { return syscall.Write(int(fd), p) }
