package wire_test

import (
	"encoding/binary"
	"runtime"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/wire"
)

// allocated is how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// counts returns head, a count that the rest of the body could just hold, and the rest.
func counts(head []byte, n int, rest []byte) []byte {
	return append(binary.AppendUvarint(head, uint64(n)), rest...)
}

// TestCounts decodes bodies whose counts promise as many elements as fit: what is allocated follows
// from the elements that are there.
func TestCounts(t *testing.T) {
	id := uuid.New()
	open := func(op wire.Op, rest ...byte) []byte { return append(append([]byte{byte(op)}, id[:]...), rest...) }
	noTrace := []byte{0, 0} // credit, trace
	appendHead := open(wire.OpAppend, append(append([]byte{0, 0, 1, 's', 1, 's', 0}, id[:]...), 0, 0, 0, 0)...)
	// The first element is cut off at its second byte: nothing else may be allocated for it.
	broken := func(n int) []byte {
		b := make([]byte, n)
		for i := range b[1:32] {
			b[1+i] = 0xff
		}
		return b
	}
	const large = 16 << 20
	for name, body := range map[string][]byte{
		"trace":     counts(open(wire.OpSpaces, 0), large/2, broken(large)),
		"cursors":   counts(open(wire.OpConsume, append(noTrace, 0, 0, 0, 0, 0, 0)...), large/2, broken(large)),
		"worker":    counts(append(open(wire.OpJoinWorkers, noTrace...), id[:]...), large/2, broken(large)),
		"metadata":  counts(append(appendHead, 1), large/2, broken(large)),
		"records":   counts(appendHead, streamhub.MaxFrameRecords, broken(large)),
		"unlimited": counts(appendHead, 1<<62, broken(large)),
	} {
		bytes := allocated(func() {
			_, err := wire.DecodeOpen(body)
			require.ErrorIs(t, err, wire.ErrMalformed, name)
		})
		require.Less(t, bytes, uint64(64<<10), name)
	}
	const most = 512 << 10
	for n, want := range map[int]error{most: nil, most + 1: streamhub.ErrTooLarge} {
		_, err := wire.DecodeOpen(counts(open(wire.OpSpaces, 0), n, make([]byte, 2*n)))
		require.ErrorIs(t, err, want, "%d pairs", n)
	}
	for name, f := range map[string]func(b []byte) error{
		"entries": func(b []byte) error { _, err := wire.DecodeEntries(b); return err },
		"workers": func(b []byte) error { _, err := wire.DecodeWorkers(b); return err },
	} {
		body := counts(nil, large/18, broken(large))
		bytes := allocated(func() { require.Error(t, f(body), name) })
		require.Less(t, bytes, uint64(128<<10), name)
	}

	// Whole elements, as small as they can be and as many as fit.
	pairs := make([]byte, 0, large)
	n := 0
	for ; len(pairs) < large-8; n++ {
		pairs = append(pairs, 3, byte(n), byte(n>>8), byte(n>>16), 0)
	}
	body := counts(open(wire.OpSpaces, 0), n, pairs)
	bytes := allocated(func() {
		_, err := wire.DecodeOpen(body)
		require.ErrorIs(t, err, streamhub.ErrTooLarge)
	})
	require.Less(t, bytes, uint64(128<<20))
}
