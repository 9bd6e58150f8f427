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

// A listener is told what happens on a channel, one call at a time except for the first confirmed.
// It must not block and must not touch the link.
type listener interface {
	// confirmed says that messages sent from now on will come. It is called again after each
	// reconnect; when all channels are back the link calls its restored.
	confirmed()
	message(payload string)
}

// A link is the one Pub/Sub connection of a process and the channels it is subscribed to.
//
// A connection that breaks is thrown away with all that is known of its channels: what the driver
// restores by itself cannot be told apart from what was confirmed before.
type link struct {
	conn     *redisx.Conn
	interval time.Duration // between looks at whether it is silent
	logger   *slog.Logger
	restored func()

	changed         chan struct{} // there is something in todo
	heard, messages atomic.Uint64
	serving         atomic.Bool // there is a connection

	mu        sync.Mutex
	channels  map[string]*channel
	todo      map[*channel]struct{}
	restoring int // channels that were lost with the last connection and are not back
}

// A channel has at most one command on its way, so that each answer is to the last one.
type channel struct {
	name      string
	listeners []listener // replaced, never changed
	state     channelState
	was       bool // confirmed before
	restoring bool
}

type channelState int

const (
	off channelState = iota
	joining
	on
	leaving
)

const subscribeBatch = 500 // channels of one command

var errSilent = errors.New("nothing was heard for two intervals")

func newLink(conn *redisx.Conn, interval time.Duration, logger *slog.Logger, restored func()) *link {
	return &link{
		conn: conn, interval: interval, logger: logger, restored: restored,
		changed:  make(chan struct{}, 1),
		channels: map[string]*channel{},
		todo:     map[*channel]struct{}{},
	}
}

// add registers interest. It returns at once; the listener hears when it is confirmed.
func (l *link) add(name string, who listener) {
	l.mu.Lock()
	c := l.channels[name]
	if c == nil {
		c = &channel{name: name}
		l.channels[name] = c
	}
	c.listeners = append(slices.Clip(c.listeners), who)
	l.touch(c)
	confirmed := c.state == on
	l.mu.Unlock()
	if confirmed {
		who.confirmed()
	}
}

// remove ends interest. A message that is being handled may still reach the listener.
func (l *link) remove(name string, who listener) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.channels[name]
	c.listeners = slices.DeleteFunc(slices.Clone(c.listeners), func(x listener) bool { return x == who })
	l.touch(c)
}

// touch has the channel looked at by flush. The lock is held.
func (l *link) touch(c *channel) {
	l.todo[c] = struct{}{}
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// run keeps the connection until ctx ends. The pause between attempts starts anew only after a
// connection on which something was heard: a server that accepts and then refuses is not stormed.
func (l *link) run(ctx context.Context) {
	var pause = pauses()
	for ctx.Err() == nil {
		if !l.wanted() {
			select {
			case <-ctx.Done():
			case <-l.changed:
			}
			continue
		}
		before := l.heard.Load()
		err := l.serve(ctx)
		if ctx.Err() != nil || err == nil {
			continue
		}
		l.conn.Observe(err)
		switch err := redisx.ReadOutcome(err); {
		case denied(err):
			l.logger.Warn("Redis refuses the subscriptions of this user", "error", err)
			l.conn.Doubt()
			l.unheard()
		default: // that Redis is away is logged once, by the connection itself
			l.logger.Debug("the Pub/Sub connection broke", "error", err)
		}
		if l.heard.Load() != before {
			pause.Reset()
		}
		pause.Wait(ctx)
	}
}

// unheard lets those read who wait for a confirmation that will not come, so that they hear why.
func (l *link) unheard() {
	l.mu.Lock()
	var all []listener
	for _, c := range l.channels {
		if !c.was {
			all = append(all, c.listeners...)
		}
	}
	l.mu.Unlock()
	for _, who := range all {
		who.confirmed()
	}
}

// wanted reports whether any channel has a listener. Without one the process keeps no connection.
func (l *link) wanted() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.channels {
		if len(c.listeners) > 0 {
			return true
		}
	}
	return false
}

// serve keeps one connection until it breaks, or until no channel is wanted any more. A connection on
// which nothing is heard for two intervals, not even the answer to a ping, counts as broken: TCP
// would take minutes to notice that a host has gone, and nothing is ever sent that would fail.
func (l *link) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ps, err := l.open(ctx)
	if err != nil {
		return err
	}
	broken := make(chan error, 1)
	var receiver sync.WaitGroup
	defer receiver.Wait()
	defer ps.Close()
	defer cancel() // first: a driver that is dialling holds the lock that Close wants
	l.reset()
	if err := l.flush(ctx, ps); err != nil {
		return err
	}
	l.serving.Store(true)
	defer l.serving.Store(false)
	receiver.Go(func() { broken <- l.receive(ctx, ps) })

	tick := time.NewTicker(l.interval)
	defer tick.Stop()
	heard, messages, silent := l.heard.Load(), l.messages.Load(), 0
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-broken:
			return err
		case <-l.changed:
			if err := l.flush(ctx, ps); err != nil {
				return err
			}
		case <-tick.C:
			if !l.wanted() {
				return nil
			}
			silent++
			if now := l.heard.Load(); now != heard {
				heard, silent = now, 0
			}
			if silent == 2 {
				return errSilent
			}
			if now := l.messages.Load(); now != messages {
				messages = now
				continue
			}
			if err := ps.Ping(ctx); err != nil {
				return err
			}
		}
	}
}

// open makes a connection that is not dialled yet. On a cluster every node has every message, so
// any one does; the driver would go to the node of the first channel and stay there if it is dead.
func (l *link) open(ctx context.Context) (*redis.PubSub, error) {
	if l.conn.Cluster == nil {
		return l.conn.Subscribe(ctx), nil
	}
	node, err := l.conn.Cluster.MasterForKey(ctx, fmt.Sprint(rand.Uint32()))
	if err != nil {
		return nil, err
	}
	return node.Subscribe(ctx), nil
}

// reset forgets what the last connection knew. Every channel is subscribed anew, and those that were
// confirmed before are counted: when the last of them is back, messages may have been missed on any
// of them, and the link reports restored once.
func (l *link) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.restoring = 0
	for name, c := range l.channels {
		c.state, c.restoring = off, c.was
		if len(c.listeners) == 0 {
			delete(l.channels, name)
			delete(l.todo, c)
			continue
		}
		l.todo[c] = struct{}{}
		if c.restoring {
			l.restoring++
		}
	}
}

// flush sends what has changed. A channel with a command under way is left alone; [link.settle] puts
// it back into todo when the answer comes. The lock is not held while something is sent, so a slow
// connection does not block add and remove.
func (l *link) flush(ctx context.Context, ps *redis.PubSub) error {
	var join, leave []string
	restored := false
	l.mu.Lock()
	for c := range l.todo {
		switch wanted := len(c.listeners) > 0; {
		case wanted && c.state == off:
			c.state = joining
			join = append(join, c.name)
		case !wanted && c.state == on:
			c.state = leaving
			leave = append(leave, c.name)
		case !wanted && c.state == off:
			restored = l.isBack(c) || restored
			delete(l.channels, c.name)
		}
	}
	clear(l.todo)
	l.mu.Unlock()
	if restored {
		l.restored()
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

// receive hands on what comes until the connection breaks. It reads without a timeout, because one
// that strikes inside a message would leave the driver in the middle of a payload; serve closes a
// connection that is silent.
func (l *link) receive(ctx context.Context, ps *redis.PubSub) error {
	for {
		m, err := ps.Receive(ctx)
		if err != nil {
			return err
		}
		l.heard.Add(1)
		switch m := m.(type) {
		case *redis.Message:
			l.messages.Add(1)
			for _, who := range l.listeners(m.Channel) {
				who.message(m.Payload)
			}
		case *redis.Subscription:
			l.settle(m)
		}
	}
}

// listeners returns a list that is never changed, so it is used without the lock.
func (l *link) listeners(name string) []listener {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.channels[name]; c != nil {
		return c.listeners
	}
	return nil
}

// isBack notes that c is not missing any more since the reconnect, and reports whether it was the
// last one. The lock is held.
func (l *link) isBack(c *channel) bool {
	if !c.restoring {
		return false
	}
	c.restoring = false
	l.restoring--
	return l.restoring == 0
}

// settle takes the answer to a command. Only now messages are sure to come, so only now the listeners
// may read: what was appended before the confirmation is in the log, what comes after it is announced.
func (l *link) settle(m *redis.Subscription) {
	l.mu.Lock()
	c := l.channels[m.Channel]
	if c == nil {
		l.mu.Unlock()
		return
	}
	l.touch(c) // what is wanted may have changed meanwhile
	if m.Kind == "unsubscribe" {
		c.state, c.was = off, false
		l.mu.Unlock()
		return
	}
	c.state, c.was = on, true
	restored := l.isBack(c)
	listeners := c.listeners
	l.mu.Unlock()
	for _, who := range listeners {
		who.confirmed()
	}
	if restored {
		l.restored()
	}
}
