package livestream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
	"github.com/seed-147127fe/streamhub/internal/pause"
	"github.com/seed-147127fe/streamhub/live"
)

// Keys of the metadata of a message in the back lane. A message with controlKey is from the hub itself: Send sets
// byKey and onceKey only, so no message of a reader passes for one.
const (
	controlKey    = "live"
	controlCancel = "cancel"
	byKey         = "by"
	reasonKey     = "reason"
	onceKey       = "once"
)

// Cancel implements [live.Stream].
func (s *Stream) Cancel(ctx context.Context, o *live.CancelOptions) (streamhub.Verdict, error) {
	if o == nil {
		o = &live.CancelOptions{}
	}
	if err := cmp.Or(checkBy(o.By), checkReason(o.Reason)); err != nil {
		return streamhub.Verdict{}, s.fail("cancel", s.id, err)
	}
	v, err := s.cancel(ctx, o)
	return v, s.fail("cancel", s.id, err)
}

// maxReason is the longest reason of a request to stop, in bytes: it becomes the reason of the verdict, which is part
// of every status.
const maxReason = 64 << 10

func checkReason(reason string) error { return checkText("Reason", reason, maxReason) }

// cancel asks the producer to stop and waits for its verdict. A producer that does not stop in time
// is ended from outside: the grace is a fifth longer here, so that a producer that stops at the last
// moment is not overtaken.
func (s *Stream) cancel(ctx context.Context, o *live.CancelOptions) (streamhub.Verdict, error) {
	by := &live.CancelError{By: o.By, Reason: o.Reason}
	metadata := map[string]string{controlKey: controlCancel}
	for k, v := range map[string]string{byKey: o.By, reasonKey: o.Reason} {
		if v != "" {
			metadata[k] = v
		}
	}
	// controlCancel is also the name of the producer of the record. The names that Send makes begin with a word and a
	// space, so no message takes this one first.
	asked, err := s.toProducer(ctx, s.log.Exempt(), streamhub.Record{Metadata: metadata}, controlCancel)
	var closed *streamhub.ClosedError
	switch {
	case errors.As(ending(err), &closed):
		return closed.Verdict, nil
	// A mismatch means that another request to cancel, with another name or reason, was stored first. That one counts.
	case err != nil && !errors.Is(err, streamhub.ErrBatchMismatch):
		return streamhub.Verdict{}, ending(err)
	case o.NoWait && err == nil && !asked.Repeated:
		return streamhub.Verdict{}, nil
	case o.NoWait: // another caller asked before, and the generation may have ended since
		closed, _, err := s.ended(ctx)
		if closed == nil {
			return streamhub.Verdict{}, err
		}
		return closed.Verdict, nil
	}
	patience, cancel := context.WithTimeout(ctx, s.m.opt.CancelGrace+s.m.opt.CancelGrace/5)
	defer cancel()
	v, err := s.wait(patience)
	if err != nil && ctx.Err() == nil && patience.Err() != nil {
		return s.finish(ctx, by.Verdict())
	}
	return v, err
}

// toProducer appends to the back lane. A key makes the record the first append of a producer of that
// name: of several records with the same key the first one counts, and a repeat is recognised. The
// back lane of a generation that has just begun may still be missing, so it is waited for,
// for about 1.3 s. A loss of earlier records does not concern the caller: mostly, others have sent them.
func (s *Stream) toProducer(ctx context.Context, log *hotlog.Store, r streamhub.Record, key string) (result streamhub.AppendResult, err error) {
	o := streamhub.AppendOptions{MustExist: true, Generation: s.generation}
	if key != "" {
		o.Producer = &streamhub.Producer{ID: key}
	}
	for delay := firstPause; ; delay *= 2 {
		err = pastLoss(func() error {
			result, err = log.Append(ctx, s.space, s.backLane(), []streamhub.Record{r}, &o)
			return err
		})
		if !errors.Is(err, streamhub.ErrNotFound) {
			return result, err
		}
		// The back lane was deleted with the generation, or is still to be created.
		if _, err := s.begin(ctx); err != nil || delay > time.Second {
			return result, errors.Join(streamhub.ErrNotFound, err)
		}
		if !pause.For(ctx, delay) {
			return result, ctx.Err()
		}
	}
}

// Send implements [live.Stream].
func (s *Stream) Send(ctx context.Context, data []byte, o *live.SendOptions) (sequence uint64, err error) {
	defer func() { err = s.fail("send", s.id, err) }()
	if o == nil {
		o = &live.SendOptions{}
	}
	if err := checkBy(o.By); err != nil {
		return 0, err
	}
	if len(data) > s.m.opt.MaxChunkBytes {
		return 0, fmt.Errorf("%w: a message of %d bytes, the limit is %d", streamhub.ErrTooLarge, len(data), s.m.opt.MaxChunkBytes)
	}
	r := streamhub.Record{Payload: data}
	key := ""
	if o.By != "" || o.Once != "" {
		r.Metadata = map[string]string{byKey: o.By}
	}
	switch {
	case o.Key != "" && o.Once != "":
		return 0, fmt.Errorf("%w: Once and Key exclude each other: the same message under one Once counts as stored", streamhub.ErrInvalidArgument)
	case o.Key != "" && !validKey.MatchString(o.Key):
		return 0, fmt.Errorf("%w: a key has 16 to 64 letters and digits", streamhub.ErrInvalidArgument)
	case o.Key != "":
		key = "key " + o.Key
	case o.Once != "":
		if checkID(o.Once) != nil {
			return 0, fmt.Errorf("%w: Once has %d bytes, the limit is %d", streamhub.ErrInvalidName, len(o.Once), live.MaxIDLength)
		}
		r.Metadata[onceKey] = o.Once
		key = "once " + o.Once
	}
	result, err := s.toProducer(ctx, s.log, r, key)
	if errors.Is(err, streamhub.ErrBatchMismatch) {
		err = fmt.Errorf("%w: another message was stored first under this name", streamhub.ErrConflict)
	}
	return result.First, ending(err)
}

// Messages implements [live.Producer].
func (p *Producer) Messages(ctx context.Context, after uint64) iter.Seq2[live.Message, error] {
	return p.messages(ctx, after, false)
}

// messages reads the back lane; stops says whether it yields requests to stop too.
func (s *Stream) messages(ctx context.Context, after uint64, stops bool) iter.Seq2[live.Message, error] {
	return func(yield func(live.Message, error) bool) {
		for e, err := range s.backward(ctx, after) {
			if err != nil {
				if err = removal(err); stops {
					err = producing(err, s.generation)
				}
				yield(live.Message{}, s.fail("messages", s.id, err))
				return
			}
			if e.Sequence <= after {
				continue
			}
			m := live.Message{Sequence: e.Sequence, Timestamp: e.Timestamp, By: e.Metadata[byKey], Once: e.Metadata[onceKey], Data: e.Payload}
			if e.Metadata[controlKey] != "" {
				if !stops || e.Metadata[controlKey] != controlCancel {
					continue
				}
				m.Stop, m.Data = true, []byte(e.Metadata[reasonKey])
			}
			if !yield(m, nil) {
				return
			}
		}
	}
}

// backward follows the back lane after an entry, or after the last entry if that comes earlier. It begins at a
// position: without one it would wait for a deleted back lane as if it were still to be created.
func (s *Stream) backward(ctx context.Context, after uint64) iter.Seq2[streamhub.Entry, error] {
	from, err := s.sentUpTo(ctx, after)
	for pauses := (pause.Backoff{First: firstPause, Longest: longestPause}); streamhub.Retryable(err) && pauses.Wait(ctx); {
		from, err = s.sentUpTo(ctx, after)
	}
	if err != nil {
		return func(yield func(streamhub.Entry, error) bool) { yield(streamhub.Entry{}, cmp.Or(ctx.Err(), err)) }
	}
	return s.m.watcher.FollowSegment(ctx, s.log, s.space, s.backLane(), &streamhub.FollowOptions{Cursor: from.Cursor()})
}

// sentUpTo returns the position of an entry of the back lane, or of the last one.
func (s *Stream) sentUpTo(ctx context.Context, sequence uint64) (streamhub.Position, error) {
	status, err := s.log.Status(ctx, s.space, s.backLane())
	at := status.Position
	if err != nil || sequence >= status.LastSequence {
		return at, err
	}
	if sequence == 0 {
		return start(at), nil
	}
	for e, failed := range s.log.ConsumeSegment(ctx, s.space, s.backLane(), &streamhub.ReadOptions{FromSequence: sequence, Limit: 1}) {
		at, err = e.Position, failed
	}
	return at, err
}
