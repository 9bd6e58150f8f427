package wsgateway_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/wire"
	"github.com/seed-147127fe/streamhub/wsgateway"
)

const patience = 30 * time.Second

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// A peer speaks streamhub.v1 message by message.
type peer struct {
	t    *testing.T
	ws   *websocket.Conn
	left []wire.Message
}

func dial(t *testing.T, address string, header http.Header) *peer {
	t.Helper()
	ws, _, err := websocket.Dial(within(t), "ws://"+address+"/streamz", &websocket.DialOptions{Subprotocols: []string{wire.Subprotocol}, HTTPHeader: header})
	require.NoError(t, err)
	ws.SetReadLimit(-1)
	t.Cleanup(func() { _ = ws.CloseNow() })
	return &peer{t: t, ws: ws}
}

func (p *peer) write(data []byte) {
	p.t.Helper()
	require.NoError(p.t, p.ws.Write(within(p.t), websocket.MessageBinary, data))
}

func (p *peer) open(channel, credit uint64, store uuid.UUID, r wire.Request) {
	p.t.Helper()
	o := wire.Open{Store: store, Credit: credit, Request: r}
	p.write(wire.AppendMessage(nil, wire.TypeOpen, channel, o.Append(nil)))
}

func (p *peer) next() wire.Message {
	p.t.Helper()
	for len(p.left) == 0 {
		_, data, err := p.ws.Read(within(p.t))
		require.NoError(p.t, err)
		for m, err := range wire.Messages(data) {
			require.NoError(p.t, err)
			p.left = append(p.left, m)
		}
	}
	m := p.left[0]
	p.left = p.left[1:]
	return m
}

// end reads up to the end of a channel and returns how many bytes of items came before it.
func (p *peer) end(channel uint64) (end *wire.End, bytes int) {
	p.t.Helper()
	for {
		m := p.next()
		if m.Channel != channel {
			continue
		}
		if m.Type == wire.TypeEnd {
			end, err := wire.DecodeEnd(m.Body)
			require.NoError(p.t, err)
			return end, bytes
		}
		bytes += len(m.Body)
	}
}

// code reads until the connection is closed and returns the code.
func (p *peer) code() websocket.StatusCode {
	p.t.Helper()
	for {
		if _, _, err := p.ws.Read(within(p.t)); err != nil {
			return websocket.CloseStatus(err)
		}
	}
}

// gateway starts a hub with a gateway.
func gateway(t testing.TB, o *wsgateway.Options) (*hub.Hub, *wsgateway.Gateway, string) {
	t.Helper()
	h, err := hub.Open(t.Context(), nil, nil)
	require.NoError(t, err)
	g, address := gatewayOf(t, h, o)
	return h, g, address
}

// gatewayOf starts a gateway of a hub, which is closed after it, and returns host:port.
func gatewayOf(t testing.TB, h *hub.Hub, o *wsgateway.Options) (*wsgateway.Gateway, string) {
	t.Helper()
	g, err := wsgateway.New(t.Context(), h, o)
	require.NoError(t, err)
	server := httptest.NewServer(g)
	t.Cleanup(func() {
		require.NoError(t, g.Shutdown(within(t)))
		server.Close()
		require.NoError(t, h.Close())
	})
	return g, strings.TrimPrefix(server.URL, "http://")
}

func fill(t testing.TB, s *hub.Store, entries, size int) {
	t.Helper()
	batch := make([]streamhub.Record, 100)
	for i := range batch {
		batch[i].Payload = make([]byte, size)
	}
	for range entries / len(batch) {
		_, err := s.Append(t.Context(), "space", "seg", batch, nil)
		require.NoError(t, err)
	}
}

// TestPipelined sends appends without waiting for answers, one in a message and many: they are stored
// in the order in which they were sent.
func TestPipelined(t *testing.T) {
	h, _, address := gateway(t, nil)
	for _, inOne := range []int{1, 7, 600} {
		id := uuid.New()
		p := dial(t, address, nil)
		const n = 600
		var message []byte
		for i := range n {
			o := wire.Open{Store: id, Request: &wire.Append{Append: streamhub.Append{
				Space: "space", Segment: fmt.Sprint("s", i%2), Records: []streamhub.Record{{Payload: fmt.Append(nil, i)}},
				Options: &streamhub.AppendOptions{Producer: &streamhub.Producer{ID: "p", Seq: uint64(i / 2)}},
			}}}
			message = wire.AppendMessage(message, wire.TypeOpen, uint64(i+1), o.Append(nil))
			if (i+1)%inOne == 0 || i == n-1 {
				p.write(message)
				message = nil
			}
		}
		for range n {
			m := p.next()
			require.Equal(t, wire.TypeEnd, m.Type)
			end, err := wire.DecodeEnd(m.Body)
			require.NoError(t, err)
			require.NoError(t, end.Err, "channel %d", m.Channel)
		}
		for segment := range 2 {
			next := segment
			for e, err := range h.Store(id).ConsumeSegment(t.Context(), "space", fmt.Sprint("s", segment), nil) {
				require.NoError(t, err)
				require.Equal(t, fmt.Sprint(next), string(e.Payload))
				next += 2
			}
			require.Equal(t, n+segment, next)
		}
	}
}

// TestCredit has a client that gives little credit: it gets that and one message more.
func TestCredit(t *testing.T) {
	h, _, address := gateway(t, nil)
	id := uuid.New()
	fill(t, h.Store(id), 1000, 1000)
	p := dial(t, address, nil)
	p.open(1, 100, id, &wire.ConsumeSegment{Space: "space", Segment: "seg"})
	m := p.next()
	require.Equal(t, wire.TypeItems, m.Type)
	got := len(m.Body)
	p.open(2, 0, id, &wire.Status{Space: "space", Segment: "seg"})
	require.EqualValues(t, 2, p.next().Channel, "nothing comes without credit, and nobody else waits")
	for {
		p.write(wire.AppendMessage(nil, wire.TypeCredit, 1, wire.AppendCredit(nil, uint64(got))))
		m := p.next()
		if m.Type == wire.TypeEnd {
			break
		}
		got += len(m.Body)
	}
	require.Greater(t, got, 1000*1000)
}

// TestStalledReader has clients that read nothing at all. They cost little, nobody else notices, and
// they get everything when they read again.
func TestStalledReader(t *testing.T) {
	const stalled, entries, size = 8, 4000, 4000 // 16 MB for each
	h, _, address := gateway(t, nil)
	id := uuid.New()
	s := h.Store(id)
	fill(t, s, 100, size)
	var peers []*peer
	for range stalled {
		p := dial(t, address, nil)
		p.open(1, 1<<30, id, &wire.Follow{Space: "space", Segment: "seg", Options: streamhub.FollowOptions{Limit: entries}})
		require.Equal(t, wire.TypeItems, p.next().Type)
		peers = append(peers, p)
	}
	before := heap()
	healthy := connect(t, address).Store(id)
	seen := make(chan uint64, entries)
	go func() {
		defer close(seen)
		for e, err := range healthy.FollowSegment(within(t), "space", "seg", &streamhub.FollowOptions{Limit: entries}) {
			if err != nil {
				return
			}
			seen <- e.Sequence
		}
	}()
	fill(t, s, entries-100, size)
	n := uint64(0)
	for sequence := range seen {
		n++
		require.Equal(t, n, sequence)
	}
	require.EqualValues(t, entries, n)
	// The embedded Redis is in this process and holds the entries once.
	grown := heap() - before - entries*size
	t.Logf("%d readers that read nothing hold %.1f MiB, %.2f MiB each", stalled, float64(grown)/(1<<20), float64(grown)/(1<<20)/stalled)
	for _, p := range peers {
		end, bytes := p.end(1)
		require.NoError(t, end.Err)
		require.Greater(t, bytes, (entries-100)*size-(1<<20))
	}
}

func heap() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

func connect(t *testing.T, addresses ...string) *client.Client {
	t.Helper()
	for i := range addresses {
		addresses[i] = "ws://" + addresses[i]
	}
	p, err := client.NewWebSocketProvider(t.Context(), addresses, nil)
	require.NoError(t, err)
	c := client.New(p, nil)
	t.Cleanup(func() {
		require.NoError(t, c.Close())
		require.NoError(t, p.Close())
	})
	return c
}

// TestDrain ends readers with a cursor and the connection with a code, and stores what was sent.
func TestDrain(t *testing.T) {
	h, g, address := gateway(t, nil)
	id := uuid.New()
	last, err := h.Store(id).Append(t.Context(), "space", "seg", []streamhub.Record{{Payload: []byte("a")}}, nil)
	require.NoError(t, err)
	p := dial(t, address, nil)
	const readers = 100
	for n := range uint64(readers) {
		p.open(n+1, 1<<20, id, &wire.Follow{Space: "space", Segment: "seg"})
	}
	for range readers {
		require.Equal(t, wire.TypeItems, p.next().Type)
	}
	done := make(chan error, 1)
	go func() { done <- g.Shutdown(within(t)) }()
	for seen := 0; seen < readers; {
		m := p.next()
		if m.Type != wire.TypeEnd {
			continue
		}
		seen++
		end, err := wire.DecodeEnd(m.Body)
		require.NoError(t, err)
		require.ErrorIs(t, end.Err, streamhub.ErrShutdown)
		cursor, err := wire.DecodeCursor(end.Result)
		require.NoError(t, err)
		position, err := cursor.Position()
		require.NoError(t, err)
		require.GreaterOrEqual(t, position.Sequence, last.Last)
	}
	require.Equal(t, websocket.StatusServiceRestart, p.code())
	require.NoError(t, <-done)
	require.True(t, g.Draining())
	_, response, err := websocket.Dial(within(t), "ws://"+address+"/streamz", &websocket.DialOptions{Subprotocols: []string{wire.Subprotocol}})
	require.Error(t, err)
	require.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
	require.NoError(t, g.Shutdown(within(t)))
}

// TestExpiry closes a connection when its token ends, unless there is a new one by then.
func TestExpiry(t *testing.T) {
	_, _, address := gateway(t, &wsgateway.Options{Auth: verifier(t)})
	// The verifier allows for clocks that differ by 30 s.
	short := func(seconds time.Duration, subject string) string {
		text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
			"sub": subject, "exp": time.Now().Add(-30*time.Second + seconds*time.Second).Unix(), "scopes": []string{"streamkit::*"},
		}).SignedString(secret)
		require.NoError(t, err)
		return text
	}
	header := http.Header{"Authorization": {"Bearer " + short(3, "somebody")}}
	expiring, renewed := dial(t, address, header), dial(t, address, header)
	for _, test := range []struct {
		subject string
		err     error
	}{{"another", streamhub.ErrUnauthenticated}, {"somebody", nil}} {
		renewed.write(wire.AppendMessage(nil, wire.TypeAuth, 0, wire.AppendToken(nil, short(60, test.subject))))
		m := renewed.next()
		require.Equal(t, wire.TypeAuthResult, m.Type)
		end, err := wire.DecodeEnd(m.Body)
		require.NoError(t, err)
		require.ErrorIs(t, end.Err, test.err)
	}
	require.EqualValues(t, 4401, expiring.code())
	renewed.open(1, 0, uuid.New(), &wire.Spaces{})
	end, _ := renewed.end(1)
	require.NoError(t, end.Err)

	silent := dial(t, address, nil)
	_, _, err := silent.ws.Read(within(t))
	require.ErrorContains(t, err, "no token came in time")
	require.EqualValues(t, 4401, websocket.CloseStatus(err))

	// A client may say who it is in its first message.
	late := dial(t, address, nil)
	late.open(1, 0, uuid.New(), &wire.Spaces{})
	end, _ = late.end(1)
	require.ErrorIs(t, end.Err, streamhub.ErrUnauthenticated)
	late.write(wire.AppendMessage(nil, wire.TypeAuth, 0, wire.AppendToken(nil, short(60, "somebody"))))
	require.Equal(t, wire.TypeAuthResult, late.next().Type)
	late.open(2, 0, uuid.New(), &wire.Spaces{})
	end, _ = late.end(2)
	require.NoError(t, end.Err)
}

// TestNarrower has a newer token allow less: what is open and not allowed any more ends, and the rest
// goes on.
func TestNarrower(t *testing.T) {
	h, _, address := gateway(t, &wsgateway.Options{Auth: verifier(t)})
	id, other := uuid.New(), uuid.New()
	p := dial(t, address, http.Header{"Authorization": {"Bearer " + token(t, "streamkit::*")}})
	denied := []wire.Request{
		&wire.Follow{Space: "secret", Segment: "seg"}, &wire.FollowSpace{Space: "secret"}, &wire.SubscribeSegment{Space: "secret", Segment: "seg"},
		&wire.SubscribeSpace{Space: "secret"}, &wire.Workers{}, &wire.JoinWorkers{Worker: streamhub.Worker{ID: uuid.New()}, TTL: time.Minute},
	}
	for i, r := range denied {
		p.open(uint64(i+1), 1<<20, id, r)
	}
	p.open(50, 1<<20, other, &wire.Follow{Space: "space", Segment: "seg"})
	p.open(60, 1<<20, id, &wire.Follow{Space: "space", Segment: "seg"})
	p.write(wire.AppendMessage(nil, wire.TypeAuth, 0, wire.AppendToken(nil, token(t, "streamhub::"+id.String()+"::space::read"))))
	ended := map[uint64]bool{}
	for len(ended) < len(denied)+1 {
		m := p.next()
		if m.Type != wire.TypeEnd {
			continue
		}
		end, err := wire.DecodeEnd(m.Body)
		require.NoError(t, err)
		require.ErrorIs(t, end.Err, streamhub.ErrPermissionDenied, "channel %d", m.Channel)
		require.NotEqual(t, uint64(60), m.Channel)
		ended[m.Channel] = true
	}
	_, err := h.Store(id).Append(within(t), "secret", "seg", []streamhub.Record{{Payload: []byte("not for him")}}, nil)
	require.NoError(t, err)
	fill(t, h.Store(id), 100, 10)
	for {
		if m := p.next(); m.Type == wire.TypeItems {
			require.EqualValues(t, 60, m.Channel)
			break
		}
	}
	p.open(61, 0, id, &wire.Append{Append: streamhub.Append{Space: "space", Segment: "seg", Records: []streamhub.Record{{}}}})
	end, _ := p.end(61)
	require.ErrorIs(t, end.Err, streamhub.ErrPermissionDenied)
}

// TestHostile sends what no client sends. Each ends its own connection or call, with a reason.
func TestHostile(t *testing.T) {
	h, _, address := gateway(t, &wsgateway.Options{MaxReaders: 4, MaxMessageBytes: 64 << 10})
	id := uuid.New()
	good := connect(t, address).Store(id)
	spaces := func(channel uint64) []byte {
		return wire.AppendMessage(nil, wire.TypeOpen, channel, (&wire.Open{Store: id, Request: &wire.Spaces{}}).Append(nil))
	}
	for name, test := range map[string]struct {
		send func(p *peer)
		code websocket.StatusCode
	}{
		"text":             {func(p *peer) { _ = p.ws.Write(within(t), websocket.MessageText, []byte("hello")) }, websocket.StatusUnsupportedData},
		"garbage":          {func(p *peer) { p.write([]byte{1, 2, 200, 200}) }, websocket.StatusProtocolError},
		"unknown type":     {func(p *peer) { p.write(wire.AppendMessage(nil, 99, 1, nil)) }, websocket.StatusProtocolError},
		"type of a server": {func(p *peer) { p.write(wire.AppendMessage(nil, wire.TypeEnd, 1, nil)) }, websocket.StatusProtocolError},
		"channel twice":    {func(p *peer) { p.write(append(spaces(5), spaces(5)...)) }, websocket.StatusProtocolError},
		"channel 0":        {func(p *peer) { p.write(spaces(0)) }, websocket.StatusProtocolError},
		"broken request":   {func(p *peer) { p.write(wire.AppendMessage(nil, wire.TypeOpen, 1, []byte{1})) }, websocket.StatusProtocolError},
		"too large":        {func(p *peer) { p.write(make([]byte, 65<<10)) }, websocket.StatusMessageTooBig},
		"credit": {func(p *peer) {
			p.open(1, 0, id, &wire.Follow{Space: "space", Segment: "seg"})
			p.write(wire.AppendMessage(nil, wire.TypeCredit, 1, wire.AppendCredit(nil, 1<<62)))
		}, websocket.StatusProtocolError},
	} {
		t.Run(name, func(t *testing.T) {
			p := dial(t, address, nil)
			test.send(p)
			require.Equal(t, test.code, p.code())
		})
	}
	t.Run("calls", func(t *testing.T) {
		p := dial(t, address, nil)
		for channel, test := range []struct {
			r   wire.Request
			err error
		}{
			{&wire.Status{Space: "\xff", Segment: strings.Repeat("x", streamhub.MaxNameLength+1)}, streamhub.ErrInvalidName},
			{&wire.Append{Append: streamhub.Append{Space: "space"}}, streamhub.ErrInvalidName},
			{&wire.Append{Append: streamhub.Append{Space: "space", Segment: "seg"}}, streamhub.ErrInvalidArgument},
			{&wire.Follow{Space: "space", Segment: "seg", Options: streamhub.FollowOptions{Cursor: "x"}}, streamhub.ErrInvalidCursor},
			{&wire.JoinWorkers{TTL: -1}, streamhub.ErrInvalidArgument},
			{&wire.AcquireLease{Key: "", Holder: "", TTL: -1}, streamhub.ErrInvalidName},
		} {
			p.open(uint64(channel+1), 1<<20, id, test.r)
			end, _ := p.end(uint64(channel + 1))
			require.ErrorIs(t, end.Err, test.err, "%T", test.r)
		}
		o := wire.Open{Store: id, Request: &wire.Spaces{}}
		body := o.Append(nil)
		body[0] = 250
		p.write(wire.AppendMessage(nil, wire.TypeOpen, 100, body))
		end, _ := p.end(100)
		require.ErrorIs(t, end.Err, streamhub.ErrInvalidArgument, "an operation of another version")
		p.write(wire.AppendMessage(nil, wire.TypeCancel, 77, nil)) // of no channel
		for n := range uint64(5) {
			p.open(200+n, 1<<20, id, &wire.FollowSpace{Space: "space"})
		}
		end, _ = p.end(204)
		require.ErrorIs(t, end.Err, streamhub.ErrLimitExceeded)
		p.write(wire.AppendMessage(nil, wire.TypeCancel, 200, nil))
		end, _ = p.end(200)
		require.ErrorIs(t, end.Err, context.Canceled)
	})
	t.Run("flood", func(t *testing.T) {
		p := dial(t, address, nil)
		for n := range uint64(3000) {
			p.open(n+1, 0, id, &wire.Status{Space: "space", Segment: "none"})
		}
		for range 3000 {
			require.Equal(t, wire.TypeEnd, p.next().Type)
		}
	})
	_, err := good.Append(within(t), "space", "seg", []streamhub.Record{{Payload: []byte("still here")}}, nil)
	require.NoError(t, err)
	require.NoError(t, h.Ping(within(t)))
}

// TestHandshake looks at requests that are refused before there is a connection.
func TestHandshake(t *testing.T) {
	_, _, address := gateway(t, &wsgateway.Options{Auth: verifier(t), Origins: []string{"https://app.example.com"}})
	for _, test := range []struct {
		name   string
		header http.Header
		ours   bool
		code   int
	}{
		{"no token, streamkit", http.Header{"Origin": {"http://localhost"}}, false, http.StatusUnauthorized},
		{"bad token", http.Header{"Authorization": {"Bearer x.y.z"}}, true, http.StatusUnauthorized},
		{"foreign origin", http.Header{"Origin": {"https://evil.example.com"}}, true, http.StatusForbidden},
		{"foreign origin with a token", http.Header{"Origin": {"https://evil.example.com"}, "Authorization": {"Bearer " + token(t, "streamkit::*")}}, true, http.StatusSwitchingProtocols},
		{"known origin", http.Header{"Origin": {"https://app.example.com"}}, true, http.StatusSwitchingProtocols},
		{"token", http.Header{"Authorization": {"bearer " + token(t, "streamkit::*")}}, false, http.StatusSwitchingProtocols},
	} {
		o := &websocket.DialOptions{HTTPHeader: test.header}
		if test.ours {
			o.Subprotocols = []string{wire.Subprotocol}
		}
		ws, response, err := websocket.Dial(within(t), "ws://"+address+"/streamz", o)
		if err == nil {
			_ = ws.CloseNow()
		}
		require.NotNil(t, response, "%s: %v", test.name, err)
		require.Equal(t, test.code, response.StatusCode, test.name)
		if test.code == http.StatusUnauthorized {
			require.Equal(t, "text/plain; charset=utf-8", response.Header.Get("Content-Type"))
			require.Equal(t, "nosniff", response.Header.Get("X-Content-Type-Options"))
		}
	}
	_, response, err := websocket.Dial(within(t), "ws://"+address+"/streamz", &websocket.DialOptions{Subprotocols: []string{"chat"}, HTTPHeader: http.Header{"Authorization": {"Bearer " + token(t, "streamkit::*")}}})
	require.Error(t, err)
	require.Equal(t, http.StatusBadRequest, response.StatusCode)
	plain, err := http.Get("http://" + address + "/streamz")
	require.NoError(t, err)
	defer plain.Body.Close()
	require.Equal(t, http.StatusUnauthorized, plain.StatusCode)
}

// BenchmarkAppend is an append over a gateway, one after the other.
func BenchmarkAppend(b *testing.B) {
	_, _, address := gateway(b, nil)
	p, err := client.NewWebSocketProvider(b.Context(), []string{"ws://" + address}, nil)
	require.NoError(b, err)
	defer p.Close()
	s := p.Store(uuid.New())
	record := []streamhub.Record{{Payload: make([]byte, 100)}}
	for b.Loop() {
		if _, err := s.Append(b.Context(), "space", "seg", record, nil); err != nil {
			b.Fatal(errors.Unwrap(err), fmt.Sprint(err))
		}
	}
}

// TestStalledStreamkit is TestStalledReader for clients of streamkit, which have no credit to give.
func TestStalledStreamkit(t *testing.T) {
	const stalled, entries, size = 8, 2000, 4000
	h, _, address := gateway(t, nil)
	id := uuid.New()
	fill(t, h.Store(id), entries, size)
	before := heap()
	request := fmt.Sprintf(`{"ControlType":"data","store_id":"%s","channel_id":"%s","payload":"%s"}`, id, uuid.New(),
		base64.StdEncoding.EncodeToString([]byte(`{"$type":"streamkit://api/v1/consume_segment","content":{"space":"space","segment":"seg"}}`)))
	var peers []*websocket.Conn
	for range stalled {
		ws, _, err := websocket.Dial(within(t), "ws://"+address+"/streamz", nil)
		require.NoError(t, err)
		ws.SetReadLimit(-1)
		t.Cleanup(func() { _ = ws.CloseNow() })
		require.NoError(t, ws.Write(within(t), websocket.MessageText, []byte(request)))
		_, _, err = ws.Read(within(t))
		require.NoError(t, err)
		peers = append(peers, ws)
	}
	_, err := h.Store(id).Append(within(t), "space", "other", []streamhub.Record{{Payload: []byte("nobody else waits")}}, nil)
	require.NoError(t, err)
	t.Logf("%d readers that read nothing hold %.2f MiB each", stalled, float64(heap()-before)/(1<<20)/stalled)
	for _, ws := range peers {
		for n := 1; ; n++ {
			_, data, err := ws.Read(within(t))
			require.NoError(t, err)
			if len(data) < 1000 {
				require.Equal(t, entries, n, "all entries and then the end")
				break
			}
		}
	}
}
