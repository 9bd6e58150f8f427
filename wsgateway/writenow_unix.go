//go:build unix && !(linux && (amd64 || arm64))

package wsgateway

import "syscall"

// writeNow writes what the socket takes at once: the sockets of Go do not block.
func writeNow(fd uintptr, p []byte) (int, error) { return syscall.Write(int(fd), p) }
