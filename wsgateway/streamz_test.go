package wsgateway_test

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/testredis"
	"github.com/seed-147127fe/streamhub/wsgateway"
	"github.com/seed-147127fe/streamhub/wsgateway/streamkittest"
)

func TestMain(m *testing.M) { testredis.Main(m) }

var secret = []byte("a secret that is long enough for HS256")

func token(t testing.TB, scopes ...string) string {
	t.Helper()
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"sub": "somebody", "exp": time.Now().Add(time.Hour).Unix(), "scopes": scopes,
	}).SignedString(secret)
	require.NoError(t, err)
	return text
}

// serve starts a gateway and returns host:port.
func serve(t testing.TB, o *wsgateway.Options) string {
	t.Helper()
	h, err := hub.Open(t.Context(), nil, &hub.Options{MaxRecordBytes: 9 << 19})
	require.NoError(t, err)
	g, err := wsgateway.New(t.Context(), h, o)
	require.NoError(t, err)
	server := httptest.NewServer(g)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		require.NoError(t, g.Shutdown(ctx))
		server.Close()
		require.NoError(t, h.Close())
	})
	return strings.TrimPrefix(server.URL, "http://")
}

func verifier(t testing.TB) streamhub.Authenticator {
	t.Helper()
	v, err := wsgateway.NewJWT(&wsgateway.JWTOptions{HMACSecret: secret})
	require.NoError(t, err)
	return v
}

func withTokens(t *testing.T) streamkittest.Gateway {
	return streamkittest.Gateway{Address: serve(t, &wsgateway.Options{Auth: verifier(t)}), Token: token}
}

func TestStreamkitReplay(t *testing.T) { streamkittest.Replay(t, withTokens) }

func TestStreamkit(t *testing.T) { streamkittest.Run(t, withTokens) }

// TestStreamkitExpiry lets a token expire: a released client goes on, unless the gateway is told to close.
func TestStreamkitExpiry(t *testing.T) {
	for _, closes := range []bool{false, true} {
		expires := time.Now().Add(2 * time.Second)
		auth := authenticator(func() (*streamhub.Identity, error) {
			return &streamhub.Identity{Subject: "somebody", Expires: expires, Scopes: []string{"streamkit::*"}}, nil
		})
		g := streamkittest.Gateway{Address: serve(t, &wsgateway.Options{Auth: auth, CloseExpiredStreamkit: closes}), Token: token}
		c, store := streamkittest.Dial(t, g, "streamkit::*"), uuid.New()
		ch := c.Open(store, "subscribe_to_segment_status", map[string]any{"space": "sp", "segment": "sg", "heartbeat_interval_seconds": 1})
		if closes {
			require.Equal(t, 4401, c.Code())
			continue
		}
		for time.Now().Before(expires.Add(2 * time.Second)) {
			_, ok := ch.Next() // a heartbeat
			require.True(t, ok)
		}
		statuses, problem := c.Produce(store, "sp", "sg", 1, []byte("x"))
		require.Empty(t, problem)
		require.Len(t, statuses, 1)
	}
}

type authenticator func() (*streamhub.Identity, error)

func (a authenticator) Authenticate(context.Context, string) (*streamhub.Identity, error) { return a() }

// TestStreamkitNoSubject opens 200 connections with tokens that name nobody, as the stock signer makes them.
func TestStreamkitNoSubject(t *testing.T) {
	g := streamkittest.Gateway{Address: serve(t, &wsgateway.Options{Auth: verifier(t)}), Token: func(t testing.TB, scopes ...string) string {
		text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"exp": time.Now().Add(time.Hour).Unix(), "scopes": scopes}).SignedString(secret)
		require.NoError(t, err)
		return text
	}}
	store := uuid.New()
	var clients []*streamkittest.Client
	for i := range 200 {
		c := streamkittest.Dial(t, g, "streamkit::*")
		statuses, problem := c.Produce(store, "sp", "sg", uint64(i+1), []byte("x"))
		require.Empty(t, problem)
		require.Len(t, statuses, 1)
		clients = append(clients, c)
	}
	for _, c := range clients { // all of them are still there
		head, _ := c.Peek(store, "sp", "sg")
		require.EqualValues(t, 200, head.Sequence)
	}
}
