//go:build unix

package localredis

import (
	"errors"
	"os"
	"syscall"
)

// Unsupported says why this system runs no server on a directory. It is nil where it does.
var Unsupported error

// tryLock takes the lock of f, and reports false if another process has it.
func tryLock(f *os.File) (bool, error) {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, syscall.EINTR) {
		return false, nil
	}
	return err == nil, err
}

// Pause has the server hang until Resume, as a machine does that is out of breath. Stop does not end it meanwhile.
func (s *Server) Pause() { s.process.Signal(syscall.SIGSTOP) }

// Resume ends what Pause began.
func (s *Server) Resume() { s.process.Signal(syscall.SIGCONT) }
