package wsgateway_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub/internal/wire"
	"github.com/seed-147127fe/streamhub/wsgateway"
)

// A lineCounter counts the lines that are logged.
type lineCounter struct {
	mu           sync.Mutex
	lines, bytes int
}

func (c *lineCounter) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines += bytes.Count(p, []byte("\n"))
	c.bytes += len(p)
	return len(p), nil
}

// TestUnproven has clients that never say who they are send the worst they can, until they are thrown
// out: neither memory nor the log grows with what they send.
func TestUnproven(t *testing.T) {
	const clients = 200
	var log lineCounter
	_, _, address := gateway(t, &wsgateway.Options{Auth: verifier(t), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	id := uuid.New()
	whole := make([]byte, 17<<20)
	counted := append(append([]byte{byte(wire.OpSpaces)}, id[:]...), 0, 0xff, 0xff, 0xff, 0x03)
	manyTokens := bytes.Repeat(wire.AppendMessage(nil, wire.TypeAuth, 0, wire.AppendToken(nil, "")), 560_000)
	var opens []byte
	for n := range uint64(200_000) {
		opens = wire.AppendMessage(opens, wire.TypeOpen, n+1, (&wire.Open{Store: id, Request: &wire.Spaces{}}).Append(nil))
	}
	// Each is sent again and again, in messages of so many bytes.
	attacks := map[string][]byte{
		"large": whole, "counted": wire.AppendMessage(nil, wire.TypeOpen, 1, append(counted, make([]byte, 1<<20)...)),
		"tokens": manyTokens, "opens": opens, "small opens": opens[:12<<10], "tokens within the limit": manyTokens[:15<<10], "empty": nil,
		"token": wire.AppendMessage(nil, wire.TypeAuth, 0, wire.AppendToken(nil, string(make([]byte, 15<<10)))),
	}
	var names []string
	for name := range attacks {
		names = append(names, name)
	}
	// What lives is what a collection finds: without frequent ones the heap may double on garbage.
	defer debug.SetGCPercent(debug.SetGCPercent(10))
	runtime.GC()
	start := liveHeap()
	peak := start
	done := make(chan struct{})
	var watching, attacking sync.WaitGroup
	watching.Go(func() {
		for tick := time.NewTicker(50 * time.Millisecond); ; {
			peak = max(peak, liveHeap())
			select {
			case <-tick.C:
			case <-done:
				tick.Stop()
				return
			}
		}
	})
	for n := range clients {
		ws, _, err := websocket.Dial(within(t), "ws://"+address+"/streamz", &websocket.DialOptions{Subprotocols: []string{wire.Subprotocol}})
		require.NoError(t, err)
		attacking.Go(func() {
			defer func() { _ = ws.CloseNow() }()
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			attack := attacks[names[n%len(names)]]
			for ws.Write(ctx, websocket.MessageBinary, attack) == nil {
				if n%2 == 0 { // the others do not read what they are answered
					reading, enough := context.WithTimeout(ctx, time.Millisecond)
					_, _, _ = ws.Read(reading)
					enough()
				}
			}
			if ctx.Err() != nil {
				t.Errorf("%s: was not thrown out", names[n%len(names)])
			}
		})
	}
	attacking.Wait()
	close(done)
	watching.Wait()
	t.Logf("live heap %d KiB, at most %d KiB; %d lines of log, %d bytes", start>>10, peak>>10, log.lines, log.bytes)
	require.Less(t, peak-start, uint64(16<<20))
	require.LessOrEqual(t, log.lines, clients)
	require.Less(t, log.bytes, clients*512)
	p := dial(t, address, map[string][]string{"Authorization": {"Bearer " + token(t, "streamkit::*")}})
	p.open(1, 0, id, &wire.Spaces{})
	end, _ := p.end(1)
	require.NoError(t, end.Err)
}

// liveHeap returns the bytes that the last collection found alive.
func liveHeap() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// TestStuckGoodbye stops in the middle of a frame when the gateway closes the connection.
func TestStuckGoodbye(t *testing.T) {
	for name, bearer := range map[string]string{"token": "Authorization: Bearer " + token(t, "streamkit::*") + "\r\n", "no token": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, g, address := gateway(t, &wsgateway.Options{Auth: verifier(t)})
			conn, err := net.Dial("tcp", address)
			require.NoError(t, err)
			defer conn.Close()
			_, err = io.WriteString(conn, "GET /streamz HTTP/1.1\r\nHost: gateway\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
				"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: "+wire.Subprotocol+"\r\n"+bearer+"\r\n")
			require.NoError(t, err)
			_, err = http.ReadResponse(bufio.NewReader(conn), nil)
			require.NoError(t, err)
			// A whole message that is none, and then the beginning of a frame of 2^62 bytes.
			_, err = conn.Write([]byte{0x82, 0x81, 0, 0, 0, 0, 99, 0x82, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1})
			require.NoError(t, err)
			require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
			_, err = io.Copy(io.Discard, conn)
			require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
			require.NoError(t, g.Shutdown(within(t)), "nothing of the connection is left")
		})
	}
}
