package client

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/fault"
	"github.com/seed-147127fe/streamhub/internal/verdict"
	"github.com/seed-147127fe/streamhub/internal/wire"
	"github.com/seed-147127fe/streamhub/live"
)

// Live returns the live streams of a space. Their calls are retried, and producers and readers continue on another
// gateway after a lost connection. Live sends nothing and needs no closing.
//
// A producer that [live.Streams.Register] returns is not tied to one gateway. It counts as lost when no gateway has
// received a request of it for [live.RemoteProducer.Silence], 30 s by default. Closing the client ends it as lost.
func (s *Store) Live(space string) live.Streams {
	switch inner := s.inner.(type) {
	case *remoteStore:
		return &liveStreams{c: s.c, remote: inner, space: space}
	case interface {
		Live(space string) live.Streams
	}:
		return inner.Live(space)
	}
	return &liveStreams{c: s.c, space: space}
}

// liveStreams are the live streams of one space, reached through gateways. Their calls are retried where a retry can
// help.
type liveStreams struct {
	c      *Client
	remote *remoteStore // nil for a provider without remote producers
	space  string
}

var errNoLive = fmt.Errorf("%w: this provider has no live streams", streamhub.ErrInvalidArgument)

// fail names the call in err, as the hub does. A bare context error is returned unchanged.
func (s *liveStreams) fail(op, id string, err error) error {
	//nolint:errorlint // only a bare one: inside another error it says why the gateway could not be asked
	if err == nil || err == context.Canceled || err == context.DeadlineExceeded {
		return err
	}
	where := streamhub.Error{Op: op, Space: s.space, Segment: id}
	if s.remote != nil {
		where.Store = s.remote.id
	}
	return fault.At(where, err)
}

// once makes one attempt of a call that has one answer.
func (s *liveStreams) once(ctx context.Context, request wire.Request) ([]byte, error) {
	if s.remote == nil {
		return nil, errNoLive
	}
	return s.remote.do(ctx, request)
}

// ask makes a call and retries it where a retry can help. Every call about live streams may be repeated, so a lost
// reply does no harm.
func (s *liveStreams) ask(ctx context.Context, op, id string, request wire.Request) (body []byte, err error) {
	err = again(ctx, s.c, "live "+op, func(ctx context.Context) (err error) {
		body, err = s.once(ctx, request)
		return err
	})
	return body, s.fail(op, id, err)
}

// items makes one attempt of a call whose answer is a list of items.
func items[T any](ctx context.Context, s *liveStreams, request wire.Request, decode func([]byte) ([]T, error), pass func(T) bool) error {
	if s.remote == nil {
		return errNoLive
	}
	return readInto(ctx, s.remote, request, decode, pass)
}

// item makes a call that waits for its one item, and retries it up to attempts times.
func item[T any](ctx context.Context, s *liveStreams, op, id string, attempts int, request wire.Request, decode func([]byte) (T, error)) (got T, err error) {
	err = wire.ErrMalformed // stays if the call ends without an item
	resume(ctx, s.c, "live "+op, attempts, func(v T, failed error) bool {
		got, err = v, failed
		return false
	}, func(ctx context.Context, pass func(T) bool) error {
		return items(ctx, s, request, func(body []byte) ([]T, error) {
			v, err := decode(body)
			return []T{v}, err
		}, pass)
	})
	return got, s.fail(op, id, err)
}

func (s *liveStreams) at(id string, generation uint64) *liveStream {
	return &liveStream{liveStreams: s, id: id, generation: generation}
}

// Register implements [live.Streams]. If the client is being closed, the goroutines of the producer cannot start, and
// the new generation is ended as lost.
func (s *liveStreams) Register(ctx context.Context, id string, options *live.RegisterOptions) (live.Producer, live.Stream, error) {
	o := value(options)
	if s.c.isClosed() {
		return nil, nil, s.fail("register", id, streamhub.ErrShutdown)
	}
	remote, current, err := s.start(ctx, "register", id, &o)
	switch {
	case err != nil:
		return nil, nil, err
	case current != nil:
		return nil, current, nil
	}
	p := newLiveProducer(remote, o)
	if o.Key != "" {
		// An earlier registration with this key may have stored chunks.
		if p.first, err = remote.Beat(ctx); err != nil {
			return nil, nil, err
		}
	}
	if err := p.begin(); err != nil {
		p.abandon(ctx)
		return nil, nil, s.fail("register", id, err)
	}
	return p, nil, nil
}

// Start implements [live.Streams].
func (s *liveStreams) Start(ctx context.Context, id string, options *live.RegisterOptions) (live.RemoteProducer, live.Stream, error) {
	o := value(options)
	if o.OnCancel != nil || o.CancelUnwatched != 0 || o.IdleTTL != 0 {
		err := fmt.Errorf("%w: OnCancel, CancelUnwatched and IdleTTL are for a producer in a process", streamhub.ErrInvalidArgument)
		return nil, nil, s.fail("start", id, err)
	}
	p, current, err := s.start(ctx, "start", id, &o)
	switch {
	case err != nil:
		return nil, nil, err
	case current != nil:
		return nil, current, nil
	}
	return p, nil, nil
}

// start begins a generation. Its key makes it safe to repeat.
func (s *liveStreams) start(ctx context.Context, op, id string, o *live.RegisterOptions) (*liveRemote, *liveStream, error) {
	metadata, err := encodeMetadata(o.Metadata)
	if err != nil {
		return nil, nil, s.fail(op, id, err)
	}
	request := &wire.LiveStart{
		Space: s.space, ID: id, Takeover: o.Takeover, Once: o.Once, Metadata: metadata, By: o.By, Key: o.Key,
		ContentType: o.ContentType, EndedTTL: o.EndedTTL,
	}
	if request.Key == "" {
		request.Key = rand.Text()
	}
	body, err := s.ask(ctx, op, id, request)
	if err != nil {
		return nil, nil, err
	}
	r, err := wire.DecodeLiveProducer(body)
	switch {
	case err != nil:
		return nil, nil, s.fail(op, id, err)
	case r.Token == "":
		return nil, s.at(id, r.Generation), nil
	}
	return &liveRemote{liveStream: s.at(id, r.Generation), token: r.Token, silence: r.Silence}, nil, nil
}

// encodeMetadata writes metadata as JSON, and nil as no bytes.
func encodeMetadata(v any) ([]byte, error) {
	if v == nil {
		return nil, nil
	}
	return verdict.JSON("metadata", v)
}

// Resume implements [live.Streams].
func (s *liveStreams) Resume(ctx context.Context, id, token string) (live.RemoteProducer, error) {
	body, err := s.ask(ctx, "resume", id, &wire.LiveResume{Space: s.space, ID: id, Token: token})
	if err != nil {
		return nil, err
	}
	r, err := wire.DecodeLiveProducer(body)
	if err != nil {
		return nil, s.fail("resume", id, err)
	}
	return &liveRemote{liveStream: s.at(id, r.Generation), token: r.Token, silence: r.Silence}, nil
}

// find asks for the current generation. With wait it waits until there is one, across lost connections.
func (s *liveStreams) find(ctx context.Context, op, id string, attempts int, wait bool) (live.Stream, error) {
	generation, err := item(ctx, s, op, id, attempts, &wire.LiveFind{Space: s.space, ID: id, Wait: wait}, wire.DecodeNumber)
	if err != nil {
		return nil, err
	}
	return s.at(id, generation), nil
}

// Get implements [live.Streams].
func (s *liveStreams) Get(ctx context.Context, id string) (live.Stream, error) {
	return s.find(ctx, "get", id, s.c.opt.retry.Attempts, false)
}

// Await implements [live.Streams].
func (s *liveStreams) Await(ctx context.Context, id string) (live.Stream, error) {
	return s.find(ctx, "await", id, forever, true)
}

// Generation implements [live.Streams].
func (s *liveStreams) Generation(id string, generation uint64) (live.Stream, error) {
	err := streamhub.CheckName("live stream", id)
	if err == nil && len(id) > live.MaxIDLength {
		err = fmt.Errorf("%w: the id of a live stream has %d bytes, the limit is %d", streamhub.ErrInvalidName, len(id), live.MaxIDLength)
	}
	if err != nil {
		return nil, s.fail("get", id, err)
	}
	return s.at(id, generation), nil
}

// Follow implements [live.Streams].
func (s *liveStreams) Follow(ctx context.Context, ids []string, options *live.FollowOptions) iter.Seq2[live.Update, error] {
	return func(yield func(live.Update, error) bool) {
		o := value(options)
		ended := map[wire.LiveRef]bool{} // ends that were given: after a reconnect the gateway sends them again
		resume(ctx, s.c, "live follow", forever, s.named(yield), func(ctx context.Context, pass func(live.Update) bool) error {
			request := &wire.LiveFollow{Space: s.space, IDs: ids, Cursor: o.Cursor, Generations: o.Generations}
			return items(ctx, s, request, wire.DecodeLiveUpdates, func(u live.Update) bool {
				o.Cursor = u.Cursor
				if u.Verdict != nil || u.Err != nil {
					end := wire.LiveRef{ID: u.ID, Generation: u.Generation}
					if ended[end] {
						return true
					}
					ended[end] = true
				}
				return pass(u)
			})
		})
	}
}

// named names the call in the error that ends a sequence of updates.
func (s *liveStreams) named(yield func(live.Update, error) bool) func(live.Update, error) bool {
	return func(u live.Update, err error) bool { return yield(u, s.fail("follow", u.ID, err)) }
}

// List implements [live.Streams].
func (s *liveStreams) List(ctx context.Context, options *live.ListOptions) iter.Seq2[live.Stream, error] {
	return func(yield func(live.Stream, error) bool) {
		o := value(options)
		pass := func(ref wire.LiveRef, err error) bool {
			if err != nil {
				return yield(nil, s.fail("list", "", err))
			}
			return yield(s.at(ref.ID, ref.Generation), nil)
		}
		resume(ctx, s.c, "live list", s.c.opt.retry.Attempts, pass, func(ctx context.Context, pass func(wire.LiveRef) bool) error {
			request := &wire.LiveList{Space: s.space, AfterID: o.AfterID, AfterGeneration: o.AfterGeneration}
			return items(ctx, s, request, wire.DecodeLiveRefs, func(ref wire.LiveRef) bool {
				o.AfterID, o.AfterGeneration = ref.ID, ref.Generation
				return pass(ref)
			})
		})
	}
}

// Active implements [live.Streams].
func (s *liveStreams) Active(ctx context.Context, ids []string) (map[string]bool, error) {
	active := make(map[string]bool, len(ids))
	if len(ids) == 0 {
		return active, nil
	}
	body, err := s.ask(ctx, "active", "", &wire.LiveActive{Space: s.space, IDs: ids})
	if err != nil {
		return nil, err
	}
	found, err := wire.DecodeNamesResult(body)
	for _, id := range ids {
		active[id] = false
	}
	for _, id := range found {
		active[id] = true
	}
	return active, s.fail("active", "", err)
}

// Remove implements [live.Streams]. It names the generation, so that a repeat removes no later one.
func (s *liveStreams) Remove(ctx context.Context, id string) error {
	current, err := s.find(ctx, "remove", id, s.c.opt.retry.Attempts, false)
	// There is nothing to remove, perhaps because an earlier attempt removed it.
	if errors.Is(err, streamhub.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = s.ask(ctx, "remove", id, &wire.LiveRemove{Space: s.space, ID: id, Generation: current.Generation()})
	return err
}

// A liveStream implements [live.Stream]: one generation of a stream. It holds no resources, so nothing closes it.
type liveStream struct {
	*liveStreams
	id         string
	generation uint64
}

var _ live.Stream = (*liveStream)(nil)

// ID and Generation implement [live.Stream].
func (s *liveStream) ID() string         { return s.id }
func (s *liveStream) Generation() uint64 { return s.generation }

// Subscribe implements [live.Stream].
func (s *liveStream) Subscribe(ctx context.Context, options *live.SubscribeOptions) iter.Seq2[live.Chunk, error] {
	return func(yield func(live.Chunk, error) bool) {
		// Each range over the sequence begins where the options say, so it advances a copy of them.
		o := value(options)
		pass := func(c live.Chunk, err error) bool { return yield(c, s.fail("subscribe", s.id, err)) }
		resume(ctx, s.c, "live subscribe", forever, pass, func(ctx context.Context, pass func(live.Chunk) bool) error {
			request := &wire.LiveSubscribe{Space: s.space, ID: s.id, Generation: s.generation, Cursor: o.Cursor, Batch: o.BatchReplay}
			return items(ctx, s.liveStreams, request, wire.DecodeLiveChunks, func(c live.Chunk) bool {
				o.Cursor, o.BatchReplay = c.Cursor(), false
				return pass(c)
			})
		})
	}
}

// Channel implements [live.Stream].
func (s *liveStream) Channel(ctx context.Context, options *live.SubscribeOptions) <-chan live.Event {
	o := value(options)
	events := make(chan live.Event, max(o.Buffer, 0))
	if err := s.c.start(func() {
		defer close(events)
		ctx, release := s.c.last(ctx)
		defer release()
		for c, err := range s.Subscribe(ctx, &o) {
			select {
			case events <- live.Event{Chunk: c, Err: err}:
			case <-ctx.Done():
				return
			}
		}
	}); err != nil {
		close(events)
	}
	return events
}

// Wait implements [live.Stream].
func (s *liveStream) Wait(ctx context.Context) (streamhub.Verdict, error) {
	return item(ctx, s.liveStreams, "wait", s.id, forever, &wire.LiveWait{Space: s.space, ID: s.id, Generation: s.generation}, wire.DecodeLiveVerdict)
}

// Status implements [live.Stream].
func (s *liveStream) Status(ctx context.Context) (status live.Status, err error) {
	body, err := s.ask(ctx, "status", s.id, &wire.LiveStatus{Space: s.space, ID: s.id, Generation: s.generation})
	if err == nil {
		err = s.fail("status", s.id, json.Unmarshal(body, &status))
	}
	return status, err
}

// Metadata implements [live.Stream].
func (s *liveStream) Metadata(ctx context.Context, v any) (bool, error) {
	status, err := s.Status(ctx)
	if err != nil || len(status.Metadata) == 0 {
		return false, err
	}
	err = json.Unmarshal(status.Metadata, v)
	return err == nil, s.fail("metadata", s.id, err)
}

// Cancel implements [live.Stream].
func (s *liveStream) Cancel(ctx context.Context, options *live.CancelOptions) (streamhub.Verdict, error) {
	o := value(options)
	// The gateway stores the request before it waits for the verdict, so a lost connection only starts the wait again.
	request := &wire.LiveCancel{Space: s.space, ID: s.id, Generation: s.generation, By: o.By, Reason: o.Reason, NoWait: true}
	v, err := item(ctx, s.liveStreams, "cancel", s.id, s.c.opt.retry.Attempts, request, wire.DecodeLiveVerdict)
	if err != nil || v.Kind != "" || o.NoWait {
		return v, err
	}
	request.NoWait = false
	return item(ctx, s.liveStreams, "cancel", s.id, forever, request, wire.DecodeLiveVerdict)
}

// Send implements [live.Stream]. A key makes it safe to repeat.
func (s *liveStream) Send(ctx context.Context, data []byte, options *live.SendOptions) (uint64, error) {
	o := value(options)
	if o.Once == "" && o.Key == "" {
		o.Key = rand.Text()
	}
	if len(data) > streamhub.MaxFrameBytes {
		err := fmt.Errorf("%w: a message of %d bytes, no gateway takes more than %d", streamhub.ErrTooLarge, len(data), streamhub.MaxFrameBytes)
		return 0, s.fail("send", s.id, err)
	}
	request := &wire.LiveSend{Space: s.space, ID: s.id, Generation: s.generation, Data: data, By: o.By, Once: o.Once, Key: o.Key}
	body, err := s.ask(ctx, "send", s.id, request)
	if err != nil {
		return 0, err
	}
	sequence, err := wire.DecodeNumber(body)
	return sequence, s.fail("send", s.id, err)
}

// A liveRemote is a producer that belongs to no process: any process that has the token can continue it.
type liveRemote struct {
	*liveStream
	// token is a secret that every write carries. silence is how long the producer may send no request before it counts
	// as lost.
	token   string
	silence time.Duration
}

var _ live.RemoteProducer = (*liveRemote)(nil)

func (r *liveRemote) Token() string          { return r.token }
func (r *liveRemote) Silence() time.Duration { return r.silence }

// publishing checks chunks and makes the request to publish them. It does not check their size, whose limit is an
// option of the hub.
func (r *liveRemote) publishing(first uint64, chunks [][]byte) (*wire.LivePublish, error) {
	size := 0
	for i, chunk := range chunks {
		if len(chunk) > streamhub.MaxFrameBytes {
			return nil, fmt.Errorf("%w: chunk %d has %d bytes, no gateway takes more than %d", streamhub.ErrTooLarge, first+uint64(i), len(chunk), streamhub.MaxFrameBytes)
		}
		size += len(chunk)
	}
	switch {
	case first == 0 && len(chunks) > 0:
		return nil, fmt.Errorf("%w: chunks are numbered from 1", streamhub.ErrInvalidArgument)
	case len(chunks) > streamhub.MaxFrameRecords || size > streamhub.MaxFrameBytes:
		return nil, fmt.Errorf("%w: %d chunks of %d bytes", streamhub.ErrTooLarge, len(chunks), size)
	}
	return &wire.LivePublish{Space: r.space, ID: r.id, Token: r.token, First: first, Chunks: chunks}, nil
}

func (r *liveRemote) Publish(ctx context.Context, first uint64, chunks [][]byte) (uint64, error) {
	request, err := r.publishing(first, chunks)
	if err != nil {
		return 0, r.fail("publish", r.id, err)
	}
	return r.next(r.ask(ctx, "publish", r.id, request))
}

// next reads the answer to a publish. Where chunks are missing, the error says which is expected.
func (r *liveRemote) next(body []byte, err error) (uint64, error) {
	var gap *streamhub.SequenceError
	if errors.As(err, &gap) {
		return gap.Expected, err
	}
	if err != nil {
		return 0, err
	}
	next, err := wire.DecodeNumber(body)
	return next, r.fail("publish", r.id, err)
}

func (r *liveRemote) Beat(ctx context.Context) (uint64, error) {
	return r.next(r.ask(ctx, "beat", r.id, &wire.LivePublish{Space: r.space, ID: r.id, Token: r.token}))
}

func (r *liveRemote) SetMetadata(ctx context.Context, metadata json.RawMessage) error {
	_, err := r.ask(ctx, "set metadata", r.id, &wire.LiveMetadata{Space: r.space, ID: r.id, Token: r.token, Metadata: metadata})
	return err
}

func (r *liveRemote) Messages(ctx context.Context, after uint64) iter.Seq2[live.Message, error] {
	return func(yield func(live.Message, error) bool) {
		// A copy, as in Subscribe: each range begins where the caller said.
		after := after
		pass := func(m live.Message, err error) bool { return yield(m, r.fail("messages", r.id, err)) }
		resume(ctx, r.c, "live messages", forever, pass, func(ctx context.Context, pass func(live.Message) bool) error {
			request := &wire.LiveMessages{Space: r.space, ID: r.id, Token: r.token, After: after}
			return items(ctx, r.liveStreams, request, wire.DecodeLiveMessages, func(m live.Message) bool {
				after = m.Sequence
				return pass(m)
			})
		})
	}
}

func (r *liveRemote) End(ctx context.Context, v streamhub.Verdict) (streamhub.Verdict, error) {
	body, err := r.ask(ctx, "end", r.id, &wire.LiveEnd{Space: r.space, ID: r.id, Token: r.token, Verdict: v})
	if err != nil {
		return v, err
	}
	v, err = wire.DecodeLiveVerdict(body)
	return v, r.fail("end", r.id, err)
}
