// Package redisbin finds the server program that tests, benchmarks and serve --data start.
package redisbin

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
)

// Variable is the environment variable that names the server program: a path, or a name on PATH.
const Variable = "STREAMHUB_REDIS_SERVER"

// Cure says how to install a server.
const Cure = "install Redis 7.0 or later, or Valkey:\n" +
	"  Debian, Ubuntu   sudo apt-get install redis-server\n" +
	"  Fedora           sudo dnf install valkey\n" +
	"  Alpine           sudo apk add valkey\n" +
	"  macOS            brew install redis\n" +
	"or name a server program with " + Variable

// ErrNotInstalled says that there is no server program. Its text ends with [Cure].
var ErrNotInstalled = errors.New("neither redis-server nor valkey-server is on PATH; " + Cure)

// Find returns the path of a server program: named, which may be empty, or what [Variable] names, or else
// redis-server or valkey-server, whichever is on PATH. A program that was named and cannot be found is an error.
func Find(named string) (string, error) {
	if named == "" {
		named = os.Getenv(Variable)
	}
	if named != "" {
		path, err := exec.LookPath(named)
		if err != nil {
			return "", fmt.Errorf("the Redis server program: %w", err)
		}
		return path, nil
	}
	for _, name := range []string{"redis-server", "valkey-server"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", ErrNotInstalled
}
