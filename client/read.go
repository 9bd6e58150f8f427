package client

import (
	"context"
	"errors"
	"iter"
	"maps"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/pause"
)

// forever is the number of attempts of a read that is retried until its context ends.
const forever = -1

// resume runs read, which passes items on, until it ends, fails for good, or the client is closed. After a temporary
// error it runs read again, up to attempts times in a row without an item. With forever there is no bound. read itself
// remembers where to continue.
func resume[T any](ctx context.Context, c *Client, op string, attempts int, yield func(T, error) bool, read func(ctx context.Context, pass func(T) bool) error) {
	ctx, o := c.observe(ctx, op)
	ctx, release := c.last(ctx)
	defer release()
	left := false // the caller has left the loop
	for attempt := 0; ; attempt++ {
		err := read(ctx, func(item T) bool {
			attempt = 0
			left = !yield(item, nil)
			return !left
		})
		if left || err == nil {
			o.end(nil)
			return
		}
		if !streamhub.Retryable(err) || attempts != forever && attempt+1 >= attempts || !pause.For(ctx, c.opt.retry.delay(attempt)) {
			if ctx.Err() != nil {
				err = ctx.Err()
				if errors.Is(context.Cause(ctx), streamhub.ErrShutdown) {
					err = &streamhub.Error{Op: op, Err: streamhub.ErrShutdown}
				}
			}
			o.end(err)
			var none T
			yield(none, err)
			return
		}
		o.retried()
	}
}

// each passes the items of a sequence to pass, until pass returns false or the sequence fails.
func each[T any](items iter.Seq2[T, error], pass func(T) bool) error {
	for item, err := range items {
		if err != nil {
			return err
		}
		if !pass(item) {
			return nil
		}
	}
	return nil
}

// ConsumeSegment reads the entries of a segment. A segment that does not exist is
// [streamhub.ErrNotFound]. After a lost connection it resumes after the last entry; the entries can
// then include some that were appended meanwhile.
func (s *Store) ConsumeSegment(ctx context.Context, space, segment string, options *streamhub.ReadOptions) iter.Seq2[streamhub.Entry, error] {
	return s.consume(ctx, options, func(ctx context.Context, o *streamhub.ReadOptions) iter.Seq2[streamhub.Entry, error] {
		return s.inner.ConsumeSegment(ctx, space, segment, o)
	})
}

// ConsumeSpace reads the entries that a space holds; see [Store.ConsumeSegment].
func (s *Store) ConsumeSpace(ctx context.Context, space string, options *streamhub.ReadOptions) iter.Seq2[streamhub.Entry, error] {
	return s.consume(ctx, options, func(ctx context.Context, o *streamhub.ReadOptions) iter.Seq2[streamhub.Entry, error] {
		return s.inner.ConsumeSpace(ctx, space, o)
	})
}

// consume resumes a read after lost connections, at the cursor of the last entry with what is left of the limit.
func (s *Store) consume(ctx context.Context, options *streamhub.ReadOptions, read func(ctx context.Context, o *streamhub.ReadOptions) iter.Seq2[streamhub.Entry, error]) iter.Seq2[streamhub.Entry, error] {
	return func(yield func(streamhub.Entry, error) bool) {
		o := value(options)
		var done progress
		resume(ctx, s.c, "consume", s.c.opt.retry.Attempts, yield, func(ctx context.Context, pass func(streamhub.Entry) bool) error {
			if done.any {
				o.Cursor, o.FromSequence = done.cursor, 0
				if options != nil && options.Limit > 0 {
					// A limit of 0 means no limit, so a read that has reached its limit ends here.
					if o.Limit = options.Limit - done.n; o.Limit == 0 {
						return nil
					}
				}
			}
			return each(read(ctx, &o), done.counting(pass))
		})
	}
}

// progress is what a reader has passed on: the cursor at which it continues after a lost connection, and how much of
// its limit is used.
type progress struct {
	any    bool
	n      uint64
	cursor streamhub.Cursor
}

// counting records each entry before it passes it on, because the caller may leave the loop at that entry.
func (p *progress) counting(pass func(streamhub.Entry) bool) func(streamhub.Entry) bool {
	return func(e streamhub.Entry) bool {
		p.any = true
		p.n++
		p.cursor = e.Cursor()
		return pass(e)
	}
}

// Consume reads several spaces, each after its cursor, and merges their entries by timestamp; see
// [Store.ConsumeSegment].
func (s *Store) Consume(ctx context.Context, cursors map[string]streamhub.Cursor, options *streamhub.ReadOptions) iter.Seq2[streamhub.Entry, error] {
	return func(yield func(streamhub.Entry, error) bool) {
		o := value(options)
		at := maps.Clone(cursors)
		resume(ctx, s.c, "consume", s.c.opt.retry.Attempts, yield, func(ctx context.Context, pass func(streamhub.Entry) bool) error {
			return each(s.inner.Consume(ctx, at, &o), func(e streamhub.Entry) bool {
				at[e.Space] = e.Cursor()
				if o.Limit > 0 {
					if o.Limit--; o.Limit == 0 {
						pass(e)
						return false
					}
				}
				return pass(e)
			})
		})
	}
}

// FollowSegment reads a segment and continues with new entries, across lost connections and gateways,
// until ctx ends, the segment ends or the loop is left.
func (s *Store) FollowSegment(ctx context.Context, space, segment string, options *streamhub.FollowOptions) iter.Seq2[streamhub.Entry, error] {
	return s.follow(ctx, options, func(ctx context.Context) (streamhub.Cursor, error) {
		status, err := s.Status(ctx, space, segment)
		if errors.Is(err, streamhub.ErrNotFound) {
			return "", nil
		}
		return status.Cursor(), err
	}, func(ctx context.Context, o *streamhub.FollowOptions) iter.Seq2[streamhub.Entry, error] {
		return s.inner.FollowSegment(ctx, space, segment, o)
	})
}

// FollowSpace follows all segments of a space; see [Store.FollowSegment].
func (s *Store) FollowSpace(ctx context.Context, space string, options *streamhub.FollowOptions) iter.Seq2[streamhub.Entry, error] {
	return s.follow(ctx, options, func(ctx context.Context) (streamhub.Cursor, error) {
		return s.SpaceEnd(ctx, space)
	}, func(ctx context.Context, o *streamhub.FollowOptions) iter.Seq2[streamhub.Entry, error] {
		return s.inner.FollowSpace(ctx, space, o)
	})
}

// follow resumes after lost connections. A live follower first asks for the cursor of the end and begins there. Without
// that cursor a reconnect would skip the entries that were appended meanwhile.
func (s *Store) follow(ctx context.Context, options *streamhub.FollowOptions, end func(ctx context.Context) (streamhub.Cursor, error),
	read func(ctx context.Context, o *streamhub.FollowOptions) iter.Seq2[streamhub.Entry, error],
) iter.Seq2[streamhub.Entry, error] {
	return func(yield func(streamhub.Entry, error) bool) {
		o := value(options)
		live := o.Live && o.Cursor == "" && o.FromSequence == 0
		var done progress
		resume(ctx, s.c, "follow", forever, yield, func(ctx context.Context, pass func(streamhub.Entry) bool) (err error) {
			if live {
				if o.Cursor, err = end(ctx); err != nil {
					return err
				}
				o.Live, live = false, false
			}
			if done.any {
				o.Cursor, o.FromSequence = done.cursor, 0
				if options != nil && options.Limit > 0 {
					// As in consume, 0 means no limit.
					if o.Limit = options.Limit - done.n; o.Limit == 0 {
						return nil
					}
				}
			}
			return each(read(ctx, &o), done.counting(pass))
		})
	}
}

// SubscribeSegment gives the status of a segment, first the current one and then one after each change. After a lost
// connection it gives the current status again.
func (s *Store) SubscribeSegment(ctx context.Context, space, segment string) iter.Seq2[streamhub.Status, error] {
	return lasting(ctx, s, "subscribe", func(ctx context.Context) iter.Seq2[streamhub.Status, error] {
		return s.inner.SubscribeSegment(ctx, space, segment)
	})
}

// SubscribeSpace gives the status of every segment of a space; see [Store.SubscribeSegment].
func (s *Store) SubscribeSpace(ctx context.Context, space string) iter.Seq2[streamhub.Status, error] {
	return lasting(ctx, s, "subscribe", func(ctx context.Context) iter.Seq2[streamhub.Status, error] {
		return s.inner.SubscribeSpace(ctx, space)
	})
}

// Workers gives the workers of the store whenever the list changes; see [Store.SubscribeSegment].
func (s *Store) Workers(ctx context.Context) iter.Seq2[[]streamhub.Worker, error] {
	return lasting(ctx, s, "workers", s.inner.Workers)
}

// lasting runs subscribe again after a lost connection. Its first items then give the current state.
func lasting[T any](ctx context.Context, s *Store, op string, subscribe func(ctx context.Context) iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		resume(ctx, s.c, op, forever, yield, func(ctx context.Context, pass func(T) bool) error {
			return each(subscribe(ctx), pass)
		})
	}
}
