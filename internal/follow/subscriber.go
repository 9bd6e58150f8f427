package follow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// A listener receives the events of a channel, one call at a time except for the first confirmed. Its methods must not
// block and must not call the subscriber.
type listener interface {
	// confirmed says that messages will arrive from now on. It is called again after each reconnect; when all channels
	// are back the subscriber calls its restored function.
	confirmed()
	message(payload string)
}

// A subscriber is the one Pub/Sub connection of a process and the channels it is subscribed to.
//
// A broken connection is dropped, and all its channels count as unsubscribed. The driver would restore them by itself,
// but its confirmations could not be told from earlier ones.
type subscriber struct {
	conn     *redisx.Conn
	interval time.Duration // between checks whether the connection is silent
	logger   *slog.Logger
	restored func()

	changed         chan struct{} // has a buffer of one: todo is not empty
	heard, messages atomic.Uint64
	serving         atomic.Bool // the connection works

	// mu guards the fields below, and the fields of every channel. Listeners are called without it.
	mu        sync.Mutex
	channels  map[string]*channel
	todo      map[*channel]struct{}
	restoring int // channels that were lost with the last connection and are not confirmed again yet
}

// A channel has at most one command in flight, so that each answer belongs to the last command.
type channel struct {
	name      string
	listeners []listener // replaced as a whole, never modified
	state     channelState
	was       bool // confirmed on an earlier connection
	restoring bool
}

// A channelState is the state of the subscription on the current connection: off, on, or a command is in flight.
type channelState int

const (
	off channelState = iota
	joining
	on
	leaving
)

const subscribeBatch = 500 // channels in one command

var errSilent = errors.New("nothing was heard for two intervals")

func newSubscriber(conn *redisx.Conn, interval time.Duration, logger *slog.Logger, restored func()) *subscriber {
	return &subscriber{
		conn: conn, interval: interval, logger: logger, restored: restored,
		changed:  make(chan struct{}, 1),
		channels: map[string]*channel{},
		todo:     map[*channel]struct{}{},
	}
}

// add adds a listener to a channel. It returns at once; the listener is called when the subscription is confirmed.
func (s *subscriber) add(name string, who listener) {
	s.mu.Lock()
	c := s.channels[name]
	if c == nil {
		c = &channel{name: name}
		s.channels[name] = c
	}
	c.listeners = append(slices.Clip(c.listeners), who)
	s.touch(c)
	confirmed := c.state == on
	s.mu.Unlock()
	if confirmed {
		who.confirmed()
	}
}

// remove removes a listener from a channel. A message that is being handled may still reach it.
func (s *subscriber) remove(name string, who listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.channels[name]
	c.listeners = slices.DeleteFunc(slices.Clone(c.listeners), func(x listener) bool { return x == who })
	s.touch(c)
}

// touch puts the channel into todo, for the next flush. The lock is held.
func (s *subscriber) touch(c *channel) {
	s.todo[c] = struct{}{}
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// run keeps the connection until ctx ends. The pause between attempts is reset only after a connection that has
// received something, so that a server that accepts and then refuses connections is not flooded.
func (s *subscriber) run(ctx context.Context) {
	var pause = pauses()
	for ctx.Err() == nil {
		if !s.wanted() {
			select {
			case <-ctx.Done():
			case <-s.changed:
			}
			continue
		}
		before := s.heard.Load()
		err := s.serve(ctx)
		if ctx.Err() != nil || err == nil {
			continue
		}
		s.conn.Observe(err)
		switch err := redisx.ReadOutcome(err); {
		case denied(err):
			s.logger.Warn("Redis refuses the subscriptions of this user", "error", err)
			s.conn.Doubt()
			s.unheard()
		default: // an outage of Redis is logged once, by the Conn
			s.logger.Debug("the Pub/Sub connection broke", "error", err)
		}
		if s.heard.Load() != before {
			pause.Reset()
		}
		pause.Wait(ctx)
	}
}

// unheard calls confirmed on the listeners of channels that were never confirmed, after Redis has refused the
// subscriptions. They then read, and get the error.
func (s *subscriber) unheard() {
	s.mu.Lock()
	var all []listener
	for _, c := range s.channels {
		if !c.was {
			all = append(all, c.listeners...)
		}
	}
	s.mu.Unlock()
	for _, who := range all {
		who.confirmed()
	}
}

// wanted reports whether any channel has a listener. Without one the process keeps no connection.
func (s *subscriber) wanted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.channels {
		if len(c.listeners) > 0 {
			return true
		}
	}
	return false
}

// serve keeps one connection until it breaks, or until no channel has a listener. A connection that receives nothing
// for two intervals, not even the answer to a ping, counts as broken. TCP would take minutes to notice that a host is
// gone.
func (s *subscriber) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ps, err := s.open(ctx)
	if err != nil {
		return err
	}
	broken := make(chan error, 1)
	var receiver sync.WaitGroup
	defer receiver.Wait()
	defer ps.Close()
	defer cancel() // cancel first: a driver that is dialling holds the lock that Close needs
	s.reset()
	if err := s.flush(ctx, ps); err != nil {
		return err
	}
	s.serving.Store(true)
	defer s.serving.Store(false)
	receiver.Go(func() { broken <- s.receive(ctx, ps) })

	tick := time.NewTicker(s.interval)
	defer tick.Stop()
	heard, messages, silent := s.heard.Load(), s.messages.Load(), 0
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-broken:
			return err
		case <-s.changed:
			if err := s.flush(ctx, ps); err != nil {
				return err
			}
		case <-tick.C:
			if !s.wanted() {
				return nil
			}
			silent++
			if now := s.heard.Load(); now != heard {
				heard, silent = now, 0
			}
			if silent == 2 {
				return errSilent
			}
			if now := s.messages.Load(); now != messages {
				messages = now
				continue
			}
			if err := ps.Ping(ctx); err != nil {
				return err
			}
		}
	}
}

// open makes a connection that is not dialled yet. On a cluster every node gets every message, so open picks any node.
// The driver would pick the node of the first channel, and stay with it even if it is dead.
func (s *subscriber) open(ctx context.Context) (*redis.PubSub, error) {
	if s.conn.Cluster == nil {
		return s.conn.Subscribe(ctx), nil
	}
	node, err := s.conn.Cluster.MasterForKey(ctx, fmt.Sprint(rand.Uint32()))
	if err != nil {
		return nil, err
	}
	return node.Subscribe(ctx), nil
}

// reset prepares for a new connection: every channel is to be subscribed again. It counts the channels that were
// confirmed before. When the last of them is confirmed again, the subscriber calls restored once, because messages may
// have been missed on any of them.
func (s *subscriber) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.restoring = 0
	for name, c := range s.channels {
		c.state, c.restoring = off, c.was
		if len(c.listeners) == 0 {
			delete(s.channels, name)
			delete(s.todo, c)
			continue
		}
		s.todo[c] = struct{}{}
		if c.restoring {
			s.restoring++
		}
	}
}

// flush sends the commands for changed channels. It skips a channel with a command in flight; [subscriber.confirmed]
// puts it back into todo when the answer comes. The lock is not held while something is sent, so a slow connection does
// not block add and remove.
func (s *subscriber) flush(ctx context.Context, ps *redis.PubSub) error {
	var join, leave []string
	restored := false
	s.mu.Lock()
	for c := range s.todo {
		switch wanted := len(c.listeners) > 0; {
		case wanted && c.state == off:
			c.state = joining
			join = append(join, c.name)
		case !wanted && c.state == on:
			c.state = leaving
			leave = append(leave, c.name)
		case !wanted && c.state == off:
			restored = s.isBack(c) || restored
			delete(s.channels, c.name)
		}
	}
	clear(s.todo)
	s.mu.Unlock()
	if restored {
		s.restored()
	}
	for names := range slices.Chunk(join, subscribeBatch) {
		if err := ps.Subscribe(ctx, names...); err != nil {
			return err
		}
	}
	for names := range slices.Chunk(leave, subscribeBatch) {
		if err := ps.Unsubscribe(ctx, names...); err != nil {
			return err
		}
	}
	return nil
}

// receive passes on messages until the connection breaks. It reads without a timeout: a timeout inside a message would
// leave the driver in the middle of a payload. serve closes a silent connection.
func (s *subscriber) receive(ctx context.Context, ps *redis.PubSub) error {
	for {
		m, err := ps.Receive(ctx)
		if err != nil {
			return err
		}
		s.heard.Add(1)
		switch m := m.(type) {
		case *redis.Message:
			s.messages.Add(1)
			for _, who := range s.listeners(m.Channel) {
				who.message(m.Payload)
			}
		case *redis.Subscription:
			s.confirmed(m)
		}
	}
}

// listeners returns the listeners of a channel. The list is never modified, so it is used without the lock.
func (s *subscriber) listeners(name string) []listener {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.channels[name]; c != nil {
		return c.listeners
	}
	return nil
}

// isBack records that c is confirmed again after a reconnect, and reports whether it was the last missing channel. The
// lock is held.
func (s *subscriber) isBack(c *channel) bool {
	if !c.restoring {
		return false
	}
	c.restoring = false
	s.restoring--
	return s.restoring == 0
}

// confirmed handles the answer to a command. Only now are messages certain to arrive, so only now may the listeners
// read: entries from before the confirmation are in the log, later ones are announced.
func (s *subscriber) confirmed(m *redis.Subscription) {
	s.mu.Lock()
	c := s.channels[m.Channel]
	if c == nil {
		s.mu.Unlock()
		return
	}
	s.touch(c) // listeners may have been added or removed meanwhile
	if m.Kind == "unsubscribe" {
		c.state, c.was = off, false
		s.mu.Unlock()
		return
	}
	c.state, c.was = on, true
	restored := s.isBack(c)
	listeners := c.listeners
	s.mu.Unlock()
	for _, who := range listeners {
		who.confirmed()
	}
	if restored {
		s.restored()
	}
}
