package client

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/wire"
)

// A remoteStore makes each call once, over the connection that its provider has at the moment.
type remoteStore struct {
	p  *WebSocketProvider
	id uuid.UUID
}

func (s *remoteStore) ID() uuid.UUID { return s.id }

// fail names the call, as the hub does.
func (s *remoteStore) fail(op, space, segment string, err error) error {
	if err == nil {
		return nil
	}
	return &streamhub.Error{Op: op, Store: s.id, Space: space, Segment: segment, Err: err}
}

// do makes a call that has one answer. The error of a connection that was lost is
// [streamhub.ErrUnavailable], of a call that may have been made [streamhub.ErrUnknownOutcome] for
// [remoteStore.Append] alone: all others may be repeated.
func (s *remoteStore) do(ctx context.Context, request wire.Request) (result []byte, sent bool, err error) {
	l, err := s.p.connect(ctx)
	if err != nil {
		return nil, false, err
	}
	c, sent, err := l.open(ctx, s.id, request)
	if err != nil {
		return nil, sent, down(err)
	}
	defer c.leave()
	_, end, err := c.next(ctx)
	if err != nil {
		return nil, true, err
	}
	if end == nil {
		return nil, true, wire.ErrMalformed // items that were not asked for
	}
	if errors.Is(end.Err, streamhub.ErrShutdown) {
		return nil, false, down(end.Err) // of that gateway, not of this provider
	}
	return end.Result, true, end.Err
}

func (s *remoteStore) Append(ctx context.Context, space, segment string, records []streamhub.Record, options *streamhub.AppendOptions) (streamhub.AppendResult, error) {
	request := &wire.Append{Space: space, Segment: segment, Records: records}
	if options != nil {
		o := *options
		request.Options = &o
	}
	result, err := s.append(ctx, request)
	return result, s.fail("append", space, segment, err)
}

func (s *remoteStore) append(ctx context.Context, request *wire.Append) (streamhub.AppendResult, error) {
	trx := request.NewTRX()
	if err := s.check(request); err != nil {
		return streamhub.AppendResult{}, err
	}
	if request.Options.Producer != nil || request.Options.CheckOnly {
		return s.appendOnce(ctx, request)
	}
	t, release := s.p.tail(tailKey{s.id, request.Space, request.Segment})
	defer release()
	select {
	case t.places <- struct{}{}:
	case <-ctx.Done():
		return streamhub.AppendResult{}, ctx.Err()
	}
	defer func() { <-t.places }()
	for try := 0; ; try++ {
		slot := t.take(s.p.client, trx)
		request.Options.Producer = slot.producer()
		result, err := s.appendOnce(ctx, request)
		again, err := t.settle(slot, trx, err)
		if !again || try == 1 {
			return result, err
		}
	}
}

// check refuses here what the other end would refuse by closing the connection.
func (s *remoteStore) check(request *wire.Append) error {
	if err := errors.Join(streamhub.CheckName("space", request.Space), streamhub.CheckName("segment", request.Segment)); err != nil {
		return err
	}
	bytes := 0
	for i := range request.Records {
		bytes += len(request.Records[i].Payload)
	}
	if len(request.Records) > streamhub.MaxFrameRecords || bytes > streamhub.MaxFrameBytes {
		return streamhub.ErrTooLarge
	}
	return nil
}

// appendOnce sends an append. If it was sent and no answer came its outcome is unknown.
func (s *remoteStore) appendOnce(ctx context.Context, request *wire.Append) (streamhub.AppendResult, error) {
	body, sent, err := s.do(ctx, request)
	if err != nil && sent && unanswered(err) {
		err = &streamhub.UnknownOutcomeError{TRX: request.Options.TRX, Err: err}
	}
	if err != nil && !errors.Is(err, streamhub.ErrNotConfirmed) {
		return streamhub.AppendResult{}, err
	}
	result, malformed := wire.DecodeAppendResult(body)
	return result, errors.Join(err, malformed)
}

// unanswered tells an error of this side from one that the gateway returned.
func unanswered(err error) bool {
	var unavailable *streamhub.UnavailableError
	return errors.As(err, &unavailable) && unavailable.Reason == streamhub.ReasonGateway ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, streamhub.ErrShutdown) || errors.Is(err, streamhub.ErrUnauthenticated)
}

func (s *remoteStore) AppendAll(ctx context.Context, appends []streamhub.Append) ([]streamhub.AppendResult, []error) {
	results, errs := make([]streamhub.AppendResult, len(appends)), make([]error, len(appends))
	gather(len(appends), func(i int) {
		a := &appends[i]
		results[i], errs[i] = s.Append(ctx, a.Space, a.Segment, a.Records, a.Options)
	})
	return results, errs
}

func (s *remoteStore) Create(ctx context.Context, space, segment string, options *streamhub.CreateOptions) (streamhub.Status, bool, error) {
	request := &wire.Create{Space: space, Segment: segment}
	if options != nil {
		request.Options = *options
	}
	body, _, err := s.do(ctx, request)
	if err != nil {
		return streamhub.Status{}, false, s.fail("create", space, segment, err)
	}
	result, err := wire.DecodeCreateResult(body)
	return result.Status, result.Created, s.fail("create", space, segment, err)
}

func (s *remoteStore) CloseSegment(ctx context.Context, space, segment string, verdict streamhub.Verdict, options *streamhub.AppendOptions) (streamhub.AppendResult, error) {
	o := streamhub.AppendOptions{}
	if options != nil {
		o = *options
	}
	o.Close, o.MustExist = &verdict, true
	return s.Append(ctx, space, segment, nil, &o)
}

func (s *remoteStore) Delete(ctx context.Context, space, segment, reason string) error {
	_, _, err := s.do(ctx, &wire.Delete{Space: space, Segment: segment, Reason: reason})
	return s.fail("delete", space, segment, err)
}

func (s *remoteStore) Trim(ctx context.Context, space, segment string, upTo uint64) (uint64, error) {
	n, err := s.number(ctx, &wire.Trim{Space: space, Segment: segment, UpTo: upTo})
	return n, s.fail("trim", space, segment, err)
}

func (s *remoteStore) Touch(ctx context.Context, space, segment string) (int64, error) {
	n, err := s.number(ctx, &wire.Touch{Space: space, Segment: segment})
	return int64(n), s.fail("touch", space, segment, err)
}

func (s *remoteStore) number(ctx context.Context, request wire.Request) (uint64, error) {
	body, _, err := s.do(ctx, request)
	if err != nil {
		return 0, err
	}
	return wire.DecodeNumber(body)
}

func (s *remoteStore) Status(ctx context.Context, space, segment string) (streamhub.Status, error) {
	body, _, err := s.do(ctx, &wire.Status{Space: space, Segment: segment})
	if err != nil {
		return streamhub.Status{}, s.fail("status", space, segment, err)
	}
	status, err := wire.DecodeStatus(body)
	return status, s.fail("status", space, segment, err)
}

func (s *remoteStore) SpaceEnd(ctx context.Context, space string) (streamhub.Cursor, error) {
	body, _, err := s.do(ctx, &wire.SpaceEnd{Space: space})
	if err != nil {
		return "", s.fail("space end", space, "", err)
	}
	cursor, err := wire.DecodeCursor(body)
	return cursor, s.fail("space end", space, "", err)
}

func (s *remoteStore) Peek(ctx context.Context, space, segment string) (streamhub.Entry, bool, error) {
	body, _, err := s.do(ctx, &wire.Peek{Space: space, Segment: segment})
	if err != nil {
		return streamhub.Entry{}, false, s.fail("peek", space, segment, err)
	}
	result, err := wire.DecodePeekResult(body)
	return result.Entry, result.OK, s.fail("peek", space, segment, err)
}

// read makes a call that has items. decode takes those of one message.
func read[T any](ctx context.Context, s *remoteStore, op, space, segment string, request wire.Request, decode func([]byte) ([]T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		if err := readInto(ctx, s, request, decode, func(v T) bool { return yield(v, nil) }); err != nil {
			var none T
			yield(none, s.fail(op, space, segment, err))
		}
	}
}

// readInto ends without error behind the last item, or when yield does not want more.
func readInto[T any](ctx context.Context, s *remoteStore, request wire.Request, decode func([]byte) ([]T, error), yield func(T) bool) error {
	l, err := s.p.connect(ctx)
	if err != nil {
		return err
	}
	c, _, err := l.open(ctx, s.id, request)
	if err != nil {
		return down(err)
	}
	defer c.leave()
	for {
		body, end, err := c.next(ctx)
		switch {
		case err != nil:
			return err
		case end != nil && errors.Is(end.Err, streamhub.ErrShutdown):
			return down(end.Err)
		case end != nil:
			return end.Err
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
		c.handled(len(body))
	}
}

func (s *remoteStore) Spaces(ctx context.Context) iter.Seq2[string, error] {
	return read(ctx, s, "list", "", "", &wire.Spaces{}, wire.DecodeNames)
}

func (s *remoteStore) Segments(ctx context.Context, space string) iter.Seq2[string, error] {
	return read(ctx, s, "list", space, "", &wire.Segments{Space: space}, wire.DecodeNames)
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

func (s *remoteStore) Follow(ctx context.Context, space, segment string, options *streamhub.FollowOptions) iter.Seq2[streamhub.Entry, error] {
	return read(ctx, s, "follow", space, segment, &wire.Follow{Space: space, Segment: segment, Options: value(options)}, wire.DecodeEntries)
}

func (s *remoteStore) FollowSpace(ctx context.Context, space string, options *streamhub.FollowOptions) iter.Seq2[streamhub.Entry, error] {
	return read(ctx, s, "follow", space, "", &wire.FollowSpace{Space: space, Options: value(options)}, wire.DecodeEntries)
}

func (s *remoteStore) SubscribeToSegment(ctx context.Context, space, segment string) iter.Seq2[streamhub.Status, error] {
	return read(ctx, s, "subscribe", space, segment, &wire.SubscribeSegment{Space: space, Segment: segment}, wire.DecodeStatuses)
}

func (s *remoteStore) SubscribeToSpace(ctx context.Context, space string) iter.Seq2[streamhub.Status, error] {
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
		return 0, &streamhub.Error{Op: op, Store: s.id, Lease: key, Err: err}
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

// value is what options point to, or the zero value.
func value[T any](options *T) T {
	if options == nil {
		var zero T
		return zero
	}
	return *options
}
