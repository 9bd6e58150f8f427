package follow

import (
	"bytes"
	"context"
	"net"
	"sync"
	"sync/atomic"
)

// A wire makes connections and disturbs those that are used for Pub/Sub.
type wire struct {
	mu    sync.Mutex
	conns map[*wireConn]struct{}
	lost  atomic.Int64 // bytes
}

type wireConn struct {
	net.Conn
	wire   *wire
	pubsub atomic.Bool
	mute   atomic.Bool
}

func (w *wire) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	conn := &wireConn{Conn: c, wire: w}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conns == nil {
		w.conns = map[*wireConn]struct{}{}
	}
	w.conns[conn] = struct{}{}
	return conn, nil
}

func (c *wireConn) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte("\r\nsubscribe\r\n")) {
		c.pubsub.Store(true)
	}
	return c.Conn.Write(b)
}

// Read drops what comes while the connection is mute.
func (c *wireConn) Read(b []byte) (int, error) {
	for {
		n, err := c.Conn.Read(b)
		if err != nil || !c.mute.Load() {
			return n, err
		}
		c.wire.lost.Add(int64(n))
	}
}

func (c *wireConn) Close() error {
	c.wire.mu.Lock()
	delete(c.wire.conns, c)
	c.wire.mu.Unlock()
	return c.Conn.Close()
}

// pubsubs returns the connections that are subscribed to something.
func (w *wire) pubsubs() []*wireConn {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []*wireConn
	for c := range w.conns {
		if c.pubsub.Load() {
			list = append(list, c)
		}
	}
	return list
}

// mute has what is published from now on lost, on the connections there are.
func (w *wire) mute() {
	for _, c := range w.pubsubs() {
		c.mute.Store(true)
	}
}

// unmute ends mute.
func (w *wire) unmute() {
	for _, c := range w.pubsubs() {
		c.mute.Store(false)
	}
}

// cut breaks the Pub/Sub connections there are.
func (w *wire) cut() {
	for _, c := range w.pubsubs() {
		c.Conn.Close()
	}
}
