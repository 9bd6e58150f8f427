package wsgateway_test

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

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
	h, err := hub.Open(t.Context(), nil, &hub.Options{MaxRecordBytes: 4 << 20})
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

func verifier(t testing.TB) wsgateway.Authenticator {
	t.Helper()
	v, err := wsgateway.NewJWT(wsgateway.JWTOptions{HMACSecret: secret})
	require.NoError(t, err)
	return v
}

func withTokens(t *testing.T) streamkittest.Gateway {
	return streamkittest.Gateway{Address: serve(t, &wsgateway.Options{Auth: verifier(t)}), Token: token}
}

func TestStreamkitReplay(t *testing.T) { streamkittest.Replay(t, withTokens) }

func TestStreamkit(t *testing.T) { streamkittest.Run(t, withTokens) }
