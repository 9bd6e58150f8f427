package testredis

import "syscall"

// dieWithParent asks the kernel to kill the child when the thread that started it ends; see launch.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
