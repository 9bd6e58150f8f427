package child

import (
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// Forwarded are the signals that a program would get if it ran alone. The console sends Ctrl-C to
// every program that shares it.
var Forwarded = []os.Signal{syscall.SIGINT, syscall.SIGTERM}

// platform holds the job of the program. Windows ends everything in a job when its last handle is
// closed, so the death of this process ends it too.
type platform struct {
	mu  sync.Mutex // guards job
	job windows.Handle
}

func (p *Process) prepare() {}

// attach puts the program into a job. What it started before that is not in the job.
func (p *Process) attach() error {
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return err
	}
	limits := windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION{
		BasicLimitInformation: windows.JOBOBJECT_BASIC_LIMIT_INFORMATION{LimitFlags: windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE},
	}
	_, err = windows.SetInformationJobObject(job, windows.JobObjectExtendedLimitInformation,
		uintptr(unsafe.Pointer(&limits)), uint32(unsafe.Sizeof(limits)))
	if err == nil {
		var process windows.Handle
		process, err = windows.OpenProcess(windows.PROCESS_SET_QUOTA|windows.PROCESS_TERMINATE, false, uint32(p.cmd.Process.Pid))
		if err == nil {
			err = windows.AssignProcessToJobObject(job, process)
			_ = windows.CloseHandle(process)
		}
	}
	if err != nil {
		_ = windows.CloseHandle(job)
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.job = job
	return nil
}

// detach ends what the program has left behind.
func (p *Process) detach() {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = windows.CloseHandle(p.job)
	p.job = 0
}

// ExitCode waits for the end of the program and returns its code.
func (p *Process) ExitCode() int {
	<-p.done
	return p.cmd.ProcessState.ExitCode()
}

// Signal ends the program and what it started: Windows has no signals. One that has ended is left alone.
func (p *Process) Signal(os.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.job != 0 {
		_ = windows.TerminateJobObject(p.job, 1)
	}
}

// Stop ends the program and what it started, and returns when the program has ended. There is nothing
// to ask it to do within grace.
func (p *Process) Stop(time.Duration) {
	p.Signal(os.Kill)
	<-p.done
}
