package live

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/pause"
)

// What the hub notes in the metadata of a message.
const (
	controlKey    = "live"
	controlCancel = "cancel"
	byKey         = "by"
	reasonKey     = "reason"
	onceKey       = "once"
)

// A CancelError tells a producer that somebody asked it to stop.
type CancelError struct{ By, Reason string }

func (e *CancelError) Error() string { return "cancelled" + e.text(" by ", ": ") }

// text joins what is known.
func (e *CancelError) text(by, reason string) string {
	var b strings.Builder
	if e.By != "" {
		b.WriteString(by + e.By)
	}
	if e.Reason != "" {
		b.WriteString(reason + e.Reason)
	}
	return b.String()
}

func (e *CancelError) verdict() streamhub.Verdict {
	return streamhub.Verdict{Kind: streamhub.VerdictCancelled, Reason: strings.TrimPrefix(e.text("", ": "), ": ")}
}

// CancelOptions describe a request to stop; nil stands for the defaults.
type CancelOptions struct {
	// By and Reason are told to the producer, and become the reason of the verdict.
	By, Reason string
	// NoWait returns as soon as the request is stored.
	NoWait bool
}

// Cancel asks the producer to stop, and waits for the verdict, which it returns. The request is
// stored: it reaches the producer once, wherever that is, also if it can not be told at this
// moment. A producer has [Options.CancelGrace] for its last chunks and a verdict of its own; if it
// has none by then, cancelled is written for it. If somebody asked before, Cancel only waits. A
// generation that has ended is no error.
//
// If ctx ends first the request stays. With [CancelOptions.NoWait] the verdict returned is the zero
// one unless the generation had ended.
func (s *Stream) Cancel(ctx context.Context, o *CancelOptions) (streamhub.Verdict, error) {
	if o == nil {
		o = &CancelOptions{}
	}
	v, err := s.cancel(ctx, o)
	return v, s.fail("cancel", s.id, err)
}

func (s *Stream) cancel(ctx context.Context, o *CancelOptions) (streamhub.Verdict, error) {
	by := &CancelError{o.By, o.Reason}
	metadata := map[string]string{controlKey: controlCancel}
	for k, v := range map[string]string{byKey: o.By, reasonKey: o.Reason} {
		if v != "" {
			metadata[k] = v
		}
	}
	_, err := s.toProducer(ctx, streamhub.Record{Metadata: metadata}, controlCancel)
	var closed *streamhub.ClosedError
	switch {
	case errors.As(ending(err), &closed):
		return closed.Verdict, nil
	case err != nil && !errors.Is(err, streamhub.ErrBatchMismatch):
		return streamhub.Verdict{}, err
	case o.NoWait:
		return streamhub.Verdict{}, nil
	}
	patience, cancel := context.WithTimeout(ctx, s.m.opt.CancelGrace+s.m.opt.CancelGrace/5)
	defer cancel()
	v, err := s.wait(patience)
	if err != nil && ctx.Err() == nil && patience.Err() != nil {
		return s.finish(ctx, by.verdict())
	}
	return v, err
}

// toProducer appends to the back lane. Of several records with the same key the first one counts.
func (s *Stream) toProducer(ctx context.Context, r streamhub.Record, key string) (streamhub.AppendResult, error) {
	o := streamhub.AppendOptions{MustExist: true, Generation: s.generation}
	if key != "" {
		o.Producer = &streamhub.Producer{ID: key}
	}
	for delay := firstPause; ; delay *= 2 {
		result, err := s.log.Append(ctx, s.space, s.backLane(), []streamhub.Record{r}, &o)
		if !errors.Is(err, streamhub.ErrNotFound) {
			return result, err
		}
		// Deleted with the rest, or still to be created.
		if _, err := s.begin(ctx); err != nil || delay > time.Second {
			return result, errors.Join(streamhub.ErrNotFound, err)
		}
		if !pause.For(ctx, delay) {
			return result, ctx.Err()
		}
	}
}

// SendOptions describe a message; nil stands for none.
type SendOptions struct {
	// By says who sends it.
	By string
	// Once names a question that has one answer, 1 to 100 bytes: the first message that is sent
	// under it is stored, and any other one gets [streamhub.ErrConflict]. The same message sent
	// again counts as stored.
	Once string
}

// A Message is what a reader has sent to the producer.
type Message struct {
	Sequence  uint64 `json:"sequence"`
	Timestamp int64  `json:"timestamp"` // Unix milliseconds
	By        string `json:"by,omitempty"`
	Once      string `json:"once,omitempty"`
	Data      []byte `json:"data"`
}

// Send stores a message for the producer and returns its sequence. Messages keep their order. Once
// the generation has ended, the error is a [streamhub.ClosedError].
func (s *Stream) Send(ctx context.Context, data []byte, o *SendOptions) (sequence uint64, err error) {
	defer func() { err = s.fail("send", s.id, err) }()
	if o == nil {
		o = &SendOptions{}
	}
	r := streamhub.Record{Payload: data}
	key := ""
	if o.By != "" || o.Once != "" {
		r.Metadata = map[string]string{byKey: o.By}
	}
	if o.Once != "" {
		if err := checkID(o.Once); err != nil {
			return 0, err
		}
		r.Metadata[onceKey] = o.Once
		key = "once " + o.Once
	}
	result, err := s.toProducer(ctx, r, key)
	if errors.Is(err, streamhub.ErrBatchMismatch) {
		err = fmt.Errorf("%w: another answer was first", streamhub.ErrConflict)
	}
	return result.First, ending(err)
}

// Messages gives the producer what readers send, behind the message with sequence after, or all of
// it for 0: first what is there, then as it comes. It ends with a [streamhub.ClosedError] when the
// generation has ended.
func (p *Producer) Messages(ctx context.Context, after uint64) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		o := streamhub.FollowOptions{FromSequence: after + 1}
		for e, err := range p.m.watcher.Follow(ctx, p.log, p.space, p.backLane(), &o) {
			switch {
			case err != nil:
				yield(Message{}, p.fail("messages", p.id, ending(err)))
				return
			case e.Metadata[controlKey] != "":
				continue
			}
			m := Message{e.Sequence, e.Timestamp, e.Metadata[byKey], e.Metadata[onceKey], e.Payload}
			if !yield(m, nil) {
				return
			}
		}
	}
}
