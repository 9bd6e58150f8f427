package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
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
	compare := func(name string, crowd func(open opener) opening) {
		all = append(all, row{
			name: "fan-out of " + name + ", CPU of the server", unit: "µs/delivery",
			contestants: []contestant{
				{"bare loop of prepared writes", crowd(bareCrowd), atMost(1.35)},
				{"streamhub gateway", crowd(ourCrowd), target{}},
				{"Centrifuge, JSON", crowd(centrifugeCrowd), atMost(0.9)},
			},
		})
	}
	for _, connections := range []int{1000, 5000} {
		compare(fmt.Sprintf("one segment to %d WebSockets", connections), func(open opener) opening { return fanout(connections, 1, open) })
	}
	compare("100 segments to 10000 WebSockets", func(open opener) opening { return afresh(fanout(10_000, 100, open)) })
	return append(all, row{
		name: "idle connection, 2,000 of them", unit: "KiB/connection", once: true,
		contestants: []contestant{
			{"bare coder/websocket", idle(2000, bareCrowd), atMost(1.3)},
			{"streamhub gateway, one follower each", idle(2000, ourCrowd), target{}},
		},
	})
}

// A crowd is a server in a process of its own and connections to it, each to one of the segments 0, 1, 2, …
type crowd struct {
	server  *process
	join    func(ctx context.Context, segment int) error // opens one connection, which is then read until ctx ends
	publish func(ctx context.Context, segment int, payload []byte) error
	close   func() error
	arrived atomic.Int64
	readers sync.WaitGroup
}

// An opener makes a crowd for so many segments, without connections.
type opener = func(ctx context.Context, b *bed, segments int) (*crowd, error)

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
func (c *crowd) fill(ctx context.Context, connections, segments int) error {
	errs := make([]error, 16)
	var all sync.WaitGroup
	for w := range errs {
		all.Go(func() {
			for i := w; i < connections && errs[w] == nil; i += len(errs) {
				errs[w] = c.join(ctx, i%segments)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// crowded opens a crowd and makes a turn with it; what it joins reads until the turn's contestant is closed.
func crowded(segments int, open opener, prepare func(reading context.Context, b *bed, c *crowd) (turn, error)) opening {
	return func(ctx context.Context, b *bed) (turn, func() error, error) {
		c, err := open(ctx, b, segments)
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

func fanout(connections, segments int, open opener) opening {
	return crowded(segments, open, func(reading context.Context, b *bed, c *crowd) (turn, error) {
		if err := c.fill(reading, connections, segments); err != nil {
			return nil, err
		}
		payload := bytes.Repeat([]byte("x"), 100)
		return func(ctx context.Context) (sample, error) {
			followers := connections / segments
			messages := max(1, int(length.Seconds()*deliveries)/followers)
			want := int64(messages * followers)
			c.arrived.Store(0)
			redisBefore, before := b.cpu(), c.server.cpu()
			tick := time.NewTicker(*length / time.Duration(messages))
			defer tick.Stop()
			for i := range messages {
				<-tick.C
				if err := c.publish(ctx, i%segments, payload); err != nil {
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
func idle(connections int, open opener) opening {
	return crowded(1, open, func(reading context.Context, _ *bed, c *crowd) (turn, error) {
		return func(context.Context) (sample, error) {
			if err := c.fill(reading, 1, 1); err != nil { // with what is made once
				return sample{}, err
			}
			before := c.server.settled()
			err := c.fill(reading, connections, 1)
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

func bareCrowd(ctx context.Context, _ *bed, _ int) (*crowd, error) {
	p, err := spawn(ctx, "bare")
	if err != nil {
		return nil, err
	}
	c := &crowd{server: p, publish: p.writeLine, close: p.stop}
	c.join = func(ctx context.Context, segment int) error {
		ws, _, err := websocket.Dial(ctx, fmt.Sprintf("ws://%s/%d", p.line, segment), nil)
		if err == nil {
			c.read(ctx, ws, func([]byte) int { return 1 })
		}
		return err
	}
	return c, nil
}

// writeLine has a child publish something.
func (p *process) writeLine(_ context.Context, segment int, payload []byte) error {
	_, err := fmt.Fprintf(p.in, "%d %s\n", segment, payload)
	return err
}

func centrifugeCrowd(ctx context.Context, _ *bed, _ int) (*crowd, error) {
	p, err := spawn(ctx, "centrifuge")
	if err != nil {
		return nil, err
	}
	c := &crowd{server: p, publish: p.writeLine, close: p.stop}
	c.join = func(ctx context.Context, segment int) error {
		ws, _, err := websocket.Dial(ctx, "ws://"+p.line, nil)
		if err != nil {
			return err
		}
		for _, command := range []string{`{"id":1,"connect":{}}`, fmt.Sprintf(`{"id":2,"subscribe":{"channel":"%d"}}`, segment)} {
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

func ourCrowd(ctx context.Context, b *bed, segments int) (*crowd, error) {
	p, err := spawn(ctx, "gateway", b.url)
	if err != nil {
		return nil, err
	}
	s, done, err := b.hub(ctx)
	if err != nil {
		return nil, errors.Join(err, p.stop())
	}
	c := &crowd{server: p, close: func() error { return errors.Join(p.stop(), done()) }}
	c.publish = func(ctx context.Context, segment int, payload []byte) error {
		return appendTo(s, strconv.Itoa(segment))(ctx, payload)
	}
	if err := touch(ctx, s, segments); err != nil {
		return nil, errors.Join(err, c.close())
	}
	c.join = func(ctx context.Context, segment int) error {
		provider, err := client.NewWebSocketProvider(ctx, []string{"ws://" + p.line}, &client.WebSocketOptions{PingInterval: time.Hour})
		if err != nil {
			return err
		}
		first := make(chan error, 1)
		c.readers.Go(func() {
			defer provider.Close()
			for e, err := range provider.Store(s.ID()).FollowSegment(ctx, "bench", strconv.Itoa(segment), nil) {
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
