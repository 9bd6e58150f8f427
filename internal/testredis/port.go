package testredis

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

const loopback = "127.0.0.1"

// Ports are drawn from below every system's ephemeral range. A port the kernel may hand to outgoing connections is
// wrong for a server that gets killed and restarted: a client that keeps dialling the dead port can be given that
// same port as its own, so that it connects to itself and the server cannot bind again.
const (
	firstPort = 10000
	lastPort  = 32000
)

// freePort returns a port without a listener at this moment. Another process may take it before it is used: callers
// start over with another one then.
func freePort() (int, error) {
	var last error
	for range 200 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		l, err := net.Listen("tcp", address(port))
		if err != nil {
			last = err
			continue
		}
		if err := l.Close(); err != nil {
			return 0, err
		}
		return port, nil
	}
	return 0, fmt.Errorf("no free port between %d and %d: %w", firstPort, lastPort, last)
}

func address(port int) string { return net.JoinHostPort(loopback, strconv.Itoa(port)) }
