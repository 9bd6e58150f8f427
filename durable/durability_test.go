package durable_test

import (
	"net/http"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub/internal/testredis"
)

// TestDurabilityHeader asks for replicas that are not there: the append is stored, says so, and is not called a success,
// however often and through whichever gateway it is repeated.
func TestDurabilityHeader(t *testing.T) {
	t.Parallel()
	server := testredis.Shared(t)
	g, other := start(t, server.URL(), nil), start(t, server.URL(), nil)
	path := "/stores/" + uuid.NewString() + "/v1/stream/s"
	g.put(t, path, text, "1")
	level := func(seq int, value string) []string {
		return append(producer("p", 0, seq), "Content-Type", text, "Streamhub-Durability", value)
	}
	for _, gateway := range []*gateway{g, g, other} {
		r := gateway.must(t, http.StatusServiceUnavailable, http.MethodPost, path, "2", level(0, "replicas=1, timeout=10ms")...)
		require.Equal(t, "1", r.header.Get("Retry-After"))
		require.JSONEq(t, `{"code":"not_confirmed","next_offset":"`+r.header.Get("Stream-Next-Offset")+`"}`, r.body)
		require.Equal(t, r.header.Get("Stream-Next-Offset"), g.must(t, http.StatusOK, http.MethodHead, path, "").header.Get("Stream-Next-Offset"))
	}
	require.Equal(t, "12", g.get(t, path).body, "it is stored once")
	g.must(t, http.StatusNoContent, http.MethodPost, path, "2", append(producer("p", 0, 0), "Content-Type", text)...) // who does not ask

	g.must(t, http.StatusBadRequest, http.MethodPost, path, "3", "Content-Type", text, "Streamhub-Durability", "replicas=1") // cannot be repeated
	g.must(t, http.StatusBadRequest, http.MethodPost, path, "3", level(1, "disk")...)
	require.Equal(t, "12", g.get(t, path).body)
}
