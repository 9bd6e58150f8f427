package streamkittest

import (
	"encoding/json"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

// An Entry is what the released client decodes.
type Entry struct {
	Sequence  uint64            `json:"sequence"`
	Timestamp int64             `json:"timestamp"`
	TRX       TRX               `json:"trx"`
	Payload   *[]byte           `json:"payload"`
	Metadata  map[string]string `json:"metadata"`
	Space     string            `json:"space"`
	Segment   string            `json:"segment"`
}

// A TRX names the chunk of an entry.
type TRX struct {
	ID     uuid.UUID `json:"id"`
	Node   uuid.UUID `json:"node"`
	Number uint64    `json:"number"`
}

// A Record is what the released client sends.
type Record struct {
	Sequence uint64            `json:"sequence"`
	Payload  []byte            `json:"payload"`
	Metadata map[string]string `json:"metadata,omitempty"`
}

// A Status is that of a segment.
type Status struct {
	Space          string `json:"space"`
	Segment        string `json:"segment"`
	FirstSequence  uint64 `json:"first_sequence"`
	FirstTimestamp int64  `json:"first_timestamp"`
	LastSequence   uint64 `json:"last_sequence"`
	LastTimestamp  int64  `json:"last_timestamp"`
	Heartbeat      bool   `json:"heartbeat"`
}

func decode[T any](t testing.TB, messages [][]byte) []T {
	t.Helper()
	list := make([]T, len(messages))
	for i, m := range messages {
		require.NoError(t, json.Unmarshal(m, &list[i]), "%s", m)
	}
	return list
}

// Produce sends records from sequence first on and returns the statuses and the error.
func (c *Client) Produce(store uuid.UUID, space, segment string, first uint64, payloads ...[]byte) ([]Status, string) {
	c.t.Helper()
	ch := c.Open(store, "produce", map[string]string{"space": space, "segment": segment})
	for i, p := range payloads {
		ch.Send(Record{Sequence: first + uint64(i), Payload: p})
	}
	ch.Close("")
	messages, problem := ch.Rest()
	return decode[Status](c.t, messages), problem
}

// Consume makes an operation that returns entries, and checks each as the released client does.
func (c *Client) Consume(store uuid.UUID, kind string, content any) []Entry {
	c.t.Helper()
	messages, problem := c.Open(store, kind, content).Rest()
	require.Empty(c.t, problem)
	entries := decode[Entry](c.t, messages)
	for i, e := range entries {
		require.NotEmpty(c.t, e.Space)
		require.NotEmpty(c.t, e.Segment)
		require.NotZero(c.t, e.Sequence)
		require.NotZero(c.t, e.Timestamp)
		require.NotNil(c.t, e.Payload, "%s", messages[i])
	}
	return entries
}

// Peek returns the bare answer.
func (c *Client) Peek(store uuid.UUID, space, segment string) (Entry, []byte) {
	c.t.Helper()
	ch := c.Open(store, "peek", map[string]string{"space": space, "segment": segment})
	message, ok := ch.Next()
	require.True(c.t, ok)
	ch.Close("")
	rest, problem := ch.Rest()
	require.Empty(c.t, rest)
	require.Empty(c.t, problem)
	return decode[Entry](c.t, [][]byte{message})[0], message
}

// Names lists spaces, or the segments of a space.
func (c *Client) Names(store uuid.UUID, space string) []string {
	c.t.Helper()
	kind, content := "get_spaces", map[string]string{}
	if space != "" {
		kind, content = "get_segments", map[string]string{"space": space}
	}
	messages, problem := c.Open(store, kind, content).Rest()
	require.Empty(c.t, problem)
	return decode[string](c.t, messages)
}

// A LeaseResult answers every operation on leases.
type LeaseResult struct {
	OK      bool   `json:"ok"`
	Message string `json:"message"`
}

// Lease makes an operation on a lease.
func (c *Client) Lease(store uuid.UUID, kind, key, holder string, seconds int64) LeaseResult {
	c.t.Helper()
	content := map[string]any{"key": key, "holder": holder}
	if kind != "lease_release" {
		content["ttl_seconds"] = seconds
	}
	messages, problem := c.Open(store, kind, content).Rest()
	require.Empty(c.t, problem)
	require.Len(c.t, messages, 1)
	return decode[LeaseResult](c.t, messages)[0]
}
