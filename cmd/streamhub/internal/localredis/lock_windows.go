package localredis

import (
	"errors"
	"os"
)

// Unsupported says why this system runs no server on a directory. It is nil where it does.
var Unsupported = errors.New("Redis does not run on Windows: run one in WSL or in a container, and name it with --redis redis://127.0.0.1:6379")

// tryLock is never called: [Start] refuses first.
func tryLock(*os.File) (bool, error) { return false, Unsupported }

// Pause is never called either, and neither is Resume.
func (s *Server) Pause() {}

// Resume is Pause's counterpart.
func (s *Server) Resume() {}
