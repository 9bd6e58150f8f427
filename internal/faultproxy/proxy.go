package faultproxy

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
)

// Proxy forwards TCP connections to one target. All methods are safe for concurrent use.
type Proxy struct {
	target   string
	seed     uint64
	listener *net.TCPListener
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	current  atomic.Pointer[settings]
	cutNext  atomic.Int64 // replies to cut whatever the probability
	counts   counters
	wg       sync.WaitGroup

	mu        sync.Mutex
	conns     map[*conn]struct{}
	acceptErr error
}

// settings are one generation of Faults.
type settings struct {
	Faults
	replaced chan struct{} // closed by the next Set
}

type counters struct {
	connections, refused, requests, replies, cutRequests, cutReplies, cuts, toServer, toClient, swallowed atomic.Int64
}

// New listens on a free port of 127.0.0.1 and forwards to target, a host:port that need not answer yet: a connection
// whose target cannot be dialled is cut.
func New(target string, seed uint64, faults Faults) (*Proxy, error) {
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	p := &Proxy{target: target, seed: seed, listener: listener, conns: make(map[*conn]struct{})}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.current.Store(&settings{Faults: faults, replaced: make(chan struct{})})
	p.wg.Go(p.accept)
	return p, nil
}

// Addr is the host:port to dial instead of the target.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Faults returns what is in force.
func (p *Proxy) Faults() Faults { return p.current.Load().Faults }

// Set replaces the faults, also for the connections there are. What is on its way meets the old or the new ones.
func (p *Proxy) Set(faults Faults) {
	next := &settings{Faults: faults, replaced: make(chan struct{})}
	close(p.current.Swap(next).replaced)
}

// CutNext cuts the next n replies, in addition to those that chance cuts. It replaces what an earlier call left over.
func (p *Proxy) CutNext(n int) { p.cutNext.Store(int64(n)) }

// CutAll cuts the connections there are and returns how many.
func (p *Proxy) CutAll() int {
	all := p.all()
	for _, c := range all {
		c.cut()
	}
	return len(all)
}

// HalfOpen resets the server's side of the connections there are and returns how many. The client's side stays open:
// what it sends is swallowed, and nothing ever answers.
func (p *Proxy) HalfOpen() int {
	all := p.all()
	for _, c := range all {
		c.orphan()
	}
	return len(all)
}

func (p *Proxy) all() []*conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]*conn, 0, len(p.conns))
	for c := range p.conns {
		all = append(all, c)
	}
	return all
}

// Counters returns the totals so far.
func (p *Proxy) Counters() Counters {
	n := &p.counts
	return Counters{
		Connections:   n.connections.Load(),
		Refused:       n.refused.Load(),
		Requests:      n.requests.Load(),
		Replies:       n.replies.Load(),
		CutRequests:   n.cutRequests.Load(),
		CutReplies:    n.cutReplies.Load(),
		Cuts:          n.cuts.Load(),
		BytesToServer: n.toServer.Load(),
		BytesToClient: n.toClient.Load(),
		Swallowed:     n.swallowed.Load(),
	}
}

// Close stops listening, resets all connections and waits for every goroutine of the proxy. It reports a listener that
// had failed before. Calling it again does nothing.
func (p *Proxy) Close() error {
	p.cancel()
	_ = p.listener.Close() // fails only the second time
	for _, c := range p.all() {
		c.reset()
	}
	p.wg.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.acceptErr
}

func (p *Proxy) accept() {
	for number := uint64(0); ; number++ {
		client, err := p.listener.AcceptTCP()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				p.mu.Lock()
				p.acceptErr = err
				p.mu.Unlock()
			}
			return
		}
		p.counts.connections.Add(1)
		if p.current.Load().Refuse {
			p.counts.refused.Add(1)
			reset(client)
			continue
		}
		p.wg.Go(func() { p.serve(number, client) })
	}
}

// serve handles one connection until both sides are closed.
func (p *Proxy) serve(number uint64, client *net.TCPConn) {
	var dialer net.Dialer
	server, err := dialer.DialContext(p.ctx, "tcp", p.target)
	if err != nil {
		p.counts.cuts.Add(1)
		reset(client)
		return
	}
	c := &conn{p: p, number: number, client: client, server: server.(*net.TCPConn), done: make(chan struct{})}
	p.mu.Lock()
	p.conns[c] = struct{}{}
	p.mu.Unlock()
	if p.ctx.Err() != nil { // Close may have looked for connections before this one was there
		c.reset()
	}

	var both sync.WaitGroup
	both.Go(c.requests)
	both.Go(c.replies)
	both.Wait()

	p.mu.Lock()
	delete(p.conns, c)
	p.mu.Unlock()
	_ = c.client.Close()
	_ = c.server.Close()
}

// takeCut says whether CutNext wants this reply.
func (p *Proxy) takeCut() bool {
	for {
		n := p.cutNext.Load()
		if n <= 0 {
			return false
		}
		if p.cutNext.CompareAndSwap(n, n-1) {
			return true
		}
	}
}

// reset closes a connection so that the other end sees ECONNRESET.
func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}
