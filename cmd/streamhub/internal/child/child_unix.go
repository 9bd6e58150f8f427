//go:build unix

package child

import (
	"os"
	"syscall"
	"time"
)

// Forwarded are the signals that a program would get if it ran alone.
var Forwarded = []os.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2}

// platform is empty: the process group is all that Unix needs.
type platform struct{} //nolint:unused // as its field

func (p *Process) prepare() {
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: p.group}
	dieWithParent(p.cmd.SysProcAttr)
}

func (p *Process) attach() error { return nil }
func (p *Process) detach()       {}

// ExitCode waits for the end of the program and returns its code, 128+n if signal n ended it.
func (p *Process) ExitCode() int {
	<-p.done
	state := p.cmd.ProcessState
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return state.ExitCode()
}

// Signal sends a signal to the program and its group. One that has ended is left alone.
func (p *Process) Signal(signal os.Signal) {
	if !p.group {
		_ = p.cmd.Process.Signal(signal)
		return
	}
	if s, ok := signal.(syscall.Signal); ok {
		_ = syscall.Kill(-p.cmd.Process.Pid, s)
	}
}

// Stop sends SIGTERM and, if the program or one of its group is still there after grace, SIGKILL.
// It returns when the program has ended.
func (p *Process) Stop(grace time.Duration) {
	p.Signal(syscall.SIGTERM)
	deadline := time.NewTimer(grace)
	defer deadline.Stop()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for !p.gone() {
		select {
		case <-poll.C:
		case <-deadline.C:
			p.Signal(syscall.SIGKILL)
			<-p.done
			return
		}
	}
}

// gone reports whether the program and its group have ended.
func (p *Process) gone() bool {
	select {
	case <-p.done:
		return !p.group || syscall.Kill(-p.cmd.Process.Pid, 0) == syscall.ESRCH
	default:
		return false
	}
}
