package testredis

import "syscall"

// Windows has one signal, the one that kills, and no redis-server. The package compiles there, so that
// the tests that need none run.
const (
	pauseSignal  = syscall.Signal(19)
	resumeSignal = syscall.Signal(18)
	stopSignal   = syscall.SIGKILL
)

// dieWithParent has no counterpart here.
func dieWithParent() *syscall.SysProcAttr { return nil }
