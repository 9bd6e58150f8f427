package livehttp_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/verdict"
	"github.com/seed-147127fe/streamhub/live"
)

// goodbye bounds what is done at the end of a client.
const goodbye = 20 * time.Second

// A client has the interface of live streams, over the API that docs/live.md describes. It repeats nothing but a read
// whose event stream ended without a last word. Its errors are those that the answers stand for.
type client struct {
	base   string // of all streams of the store
	space  string
	http   http.Client
	remove func(context.Context, string) error // which HTTP does not have: an operator removes a stream

	ctx   context.Context // ends with Close
	close context.CancelFunc
	mu    sync.Mutex // guards the end of ctx against a goroutine that begins
	all   sync.WaitGroup
}

var _ live.Streams = (*client)(nil)

func newClient(base string, store uuid.UUID, space string, remove func(context.Context, string) error) *client {
	c := &client{base: base + "/stores/" + store.String() + "/v1/live", space: space, remove: remove}
	c.http.Transport = &http.Transport{MaxIdleConnsPerHost: 10}
	c.ctx, c.close = context.WithCancel(context.Background())
	return c
}

// Close ends what the client does, and waits for that. Its producers are not heard of any more.
func (c *client) Close() error {
	c.mu.Lock()
	c.close()
	c.mu.Unlock()
	c.all.Wait()
	c.http.CloseIdleConnections()
	return nil
}

// start starts a goroutine that Close waits for. It reports false after Close.
func (c *client) start(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil {
		return false
	}
	c.all.Go(f)
	return true
}

// A request is one request and what it says besides its path.
type request struct {
	method, id, action string // of all streams without an id
	query              url.Values
	header             http.Header
	subject            string
	body               []byte
	first              uint64 // the chunk that it names
}

// failure is the body of an answer that is an error.
type failure struct {
	Code, Message    string
	Generation, Next uint64
	Verdict          *streamhub.Verdict
}

// err is the error that a failure stands for, of a request with the token of a producer and the number of a chunk.
func (f *failure) err(token string, first uint64) error {
	switch {
	case f.Code == "already_produced":
		return &takenError{f.Generation}
	case f.Code == "gap":
		return &streamhub.SequenceError{Expected: f.Next, Got: first}
	case f.Code == "fenced":
		return &streamhub.FencedError{Current: f.Generation, Got: generationOf(token)}
	case f.Code == "closed" && f.Verdict != nil:
		return &streamhub.ClosedError{Verdict: *f.Verdict}
	}
	if sentinel := streamhub.Code(f.Code).Err(); sentinel != nil {
		return fmt.Errorf("%w: %s", sentinel, f.Message)
	}
	return fmt.Errorf("%s: %s", f.Code, f.Message)
}

// A takenError says that another producer has the stream.
type takenError struct{ generation uint64 }

func (e *takenError) Error() string {
	return fmt.Sprintf("generation %d is being produced", e.generation)
}

// do makes a request. The answer is the caller's to close, and a success.
func (c *client) do(ctx context.Context, r request) (*http.Response, error) {
	if c.ctx.Err() != nil {
		return nil, streamhub.ErrShutdown
	}
	if len(r.subject) > 256 { // the handler cuts a subject, which no client chooses
		return nil, fmt.Errorf("%w: a subject of %d bytes", streamhub.ErrTooLarge, len(r.subject))
	}
	if !utf8.ValidString(r.subject) { // which no token names
		return nil, fmt.Errorf("%w: the subject is not UTF-8", streamhub.ErrInvalidArgument)
	}
	path := c.base
	if r.id != "" {
		path += "/" + url.PathEscape(r.id)
	}
	if r.action != "" {
		path += "/" + r.action
	}
	query := url.Values{"space": {c.space}}
	maps.Copy(query, r.query)
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(c.ctx, cancel)
	end := func() { stop(); cancel() }
	built, err := http.NewRequestWithContext(ctx, r.method, path+"?"+query.Encode(), bytes.NewReader(r.body))
	if err != nil {
		end()
		return nil, err
	}
	maps.Copy(built.Header, r.header)
	if r.subject != "" {
		built.Header.Set(subjectHeader, r.subject)
	}
	response, err := c.http.Do(built)
	if err != nil {
		defer end()
		switch {
		case c.ctx.Err() != nil:
			return nil, streamhub.ErrShutdown
		case ctx.Err() != nil:
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("%w: %w", streamhub.ErrUnknownOutcome, err)
	}
	response.Body = &ending{response.Body, end}
	if response.StatusCode < 300 {
		return response, nil
	}
	defer func() { _ = response.Body.Close() }()
	var f failure
	if err := json.NewDecoder(response.Body).Decode(&f); err != nil {
		return nil, fmt.Errorf("status %d: %w", response.StatusCode, err)
	}
	return nil, f.err(r.header.Get(producerHeader), r.first)
}

// An ending is a body whose request ends when it is closed.
type ending struct {
	io.ReadCloser
	end func()
}

func (e *ending) Close() error {
	defer e.end()
	return e.ReadCloser.Close()
}

// ask makes a request and decodes the answer into v, if there is one.
func (c *client) ask(ctx context.Context, r request, v any) error {
	response, err := c.do(ctx, r)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode == http.StatusNoContent {
		return nil
	}
	return json.NewDecoder(response.Body).Decode(v)
}

// asGiven returns JSON with the bytes of a text that is not UTF-8, where package json has put another text.
func asGiven(body []byte, text string) []byte {
	if utf8.ValidString(text) {
		return body
	}
	return bytes.ReplaceAll(body, []byte(`\ufffd`), []byte("\xff"))
}

// checkID refuses an id that makes another path, or that no request is made for.
func checkID(id string) error {
	if id == "" || len(id) > live.MaxIDLength {
		return fmt.Errorf("%w: the id of a live stream has %d bytes", streamhub.ErrInvalidName, len(id))
	}
	return nil
}

// Start implements live.Streams.
func (c *client) Start(ctx context.Context, id string, options *live.RegisterOptions) (live.RemoteProducer, live.Stream, error) {
	if options != nil && options.OnCancel != nil {
		return nil, nil, fmt.Errorf("%w: OnCancel is for a producer in a process", streamhub.ErrInvalidArgument)
	}
	p, current, err := c.put(ctx, id, options)
	switch {
	case err != nil:
		return nil, nil, err
	case p == nil:
		return nil, current, nil
	}
	return p, nil, nil
}

// put registers.
func (c *client) put(ctx context.Context, id string, options *live.RegisterOptions) (*remote, live.Stream, error) {
	if err := checkID(id); err != nil {
		return nil, nil, err
	}
	var o live.RegisterOptions
	if options != nil {
		o = *options
	}
	var metadata json.RawMessage
	if o.Metadata != nil {
		var err error
		if metadata, err = verdict.JSON("metadata", o.Metadata); err != nil {
			return nil, nil, err
		}
	}
	body, err := json.Marshal(struct {
		Metadata json.RawMessage `json:"metadata,omitempty"`
		Takeover bool            `json:"takeover"`
		Once     bool            `json:"once"`
	}{metadata, o.Takeover, o.Once})
	if err != nil {
		return nil, nil, err
	}
	r := request{method: http.MethodPut, id: id, subject: o.By, body: body}
	if o.Key != "" {
		r.header = http.Header{producerHeader: {o.Key}}
	}
	var found registered
	err = c.ask(ctx, r, &found)
	var taken *takenError
	switch {
	case errors.As(err, &taken):
		return nil, &stream{c, id, taken.generation}, nil
	case err != nil:
		return nil, nil, err
	case found.Producer == "":
		return nil, &stream{c, id, found.Generation}, nil
	}
	p := c.producer(id, found.Producer)
	p.silence, p.next = silenceOf(found.Heartbeat), found.Next
	return p, nil, nil
}

// Resume implements live.Streams.
func (c *client) Resume(ctx context.Context, id, token string) (live.RemoteProducer, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	p := c.producer(id, token)
	at, err := p.beat(ctx)
	if err != nil {
		return nil, err
	}
	p.silence = silenceOf(at.Heartbeat)
	return p, nil
}

// Get implements live.Streams.
func (c *client) Get(ctx context.Context, id string) (live.Stream, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	status, err := (&stream{c, id, 0}).Status(ctx)
	if err != nil {
		return nil, err
	}
	return &stream{c, id, status.Generation}, nil
}

// Await implements live.Streams.
func (c *client) Await(ctx context.Context, id string) (live.Stream, error) {
	response, err := c.do(ctx, request{method: http.MethodGet, id: id, query: url.Values{"wait": {"5m"}}})
	if err != nil {
		return nil, err
	}
	_ = response.Body.Close()
	return c.Get(ctx, id)
}

// Generation implements live.Streams.
func (c *client) Generation(id string, generation uint64) (live.Stream, error) {
	return &stream{c, id, generation}, checkID(id)
}

// Follow implements live.Streams.
func (c *client) Follow(ctx context.Context, ids []string, options *live.FollowOptions) iter.Seq2[live.Update, error] {
	return func(yield func(live.Update, error) bool) {
		if len(ids) == 0 { // that request is for a list
			yield(live.Update{}, fmt.Errorf("%w: no ids", streamhub.ErrInvalidArgument))
			return
		}
		query := url.Values{"id": ids}
		if options != nil && options.Generations {
			query.Set("generations", "1")
		}
		if options != nil && options.Cursor != "" {
			query.Set("cursor", string(options.Cursor))
		}
		over := false // the sequence has ended
		err := c.events(ctx, request{method: http.MethodGet, query: query}, "cursor", func(e event) (bool, error) {
			if e.name == "complete" {
				over = true
				return false, nil
			}
			u, err := updateOf(e)
			if err != nil {
				return false, err
			}
			over = !yield(u, nil)
			return !over, nil
		})
		if !over {
			yield(live.Update{}, err)
		}
	}
}

// updateOf reads an event about one of several streams.
func updateOf(e event) (live.Update, error) {
	var v struct {
		failure
		ID       string
		Sequence uint64
		Data     *string
		Binary   []byte
	}
	if err := json.Unmarshal([]byte(e.data), &v); err != nil {
		return live.Update{}, err
	}
	if e.name == "error" {
		return live.Update{}, v.err("", 0)
	}
	u := live.Update{ID: v.ID, Verdict: v.Verdict, Cursor: streamhub.Cursor(e.id)}
	u.Generation, u.Sequence, u.Data = v.Generation, v.Sequence, v.Binary
	if v.Data != nil {
		u.Data = []byte(*v.Data)
	}
	if v.Code != "" {
		u.Err = v.err("", 0)
	}
	return u, nil
}

// List implements live.Streams.
func (c *client) List(ctx context.Context, options *live.ListOptions) iter.Seq2[live.Stream, error] {
	return func(yield func(live.Stream, error) bool) {
		query := url.Values{}
		if options != nil && options.AfterID != "" {
			query.Set("after", strconv.FormatUint(options.AfterGeneration, 36)+"."+base64.RawURLEncoding.EncodeToString([]byte(options.AfterID)))
		}
		for more := true; more; {
			var page struct {
				Streams []live.Status
				Next    string
			}
			if err := c.ask(ctx, request{method: http.MethodGet, query: query}, &page); err != nil {
				yield(nil, err)
				return
			}
			for _, s := range page.Streams {
				if !yield(&stream{c, s.ID, s.Generation}, nil) {
					return
				}
			}
			query.Set("after", page.Next)
			more = page.Next != ""
		}
	}
}

// Active implements live.Streams.
func (c *client) Active(ctx context.Context, ids []string) (map[string]bool, error) {
	active := make(map[string]bool, len(ids))
	for _, id := range ids {
		if err := checkID(id); err != nil {
			return nil, err
		}
		status, err := (&stream{c, id, 0}).Status(ctx)
		if err != nil && !errors.Is(err, streamhub.ErrNotFound) {
			return nil, err
		}
		active[id] = err == nil && status.Verdict == nil
	}
	return active, nil
}

// Remove implements live.Streams.
func (c *client) Remove(ctx context.Context, id string) error { return c.remove(ctx, id) }

// events reads an event stream, and goes on after the last event where it ended without a word: with that event's id as
// the parameter. handle gets each event until it returns false or an error. An event that is named error is the last one.
func (c *client) events(ctx context.Context, r request, parameter string, handle func(event) (bool, error)) error {
	if r.header == nil {
		r.header = http.Header{}
	}
	r.header.Set("Accept", "text/event-stream")
	for {
		response, err := c.do(ctx, r)
		if err != nil {
			return err
		}
		more := true
		for e := range parsed(response.Body) {
			if e.id != "" {
				r.query.Set(parameter, e.id)
			}
			if more, err = handle(e); !more || err != nil {
				break
			}
		}
		_ = response.Body.Close()
		switch {
		case err != nil || !more:
			return err
		case c.ctx.Err() != nil:
			return streamhub.ErrShutdown
		case ctx.Err() != nil:
			return ctx.Err()
		}
	}
}

// parsed gives the events of a stream as a browser does, until it ends.
func parsed(body io.Reader) iter.Seq[event] {
	return func(yield func(event) bool) {
		lines := bufio.NewScanner(body)
		lines.Buffer(nil, 2*streamhub.MaxRecordBytes)
		var e event
		var data []string
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), ":")
			value = strings.TrimPrefix(value, " ")
			switch name {
			case "event":
				e.name = value
			case "id":
				e.id = value
			case "data":
				data = append(data, value)
			}
			if lines.Text() != "" {
				continue
			}
			e.data = strings.Join(data, "\n")
			if len(data) > 0 && !yield(e) {
				return
			}
			e, data = event{}, nil
		}
	}
}

// A stream is one generation of a stream, or the current one as its generation is 0.
type stream struct {
	c          *client
	id         string
	generation uint64
}

func (s *stream) ID() string         { return s.id }
func (s *stream) Generation() uint64 { return s.generation }

// request is one about the generation.
func (s *stream) request(method, action string) request {
	r := request{method: method, id: s.id, action: action, query: url.Values{}}
	if s.generation != 0 {
		r.query.Set("generation", strconv.FormatUint(s.generation, 10))
	}
	return r
}

// Subscribe implements live.Stream.
func (s *stream) Subscribe(ctx context.Context, options *live.SubscribeOptions) iter.Seq2[live.Chunk, error] {
	return func(yield func(live.Chunk, error) bool) {
		r := s.request(http.MethodGet, "")
		r.query.Set("exact", "1")
		var last uint64 // the sequence of the last chunk
		if options != nil && options.Cursor != "" {
			r.query.Set("cursor", string(options.Cursor))
			if _, at, err := options.Cursor.Split(); err == nil {
				position, _ := at.Position()
				last = position.Sequence
			}
		}
		if options != nil && options.BatchReplay {
			r.query.Set("replay", "batch")
		}
		enough := false
		err := s.c.events(ctx, r, "cursor", func(e event) (bool, error) {
			chunk, err := chunkOf(e, "")
			if err != nil {
				return false, err
			}
			chunk.Replayed, last = chunk.Sequence-last, chunk.Sequence
			r.query.Del("replay")
			enough = !yield(chunk, nil)
			return !enough, nil
		})
		if !enough {
			yield(live.Chunk{}, err)
		}
	}
}

// chunkOf reads an event of a stream, for a producer with its token.
func chunkOf(e event, token string) (c live.Chunk, err error) {
	switch e.name {
	case "end":
		closed := &streamhub.ClosedError{}
		if err = json.Unmarshal([]byte(e.data), &closed.Verdict); err == nil {
			err = closed
		}
		return c, err
	case "error":
		var f failure
		if err = json.Unmarshal([]byte(e.data), &f); err == nil {
			err = f.err(token, 0)
		}
		return c, err
	}
	if c.Data = []byte(e.data); e.name == "binary" {
		if c.Data, err = base64.StdEncoding.DecodeString(e.data); err != nil {
			return c, err
		}
	}
	generation, at, err := live.Cursor(e.id).Split()
	if err != nil {
		return c, err
	}
	c.Generation = generation
	c.Position, err = at.Position()
	c.Sequence = c.Position.Sequence
	return c, err
}

// Channel implements live.Stream.
func (s *stream) Channel(ctx context.Context, options *live.SubscribeOptions) <-chan live.Event {
	size := 0
	if options != nil {
		size = options.Buffer
	}
	events := make(chan live.Event, size)
	if !s.c.start(func() {
		defer close(events)
		for chunk, err := range s.Subscribe(ctx, options) {
			select {
			case events <- live.Event{Chunk: chunk, Err: err}:
			case <-ctx.Done():
				return
			case <-s.c.ctx.Done():
				return
			}
		}
	}) {
		close(events)
	}
	return events
}

// Wait implements live.Stream.
func (s *stream) Wait(ctx context.Context) (streamhub.Verdict, error) {
	var last error
	for _, err := range s.Subscribe(ctx, nil) {
		last = err
	}
	var closed *streamhub.ClosedError
	if errors.As(last, &closed) {
		return closed.Verdict, nil
	}
	return streamhub.Verdict{}, last
}

// Status implements live.Stream.
func (s *stream) Status(ctx context.Context) (status live.Status, err error) {
	err = s.c.ask(ctx, s.request(http.MethodGet, "status"), &status)
	return status, err
}

// Metadata implements live.Stream.
func (s *stream) Metadata(ctx context.Context, v any) (bool, error) {
	status, err := s.Status(ctx)
	if err != nil || len(status.Metadata) == 0 {
		return false, err
	}
	return true, json.Unmarshal(status.Metadata, v)
}

// Cancel implements live.Stream.
func (s *stream) Cancel(ctx context.Context, options *live.CancelOptions) (v streamhub.Verdict, err error) {
	r := s.request(http.MethodPost, "cancel")
	if options != nil {
		if options.NoWait {
			r.query.Set("wait", "0")
		}
		r.subject = options.By
		r.body, _ = json.Marshal(map[string]string{"reason": options.Reason})
		r.body = asGiven(r.body, options.Reason)
	}
	err = s.c.ask(ctx, r, &v)
	return v, err
}

// Send implements live.Stream.
func (s *stream) Send(ctx context.Context, data []byte, options *live.SendOptions) (uint64, error) {
	r := s.request(http.MethodPost, "messages")
	r.body = data
	if options != nil {
		r.subject = options.By
		if options.Once != "" {
			r.query.Set("once", options.Once)
		}
	}
	var sent struct{ Sequence uint64 }
	err := s.c.ask(ctx, r, &sent)
	return sent.Sequence, err
}
