package testredis

import (
	"os"
	"os/exec"
	"runtime"
)

// process is one run of a server: from launch until exited is closed.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{}
}

// launch starts the command. Its goroutine keeps one operating system thread to itself for as long
// as the child lives: the parent death signal is bound to the thread that forked, not to the
// process.
func launch(path string, args []string, dir string, output *os.File) (*process, error) {
	p := &process{cmd: exec.Command(path, args...), exited: make(chan struct{})}
	p.cmd.Dir = dir
	p.cmd.Stdout = output
	p.cmd.Stderr = output
	p.cmd.SysProcAttr = dieWithParent()

	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.exited)
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // how it ended is in the log
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) alive() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}
