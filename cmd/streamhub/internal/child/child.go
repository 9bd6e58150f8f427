// Package child runs other programs that must not outlive this one: the command under a lease, and
// the Redis of serve --data.
//
// On Linux the kernel signals the program when this process dies, however it dies. On Windows the
// program and what it starts are in a job, which ends with this process. Elsewhere a process that is
// killed leaves its children behind.
//
// Windows has no signals: there every signal ends the program at once.
package child

import (
	"os/exec"
	"runtime"
)

// A Process is a program that was started.
type Process struct {
	cmd      *exec.Cmd
	group    bool
	done     chan struct{}
	err      error // of Wait; set when done is closed
	platform       //nolint:unused // Windows keeps the job of the program there
}

// Start starts cmd. With group it leads a process group of its own: signals reach everything that
// it starts, and those of the terminal do not reach it.
func Start(cmd *exec.Cmd, group bool) (*Process, error) {
	p := &Process{cmd: cmd, group: group, done: make(chan struct{})}
	p.prepare()
	started := make(chan error, 1)
	go func() {
		// The signal at the death of the parent is bound to the thread that forked.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.done)
		err := cmd.Start()
		if err == nil {
			if err = p.attach(); err != nil {
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
			}
		}
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			p.detach()
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

// Err waits for the end of the program and says how it ended, nil for code 0.
func (p *Process) Err() error {
	<-p.done
	return p.err
}
