package child

import "syscall"

// dieWithParent asks the kernel for SIGTERM when the thread that forked ends; see Start.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGTERM }
