package wsgateway

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub/hub"
)

// A pipe is a connection of a gateway that answers nothing, and the client at its other end.
type pipe struct {
	*baseConn
	t      testing.TB
	client *websocket.Conn
}

// A mute dialect reads, so that control frames are answered.
type mute struct{ *baseConn }

func (d mute) serve() {
	defer d.end()
	for {
		if _, _, err := d.read(); err != nil {
			return
		}
	}
}

// piped starts a gateway and returns what makes pipes of it.
func piped(t testing.TB) func(t testing.TB, typ websocket.MessageType, joined bool) *pipe {
	h, err := hub.Open(t.Context(), nil, nil)
	require.NoError(t, err)
	g, err := New(t.Context(), h, &Options{PingInterval: time.Hour})
	require.NoError(t, err)
	conns := make(chan *baseConn)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		guest, err := g.gate.Connect(r, &streamkit)
		if err == nil {
			var l *baseConn
			if l, err = g.upgrade(w, r, &streamkit, guest); err == nil && g.add(l) {
				go g.serve(l, mute{l})
				conns <- l
			}
		}
		if err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		require.NoError(t, g.Shutdown(ctx))
		server.Close()
		require.NoError(t, h.Close())
	})
	return func(t testing.TB, typ websocket.MessageType, joined bool) *pipe {
		client, _, err := websocket.Dial(t.Context(), "ws"+server.URL[len("http"):], nil)
		require.NoError(t, err)
		client.SetReadLimit(-1)
		t.Cleanup(func() { _ = client.CloseNow() })
		p := &pipe{<-conns, t, client}
		p.out.joined, p.out.typ = joined, typ
		return p
	}
}

// until waits for a condition inside the outbox.
func (p *pipe) until(ctx context.Context, what string, done func(o *outbox) bool) {
	p.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for ok := false; !ok; {
		select {
		case <-tick.C:
			p.out.mu.Lock()
			ok = done(&p.out)
			p.out.mu.Unlock()
		case <-ctx.Done():
			require.FailNow(p.t, "not in time", what)
		}
	}
}

// FuzzFrames sends messages of any sizes, with pings of both sides between them, and reads them with the
// reader of coder/websocket. Two bytes are a message: its size, and what else happens.
func FuzzFrames(f *testing.F) {
	f.Add([]byte{0, 0, 125, 1, 126, 2, 127, 3, 255, 4, 255, 255, 9, 16, 255, 31})
	f.Add(bytes.Repeat([]byte{40, 255}, 40))
	f.Fuzz(func(t *testing.T, script []byte) {
		open := piped(t)
		for _, typ := range []websocket.MessageType{websocket.MessageText, websocket.MessageBinary} {
			for _, joined := range []bool{false, true} {
				exchange(t, open(t, typ, joined), script[:min(len(script), 200)])
			}
		}
	})
}

// exchange sends what a script says through a pipe and compares what comes out. Then it closes.
func exchange(t testing.TB, p *pipe, script []byte) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var want [][]byte
	for i := 0; i+1 < len(script); i += 2 {
		// Sizes around those where the form of the header changes, up to 130,000.
		size := int(script[i]) << (script[i+1] & 1 * 8) * (1 + int(script[i+1]&2)/2)
		message := make([]byte, size)
		for j := range message {
			message[j] = 'a' + byte(i+j)%26
		}
		want = append(want, message)
	}
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer cancel()
	pings := 0
	tasks.Go(func() {
		for i, message := range want {
			if script[2*i+1]&4 != 0 {
				tasks.Go(func() { _ = p.ws.Ping(ctx) })
			}
			half := len(message) / 2
			if p.out.joined && script[2*i+1]&16 != 0 && p.out.offer(message[:half], message[half:]) {
				continue
			}
			var err error
			if p.out.joined {
				err = p.out.put(message[:half], message[half:])
			} else {
				err = p.out.put(message)
			}
			if err != nil {
				t.Error(err)
			}
		}
		p.out.wait()
		p.fail(websocket.StatusServiceRestart, "all is said")
	})
	for i := range want {
		if script[2*i+1]&8 != 0 {
			pings++
		}
	}
	tasks.Go(func() {
		for range pings {
			_ = p.client.Ping(ctx) // the last ones meet the end
		}
	})
	got := 0
	for {
		typ, message, err := p.client.Read(ctx)
		if err != nil {
			require.Equal(t, websocket.StatusServiceRestart, websocket.CloseStatus(err), "%v", err)
			break
		}
		require.Equal(t, p.out.typ, typ)
		for len(message) > 0 || !p.out.joined {
			for p.out.joined && got < len(want) && len(want[got]) == 0 {
				got++
			}
			require.Less(t, got, len(want))
			n := len(want[got])
			require.GreaterOrEqual(t, len(message), n)
			require.True(t, bytes.Equal(want[got], message[:n]), "message %d", got)
			got++
			if message = message[n:]; !p.out.joined {
				require.Empty(t, message)
				break
			}
		}
	}
	for p.out.joined && got < len(want) && len(want[got]) == 0 {
		got++
	}
	require.Equal(t, len(want), got)
}

// TestControlFrames has both sides ping while messages are written without a break: each frame is whole,
// each ping is answered while the client reads, and a close frame is the last one.
func TestControlFrames(t *testing.T) {
	p := piped(t)(t, websocket.MessageBinary, true)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var writers, reader, pingers sync.WaitGroup
	quit := make(chan struct{})
	for w := range 4 {
		writers.Go(func() {
			message := bytes.Repeat([]byte{byte(w)}, 3000)
			for {
				select {
				case <-quit:
					return
				default:
				}
				if p.out.put(message) != nil {
					return
				}
			}
		})
	}
	code := websocket.StatusCode(0)
	reader.Go(func() {
		for {
			_, message, err := p.client.Read(ctx)
			if err != nil {
				code = websocket.CloseStatus(err)
				return
			}
			for ; len(message) > 0; message = message[3000:] {
				if !bytes.Equal(message[:3000], bytes.Repeat(message[:1], 3000)) {
					t.Error("messages are mixed")
					return
				}
			}
		}
	})
	for _, side := range []*websocket.Conn{p.ws, p.client} {
		pingers.Go(func() {
			for i := range 30 {
				if err := side.Ping(ctx); err != nil {
					t.Errorf("ping %d: %v", i, err)
				}
			}
		})
	}
	pingers.Wait()
	p.fail(websocket.StatusServiceRestart, "stopping") // in the middle of everything
	reader.Wait()
	require.Equal(t, websocket.StatusServiceRestart, code)
	close(quit)
	writers.Wait()
	require.Error(t, p.out.put([]byte("late")))
}

// TestCloseIsLast closes a connection whose client has yet to answer: nothing is sent after the close frame.
func TestCloseIsLast(t *testing.T) {
	p := piped(t)(t, websocket.MessageBinary, true)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	require.NoError(t, p.out.put([]byte("before")))
	p.fail(websocket.StatusServiceRestart, "stopping")
	p.until(ctx, "a close frame", func(o *outbox) bool { return o.err != nil })
	require.ErrorIs(t, p.out.put([]byte("after")), net.ErrClosed)
	require.False(t, p.out.offer([]byte("after"), nil))
	_, message, err := p.client.Read(ctx)
	require.NoError(t, err)
	require.Equal(t, "before", string(message))
	_, _, err = p.client.Read(ctx)
	require.Equal(t, websocket.StatusServiceRestart, websocket.CloseStatus(err))
}

// TestOffer offers messages to a connection whose client does not read, until it takes no more. What it has
// taken arrives whole, also the one that the socket took a part of, and then it takes messages again.
func TestOffer(t *testing.T) {
	p := piped(t)(t, websocket.MessageBinary, true)
	if p.out.direct == nil {
		t.Skip("there is no way to write without waiting on this system")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var waiting sync.WaitGroup
	defer waiting.Wait()
	defer cancel()
	for round := range 8 {
		taken := 0
		for ; p.out.offer([]byte{byte(taken)}, bytes.Repeat([]byte{byte(taken)}, 2000*round+999)); taken++ {
			require.Less(t, taken, 1<<20)
		}
		require.Positive(t, taken)
		last := bytes.Repeat([]byte("last"), 1<<20) // more than the socket has room for
		waiting.Go(func() { _ = p.out.put(last) })
		p.until(ctx, "a write that waits", func(o *outbox) bool { return o.bytes == len(last) && !o.since.IsZero() })
		require.False(t, p.out.offer([]byte("a"), []byte("b")), "something is being written")
		for i := range taken {
			_, message, err := p.client.Read(ctx)
			require.NoError(t, err)
			require.True(t, bytes.Equal(bytes.Repeat([]byte{byte(i)}, 2000*round+1000), message), "message %d", i)
		}
		_, message, err := p.client.Read(ctx)
		require.NoError(t, err)
		require.True(t, bytes.Equal(last, message))
		p.out.wait()
	}
	p.out.fail(context.Canceled)
	require.False(t, p.out.offer([]byte("a"), []byte("b")))
}

// TestOfferTLS: a connection with TLS takes no offer, nor does one whose type may do more than write.
func TestOfferTLS(t *testing.T) {
	for _, conn := range []net.Conn{&tls.Conn{}, struct{ *net.TCPConn }{}} {
		require.Nil(t, newDirect(conn), "%T", conn)
	}
}

// TestPingsUnread pings a gateway whose messages are not read. The pings are answered when they are.
func TestPingsUnread(t *testing.T) {
	p := piped(t)(t, websocket.MessageBinary, true)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var tasks sync.WaitGroup
	defer tasks.Wait()
	const messages, size = 200, 100 << 10
	tasks.Go(func() {
		for i := range messages {
			if err := p.out.put(bytes.Repeat([]byte{byte(i)}, size)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	p.until(ctx, "a write that waits", func(o *outbox) bool { return !o.since.IsZero() && time.Since(o.since) > 50*time.Millisecond })
	const pings = 10
	for range pings {
		tasks.Go(func() {
			if err := p.client.Ping(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	p.until(ctx, "pongs that wait", func(o *outbox) bool { return len(o.raw) >= pings*3 })
	for got := 0; got < messages*size; {
		_, message, err := p.client.Read(ctx)
		require.NoError(t, err)
		got += len(message)
	}
	reading := p.client.CloseRead(ctx)
	tasks.Wait()
	require.NoError(t, reading.Err())
}
