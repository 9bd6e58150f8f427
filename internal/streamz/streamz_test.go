package streamz_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/streamz"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestReadBeforeEnd ends a connection while the caller of a read is slow: what had come is passed on.
func TestReadBeforeEnd(t *testing.T) {
	const sent = 100
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
		if err != nil {
			return
		}
		_, request, err := ws.Read(r.Context())
		if err != nil {
			return
		}
		var f map[string]any
		_ = json.Unmarshal(request, &f)
		for n := range sent {
			f["payload"] = fmt.Appendf(nil, `{"space":"space","sequence":%d}`, n+1)
			data, _ := json.Marshal(f)
			_ = ws.Write(r.Context(), websocket.MessageText, data)
		}
		_ = ws.Close(websocket.StatusGoingAway, "")
	}))
	defer server.Close()
	c, err := streamz.Dial(t.Context(), "ws"+strings.TrimPrefix(server.URL, "http"), "", nil)
	require.NoError(t, err)
	defer c.Close()
	came := uint64(0)
	for e, err := range c.ConsumeSpace(t.Context(), uuid.Nil, "space", nil, time.Time{}) {
		if err != nil {
			require.ErrorIs(t, err, streamhub.ErrUnavailable)
			break
		}
		if came++; came == 1 {
			_, err := c.Spaces(t.Context(), uuid.Nil) // the server does not answer, so this lasts until the connection ends
			require.ErrorIs(t, err, streamhub.ErrUnavailable)
		}
		require.Equal(t, came, e.Sequence)
	}
	require.EqualValues(t, sent, came)
}
