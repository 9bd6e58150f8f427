//go:build faults && !linux

package integration

import "syscall"

// withParent: without the help of the kernel a child notices at its next read that it is alone.
func withParent() *syscall.SysProcAttr { return nil }
