package livehttp_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/pause"
	"github.com/seed-147127fe/streamhub/internal/verdict"
	"github.com/seed-147127fe/streamhub/live"
)

// producerHeader carries the token of a producer, or the key of a registration.
const producerHeader = "Streamhub-Producer"

// A remote is a producer with its token.
type remote struct {
	*stream
	token   string
	silence time.Duration
	next    uint64 // when it was registered or resumed
}

var _ live.RemoteProducer = (*remote)(nil)

func (c *client) producer(id, token string) *remote {
	return &remote{stream: &stream{c, id, generationOf(token)}, token: token}
}

// generationOf is the generation in a token, 0 if it is none.
func generationOf(token string) uint64 {
	head, _, _ := strings.Cut(token, ".")
	generation, _ := strconv.ParseUint(head, 36, 63)
	return generation
}

// silenceOf is how long a producer with this interval between heartbeats may say nothing.
func silenceOf(heartbeatMS int64) time.Duration {
	return 3 * time.Duration(heartbeatMS) * time.Millisecond
}

func (r *remote) Token() string          { return r.token }
func (r *remote) Silence() time.Duration { return r.silence }

// request is one that proves who it comes from.
func (r *remote) request(method, action string, body []byte) request {
	return request{
		method: method, id: r.id, action: action, query: url.Values{}, header: http.Header{producerHeader: {r.token}}, body: body,
	}
}

// Publish implements live.RemoteProducer. Chunks that are lines travel together, and others each in a request.
func (r *remote) Publish(ctx context.Context, first uint64, chunks [][]byte) (next uint64, err error) {
	lines := !slices.ContainsFunc(chunks, func(c []byte) bool { return bytes.ContainsAny(c, "\r\n") })
	if lines {
		return r.post(ctx, first, "text/plain", append(bytes.Join(chunks, []byte("\n")), '\n'))
	}
	for i, chunk := range chunks {
		kind := "application/octet-stream"
		if len(chunk) == 0 { // a body without a byte is a heartbeat
			kind, chunk = "text/plain", []byte("\n")
		}
		if next, err = r.post(ctx, first+uint64(i), kind, chunk); err != nil {
			return next, err
		}
	}
	return next, nil
}

// post stores the chunks of a body. After a gap it returns the number that is expected.
func (r *remote) post(ctx context.Context, first uint64, kind string, body []byte) (uint64, error) {
	p := r.request(http.MethodPost, "chunks", body)
	p.first = first
	p.query.Set("first", strconv.FormatUint(first, 10))
	p.header.Set("Content-Type", kind)
	var stored struct{ Next uint64 }
	err := r.c.ask(ctx, p, &stored)
	var gap *streamhub.SequenceError
	if errors.As(err, &gap) {
		return gap.Expected, err
	}
	return stored.Next, err
}

// beat sends a heartbeat, and returns where the producer stands.
func (r *remote) beat(ctx context.Context) (at registered, err error) {
	err = r.c.ask(ctx, r.request(http.MethodPost, "chunks", nil), &at)
	if err == nil && at.Generation != r.generation {
		err = fmt.Errorf("a heartbeat of generation %d is one of %d", r.generation, at.Generation)
	}
	return at, err
}

// Beat implements live.RemoteProducer.
func (r *remote) Beat(ctx context.Context) (uint64, error) {
	at, err := r.beat(ctx)
	return at.Next, err
}

// SetMetadata implements live.RemoteProducer.
func (r *remote) SetMetadata(ctx context.Context, metadata json.RawMessage) error {
	body, err := json.Marshal(map[string]json.RawMessage{"metadata": metadata})
	if err != nil {
		return err
	}
	return r.c.ask(ctx, r.request(http.MethodPatch, "", body), nil)
}

// Messages implements live.RemoteProducer.
func (r *remote) Messages(ctx context.Context, after uint64) iter.Seq2[live.Message, error] {
	return func(yield func(live.Message, error) bool) {
		p := r.request(http.MethodGet, "messages", nil)
		p.query.Set("after", strconv.FormatUint(after, 10))
		enough := false
		err := r.c.events(ctx, p, "after", func(e event) (bool, error) {
			m, err := r.message(e)
			if err != nil {
				return false, err
			}
			enough = !yield(m, nil)
			return !enough, nil
		})
		if !enough {
			yield(live.Message{}, err)
		}
	}
}

// message reads an event to the producer.
func (r *remote) message(e event) (m live.Message, err error) {
	switch e.name {
	case "end", "error":
		_, err = chunkOf(e, r.token)
		return m, err
	case "stop":
		var asked struct{ By, Reason string }
		err = json.Unmarshal([]byte(e.data), &asked)
		m = live.Message{Stop: true, By: asked.By, Data: []byte(asked.Reason)}
		if err == nil {
			m.Sequence, err = strconv.ParseUint(e.id, 10, 64)
		}
		return m, err
	}
	return m, json.Unmarshal([]byte(e.data), &m)
}

// End implements live.RemoteProducer.
func (r *remote) End(ctx context.Context, v streamhub.Verdict) (got streamhub.Verdict, err error) {
	body, err := json.Marshal(v)
	if err == nil {
		err = r.c.ask(ctx, r.request(http.MethodPost, "end", asGiven(body, v.Reason)), &got)
	}
	return got, err
}

// A producer is one in this process: it buffers chunks and numbers them, sends heartbeats, and hears requests to stop.
type producer struct {
	*stream
	remote   *remote
	onCancel func(error)
	told     sync.Once
	ctx      context.Context // ends when it has to stop
	cancel   context.CancelCauseFunc
	life     context.Context // ends when it is over
	leave    context.CancelFunc

	// mu guards the fields below. changed is closed and replaced when one changes.
	mu      sync.Mutex
	changed chan struct{}
	err     error // why it cannot publish any more
	ending  bool  // a verdict is under way
	asked   *live.CancelError
	pending [][]byte
	sending bool
	next    uint64 // the number of the first chunk that is pending
}

var _ live.Producer = (*producer)(nil)

// Register implements live.Streams.
func (c *client) Register(ctx context.Context, id string, options *live.RegisterOptions) (live.Producer, live.Stream, error) {
	r, current, err := c.put(ctx, id, options)
	switch {
	case err != nil:
		return nil, nil, err
	case r == nil:
		return nil, current, nil
	}
	p := &producer{stream: r.stream, remote: r, changed: make(chan struct{}), next: r.next}
	if options != nil {
		p.onCancel = options.OnCancel
	}
	p.ctx, p.cancel = context.WithCancelCause(context.Background())
	p.life, p.leave = context.WithCancel(c.ctx)
	c.start(p.listen)
	c.start(p.beat)
	return p, nil, nil
}

func (p *producer) notify() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// until waits for a condition, which is asked for with the lock held. The lock is held before and after.
func (p *producer) until(ctx context.Context, holds func() bool) error {
	for !holds() {
		changed := p.changed
		p.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		p.mu.Lock()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// Publish implements live.Producer.
func (p *producer) Publish(ctx context.Context, data []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.until(ctx, func() bool { return p.err != nil || !p.ending }); err != nil {
		return err
	}
	if p.err != nil {
		return p.err
	}
	p.pending = append(p.pending, bytes.Clone(data))
	if !p.sending {
		p.sending = p.c.start(p.send)
	}
	return nil
}

// send sends what is pending until nothing is.
func (p *producer) send() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.err == nil && len(p.pending) > 0 {
		batch, first := p.pending, p.next
		p.pending = nil
		p.mu.Unlock()
		next, err := p.remote.Publish(context.Background(), first, batch)
		if err != nil {
			p.stop(err)
		}
		p.mu.Lock()
		p.next = next
	}
	p.sending = false
	p.notify()
}

// Flush implements live.Producer.
func (p *producer) Flush(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.drain(ctx)
}

// drain waits until everything is stored. The lock is held before and after.
func (p *producer) drain(ctx context.Context) error {
	if err := p.until(ctx, func() bool { return p.err != nil || !p.sending }); err != nil {
		return err
	}
	return p.err
}

// listen hears requests to stop, and the end.
func (p *producer) listen() {
	for m, err := range p.remote.Messages(p.life, 0) {
		switch {
		case m.Stop:
			asked := &live.CancelError{By: m.By, Reason: string(m.Data)}
			p.mu.Lock()
			p.asked = asked
			p.mu.Unlock()
			p.tell(asked)
		case err != nil:
			p.heard(err)
		}
	}
}

// beat sends heartbeats. A producer that was asked to stop sends one a second: the answer is the verdict once its time is over.
func (p *producer) beat() {
	tick := time.NewTicker(p.remote.silence / 3)
	defer tick.Stop()
	asked := p.ctx.Done()
	for {
		select {
		case <-tick.C:
		case <-asked:
			asked = nil
			tick.Reset(min(p.remote.silence/3, time.Second))
			continue
		case <-p.life.Done():
			return
		}
		if _, err := p.remote.Beat(p.life); err != nil {
			p.heard(err)
		}
	}
}

// heard ends the producer, unless it is over or learns from its own verdict what the outcome is.
func (p *producer) heard(err error) {
	p.mu.Lock()
	writing := p.ending
	p.mu.Unlock()
	if p.c.ctx.Err() != nil {
		err = streamhub.ErrShutdown
	} else if writing || p.life.Err() != nil {
		return
	}
	p.stop(err)
}

// stop ends the producer for good; the first reason counts.
func (p *producer) stop(reason error) {
	p.mu.Lock()
	if p.err == nil {
		p.err, p.pending = reason, nil
	}
	p.notify()
	p.mu.Unlock()
	p.leave()
	p.tell(reason)
}

// tell says that the producer has to stop.
func (p *producer) tell(reason error) {
	p.told.Do(func() {
		p.cancel(reason)
		if p.onCancel != nil {
			p.onCancel(reason)
		}
	})
}

// Context implements live.Producer.
func (p *producer) Context() context.Context { return p.ctx }

// SetMetadata implements live.Producer.
func (p *producer) SetMetadata(ctx context.Context, v any) error {
	text, err := verdict.JSON("metadata", v)
	if err != nil {
		return err
	}
	return p.remote.SetMetadata(ctx, text)
}

// Messages implements live.Producer.
func (p *producer) Messages(ctx context.Context, after uint64) iter.Seq2[live.Message, error] {
	return func(yield func(live.Message, error) bool) {
		for m, err := range p.remote.Messages(ctx, after) {
			if !m.Stop && !yield(m, err) {
				return
			}
		}
	}
}

// Done implements live.Producer.
func (p *producer) Done(ctx context.Context, output any) error {
	v, err := verdict.Done(output)
	if err != nil {
		return err
	}
	return p.End(ctx, v)
}

// Fail implements live.Producer.
func (p *producer) Fail(ctx context.Context, reason error) error {
	v, err := verdict.Failed(reason, p.cancelled())
	if err != nil {
		return err
	}
	return p.End(ctx, v)
}

// Close implements live.Producer.
func (p *producer) Close(ctx context.Context) error {
	ctx, done := pause.Goodbye(ctx)
	defer done()
	return verdict.Ended(p.End(ctx, verdict.Closed(p.cancelled())))
}

func (p *producer) cancelled() *live.CancelError {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

// End implements live.Producer.
func (p *producer) End(ctx context.Context, v streamhub.Verdict) error {
	if err := p.suspend(ctx); err != nil {
		return err
	}
	got, err := p.remote.End(ctx, v)
	closed := error(&streamhub.ClosedError{Verdict: got})
	switch {
	case errors.Is(err, streamhub.ErrInvalidArgument):
		p.mu.Lock()
		defer p.mu.Unlock()
		p.ending = false
		p.notify()
		return err
	case err != nil:
		p.stop(err)
		return err
	case !reflect.DeepEqual(got, v):
		p.stop(closed)
		return closed
	}
	p.told.Do(func() { p.cancel(closed) }) // it stops by itself
	p.cancel(closed)
	p.stop(closed)
	return nil
}

// suspend holds back chunks, and waits until those before are stored.
func (p *producer) suspend(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.until(ctx, func() bool { return p.err != nil || !p.ending }); err != nil {
		return err
	}
	if err := p.drain(ctx); err != nil {
		return err
	}
	p.ending = true
	return nil
}

// HandOver implements live.Producer.
func (p *producer) HandOver(ctx context.Context) (string, uint64, error) {
	if err := p.suspend(ctx); err != nil {
		return "", 0, err
	}
	next, err := p.remote.Beat(ctx)
	if err != nil {
		return "", 0, err
	}
	p.told.Do(func() {}) // that is no reason to stop
	p.stop(fmt.Errorf("%w: the generation was handed over", streamhub.ErrFenced))
	return p.remote.token, next, nil
}
