package client_test

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/internal/wire"
	"github.com/seed-147127fe/streamhub/wsgateway"
)

// An issuer gives out numbered tokens, and is the gateway's authenticator. A token is over lasts after the gateway has seen
// it first.
type issuer struct {
	lasts   time.Duration
	issued  atomic.Int64
	refused atomic.Bool // whatever is presented

	mu    sync.Mutex
	until map[string]time.Time
}

func (i *issuer) Token(context.Context) (string, error) {
	return fmt.Sprint("token ", i.issued.Add(1)), nil
}

func (i *issuer) Authenticate(_ context.Context, token string) (*streamhub.Identity, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.until == nil {
		i.until = map[string]time.Time{}
	}
	until, seen := i.until[token]
	if !seen {
		until = time.Now().Add(i.lasts)
		i.until[token] = until
	}
	if i.refused.Load() || time.Now().After(until) {
		return nil, streamhub.ErrUnauthenticated
	}
	return &streamhub.Identity{Subject: "ali", Issuer: "cave", Expires: until, Scopes: []string{"streamkit::*"}}, nil
}

// TestTokenExpires: whatever lasts outlives the tokens of its connection, and no reader notices. It ends only when no new
// token is taken.
func TestTokenExpires(t *testing.T) {
	t.Parallel()
	tokens := &issuer{lasts: 10 * time.Millisecond}
	provider := dial(t, &client.WebSocketOptions{Token: tokens.Token}, serve(t, embedded(t), &wsgateway.Options{Auth: tokens}))
	renewed := make(chan struct{}, 10)
	defer provider.OnReconnect(func() { renewed <- struct{}{} })()
	s := connect(t, provider, quick).Store(uuid.New())
	streams := s.Live("live")
	producer, _, err := streams.Register(t.Context(), "chat", nil)
	require.NoError(t, err)
	member, err := s.JoinWorkers(t.Context(), streamhub.Worker{ID: uuid.New()}, time.Minute)
	require.NoError(t, err)
	follower := pull(s.FollowSegment(t.Context(), "space", "seg", nil))
	defer follower.stop()
	statuses := pull(s.SubscribeSegment(t.Context(), "space", "seg"))
	defer statuses.stop()
	chunks := pull(producer.Subscribe(t.Context(), nil))
	defer chunks.stop()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err = s.WithLease(ctx, "lease", 20*time.Second, 0, func(ctx context.Context, _ uint64) error {
		for want := uint64(1); want <= 3; want++ {
			_, err := s.Append(ctx, "space", "seg", []streamhub.Record{{Payload: []byte("x")}}, nil)
			require.NoError(t, err)
			require.NoError(t, producer.Publish(ctx, []byte("x")))
			require.Equal(t, want, follower.next(t).Sequence)
			require.Equal(t, want, chunks.next(t).Sequence)
			for statuses.next(t).LastSequence < want {
				continue
			}
			if want == 3 {
				break
			}
			select {
			case <-renewed:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return ctx.Err()
	})
	require.NoError(t, err)
	require.NoError(t, producer.Context().Err())
	require.NoError(t, producer.Done(ctx, nil))
	require.NoError(t, member.Err())
	tokens.refused.Store(true)
	require.ErrorIs(t, follower.fail(t), streamhub.ErrUnauthenticated)
	require.ErrorIs(t, statuses.fail(t), streamhub.ErrUnauthenticated)
	<-member.Done()
	require.ErrorIs(t, member.Err(), streamhub.ErrUnauthenticated)
}

// A pulled sequence is read item by item.
type pulled[T any] struct {
	pull func() (T, error, bool)
	stop func()
}

func pull[T any](items iter.Seq2[T, error]) pulled[T] {
	next, stop := iter.Pull2(items)
	return pulled[T]{next, stop}
}

func (p pulled[T]) next(t *testing.T) T {
	t.Helper()
	item, err, ok := p.pull()
	require.NoError(t, err)
	require.True(t, ok)
	return item
}

func (p pulled[T]) fail(t *testing.T) error {
	t.Helper()
	for {
		_, err, ok := p.pull()
		require.True(t, ok)
		if err != nil {
			return err
		}
	}
}

// expiring starts a gateway that says of each connection, once something is asked, that its token is over.
func expiring(t *testing.T, dials *atomic.Int64) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		dials.Add(1)
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{wire.Subprotocol}})
		if err != nil {
			return // and the client reports it
		}
		if _, _, err := ws.Read(r.Context()); err == nil {
			_ = ws.Close(4401, "the token has expired")
		}
	}))
	t.Cleanup(server.Close)
	return "ws" + strings.TrimPrefix(server.URL, "http")
}

// TestTokenSpent: an issuer that gives the expired token again is not asked without end, and the gateway is not dialed
// for it.
func TestTokenSpent(t *testing.T) {
	for name, c := range map[string]struct {
		token func(context.Context) (string, error)
		asked int64
	}{
		"no token": {nil, 0},
		"the same": {func(context.Context) (string, error) { return "the same", nil }, 2},
	} {
		var dials, asked atomic.Int64
		o := &client.WebSocketOptions{}
		if c.token != nil {
			o.Token = func(ctx context.Context) (string, error) { asked.Add(1); return c.token(ctx) }
		}
		s := connect(t, dial(t, o, expiring(t, &dials)), quick).Store(uuid.New())
		for _, err := range s.FollowSegment(t.Context(), "space", "seg", nil) {
			require.ErrorIs(t, err, streamhub.ErrUnauthenticated, name)
			require.False(t, streamhub.Retryable(err), name)
		}
		require.EqualValues(t, 1, dials.Load(), name)
		require.Equal(t, c.asked, asked.Load(), name)
	}
}

// TestConnect: a program that checks early that it works hears that it does not.
func TestConnect(t *testing.T) {
	tokens := &issuer{lasts: time.Hour}
	closed, open := serve(t, embedded(t), &wsgateway.Options{Auth: tokens}), serve(t, embedded(t), nil)
	none := func(context.Context) (string, error) { return "", nil }
	require.NoError(t, dial(t, nil, open).Connect(t.Context()))
	require.NoError(t, dial(t, &client.WebSocketOptions{Token: tokens.Token}, closed).Connect(t.Context()))
	require.ErrorIs(t, dial(t, nil, closed).Connect(t.Context()), streamhub.ErrUnauthenticated)
	require.ErrorIs(t, dial(t, &client.WebSocketOptions{Token: none}, closed).Connect(t.Context()), streamhub.ErrUnauthenticated)
	tokens.refused.Store(true)
	require.ErrorIs(t, dial(t, &client.WebSocketOptions{Token: tokens.Token}, closed).Connect(t.Context()), streamhub.ErrUnauthenticated)
}
