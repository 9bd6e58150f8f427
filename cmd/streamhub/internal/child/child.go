// Package child runs other programs that must not outlive this one: the command under a lease, and
// the Redis of serve --data.
//
// On Linux the kernel signals the program when this process dies, however it dies. Elsewhere a
// process that is killed leaves its children behind.
package child

import (
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// A Process is a program that was started.
type Process struct {
	cmd   *exec.Cmd
	group bool
	done  chan struct{}
	err   error // of Wait; set when done is closed
}

// Start starts cmd. With group it leads a process group of its own: signals reach everything that
// it starts, and those of the terminal do not reach it.
func Start(cmd *exec.Cmd, group bool) (*Process, error) {
	p := &Process{cmd: cmd, group: group, done: make(chan struct{})}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: group}
	dieWithParent(cmd.SysProcAttr)
	started := make(chan error, 1)
	go func() {
		// The signal at the death of the parent is bound to the thread that forked.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.done)
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		<-p.done
		return nil, err
	}
	return p, nil
}

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// ExitCode waits for the end of the program and returns its code, 128+n if signal n ended it.
func (p *Process) ExitCode() int {
	<-p.done
	state := p.cmd.ProcessState
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return state.ExitCode()
}

// Err waits for the end of the program and says how it ended, nil for code 0.
func (p *Process) Err() error {
	<-p.done
	return p.err
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
