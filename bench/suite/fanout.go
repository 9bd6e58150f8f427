package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/hub"
)

const deliveries = 20_000 // a second, over all connections

func fanoutRows() []row {
	var all []row
	for _, connections := range []int{1000, 5000} {
		all = append(all, row{
			name: fmt.Sprintf("fan-out of one segment to %d WebSockets, CPU of the server", connections), unit: "µs/delivery",
			contestants: []contestant{
				{"bare loop of prepared writes", fanout(connections, bareCrowd), atMost(1.35)},
				{"streamhub gateway", fanout(connections, ourCrowd), target{}},
				{"Centrifuge, JSON", fanout(connections, centrifugeCrowd), atMost(0.9)},
			},
		})
	}
	return append(all, row{
		name: "idle connection, 2,000 of them", unit: "KiB/connection", once: true,
		contestants: []contestant{
			{"bare coder/websocket", idle(2000, bareCrowd), atMost(1.3)},
			{"streamhub gateway, one follower each", idle(2000, ourCrowd), target{}},
		},
	})
}

// A crowd is a server in a process of its own and connections to it.
type crowd struct {
	server  *process
	join    func(ctx context.Context) error // opens one connection, which is then read until ctx ends
	publish func(ctx context.Context, payload []byte) error
	close   func() error
	arrived atomic.Int64
	readers sync.WaitGroup
}

// read reads a connection on which each message may bring several payloads.
func (c *crowd) read(ctx context.Context, ws *websocket.Conn, payloads func([]byte) int) {
	c.readers.Go(func() {
		defer ws.CloseNow()
		for {
			_, message, err := ws.Read(ctx)
			if err != nil {
				return
			}
			c.arrived.Add(int64(payloads(message)))
		}
	})
}

// fill opens so many connections.
func (c *crowd) fill(ctx context.Context, connections int) error {
	errs := make([]error, 16)
	var all sync.WaitGroup
	for w := range errs {
		all.Go(func() {
			for i := w; i < connections && errs[w] == nil; i += len(errs) {
				errs[w] = c.join(ctx)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// crowded opens a crowd and makes a turn with it; what it joins reads until the turn's contestant is closed.
func crowded(
	open func(context.Context, *bed) (*crowd, error), prepare func(reading context.Context, b *bed, c *crowd) (turn, error),
) opening {
	return func(ctx context.Context, b *bed) (turn, func() error, error) {
		c, err := open(ctx, b)
		if err != nil {
			return nil, nil, err
		}
		reading, leave := context.WithCancel(ctx)
		t, err := prepare(reading, b, c)
		return t, func() error {
			leave()
			err := c.close()
			c.readers.Wait()
			return err
		}, err
	}
}

func fanout(connections int, open func(context.Context, *bed) (*crowd, error)) opening {
	return crowded(open, func(reading context.Context, b *bed, c *crowd) (turn, error) {
		if err := c.fill(reading, connections); err != nil {
			return nil, err
		}
		payload := bytes.Repeat([]byte("x"), 100)
		return func(ctx context.Context) (sample, error) {
			messages := max(1, int(length.Seconds()*deliveries)/connections)
			want := int64(messages * connections)
			c.arrived.Store(0)
			redisBefore, before := b.cpu(), c.server.cpu()
			tick := time.NewTicker(*length / time.Duration(messages))
			defer tick.Stop()
			for range messages {
				<-tick.C
				if err := c.publish(ctx, payload); err != nil {
					return sample{}, err
				}
			}
			for deadline := time.Now().Add(30 * time.Second); c.arrived.Load() < want; time.Sleep(10 * time.Millisecond) {
				if time.Now().After(deadline) {
					return sample{}, complete(int(c.arrived.Load()), int(want))
				}
			}
			used := micros(c.server.cpu()-before) / float64(want)
			return sample{Figure: used, Process: used, Redis: micros(b.cpu()-redisBefore) / float64(want)}, nil
		}, nil
	})
}

// idle measures what a connection takes in the memory of the server.
func idle(connections int, open func(context.Context, *bed) (*crowd, error)) opening {
	return crowded(open, func(reading context.Context, _ *bed, c *crowd) (turn, error) {
		return func(context.Context) (sample, error) {
			if err := c.fill(reading, 1); err != nil { // with what is made once
				return sample{}, err
			}
			before := c.server.settled()
			err := c.fill(reading, connections)
			return sample{Figure: (c.server.settled() - before) / 1024 / float64(connections)}, err
		}, nil
	})
}

// settled is the resident memory once it has not changed for a while.
func (p *process) settled() float64 {
	last, since := p.resident(), time.Now()
	for begin := time.Now(); time.Since(since) < 3*time.Second && time.Since(begin) < time.Minute; time.Sleep(200 * time.Millisecond) {
		if now := p.resident(); now > last+64<<10 || now < last-64<<10 {
			last, since = now, time.Now()
		}
	}
	return p.resident()
}

func bareCrowd(ctx context.Context, _ *bed) (*crowd, error) {
	p, err := spawn(ctx, "bare")
	if err != nil {
		return nil, err
	}
	c := &crowd{server: p, publish: p.writeLine, close: p.stop}
	c.join = func(ctx context.Context) error {
		ws, _, err := websocket.Dial(ctx, "ws://"+p.line, nil)
		if err == nil {
			c.read(ctx, ws, func([]byte) int { return 1 })
		}
		return err
	}
	return c, nil
}

// writeLine has a child publish something.
func (p *process) writeLine(_ context.Context, payload []byte) error {
	_, err := p.in.Write(append(bytes.Clone(payload), '\n'))
	return err
}

func centrifugeCrowd(ctx context.Context, _ *bed) (*crowd, error) {
	p, err := spawn(ctx, "centrifuge")
	if err != nil {
		return nil, err
	}
	c := &crowd{server: p, publish: p.writeLine, close: p.stop}
	c.join = func(ctx context.Context) error {
		ws, _, err := websocket.Dial(ctx, "ws://"+p.line, nil)
		if err != nil {
			return err
		}
		for _, command := range []string{`{"id":1,"connect":{}}`, `{"id":2,"subscribe":{"channel":"c"}}`} {
			if err := ws.Write(ctx, websocket.MessageText, []byte(command)); err != nil {
				return err
			}
			if _, reply, err := ws.Read(ctx); err != nil || bytes.Contains(reply, []byte(`"error"`)) {
				return errors.Join(fmt.Errorf("%s: %s", command, reply), err)
			}
		}
		c.read(ctx, ws, func(message []byte) int { return bytes.Count(message, []byte(`"push"`)) })
		return nil
	}
	return c, nil
}

func ourCrowd(ctx context.Context, b *bed) (*crowd, error) {
	p, err := spawn(ctx, "gateway", b.url)
	if err != nil {
		return nil, err
	}
	s, done, err := b.hub(ctx)
	if err != nil {
		return nil, errors.Join(err, p.stop())
	}
	c := &crowd{server: p, publish: appendTo(s, "fan-out"), close: func() error { return errors.Join(p.stop(), done()) }}
	if err := c.publish(ctx, []byte("first")); err != nil {
		return nil, errors.Join(err, c.close())
	}
	c.join = func(ctx context.Context) error {
		provider, err := client.NewWebSocketProvider(ctx, []string{"ws://" + p.line}, &client.WebSocketOptions{PingInterval: time.Hour})
		if err != nil {
			return err
		}
		first := make(chan error, 1)
		c.readers.Go(func() {
			defer provider.Close()
			for e, err := range provider.Store(s.ID()).FollowSegment(ctx, "bench", "fan-out", nil) {
				if err != nil || e.Sequence == 1 {
					first <- err
				} else {
					c.arrived.Add(1)
				}
			}
		})
		return <-first
	}
	return c, nil
}

func appendTo(s *hub.Store, segment string) func(context.Context, []byte) error {
	return func(ctx context.Context, payload []byte) error {
		_, err := s.Append(ctx, "bench", segment, []streamhub.Record{{Payload: payload}}, nil)
		return err
	}
}
