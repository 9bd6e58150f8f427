//go:build faults

package integration

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub/internal/faultproxy"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

// A pair is a master and a replica, with a proxy between them, and clients that follow the master
// as they would follow one address that moves.
type pair struct {
	t               *testing.T
	master, replica *testredis.Server
	link            *faultproxy.Proxy

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

func startPair(t *testing.T, seed uint64) *pair {
	p := &pair{t: t, master: testredis.Start(t, nil), replica: testredis.Start(t, nil), conns: map[net.Conn]struct{}{}}
	p.attach(seed)
	return p
}

// attach makes the replica one of the master, over a new proxy, and waits until it is in step.
func (p *pair) attach(seed uint64) {
	p.t.Helper()
	link, err := faultproxy.New(p.master.Addr(), seed, faultproxy.Faults{})
	require.NoError(p.t, err)
	p.t.Cleanup(func() { _ = link.Close() })
	p.link = link
	host, port, _ := net.SplitHostPort(link.Addr())
	require.NoError(p.t, p.replica.Client().ReplicaOf(p.t.Context(), host, port).Err())
	eventually(p.t, 20*time.Second, func(ctx context.Context) error {
		info, err := p.master.Client().Info(ctx, "replication").Result()
		if err == nil && !strings.Contains(info, "state=online") {
			err = fmt.Errorf("no replica yet:\n%s", info)
		}
		return err
	})
}

// lag swallows what the master sends to its replica. The master does not notice for a long time.
func (p *pair) lag() { p.link.Set(faultproxy.Faults{ToClient: faultproxy.Flow{Blackhole: true}}) }

// promote makes the replica the master, after the old one was killed. The old one comes back empty
// as its replica.
func (p *pair) promote(seed uint64) {
	p.t.Helper()
	p.master.Kill()
	require.NoError(p.t, p.replica.Client().ReplicaOf(p.t.Context(), "no", "one").Err())
	p.mu.Lock()
	p.master, p.replica = p.replica, p.master
	for c := range p.conns {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.replica.RestartEmpty()
	p.attach(seed)
}

// address is that of the master now.
func (p *pair) address() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.master.Addr()
}

func (p *pair) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	dialer := net.Dialer{Timeout: 500 * time.Millisecond}
	address := p.address()
	conn, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if address != p.master.Addr() {
		_ = conn.Close()
		return nil, errors.New("the master died meanwhile") // this may be its successor at the same address, which is empty
	}
	p.conns[conn] = struct{}{}
	return conn, nil
}

// DialHook, ProcessHook and ProcessPipelineHook make it a hook of go-redis.
func (p *pair) DialHook(redis.DialHook) redis.DialHook               { return p.dial }
func (p *pair) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (p *pair) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (p *pair) client(t *testing.T, hooks ...redis.Hook) redis.UniversalClient {
	t.Helper()
	c := client(t, p.master.URL())
	c.AddHook(p)
	for _, h := range hooks {
		c.AddHook(h)
	}
	return c
}

// inStep waits until a replica has all that the master has. WAIT is for what its own connection wrote.
func inStep(t *testing.T, master *testredis.Server) {
	t.Helper()
	conn := master.Client().Conn()
	defer conn.Close()
	require.NoError(t, conn.Set(t.Context(), "in step", "x", 0).Err())
	n, err := conn.Wait(t.Context(), 1, 2*time.Second).Result()
	require.NoError(t, err)
	require.EqualValues(t, 1, n, "no replica has it all")
}
