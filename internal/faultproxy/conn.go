package faultproxy

import (
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// errCut ends a direction whose connection is gone.
var errCut = errors.New("cut")

// conn is one forwarded connection. Its two directions run in a goroutine each.
type conn struct {
	p              *Proxy
	number         uint64
	client, server *net.TCPConn
	awaiting       atomic.Bool // a request went out after which nothing has come back
	orphaned       atomic.Bool // by HalfOpen
	once           sync.Once
	done           chan struct{} // closed by the cut
}

// The purposes chance is drawn for; each has a sequence of its own, so that how TCP happens to split the bytes of one
// direction does not change what is cut.
const (
	forRequests = iota
	forReplies
	forFlowToServer
	forFlowToClient
)

func (c *conn) chance(purpose uint64) *rand.Rand {
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[0:], c.p.seed)
	binary.LittleEndian.PutUint64(seed[8:], c.number)
	binary.LittleEndian.PutUint64(seed[16:], purpose)
	return rand.New(rand.NewChaCha8(seed))
}

// requests forwards from the client to the server.
func (c *conn) requests() {
	luck := c.chance(forRequests)
	d := direction{
		c: c, from: c.client, to: c.server, random: c.chance(forFlowToServer), forwarded: &c.p.counts.toServer,
		flow: func(f *Faults) Flow {
			if c.orphaned.Load() {
				return Flow{Blackhole: true}
			}
			return f.ToServer
		},
	}
	d.run(func(b []byte) ([]byte, bool) {
		c.p.counts.requests.Add(1)
		if luck.Float64() < c.p.current.Load().CutRequest {
			c.p.counts.cutRequests.Add(1)
			return nil, true
		}
		c.awaiting.Store(true)
		return b, false
	})
}

// replies forwards from the server to the client.
func (c *conn) replies() {
	luck := c.chance(forReplies)
	var passed int64
	d := direction{
		c: c, from: c.server, to: c.client, random: c.chance(forFlowToClient), forwarded: &c.p.counts.toClient,
		flow: func(f *Faults) Flow { return f.ToClient },
	}
	d.run(func(b []byte) ([]byte, bool) {
		faults := c.p.current.Load()
		if c.awaiting.Swap(false) {
			c.p.counts.replies.Add(1)
			if drawn := luck.Float64() < faults.CutReply; c.p.takeCut() || drawn {
				c.p.counts.cutReplies.Add(1)
				return nil, true
			}
		}
		if left := faults.CutAfter - passed; faults.CutAfter > 0 && left <= int64(len(b)) {
			return b[:max(0, left)], true
		}
		passed += int64(len(b))
		return b, false
	})
}

// cut ends the connection as a fault.
func (c *conn) cut() {
	c.once.Do(func() {
		c.p.counts.cuts.Add(1)
		close(c.done)
		reset(c.server)
		if c.p.current.Load().EOF {
			_ = c.client.CloseWrite()
			_ = c.client.Close()
		} else {
			reset(c.client)
		}
	})
}

// reset ends the connection because an end is gone or the proxy closes.
func (c *conn) reset() {
	c.once.Do(func() {
		close(c.done)
		reset(c.server)
		reset(c.client)
	})
}

// orphan takes the server from the client without telling it.
func (c *conn) orphan() {
	c.orphaned.Store(true)
	reset(c.server)
}

// direction carries the bytes of one connection one way.
type direction struct {
	c    *conn
	from *net.TCPConn
	to   interface {
		io.Writer
		CloseWrite() error
	}
	random    *rand.Rand
	forwarded *atomic.Int64
	flow      func(*Faults) Flow
}

// run forwards until the stream ends. Of each read, judge returns the part to forward, and whether to cut the
// connection afterwards.
func (d *direction) run(judge func([]byte) ([]byte, bool)) {
	buf := make([]byte, 32<<10)
	for {
		n, err := d.from.Read(buf)
		if n > 0 {
			b, cut := judge(buf[:n])
			if d.forward(b) != nil {
				d.c.reset()
				return
			}
			if cut {
				d.c.cut()
				return
			}
		}
		if err != nil {
			d.end(err)
			return
		}
	}
}

// end passes the end of the stream on.
func (d *direction) end(err error) {
	if d.c.orphaned.Load() && d.from == d.c.server {
		return
	}
	flow, cutErr := d.gate()
	switch {
	case cutErr != nil || flow.Blackhole:
	case errors.Is(err, io.EOF):
		_ = d.to.CloseWrite()
	default:
		d.c.reset()
	}
}

func (d *direction) forward(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if err := d.delay(); err != nil {
		return err
	}
	flow, err := d.gate()
	if err != nil {
		return err
	}
	for len(b) > 0 && !flow.Blackhole {
		size := len(b)
		if flow.Slice > 0 {
			size = min(size, 1+d.random.IntN(flow.Slice))
		}
		n, err := d.to.Write(b[:size])
		d.forwarded.Add(int64(n))
		b = b[n:]
		if err != nil && !d.c.orphaned.Load() {
			return err
		}
		if err != nil {
			break // the rest goes where all that follows will go
		}
	}
	d.c.p.counts.swallowed.Add(int64(len(b)))
	return nil
}

// delay waits for Delay and Jitter.
func (d *direction) delay() error {
	flow := d.flow(&d.c.p.current.Load().Faults)
	wait := flow.Delay
	if flow.Jitter > 0 {
		wait += time.Duration(d.random.Int64N(int64(flow.Jitter)))
	}
	if wait <= 0 {
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-d.c.done:
		return errCut
	}
}

// gate waits for the end of a Hold and returns the flow then in force.
func (d *direction) gate() (Flow, error) {
	for {
		s := d.c.p.current.Load()
		flow := d.flow(&s.Faults)
		if !flow.Hold {
			return flow, nil
		}
		select {
		case <-s.replaced:
		case <-d.c.done:
			return Flow{}, errCut
		}
	}
}
