// Package teststreamkit runs a server of streamkit v1 for tests: what is written down of its wire protocol,
// with everything in memory. It serves what an import and a simple client need: producing, reading and
// listing. It keeps the habits of the original that a reader has to live with. Bounds of time find nothing. A race of two
// producers leaves entries that only a space shows. Keys are compared without the end of a name, so that "order-10" answers
// for "order-1" as well.
package teststreamkit

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
)

// An Entry is what is stored, in the form of the wire.
type Entry struct {
	Sequence  uint64            `json:"sequence"`
	Timestamp int64             `json:"timestamp,omitempty"`
	TRX       streamhub.TRX     `json:"trx"`
	Payload   []byte            `json:"payload"`
	Metadata  map[string]string `json:"metadata,omitempty"`
	Space     string            `json:"space"`
	Segment   string            `json:"segment"`
}

// Key is the offset of the entry in its space.
func (e *Entry) Key() streamhub.LexKey {
	return streamhub.Encode("DAT", "SPACES", e.Space, e.Timestamp, e.Segment, e.Sequence)
}

// A Server is one running server. It is safe for concurrent use.
type Server struct {
	// URL is what a client dials: ws://host:port.
	URL string

	token  string
	sent   atomic.Int64 // entries
	cutAt  atomic.Int64 // 0 for never
	holdAt atomic.Int64 // 0 for never
	mu     sync.Mutex
	now    int64 // guarded by mu; Unix milliseconds
	stores map[uuid.UUID]map[string]*space
}

// A space has its entries by key, and by segment. The two differ after a race.
type space struct {
	keys     []string // sorted
	entries  map[string]*Entry
	segments map[string]map[uint64]*Entry
	heads    map[string]*Entry
}

// Start starts a server that wants token as the bearer, any if it is empty. It ends with the test.
func Start(tb testing.TB, token string) *Server {
	tb.Helper()
	s := &Server{token: token, now: time.Now().Add(-time.Hour).UnixMilli(), stores: map[uuid.UUID]map[string]*space{}}
	ctx, cancel := context.WithCancel(tb.Context())
	var calls sync.WaitGroup
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		defer calls.Done()
		s.serve(ctx, w, r)
	}))
	server.Start()
	s.URL = "ws" + strings.TrimPrefix(server.URL, "http")
	tb.Cleanup(func() {
		cancel()
		server.CloseClientConnections()
		calls.Wait()
		server.Close()
	})
	return s
}

// CutAfter lets every connection that sends an entry end once n more entries were sent; 0 lets them live.
func (s *Server) CutAfter(n int64) {
	if n == 0 {
		s.cutAt.Store(0)
		return
	}
	s.cutAt.Store(s.sent.Load() + n)
}

// HoldAfter lets every connection that sends an entry stop once n more entries were sent, and stay open; 0 lets
// those that come later go on.
func (s *Server) HoldAfter(n int64) {
	if n == 0 {
		s.holdAt.Store(0)
		return
	}
	s.holdAt.Store(s.sent.Load() + n)
}

// Sent returns how many entries were sent so far.
func (s *Server) Sent() int64 { return s.sent.Load() }

// Tick moves the clock on, and returns what it says.
func (s *Server) Tick(d time.Duration) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now += d.Milliseconds()
	return s.now
}

// Produce stores records as one chunk after whatever there is, at the time of the clock.
func (s *Server) Produce(store uuid.UUID, name, segment string, records ...streamhub.Record) []*Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	sp := s.space(store, name)
	head := sp.heads[segment]
	if head == nil {
		head = &Entry{}
	}
	trx := streamhub.TRX{ID: uuid.New(), Number: head.TRX.Number + 1}
	var list []*Entry
	for i, r := range records {
		e := &Entry{head.Sequence + 1 + uint64(i), s.now, trx, append([]byte{}, r.Payload...), r.Metadata, name, segment}
		sp.put(e)
		list = append(list, e)
	}
	return list
}

// Replace stores another entry with the sequence of one that is there, at the time of the clock. The space
// then shows both and the segment the new one, as after a race of two producers.
func (s *Server) Replace(store uuid.UUID, name, segment string, sequence uint64, payload []byte) *Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	sp := s.space(store, name)
	e := *sp.segments[segment][sequence]
	e.Timestamp, e.TRX.ID, e.Payload = s.now, uuid.New(), payload
	sp.put(&e)
	return &e
}

// Remove removes a segment, as an operator does on the disk of a server.
func (s *Server) Remove(store uuid.UUID, name, segment string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sp := s.space(store, name)
	sp.keys = slices.DeleteFunc(sp.keys, func(key string) bool { return sp.entries[key].Segment == segment })
	maps.DeleteFunc(sp.entries, func(_ string, e *Entry) bool { return e.Segment == segment })
	delete(sp.segments, segment)
	delete(sp.heads, segment)
}

// Entries returns what a space shows, in its order.
func (s *Server) Entries(store uuid.UUID, name string) []*Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.space(store, name).list()
}

func (s *Server) space(store uuid.UUID, name string) *space {
	if s.stores[store] == nil {
		s.stores[store] = map[string]*space{}
	}
	if s.stores[store][name] == nil {
		s.stores[store][name] = &space{entries: map[string]*Entry{}, segments: map[string]map[uint64]*Entry{}, heads: map[string]*Entry{}}
	}
	return s.stores[store][name]
}

func (sp *space) put(e *Entry) {
	key := string(e.Key())
	if _, ok := sp.entries[key]; !ok {
		at, _ := slices.BinarySearch(sp.keys, key)
		sp.keys = slices.Insert(sp.keys, at, key)
	}
	sp.entries[key] = e
	if sp.segments[e.Segment] == nil {
		sp.segments[e.Segment] = map[uint64]*Entry{}
	}
	sp.segments[e.Segment][e.Sequence] = e
	if head := sp.heads[e.Segment]; head == nil || head.Sequence <= e.Sequence {
		sp.heads[e.Segment] = e
	}
}

func (sp *space) list() []*Entry {
	list := make([]*Entry, len(sp.keys))
	for i, k := range sp.keys {
		list[i] = sp.entries[k]
	}
	return list
}

type frame struct {
	ControlType string
	StoreID     uuid.UUID `json:"store_id"`
	ChannelID   uuid.UUID `json:"channel_id"`
	Payload     []byte    `json:"payload"`
}

// A connection has one goroutine for each channel.
type connection struct {
	s        *Server
	ws       *websocket.Conn
	writing  sync.Mutex
	channels map[uuid.UUID]chan []byte
	calls    sync.WaitGroup
}

func (s *Server) serve(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	if s.token != "" && r.Header.Get("Authorization") != "Bearer "+s.token {
		http.Error(w, "Unauthorized", http.StatusUnauthorized)
		return
	}
	if r.Header.Get("Origin") == "" || !strings.HasSuffix(r.URL.Path, "/streamz") {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true, CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		return
	}
	ws.SetReadLimit(8 << 20)
	ctx, cancel := context.WithCancel(ctx)
	c := &connection{s: s, ws: ws, channels: map[uuid.UUID]chan []byte{}}
	defer func() {
		cancel()
		for _, in := range c.channels {
			close(in)
		}
		c.calls.Wait()
		_ = ws.CloseNow()
	}()
	for {
		_, data, err := ws.Read(ctx)
		var f frame
		if err != nil || json.Unmarshal(data, &f) != nil {
			return
		}
		switch f.ControlType {
		case "ping":
			c.write(ctx, &frame{ControlType: "pong"})
		case "close":
			return
		case "data":
			in := c.channels[f.ChannelID]
			if in == nil {
				if bytes.Contains(f.Payload, []byte(`"mux::close"`)) {
					continue
				}
				in = make(chan []byte, 1<<17)
				c.channels[f.ChannelID] = in
				c.calls.Go(func() { c.call(ctx, &f, in) })
				continue
			}
			select {
			case in <- f.Payload:
			default: // nothing more is wanted of it
			}
		}
	}
}

func (c *connection) write(ctx context.Context, f *frame) bool {
	data, err := json.Marshal(f)
	if err != nil {
		return false
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	return c.ws.Write(ctx, websocket.MessageText, data) == nil
}

// call is one operation. It ends with a close of the channel.
func (c *connection) call(ctx context.Context, f *frame, in <-chan []byte) {
	send := func(v any) bool {
		payload, err := json.Marshal(v)
		return err == nil && c.write(ctx, &frame{"data", f.StoreID, f.ChannelID, payload})
	}
	if err := c.run(ctx, f, in, send); err != nil {
		send(map[string]string{"type": "mux::close", "err": err.Error()})
		return
	}
	send(map[string]string{"type": "mux::close"})
}

// A request has the fields of all of them.
type request struct {
	Space        string                      `json:"space"`
	Segment      string                      `json:"segment"`
	MinTimestamp int64                       `json:"min_timestamp"`
	MaxTimestamp int64                       `json:"max_timestamp"`
	MinSequence  uint64                      `json:"min_sequence"`
	MaxSequence  uint64                      `json:"max_sequence"`
	Offset       streamhub.LexKey            `json:"offset"`
	Offsets      map[string]streamhub.LexKey `json:"offsets"`
	Limit        uint64                      `json:"limit"`
}

func (c *connection) run(ctx context.Context, f *frame, in <-chan []byte, send func(any) bool) error {
	var envelope struct {
		Type    string   `json:"$type"`
		Content *request `json:"content"`
	}
	if err := json.Unmarshal(f.Payload, &envelope); err != nil {
		return err
	}
	kind, ok := strings.CutPrefix(envelope.Type, "streamkit://api/v1/")
	switch {
	case envelope.Type == "":
		return fmt.Errorf("missing $type field in envelope")
	case !ok:
		return fmt.Errorf("type %q is not registered", envelope.Type)
	case envelope.Content == nil:
		return fmt.Errorf("missing content for type: %q", envelope.Type)
	}
	r := envelope.Content
	switch kind {
	case "get_spaces", "get_segments":
		for _, name := range c.s.names(f.StoreID, kind, r) {
			if !send(name) {
				break
			}
		}
	case "peek":
		send(c.s.peek(f.StoreID, r))
		// The end does not travel with the only message: released clients lose one of the two now and then.
		select {
		case <-in:
		case <-time.After(100 * time.Millisecond):
		}
	case "consume", "consume_space", "consume_segment":
		for _, e := range c.s.consume(f.StoreID, kind, r) {
			n := c.s.sent.Add(1)
			if cut := c.s.cutAt.Load(); cut > 0 && n > cut {
				_ = c.ws.CloseNow()
				return nil
			}
			if hold := c.s.holdAt.Load(); hold > 0 && n > hold {
				<-ctx.Done()
				return nil
			}
			if !send(e) {
				break
			}
		}
	case "produce":
		return c.produce(f.StoreID, r, in, send)
	default:
		return fmt.Errorf("type %q is not registered", envelope.Type)
	}
	return nil
}

func (s *Server) names(store uuid.UUID, kind string, r *request) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if kind == "get_spaces" {
		return slices.Sorted(maps.Keys(s.stores[store]))
	}
	var names []string
	for _, space := range beginning(s.stores[store], r.Space) {
		names = append(names, slices.Collect(maps.Keys(s.stores[store][space].segments))...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// beginning returns the names that begin with prefix, in byte order: the keys of all of them lie between the bounds of a
// read that asks for prefix.
func beginning[T any](of map[string]T, prefix string) (names []string) {
	for name := range of {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (s *Server) peek(store uuid.UUID, r *request) *Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sp := s.stores[store][r.Space]; sp != nil {
		if names := beginning(sp.heads, r.Segment); len(names) > 0 {
			return sp.heads[names[len(names)-1]]
		}
	}
	return &Entry{Space: r.Space, Segment: r.Segment}
}

// consume returns what a read finds. An entry that has exactly the lowest time ends the read, as there.
func (s *Server) consume(store uuid.UUID, kind string, r *request) (found []*Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*Entry
	switch kind {
	case "consume_segment":
		if sp := s.stores[store][r.Space]; sp != nil {
			for _, name := range beginning(sp.segments, r.Segment) {
				for _, n := range slices.Sorted(maps.Keys(sp.segments[name])) {
					if (n >= r.MinSequence || name != r.Segment) && (r.MaxSequence == 0 || n <= r.MaxSequence) {
						list = append(list, sp.segments[name][n])
					}
				}
			}
		}
	case "consume_space":
		list = s.after(store, r.Space, r.Offset)
	default:
		for name, offset := range r.Offsets {
			list = append(list, s.after(store, name, offset)...)
		}
		slices.SortStableFunc(list, func(a, b *Entry) int { return int(a.Timestamp - b.Timestamp) })
	}
	for _, e := range list {
		if e.Timestamp <= r.MinTimestamp {
			break
		}
		if r.MaxTimestamp != 0 && e.Timestamp > r.MaxTimestamp || r.Limit != 0 && uint64(len(found)) == r.Limit {
			break
		}
		found = append(found, e)
	}
	return found
}

func (s *Server) after(store uuid.UUID, name string, offset streamhub.LexKey) (list []*Entry) {
	for _, space := range beginning(s.stores[store], name) {
		sp := s.stores[store][space]
		at, found := slices.BinarySearch(sp.keys, string(offset))
		if found {
			at++
		}
		for _, k := range sp.keys[at:] {
			list = append(list, sp.entries[k])
		}
	}
	return list
}

// produce stores a chunk when 10,000 records have come and one more, or the close.
func (c *connection) produce(store uuid.UUID, r *request, in <-chan []byte, send func(any) bool) error {
	if r.Space == "" || r.Segment == "" {
		return fmt.Errorf("invalid produce args")
	}
	const chunk = 10_000
	var records []streamhub.Record
	for payload := range in {
		end := bytes.Contains(payload, []byte(`"mux::close"`))
		if end || len(records) == chunk {
			status, err := c.s.commit(store, r, records)
			if err != nil {
				return err
			}
			if status != nil {
				send(status)
			}
			records = nil
		}
		if end {
			return nil
		}
		var record streamhub.Record
		if err := json.Unmarshal(payload, &record); err != nil {
			return err
		}
		records = append(records, record)
	}
	return nil
}

func (s *Server) commit(store uuid.UUID, r *request, records []streamhub.Record) (map[string]any, error) {
	if len(records) == 0 {
		return nil, nil
	}
	next := s.peek(store, r).Sequence + 1
	for _, record := range records {
		if record.Sequence != next {
			return nil, fmt.Errorf("sequence gap: expected %d, got %d", next, record.Sequence)
		}
		next++
	}
	s.Tick(time.Millisecond)
	entries := s.Produce(store, r.Space, r.Segment, records...)
	last := entries[len(entries)-1]
	s.mu.Lock()
	first := s.space(store, r.Space).segments[r.Segment][1]
	s.mu.Unlock()
	return map[string]any{
		"space": r.Space, "segment": r.Segment, "first_sequence": first.Sequence, "first_timestamp": first.Timestamp,
		"last_sequence": last.Sequence, "last_timestamp": last.Timestamp, "heartbeat": false,
	}, nil
}

// Host is the address without its scheme.
func (s *Server) Host() string {
	host, port, _ := net.SplitHostPort(strings.TrimPrefix(s.URL, "ws://"))
	return net.JoinHostPort(host, port)
}
