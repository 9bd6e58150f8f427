package testredis

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// common is what the tests of one binary share.
var common struct {
	mu      sync.Mutex
	base    string // directory of the servers, while Main runs
	server  []*node
	cluster []*node
	err     error // the first failed start: later tests do not wait for it again
}

// Main runs the tests of a package, ends the servers they shared, and fails if a goroutine is left over. It does not
// return.
func Main(m *testing.M, options ...goleak.Option) {
	goleak.VerifyTestMain(runner{m}, options...)
}

type runner struct{ m *testing.M }

func (r runner) Run() int {
	base, err := os.MkdirTemp("", "testredis-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "testredis:", err)
		return 1
	}
	common.mu.Lock()
	common.base = base
	common.mu.Unlock()

	code := r.m.Run()

	common.mu.Lock()
	defer common.mu.Unlock()
	for _, n := range append(common.server, common.cluster...) {
		err = errors.Join(err, n.kill())
	}
	common.base, common.server, common.cluster = "", nil, nil
	if err = errors.Join(err, os.RemoveAll(base)); err != nil {
		fmt.Fprintln(os.Stderr, "testredis:", err)
		return max(code, 1)
	}
	return code
}

// Shared returns the server all tests of the package use. They keep apart by their keys and leave it running as it is.
func Shared(tb testing.TB) *Server {
	tb.Helper()
	return share(tb, &common.server, func(path string) ([]*node, error) {
		n, err := startServer(path, common.base, nil, nil)
		return []*node{n}, err
	})[0]
}

// SharedCluster returns the Cluster all tests of the package use: three masters, no replicas. They keep apart by their
// keys and leave it running as it is.
func SharedCluster(tb testing.TB) *Cluster {
	tb.Helper()
	short(tb)
	return &Cluster{tb: tb, Nodes: share(tb, &common.cluster, func(path string) ([]*node, error) {
		return startCluster(path, common.base, 3, 0, &ClusterOptions{NodeTimeout: 15 * time.Second})
	})}
}

// share fills *nodes at the first call and binds them to tb, which does not end them.
func share(tb testing.TB, nodes *[]*node, start func(path string) ([]*node, error)) []*Server {
	tb.Helper()
	path := findBinary(tb)
	common.mu.Lock()
	defer common.mu.Unlock()
	switch {
	case common.base == "":
		tb.Fatal("testredis: shared servers need a TestMain that calls testredis.Main")
	case common.err != nil:
		tb.Fatalf("testredis: an earlier start failed: %v", common.err)
	case *nodes == nil:
		started, err := start(path)
		if err != nil {
			common.err = err
			tb.Fatalf("testredis: %v", err)
		}
		*nodes = started
	}
	var servers []*Server
	for _, n := range *nodes {
		tb.Cleanup(func() { logOnFailure(tb, n) })
		servers = append(servers, &Server{tb: tb, n: n})
	}
	return servers
}
