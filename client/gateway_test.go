package client_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/coder/websocket"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/wire"
)

// TestGatewayEnds: the end of a context of a gateway is none of the caller's. The call is made again, here or elsewhere.
func TestGatewayEnds(t *testing.T) {
	for _, own := range []error{context.Canceled, context.DeadlineExceeded, streamhub.ErrShutdown} {
		var asked atomic.Int64
		address := scripted(t, func(r wire.Request) *wire.End {
			if asked.Add(1) == 1 {
				return &wire.End{Err: own}
			}
			if _, one := r.(*wire.SpaceEnd); one {
				return &wire.End{Result: wire.EncodeResult(wire.CursorResult(""))}
			}
			return &wire.End{}
		})
		once := dial(t, nil, address).Store(uuid.New())
		again := connect(t, dial(t, nil, address), quick).Store(uuid.New())
		for name, call := range map[string]func(s streamhub.Store) error{
			"items": func(s streamhub.Store) error {
				for _, err := range s.Spaces(t.Context()) {
					return err
				}
				return nil
			},
			"one answer": func(s streamhub.Store) error { _, err := s.SpaceEnd(t.Context(), "space"); return err },
		} {
			asked.Store(0)
			err := call(once)
			require.True(t, streamhub.Retryable(err), "%s: %v", name, err)
			require.NotErrorIs(t, err, context.Canceled, name)
			require.NotErrorIs(t, err, context.DeadlineExceeded, name)
			asked.Store(0)
			require.NoError(t, call(again), name)
			require.EqualValues(t, 2, asked.Load(), name)
		}
	}
}

// scripted starts a gateway that ends each call as end says.
func scripted(t *testing.T, end func(wire.Request) *wire.End) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{wire.Subprotocol}})
		if err != nil {
			return // and the client reports it
		}
		defer func() { _ = ws.CloseNow() }()
		for {
			_, data, err := ws.Read(r.Context())
			if err != nil {
				return
			}
			for m, err := range wire.Messages(data) {
				if err != nil || m.Type != wire.TypeOpen {
					continue
				}
				o, err := wire.DecodeOpen(m.Body)
				if err != nil {
					return
				}
				if ws.Write(r.Context(), websocket.MessageBinary, wire.AppendMessage(nil, wire.TypeEnd, m.Channel, end(o.Request).Append(nil))) != nil {
					return
				}
			}
		}
	}))
	t.Cleanup(server.Close)
	return "ws" + strings.TrimPrefix(server.URL, "http")
}
