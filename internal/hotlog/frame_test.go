package hotlog

import (
	"encoding/binary"
	"maps"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
)

// sample makes a frame of random parts, and the entries that it must decode to.
func sample(random *rand.Rand) (data []byte, entries []streamhub.Entry) {
	node := uuid.Nil
	if random.IntN(2) == 0 {
		node = uuid.New()
	}
	parts := make([]part, 1+random.IntN(4))
	sequence := uint64(100)
	for i := range parts {
		p := &parts[i]
		p.id = uuid.New()
		p.records = 1 + random.IntN(5)
		for range p.records {
			sequence++
			e := streamhub.Entry{
				Sequence: sequence, Timestamp: time.UnixMilli(1234).UTC(),
				TRX:     streamhub.TRX{ID: p.id, Node: node, Number: 50 - uint64(len(parts)-1-i)},
				Payload: make([]byte, random.IntN(300)),
			}
			e.Position.Sequence, e.Position.Proof = sequence, proofOf(p.id)
			for j := range e.Payload {
				e.Payload[j] = byte(random.Uint32())
			}
			if n := random.IntN(4); n > 0 {
				e.Metadata = map[string]string{}
				for range n {
					e.Metadata[strings.Repeat("k", random.IntN(200))] = strings.Repeat("v", random.IntN(200))
				}
			}
			p.body = appendRecord(p.body, &streamhub.Record{Payload: e.Payload, Metadata: e.Metadata})
			entries = append(entries, e)
		}
	}
	return appendFrame(nil, node, parts...), entries
}

func decoded(t testing.TB, f *frame, from, to uint64) []streamhub.Entry {
	t.Helper()
	var entries []streamhub.Entry
	goOn, err := f.entries(&streamhub.Entry{}, from, to, func(e *streamhub.Entry) bool {
		entries = append(entries, *e)
		return true
	})
	require.NoError(t, err)
	require.True(t, goOn)
	return entries
}

func TestFrameRoundTrip(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		data, want := sample(random)
		last := want[len(want)-1].Sequence
		f, err := parseFrame(last, 50, 1234, data)
		require.NoError(t, err)
		require.Equal(t, want[0].Sequence, f.first())
		require.Equal(t, want, decoded(t, &f, 0, math.MaxUint64))
		from := random.IntN(len(want))
		to := from + random.IntN(len(want)-from)
		require.Equal(t, want[from:to+1], decoded(t, &f, want[from].Sequence, want[to].Sequence))
		proof, err := f.proof(want[from].Sequence)
		require.NoError(t, err)
		require.Equal(t, want[from].Position.Proof, proof)
	}
}

func TestFrameStops(t *testing.T) {
	data, want := sample(rand.New(rand.NewPCG(3, 4)))
	f, err := parseFrame(want[len(want)-1].Sequence, 50, 0, data)
	require.NoError(t, err)
	for stop := 1; stop <= len(want); stop++ {
		n := 0
		goOn, err := f.entries(&streamhub.Entry{}, 0, math.MaxUint64, func(*streamhub.Entry) bool {
			n++
			return n < stop
		})
		require.NoError(t, err)
		require.False(t, goOn)
		require.Equal(t, stop, n)
	}
}

// TestFrameFlips shows that no single byte of a frame can change unnoticed.
func TestFrameFlips(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	for range 20 {
		data, want := sample(random)
		last := want[len(want)-1].Sequence
		for i := range data {
			for _, flip := range []byte{1, 0x80, byte(1 + random.IntN(255))} {
				data[i] ^= flip
				_, err := parseFrame(last, 50, 0, data)
				require.ErrorIs(t, err, streamhub.ErrCorrupt, "byte %d", i)
				data[i] ^= flip
			}
		}
		for n := range data {
			_, err := parseFrame(last, 50, 0, data[:n])
			require.ErrorIs(t, err, streamhub.ErrCorrupt, "cut to %d bytes", n)
		}
		_, err := parseFrame(last, 50, 0, append(data, 0))
		require.ErrorIs(t, err, streamhub.ErrCorrupt)
	}
}

// TestFramePlace refuses a frame that cannot lie where it does.
func TestFramePlace(t *testing.T) {
	body := appendRecord(appendRecord(nil, &streamhub.Record{}), &streamhub.Record{})
	two := appendFrame(nil, uuid.Nil, part{uuid.New(), 2, body})
	_, err := parseFrame(1, 1, 0, two)
	require.ErrorIs(t, err, streamhub.ErrCorrupt, "two records cannot end at sequence 1")
	_, err = parseFrame(2, 0, 0, two)
	require.ErrorIs(t, err, streamhub.ErrCorrupt, "one append has a number")
	_, err = parseFrame(2, 1, 0, appendFrame(nil, uuid.Nil, part{id: uuid.New()}))
	require.ErrorIs(t, err, streamhub.ErrCorrupt, "a stored frame holds records")
}

func TestRecordBytes(t *testing.T) {
	for _, r := range []streamhub.Record{
		{}, {Payload: make([]byte, 1<<20)}, {Metadata: map[string]string{"": ""}},
		{Payload: make([]byte, 200), Metadata: map[string]string{strings.Repeat("k", 1<<15): strings.Repeat("v", 1<<15)}},
	} {
		require.LessOrEqual(t, len(appendRecord(nil, &r)), recordBytes(&r))
	}
}

// resum puts the right checksum on a frame, so that what lies after the check is reached.
func resum(data []byte) []byte {
	if len(data) < frameHeader {
		return data
	}
	data = append([]byte(nil), data...)
	binary.LittleEndian.PutUint32(data[checksumOffset:], frameSum(data))
	return data
}

func FuzzFrame(f *testing.F) {
	random := rand.New(rand.NewPCG(7, 8))
	for range 10 {
		data, entries := sample(random)
		f.Add(data, entries[len(entries)-1].Sequence, uint64(50), entries[0].Sequence, uint64(math.MaxUint64))
	}
	f.Add([]byte{}, uint64(0), uint64(0), uint64(0), uint64(0))
	f.Fuzz(func(t *testing.T, data []byte, last, number, from, to uint64) {
		for _, data := range [][]byte{data, resum(data)} {
			fr, err := parseFrame(last, number, 0, data)
			if err != nil {
				require.ErrorIs(t, err, streamhub.ErrCorrupt)
				continue
			}
			var seen uint64
			n := 0
			_, err = fr.entries(&streamhub.Entry{}, from, to, func(e *streamhub.Entry) bool {
				require.True(t, e.Sequence >= from && e.Sequence <= to && e.Sequence > seen && e.Sequence <= last)
				require.LessOrEqual(t, len(e.Payload), len(data))
				seen = e.Sequence
				n++
				return true
			})
			require.LessOrEqual(t, n, fr.records)
			if err != nil {
				require.ErrorIs(t, err, streamhub.ErrCorrupt)
			}
			_, _ = fr.proof(from)
		}
	})
}

// FuzzRecord shows that what is encoded is what is decoded.
func FuzzRecord(f *testing.F) {
	f.Add([]byte("payload"), "key", "value", "", "", true)
	f.Add([]byte{}, "", "", "a", "b", false)
	f.Fuzz(func(t *testing.T, payload []byte, k1, v1, k2, v2 string, node bool) {
		metadata := map[string]string{k1: v1, k2: v2}
		r := streamhub.Record{Payload: payload, Metadata: metadata}
		n := uuid.Nil
		if node {
			n = uuid.New()
		}
		id, other := uuid.New(), uuid.New()
		body := appendRecord(nil, &r)
		data := appendFrame(nil, n, part{other, 2, append(body[:len(body):len(body)], body...)}, part{id, 1, body})
		fr, err := parseFrame(3, 2, 7, data)
		require.NoError(t, err)
		entries := decoded(t, &fr, 0, math.MaxUint64)
		require.Len(t, entries, 3)
		for i, e := range entries {
			require.Equal(t, string(payload), string(e.Payload))
			require.True(t, maps.Equal(metadata, e.Metadata))
			require.Equal(t, n, e.TRX.Node)
			require.Equal(t, uint64(i+1), e.Sequence)
		}
		require.Equal(t, other, entries[1].TRX.ID)
		require.Equal(t, id, entries[2].TRX.ID)
	})
}

// BenchmarkFrame is the codec alone: a frame of 100 records of 100 bytes.
func BenchmarkFrame(b *testing.B) {
	record := streamhub.Record{Payload: make([]byte, 100)}
	const records = 100
	var data []byte
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			p := part{id: uuid.UUID{1}, records: records}
			for range records {
				p.body = appendRecord(p.body, &record)
			}
			data = appendFrame(data[:0], uuid.UUID{2}, p)
		}
		b.SetBytes(int64(len(data)))
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			f, err := parseFrame(records, 1, 1, data)
			if err != nil {
				b.Fatal(err)
			}
			n := 0
			if _, err := f.entries(&streamhub.Entry{}, 0, math.MaxUint64, func(*streamhub.Entry) bool { n++; return true }); err != nil || n != records {
				b.Fatal(n, err)
			}
		}
	})
}
