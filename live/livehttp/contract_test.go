package livehttp_test

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/livestream/livetest"
	"github.com/seed-147127fe/streamhub/internal/testredis"
	"github.com/seed-147127fe/streamhub/live"
	"github.com/seed-147127fe/streamhub/live/livehttp"
)

// notOffered are the cases of the contract, and the options, that the API over HTTP does not have.
var notOffered = map[string]string{
	"CancelUnwatched":             "no gateway counts the readers for a producer that it does not keep",
	"IdleTTL":                     "it is counted by the process of the producer",
	"ManagerCloses":               "a producer that goes is lost once it was silent for long enough, which RemoteSilent holds",
	"RemoteKeys":                  "a message has no key; RegisterByKey holds the key of a registration",
	"RegisterOptions.ContentType": "chunks are text or bytes in the events of every stream",
	"RegisterOptions.EndedTTL":    "it is the operator's, and the same for all producers",
	"SendOptions.Key":             "a sender that repeats a message names a question with once",
}

// subjectHeader carries the subject of a request, which the token of a client names elsewhere.
const subjectHeader = "Test-Subject"

// TestContract holds the API over HTTP to the contract of live streams. Each instance of a case is a gateway of its own.
func TestContract(t *testing.T) {
	livetest.RunOutside(t, slices.Collect(maps.Keys(notOffered)), func(t *testing.T, store uuid.UUID, space string, o *live.Options) livetest.Outside {
		conn := redis.NewClient(&redis.Options{Addr: testredis.Shared(t).Addr(), ContextTimeoutEnabled: true})
		t.Cleanup(func() { _ = conn.Close() })
		h, err := hub.Open(t.Context(), conn, &hub.Options{Live: o, SweepEvery: -1})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, h.Close()) })
		streams := func(id uuid.UUID, space string) live.Streams { return h.Store(id).Live(space) }
		handler := livehttp.New(t.Context(), streams, &livehttp.Options{
			Authorize: func(r *http.Request, _ streamhub.Right) (string, error) { return r.Header.Get(subjectHeader), nil },
		})
		server := httptest.NewServer(handler)
		c := newClient(server.URL, store, space, streams(store, space).Remove)
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), goodbye)
			defer cancel()
			require.NoError(t, c.Close())
			require.NoError(t, handler.Shutdown(ctx))
			server.Close()
		})
		return livetest.Outside{Streams: c, Close: c.Close}
	})
}
