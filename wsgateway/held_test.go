package wsgateway_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/testredis"
	"github.com/seed-147127fe/streamhub/internal/wire"
)

// TestHeld sends appends while Redis stores nothing: so many bytes are taken, and no more is read. All are stored
// when Redis is back.
func TestHeld(t *testing.T) {
	const messages, size, held, buffers = 112, 512 << 10, 32 << 20, 20 << 20 // of sockets, and the message that does not fit
	redis := testredis.Start(t, nil)
	h, err := hub.Open(t.Context(), redis.Client(), nil)
	require.NoError(t, err)
	_, address := gatewayOf(t, h, nil)
	p := dial(t, address, nil)
	id := uuid.New()
	p.open(1, 0, id, &wire.Spaces{})
	end, _ := p.end(1)
	require.NoError(t, end.Err)

	redis.Pause()
	var written atomic.Int64
	sent := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute) // 56 MiB, on a slow machine
	defer cancel()
	go func() {
		var err error
		for n := uint64(2); n < 2+messages && err == nil; n++ {
			request := &wire.Append{Append: streamhub.Append{Space: "space", Segment: "seg", Records: []streamhub.Record{{Payload: make([]byte, size)}}}}
			if err = p.ws.Write(ctx, websocket.MessageBinary, wire.AppendMessage(nil, wire.TypeOpen, n, (&wire.Open{Store: id, Request: request}).Append(nil))); err == nil {
				written.Add(size)
			}
		}
		sent <- err
	}()
	for now, last := written.Load(), int64(-1); (now != last || now < held/2) && ctx.Err() == nil; now = written.Load() {
		last = now
		<-time.After(500 * time.Millisecond)
	}
	taken := written.Load()
	redis.Resume()
	require.LessOrEqual(t, taken, int64(held+buffers))
	require.NoError(t, <-sent)
	for stored := 0; stored < messages; {
		_, data, err := p.ws.Read(ctx)
		require.NoError(t, err)
		for m, err := range wire.Messages(data) {
			require.NoError(t, err)
			if m.Type != wire.TypeEnd {
				continue
			}
			end, err := wire.DecodeEnd(m.Body)
			require.NoError(t, err)
			require.NoError(t, end.Err)
			stored++
		}
	}
}
