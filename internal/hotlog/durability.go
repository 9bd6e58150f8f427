package hotlog

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// waitGrace is how long a server may take to answer, in addition to the wait for the level.
const waitGrace = 2 * time.Second

// checkDurability refuses a level that no server can give. Whether this server can give it is checked when the append
// is sent.
func checkDurability(d streamhub.Durability) error {
	if d.Replicas < 0 || d.Timeout < 0 {
		return fmt.Errorf("%w: Durability: Replicas and Timeout have to be 0 or more", streamhub.ErrInvalidArgument)
	}
	return nil
}

// checkLevel refuses a level that the server cannot give. It passes every level until the server was inspected.
func (l *Log) checkLevel(d streamhub.Durability) error {
	server := l.conn.Server()
	if server == nil || !waits(d) {
		return checkDurability(d)
	}
	if err := l.conn.CanWait(); err != nil {
		return err
	}
	return server.CheckLevel(d)
}

// ready reports whether appends at the level d can be sent.
func (l *Log) ready(ctx context.Context, d streamhub.Durability) error {
	if !waits(d) {
		return l.conn.Ready(ctx)
	}
	if err := l.conn.Fresh(ctx); err != nil {
		return err
	}
	err := l.checkLevel(d)
	if err != nil {
		l.conn.Doubt() // the policy of a server can change without a new connection
	}
	return err
}

// waits reports whether an append at d has to wait for replicas or the disk after the script.
func waits(d streamhub.Durability) bool { return d.Replicas > 0 || d.Fsync }

// The default times to wait for a level.
const (
	waitTime = time.Second
	// everysecTime is for appendfsync everysec: the disk is synced once a second, by a thread that may be late.
	everysecTime = 5 * time.Second
)

// waitOf returns how long to wait for the level of d.
func (l *Log) waitOf(d streamhub.Durability) time.Duration {
	switch {
	case d.Timeout != 0:
		return d.Timeout
	case d.Fsync && l.conn.Server().Fsync == "everysec":
		return everysecTime
	}
	return waitTime
}

// A pipeliner makes pipelines: a client does, and a connection.
type pipeliner interface {
	Pipeline() redis.Pipeliner
}

// waiting returns what makes pipelines on the connections of node, with the hooks of node. Its read timeout is longer
// than the wait for d. With a shorter one an append would be sent again although it is stored and only waits for its
// level.
func (l *Log) waiting(node redis.UniversalClient, d streamhub.Durability) pipeliner {
	c, ok := node.(*redis.Client)
	if !ok || !waits(d) {
		return node
	}
	limit := c.Options().ReadTimeout
	if limit <= 0 {
		return node // it waits for ever
	}
	// The driver's client with another timeout has no hooks, and one connection of a client has a copy of its hooks. So
	// the appends go through a connection with the hooks, and the last hook sends them with the client that has the
	// timeout.
	hooks := c.Conn()
	hooks.AddHook(sender{c.WithTimeout(l.waitOf(d) + max(limit, waitGrace))})
	return hooks
}

// A sender is a hook that sends commands through another client, which has another timeout.
type sender struct{ client *redis.Client }

func (sender) DialHook(next redis.DialHook) redis.DialHook { return next }

func (s sender) ProcessHook(redis.ProcessHook) redis.ProcessHook { return s.client.Process }

func (s sender) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		pipe := s.client.Pipeline()
		for _, cmd := range cmds {
			_ = pipe.Process(ctx, cmd) // queued; the error comes with Exec
		}
		_, err := pipe.Exec(ctx)
		return err
	}
}

// addWait adds the wait for d to the pipeline of the appends. The server waits for the last write of this connection,
// so the pipeline must write. The returned function is called after Exec; its error says which level was not reached.
func (l *Log) addWait(ctx context.Context, pipe redis.Pipeliner, d streamhub.Durability) func() error {
	if !waits(d) {
		return func() error { return nil }
	}
	ms := strconv.FormatInt(max(1, l.waitOf(d).Milliseconds()), 10)
	if d.Fsync {
		wait := pipe.Do(ctx, "waitaof", 1, d.Replicas, ms)
		policy := pipe.ConfigGet(ctx, "appendfsync") // read each time, because CONFIG SET may have changed it
		return func() error {
			got, err := wait.Int64Slice()
			if err == nil {
				err = policy.Err()
			}
			if err == nil {
				err = l.conn.Server().CheckFsync(policy.Val()["appendfsync"])
			}
			if err == nil && len(got) == 2 && got[0] >= 1 && got[1] >= int64(d.Replicas) {
				return nil
			}
			if err != nil {
				l.conn.Doubt()
			}
			return notConfirmed(err)
		}
	}
	wait := pipe.Do(ctx, "wait", d.Replicas, ms)
	return func() error {
		if got, err := wait.Int64(); err != nil || got < int64(d.Replicas) {
			return notConfirmed(err)
		}
		return nil
	}
}

// notConfirmed returns ErrNotConfirmed with the text of err. A wrapped err would claim that nothing was written.
func notConfirmed(err error) error {
	if err != nil {
		return fmt.Errorf("%w: %s", streamhub.ErrNotConfirmed, err.Error())
	}
	return streamhub.ErrNotConfirmed
}

// answerKnown answers r with a known result. The level that r asks for is confirmed again, whatever was confirmed to
// other requests. It runs under appender.mu.
func (a *appender) answerKnown(g *tail, r *request, result streamhub.AppendResult) {
	a.answerAfter(g, r, nil, func() (streamhub.AppendResult, error) { return result, nil })
}

// answerAfter is answerKnown for a result that is known when done is closed; nil is closed. A result comes with no error, or
// with ErrNotConfirmed.
func (a *appender) answerAfter(g *tail, r *request, done <-chan struct{}, known func() (streamhub.AppendResult, error)) {
	if !waits(r.durability) && done == nil {
		result, err := known()
		a.finish(g, r, result, err)
		return
	}
	r.sent = true
	started := a.log.tasks.Go(func() {
		if done != nil {
			<-done // a log that closes answers everything
		}
		result, err := known()
		if err == nil || errors.Is(err, streamhub.ErrNotConfirmed) {
			err = a.log.confirm(a.log.ctx, r.place, result.Position, r.durability)
		}
		if errors.Is(err, streamhub.ErrHistoryLost) {
			result = streamhub.AppendResult{}
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		a.finish(g, r, result, err)
	})
	if !started {
		a.finish(g, r, streamhub.AppendResult{}, streamhub.ErrShutdown)
	}
}

// confirmHead writes the head of a segment as it is and waits for the level d of that.
func (l *Log) confirmHead(ctx context.Context, at place, incarnation uint64, d streamhub.Durability) (err error) {
	node, err := l.conn.NodeFor(ctx, at.timeline())
	if err != nil {
		return err
	}
	for range runs {
		pipe := l.waiting(node, d).Pipeline()
		call := l.conn.Call(ctx, l.touchHead, 1, at.meta(at.segment), hex16(incarnation))
		_ = pipe.Process(ctx, call) // queued; the error comes with Exec
		reached := l.addWait(ctx, pipe, d)
		_, _ = pipe.Exec(ctx)
		var answer string
		if answer, err = call.Text(); err == nil && answer == "+" {
			err = reached()
		}
		l.conn.Observe(call.Err())
		if !redisx.IsNoScript(err) {
			return err
		}
		if err = l.conn.Load(ctx, l.touchHead, at.timeline()); err != nil {
			return err
		}
	}
	return err
}

// confirm waits for the level d of the history up to position, which was stored earlier. The error is ErrNotConfirmed,
// or ErrHistoryLost if the entry at position was lost or replaced.
func (l *Log) confirm(ctx context.Context, at place, position streamhub.Position, d streamhub.Durability) error {
	if !waits(d) {
		return nil
	}
	if err := l.ready(ctx, d); err != nil {
		return notConfirmed(err)
	}
	err := redisx.Settled(ctx, func() error { return l.confirmHead(ctx, at, position.Incarnation, d) })
	switch {
	case errors.Is(err, streamhub.ErrNotConfirmed):
		return err
	case err != nil:
		return notConfirmed(redisx.ReadOutcome(err))
	}
	// Verified after the wait, because the wait confirms the history that the server has now.
	switch err = l.verify(ctx, at, position); {
	case err == nil, errors.Is(err, streamhub.ErrHistoryLost):
		return err
	}
	return notConfirmed(err)
}
