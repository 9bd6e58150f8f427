package client

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/fault"
	"github.com/seed-147127fe/streamhub/internal/millis"
	"github.com/seed-147127fe/streamhub/internal/wire"
)

// A remoteStore makes each call once, over the current connection of its provider.
type remoteStore struct {
	p  *WebSocketProvider
	id uuid.UUID
}

func (s *remoteStore) ID() uuid.UUID { return s.id }

// fail names the call in err, as the hub does.
func (s *remoteStore) fail(op, space, segment string, err error) error {
	return fault.At(streamhub.Error{Op: op, Store: s.id, Space: space, Segment: segment}, err)
}

// do makes a call that has one answer. Without an answer, a request that changes something ends with
// [streamhub.ErrUnknownOutcome]. One that only reads ends with [streamhub.ErrUnavailable] or the error of ctx. Both
// may be repeated.
func (s *remoteStore) do(ctx context.Context, request wire.Request) (result []byte, err error) {
	l, err := s.p.connect(ctx)
	if err != nil {
		return nil, err
	}
	c, sent, err := l.open(ctx, s.id, request)
	o := unmade
	if err != nil {
		err = unopened(err)
		if sent {
			o = unanswered
		}
	} else {
		result, o, err = c.answer(ctx)
	}
	switch {
	case o == unanswered && !readsOnly(request):
		err = unknown(uuid.Nil, err)
	case o == answered:
		err = answeredWith(ctx, err)
	}
	return result, err
}

// answeredWith translates the error that a gateway returned. A context error is returned as the caller's own if ctx has
// ended. Otherwise a context of the gateway ended, and another gateway can serve the call.
func answeredWith(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, streamhub.ErrShutdown):
		return down(err) // the context that ended is the gateway's, not this provider's
	case !isEnd(err) || errors.Is(err, streamhub.ErrUnknownOutcome):
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return down(errors.New(err.Error()))
}

// readsOnly reports whether a request that has one answer changes nothing. A type that is missing here does no harm: a
// lost answer to it is reported as an unknown outcome, which may be repeated as well.
func readsOnly(request wire.Request) bool {
	switch request.(type) {
	case *wire.Status, *wire.Peek, *wire.SpaceEnd, *wire.LiveStatus, *wire.LiveActive:
		return true
	}
	return false
}

// unknown returns the error of a call that may have been made. The end of a context stays visible to errors.Is. Any
// other cause is kept as text only: a wrapped sentinel would claim that nothing happened.
func unknown(trx uuid.UUID, err error) error {
	if !isEnd(err) {
		err = errors.New(err.Error())
	}
	return &streamhub.UnknownOutcomeError{TRX: trx, Err: err}
}

func (s *remoteStore) Create(ctx context.Context, space, segment string, options *streamhub.CreateOptions) (streamhub.Status, bool, error) {
	request := &wire.Create{Space: space, Segment: segment, Options: value(options)}
	if err := checkSize(request.Options.Records); err != nil {
		return streamhub.Status{}, false, s.fail("create", space, segment, err)
	}
	body, err := s.do(ctx, request)
	if err != nil {
		return streamhub.Status{}, false, s.fail("create", space, segment, err)
	}
	result, err := wire.DecodeCreateResult(body)
	if err == nil {
		// If the create stored records, this client knows of them, and later appends must notice their loss.
		t, release := s.p.tail(tailKey{s.id, space, segment})
		t.found(result.Status.Position, result.Created && len(request.Options.Records) > 0)
		release()
	}
	return result.Status, result.Created, s.fail("create", space, segment, err)
}

func (s *remoteStore) CloseSegment(ctx context.Context, space, segment string, verdict streamhub.Verdict, options *streamhub.AppendOptions) (streamhub.AppendResult, error) {
	o := streamhub.AppendOptions{}
	if options != nil {
		o = *options
	}
	o.Close, o.MustExist = &verdict, true
	return s.appendOne(ctx, "close", streamhub.Append{Space: space, Segment: segment, Options: &o})
}

func (s *remoteStore) Delete(ctx context.Context, space, segment, reason string) error {
	_, err := s.do(ctx, &wire.Delete{Space: space, Segment: segment, Reason: reason})
	return s.fail("delete", space, segment, err)
}

func (s *remoteStore) Trim(ctx context.Context, space, segment string, upTo uint64) (uint64, error) {
	n, err := s.number(ctx, &wire.Trim{Space: space, Segment: segment, UpTo: upTo})
	return n, s.fail("trim", space, segment, err)
}

func (s *remoteStore) Touch(ctx context.Context, space, segment string) (time.Time, error) {
	deadline, err := s.number(ctx, &wire.Touch{Space: space, Segment: segment})
	return millis.Time(int64(deadline)), s.fail("touch", space, segment, err)
}

func (s *remoteStore) Expire(ctx context.Context, space, segment string, ttl time.Duration) (time.Time, error) {
	deadline, err := s.number(ctx, &wire.Expire{Space: space, Segment: segment, TTL: ttl})
	return millis.Time(int64(deadline)), s.fail("expire", space, segment, err)
}

// number makes a call whose answer is one number.
func (s *remoteStore) number(ctx context.Context, request wire.Request) (uint64, error) {
	body, err := s.do(ctx, request)
	if err != nil {
		return 0, err
	}
	return wire.DecodeNumber(body)
}

func (s *remoteStore) Status(ctx context.Context, space, segment string) (streamhub.Status, error) {
	body, err := s.do(ctx, &wire.Status{Space: space, Segment: segment})
	if err != nil {
		return streamhub.Status{}, s.fail("status", space, segment, err)
	}
	status, err := wire.DecodeStatus(body)
	return status, s.fail("status", space, segment, err)
}

func (s *remoteStore) SpaceEnd(ctx context.Context, space string) (streamhub.Cursor, error) {
	body, err := s.do(ctx, &wire.SpaceEnd{Space: space})
	if err != nil {
		return "", s.fail("space end", space, "", err)
	}
	cursor, err := wire.DecodeCursor(body)
	return cursor, s.fail("space end", space, "", err)
}

func (s *remoteStore) Peek(ctx context.Context, space, segment string) (streamhub.Entry, error) {
	body, err := s.do(ctx, &wire.Peek{Space: space, Segment: segment})
	if err != nil {
		return streamhub.Entry{}, s.fail("peek", space, segment, err)
	}
	entry, err := wire.DecodePeekResult(body)
	return entry, s.fail("peek", space, segment, err)
}

// read makes a call whose answer is a sequence of items. decode decodes the items of one message.
func read[T any](ctx context.Context, s *remoteStore, op, space, segment string, request wire.Request, decode func([]byte) ([]T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		if err := readInto(ctx, s, request, decode, func(v T) bool { return yield(v, nil) }); err != nil {
			var none T
			yield(none, s.fail(op, space, segment, err))
		}
	}
}

// readInto makes a call whose answer is a sequence of items. It returns nil after the last item or when yield returns
// false.
func readInto[T any](ctx context.Context, s *remoteStore, request wire.Request, decode func([]byte) ([]T, error), yield func(T) bool) error {
	l, err := s.p.connect(ctx)
	if err != nil {
		return err
	}
	c, _, err := l.open(ctx, s.id, request)
	if err != nil {
		return unopened(err)
	}
	defer c.leave()
	for {
		body, end, err := c.next(ctx)
		switch {
		case err != nil:
			return err
		case end != nil:
			return answeredWith(ctx, end.Err)
		}
		items, err := decode(body)
		if err != nil {
			return err
		}
		for _, item := range items {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if !yield(item) {
				return nil
			}
		}
		// Credit is granted only now that the caller has handled the items, so a slow caller receives no more than its
		// window.
		c.handled(len(body))
	}
}

func (s *remoteStore) Spaces(ctx context.Context) iter.Seq2[string, error] {
	return read(ctx, s, "spaces", "", "", &wire.Spaces{}, wire.DecodeNames)
}

func (s *remoteStore) Segments(ctx context.Context, space string) iter.Seq2[string, error] {
	return read(ctx, s, "segments", space, "", &wire.Segments{Space: space}, wire.DecodeNames)
}

func (s *remoteStore) ConsumeSegment(ctx context.Context, space, segment string, options *streamhub.ReadOptions) iter.Seq2[streamhub.Entry, error] {
	return read(ctx, s, "consume", space, segment, &wire.ConsumeSegment{Space: space, Segment: segment, Options: value(options)}, wire.DecodeEntries)
}

func (s *remoteStore) ConsumeSpace(ctx context.Context, space string, options *streamhub.ReadOptions) iter.Seq2[streamhub.Entry, error] {
	return read(ctx, s, "consume", space, "", &wire.ConsumeSpace{Space: space, Options: value(options)}, wire.DecodeEntries)
}

func (s *remoteStore) Consume(ctx context.Context, cursors map[string]streamhub.Cursor, options *streamhub.ReadOptions) iter.Seq2[streamhub.Entry, error] {
	return read(ctx, s, "consume", "", "", &wire.Consume{Cursors: cursors, Options: value(options)}, wire.DecodeEntries)
}

func (s *remoteStore) FollowSegment(ctx context.Context, space, segment string, options *streamhub.FollowOptions) iter.Seq2[streamhub.Entry, error] {
	return read(ctx, s, "follow", space, segment, &wire.Follow{Space: space, Segment: segment, Options: value(options)}, wire.DecodeEntries)
}

func (s *remoteStore) FollowSpace(ctx context.Context, space string, options *streamhub.FollowOptions) iter.Seq2[streamhub.Entry, error] {
	return read(ctx, s, "follow", space, "", &wire.FollowSpace{Space: space, Options: value(options)}, wire.DecodeEntries)
}

func (s *remoteStore) SubscribeSegment(ctx context.Context, space, segment string) iter.Seq2[streamhub.Status, error] {
	return read(ctx, s, "subscribe", space, segment, &wire.SubscribeSegment{Space: space, Segment: segment}, wire.DecodeStatuses)
}

func (s *remoteStore) SubscribeSpace(ctx context.Context, space string) iter.Seq2[streamhub.Status, error] {
	return read(ctx, s, "subscribe", space, "", &wire.SubscribeSpace{Space: space}, wire.DecodeStatuses)
}

func (s *remoteStore) Workers(ctx context.Context) iter.Seq2[[]streamhub.Worker, error] {
	return read(ctx, s, "workers", "", "", &wire.Workers{}, func(body []byte) ([][]streamhub.Worker, error) {
		workers, err := wire.DecodeWorkers(body)
		return [][]streamhub.Worker{workers}, err
	})
}

func (s *remoteStore) lease(ctx context.Context, op, key string, request wire.Request) (uint64, error) {
	n, err := s.number(ctx, request)
	if err != nil {
		return 0, fault.At(streamhub.Error{Op: op, Store: s.id, Lease: key}, err)
	}
	return n, nil
}

func (s *remoteStore) AcquireLeaseAs(ctx context.Context, key, holder string, ttl time.Duration) (uint64, error) {
	return s.lease(ctx, "acquire lease", key, &wire.AcquireLease{Key: key, Holder: holder, TTL: ttl})
}

func (s *remoteStore) RenewLeaseAs(ctx context.Context, key, holder string, ttl time.Duration) (uint64, error) {
	return s.lease(ctx, "renew lease", key, &wire.RenewLease{Key: key, Holder: holder, TTL: ttl})
}

func (s *remoteStore) ReleaseLeaseAs(ctx context.Context, key, holder string) (bool, error) {
	n, err := s.lease(ctx, "release lease", key, &wire.ReleaseLease{Key: key, Holder: holder})
	return n == 1, err
}

// value returns what options points to, or the zero value if it is nil.
func value[T any](options *T) T {
	if options == nil {
		var zero T
		return zero
	}
	return *options
}
