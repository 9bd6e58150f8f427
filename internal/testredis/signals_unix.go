//go:build unix

package testredis

import "syscall"

const (
	pauseSignal  = syscall.SIGSTOP
	resumeSignal = syscall.SIGCONT
	stopSignal   = syscall.SIGTERM
)
