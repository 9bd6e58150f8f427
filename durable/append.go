package durable

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/seed-147127fe/streamhub"
)

// append answers POST: it stores the body, closes the stream, or does both in one append.
func (d *Handler) append(w http.ResponseWriter, r *http.Request, s *stream) error {
	ctx, h := r.Context(), r.Header
	body, err := d.body(w, r)
	if err != nil {
		return err
	}
	producer, err := producerOf(h)
	if err != nil {
		return err
	}
	o := streamhub.AppendOptions{Producer: producer, StreamSeq: h.Get(headerSeq), MustExist: true}
	if o.Close, err = closes(h); err != nil {
		return err
	}
	if o.Durability, err = durabilityOf(h, producer); err != nil {
		return err
	}
	p := &post{handler: d, stream: s, options: o, media: mediaType(h.Get("Content-Type")), match: h.Get("If-Match")}
	// A close without a body appends nothing. The protocol says that its Content-Type is ignored.
	if len(body) > 0 || o.Close == nil {
		p.options.ContentType = h.Get("Content-Type")
		p.records, p.invalid = recordsOf(p.options.ContentType, body, false)
	}
	if p.invalid != nil {
		// An error of the stream takes precedence over an error of the body, so the append is checked with an empty
		// record.
		p.records, p.options.CheckOnly = []streamhub.Record{{}}, true
	}
	result, err := p.send(ctx)
	unconfirmed := errors.Is(err, streamhub.ErrNotConfirmed)
	if unconfirmed {
		err = nil // not confirmed, but stored
	}
	if p.invalid != nil && (err == nil || p.repeat(err)) {
		return p.invalid
	}
	if err != nil {
		return p.refused(ctx, w, err)
	}
	l, err := d.lives.learn(ctx, s, result.Position.Incarnation)
	if err != nil {
		return unknown(err)
	}
	// The append script renews a sliding time to live only for a new append, not for a repeat.
	if result.Repeated && l.ttl {
		d.renews.touch(ctx, s)
	}
	next := offsetOf(l.number, &result.Position)
	if unconfirmed {
		notConfirmed(w, next)
		return nil
	}
	p.stored(w, next, result.Closed, result.Repeated)
	return nil
}

// durabilityOf reads the durability that an append asks for; nil is the durability of the hub. An append can be stored
// without reaching its level. It must then be repeated, so only a producer may ask for a level.
func durabilityOf(h http.Header, producer *streamhub.Producer) (*streamhub.Durability, error) {
	text := h.Get(headerDurability)
	if text == "" {
		return nil, nil //nolint:nilnil // nil is the level of the hub
	}
	if producer == nil {
		return nil, badRequest(headerDurability + " goes with " + headerProducer + ", so that the append can be repeated")
	}
	level, err := streamhub.ParseDurability(text)
	if err != nil {
		return nil, badRequest("%s: %v", headerDurability, err)
	}
	return &level, nil
}

// notConfirmed answers an append that is stored, up to next, but whose durability was not reached in time.
func notConfirmed(w http.ResponseWriter, next offset) {
	h := w.Header()
	h.Set(headerNextOffset, next.String())
	h.Set("Retry-After", "1")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = fmt.Fprintf(w, "{\"code\":%q,\"next_offset\":%q}\n", streamhub.CodeOf(streamhub.ErrNotConfirmed), next)
}

// unknown returns the error of an append that was stored, or may have been, and cannot be answered normally.
func unknown(err error) error { return errors.Join(streamhub.ErrUnknownOutcome, err) }

// A post is one append in progress. It belongs to the goroutine of the request.
type post struct {
	handler *Handler
	stream  *stream
	records []streamhub.Record
	options streamhub.AppendOptions
	media   string
	match   string // If-Match
	untyped uint64 // the incarnation of a stream without a content type, 0 if none is known
	invalid error  // the error of a malformed body
}

// tries is how often an append is sent at most. An append is sent again only after an answer that the stream has
// another incarnation now, which means that nothing was stored.
const tries = 3

// send appends. If this process knows the incarnation of the stream, the append names it. Such an append needs no other
// condition and may share a frame with others. If the incarnation is out of date, nothing was stored, and the next
// attempt does not name it.
func (p *post) send(ctx context.Context) (result streamhub.AppendResult, err error) {
	s := p.stream
	for try := range tries {
		o := p.options
		matched := p.match != "" && p.match != "*"
		known, ok := p.handler.lives.get(s.key())
		// With If-Match the incarnation comes from the current status, because the remembered one may be out of date.
		if ok = ok && try == 0 && !matched && (o.ContentType == "" || known.media == "" || known.media == p.media); ok {
			o.Incarnation, o.ContentType, o.MustExist = known.incarnation, "", false
		}
		if matched {
			if o.ExpectedSequence, o.Incarnation, err = p.expect(ctx); err != nil {
				return result, err
			}
		}
		if p.untyped != 0 {
			o.Incarnation, o.ContentType = p.untyped, ""
		}
		result, err = s.store.Append(ctx, s.space, s.segment, p.records, &o)
		if errors.Is(err, streamhub.ErrConflict) && p.untyped == 0 && o.ContentType != "" {
			status, statusErr := s.store.Status(ctx, s.space, s.segment)
			if statusErr == nil && status.ContentType == "" {
				// Another transport created the stream without a content type. It accepts any.
				p.untyped = status.Position.Incarnation
				continue
			}
		}
		if stale := errors.Is(err, streamhub.ErrHistoryLost) || ok && isNotFound(err); !stale {
			break
		}
		if o.Incarnation != 0 {
			// The log of this process may be out of date; an append that only checks makes it read the current state.
			_, checked := s.store.Append(ctx, s.space, s.segment, []streamhub.Record{{}}, &streamhub.AppendOptions{MustExist: true, CheckOnly: true})
			if streamhub.Retryable(checked) {
				return result, checked // whether the stream is another one cannot be told now
			}
		}
	}
	return result, err
}

// expect resolves If-Match, which names the offset at which the stream must end.
func (p *post) expect(ctx context.Context) (sequence, incarnation uint64, err error) {
	want, err := parseOffset(strings.Trim(p.match, `"`))
	if err != nil {
		return 0, 0, badRequest("If-Match has to be an offset that this stream gave, such as that of " + headerNextOffset)
	}
	status, err := p.stream.store.Status(ctx, p.stream.space, p.stream.segment)
	if err != nil {
		return 0, 0, err
	}
	if tail := tailOf(&status); want != tail && (!want.start() || tail.sequence > 0) && !want.copied(&status) {
		// The stream does not end there. The append is sent all the same: it may be a repeat, or the stream may be
		// closed, and both take precedence over a mismatch.
		return streamhub.MaxInteger, status.Position.Incarnation, nil
	}
	return want.sequence + 1, status.Position.Incarnation, nil
}

// repeat reports whether err says that this sequence of the producer was stored before. A repeat with
// another body counts as a duplicate too.
func (p *post) repeat(err error) bool {
	e := (*streamhub.ProducerError)(nil)
	return errors.As(err, &e) && (errors.Is(e, streamhub.ErrBatchMismatch) || errors.Is(e, streamhub.ErrUnknownOutcome))
}

// stored answers an append that was stored, now or before. With producer headers a new append of
// records is 200 and a duplicate 204; without them both are 204.
func (p *post) stored(w http.ResponseWriter, next offset, closed, repeated bool) {
	h := w.Header()
	h.Set(headerNextOffset, next.String())
	if closed {
		h.Set(headerClosed, "true")
	}
	status := http.StatusNoContent
	if producer := p.options.Producer; producer != nil {
		setNumber(h, headerEpoch, producer.Epoch)
		setNumber(h, headerProducerSeq, producer.Seq)
		if !repeated && len(p.records) > 0 {
			status = http.StatusOK
		}
	}
	w.WriteHeader(status)
}

// refused answers an append that was not stored. Two refusals are successes for the client: a duplicate, and the close
// of a closed stream.
func (p *post) refused(ctx context.Context, w http.ResponseWriter, err error) error {
	h := w.Header()
	producer := (*streamhub.ProducerError)(nil)
	sequence := (*streamhub.SequenceError)(nil)
	closed := (*streamhub.ClosedError)(nil)
	switch {
	case p.repeat(err):
		errors.As(err, &producer)
		// The protocol requires the highest accepted sequence in the answer, not the sequence of this request.
		p.options.Producer.Seq = producer.ExpectedSeq - 1
		return p.answered(ctx, w, true)
	case errors.As(err, &closed):
		// Closing a closed stream succeeds, so that a close without a producer can be repeated too.
		if p.options.Close != nil && len(p.records) == 0 && p.options.Producer == nil {
			return p.answered(ctx, w, true)
		}
		if err := p.tail(ctx, h); err != nil {
			return err
		}
		h.Set(headerClosed, "true")
		return conflict("the stream is closed and takes nothing more")
	case errors.As(err, &sequence):
		if err := p.tail(ctx, h); err != nil {
			return err
		}
		return &statusError{http.StatusPreconditionFailed, "the stream does not end at the offset of If-Match: read on from there, and append again"}
	case errors.Is(err, streamhub.ErrConflict) && !errors.As(err, &producer):
		return p.conflict(ctx, err)
	case !errors.As(err, &producer):
		return err
	case errors.Is(producer, streamhub.ErrProducerFenced):
		setNumber(h, headerEpoch, producer.Epoch)
		return &statusError{http.StatusForbidden, "the producer has a newer epoch: another one has taken over; stop, or raise " + headerEpoch}
	case producer.Epoch < p.options.Producer.Epoch:
		return badRequest("a new epoch begins with " + headerProducerSeq + ": 0")
	}
	setNumber(h, headerExpectedSeq, producer.ExpectedSeq)
	setNumber(h, headerReceivedSeq, p.options.Producer.Seq)
	return conflict("the producer skipped a sequence: send those that are missing first")
}

// conflict says which condition of an append was not met.
func (p *post) conflict(ctx context.Context, err error) error {
	s := p.stream
	status, statusErr := s.store.Status(ctx, s.space, s.segment)
	if statusErr != nil {
		return statusErr
	}
	if have := contentType(&status); p.options.ContentType != "" && status.ContentType != "" && mediaType(have) != p.media {
		return conflict(fmt.Sprintf("the stream has the content type %q: append with it, not with %q", have, p.options.ContentType))
	}
	if p.options.StreamSeq != "" {
		return conflict(headerSeq + " is not greater than that of an append before: send a greater one")
	}
	return err
}

// answered answers as if the append had just been stored, with the current end of the stream.
func (p *post) answered(ctx context.Context, w http.ResponseWriter, repeated bool) error {
	s := p.stream
	status, err := s.store.Status(ctx, s.space, s.segment)
	if err != nil {
		return err
	}
	if status.TTL > 0 {
		p.handler.renews.touch(ctx, s)
	}
	p.stored(w, tailOf(&status), status.State == streamhub.StateClosed, repeated)
	return nil
}

// tail sets the header that says where the stream ends.
func (p *post) tail(ctx context.Context, h http.Header) error {
	status, err := p.stream.store.Status(ctx, p.stream.space, p.stream.segment)
	if err == nil {
		h.Set(headerNextOffset, tailOf(&status).String())
	}
	return err
}
