package client_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/client"
)

// TestWriter loads records over connections that break again and again: each is stored once, in
// order, in few appends.
func TestWriter(t *testing.T) {
	h := embedded(t)
	proxy, address := proxied(t, serve(t, h, nil), 1)
	s := connect(t, dial(t, nil, address), quick).Store(uuid.New())
	w := s.NewWriter(t.Context(), "space", "seg", &client.WriterOptions{Records: 50})
	const records = 5000
	payload := make([]byte, 0, 16)
	for i := range records {
		payload = fmt.Append(payload[:0], i) // the writer keeps a copy
		require.NoError(t, w.Write(streamhub.Record{Payload: payload, Metadata: map[string]string{"n": string(payload)}}))
		if i%500 == 250 {
			proxy.CutAll()
		}
	}
	require.NoError(t, w.Flush())
	status, err := s.Status(t.Context(), "space", "seg")
	require.NoError(t, err)
	require.EqualValues(t, records, status.LastSequence)
	require.NoError(t, w.Write(streamhub.Record{Payload: []byte("last")}))
	written, err := w.Close()
	require.NoError(t, err)
	require.EqualValues(t, client.Written{Records: records + 1, First: 1, Last: records + 1, Cursor: written.Cursor}, written)

	n, numbers := 0, map[uint64]bool{}
	for e, err := range s.ConsumeSegment(t.Context(), "space", "seg", nil) {
		require.NoError(t, err)
		if n < records {
			require.Equal(t, fmt.Sprint(n), string(e.Payload))
			require.Equal(t, map[string]string{"n": fmt.Sprint(n)}, e.Metadata)
		}
		n++
		numbers[e.TRX.Number] = true
	}
	require.Equal(t, records+1, n)
	require.Len(t, numbers, records/50+1)

	again, err := w.Close()
	require.NoError(t, err)
	require.Equal(t, written, again)
	require.ErrorIs(t, w.Write(streamhub.Record{}), streamhub.ErrShutdown)
	require.NoError(t, w.Flush())
}

func TestWriterLimits(t *testing.T) {
	s := connect(t, embedded(t).Provider(), nil).Store(uuid.New())
	w := s.NewWriter(t.Context(), "space", "seg", &client.WriterOptions{Bytes: 100})
	for _, size := range []int{60, 60, 40, 500, 1} {
		require.NoError(t, w.Write(streamhub.Record{Payload: make([]byte, size)}))
	}
	require.ErrorIs(t, w.Write(streamhub.Record{Sequence: 1}), streamhub.ErrInvalidArgument)
	_, err := w.Close()
	require.NoError(t, err)
	var appends []uint64
	for e, err := range s.ConsumeSegment(t.Context(), "space", "seg", nil) {
		require.NoError(t, err)
		appends = append(appends, e.TRX.Number)
	}
	require.Equal(t, []uint64{1, 2, 2, 3, 4}, appends)

	empty, err := s.NewWriter(t.Context(), "space", "none", nil).Close()
	require.NoError(t, err)
	require.Zero(t, empty)
}

// TestWriterFails: the first error ends it, and what was stored before is told.
func TestWriterFails(t *testing.T) {
	s := connect(t, embedded(t).Provider(), nil).Store(uuid.New())
	w := s.NewWriter(t.Context(), "space", "seg", &client.WriterOptions{Records: 1, Generation: 2})
	require.NoError(t, w.Write(streamhub.Record{Payload: []byte("a")}))
	require.NoError(t, w.Flush())
	_, err := s.Append(t.Context(), "space", "seg", []streamhub.Record{{Payload: []byte("b")}}, &streamhub.AppendOptions{Generation: 3})
	require.NoError(t, err)
	require.NoError(t, w.Write(streamhub.Record{Payload: []byte("c")}))
	require.ErrorIs(t, w.Flush(), streamhub.ErrFenced)
	require.ErrorIs(t, w.Write(streamhub.Record{Payload: []byte("d")}), streamhub.ErrFenced)
	written, err := w.Close()
	require.ErrorIs(t, err, streamhub.ErrFenced)
	require.EqualValues(t, 1, written.Records)
	require.EqualValues(t, 1, written.Last)

	ctx, cancel := context.WithCancel(t.Context())
	w = s.NewWriter(ctx, "space", "seg", nil)
	require.NoError(t, w.Write(streamhub.Record{Payload: []byte("e")}))
	cancel()
	_, err = w.Close()
	require.ErrorIs(t, err, context.Canceled)
}
