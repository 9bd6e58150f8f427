// Package instance says how this process is called where others have to tell it from all others: in the
// holders of leases and in the list of instances.
package instance

import (
	"os"
	"strconv"
	"strings"
	"sync"
)

// maxHost bounds the part of a name that the host has, so that a holder, which adds a random id, stays
// within the limit of a name.
const maxHost = 64

// Name returns "<host>/<process id>". It does not change while the process lives.
var Name = sync.OnceValue(func() string {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "unknown"
	}
	host = strings.ReplaceAll(host, "/", "-")
	return host[:min(len(host), maxHost)] + "/" + strconv.Itoa(os.Getpid())
})

// Split cuts the holder of a lease into the host and the process that [Name] put there; ok is false for
// a holder with another text.
func Split(holder string) (host, process string, ok bool) {
	parts := strings.Split(holder, "/")
	if len(parts) != 3 {
		return "", "", false
	}
	if _, err := strconv.ParseUint(parts[1], 10, 32); err != nil {
		return "", "", false
	}
	return parts[0], parts[1], true
}
