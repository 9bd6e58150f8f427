package archive

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
)

func sampleChunk() *Chunk {
	return &Chunk{
		Space: SpaceID{uuid.Max, "space"}, Segment: "segment", Incarnation: 7, Window: 3, Attempt: 4,
		FirstTRX: uuid.Max, LastTRX: uuid.NameSpaceDNS,
		Frames: []Frame{
			{Last: 12, Records: 2, Number: 9, Timestamp: 1_700_000_000_000, Data: []byte("first")},
			{Last: 13, Records: 1, Number: 11, Timestamp: 1_700_000_000_005},
		},
	}
}

func sampleWindow() *Window {
	return &Window{
		Space: SpaceID{uuid.Max, "space"}, Number: 2, Attempt: 9, After: streamhub.TimelineID{MS: 5, N: 1}, To: streamhub.TimelineID{MS: 7, N: 0},
		Changes: []Change{
			{ID: streamhub.TimelineID{MS: 5, N: 2}, Segment: "a", Kind: 'a', Last: 3, Records: 3},
			{ID: streamhub.TimelineID{MS: 5, N: 2}, Index: 1, Segment: "b", Kind: 'c', Last: 8},
			{ID: streamhub.TimelineID{MS: 7, N: 0}, Segment: "a", Kind: 'a', Last: 4, Records: 1},
		},
		Parts: []Part{
			{Segment: "a", Incarnation: 1, Proof: 6, Chunks: []Range{{1, 3, 5, 5}, {4, 4, 7, 7}}, Meta: []byte("meta")},
			{Segment: "b", Incarnation: 2, Meta: []byte{}},
		},
		Meta: []byte("of the space"),
	}
}

func TestObjects(t *testing.T) {
	c := sampleChunk()
	b, err := c.Encode()
	require.NoError(t, err)
	got, err := DecodeChunk(b)
	require.NoError(t, err)
	got.Frames[1].Data = nil
	require.Equal(t, c, got)
	_, err = DecodeWindow(b)
	require.ErrorIs(t, err, streamhub.ErrCorrupt, "of another kind")
	for n := range b {
		_, err := DecodeChunk(b[:n])
		require.ErrorIs(t, err, streamhub.ErrCorrupt, "cut off after %d bytes", n)
	}
	w := sampleWindow()
	b, err = w.Encode()
	require.NoError(t, err)
	back, err := DecodeWindow(b)
	require.NoError(t, err)
	require.Equal(t, w, back)
	w.Meta = nil // as former archivers wrote it
	b, err = w.Encode()
	require.NoError(t, err)
	back, err = DecodeWindow(b)
	require.NoError(t, err)
	require.Equal(t, w, back)
}

// TestBomb unfolds to more than it says.
func TestBomb(t *testing.T) {
	b, err := sealObject(kindChunk, nil, make([]byte, maxBody))
	require.NoError(t, err)
	require.Less(t, len(b), 10_000)
	_, err = DecodeChunk(b)
	require.ErrorIs(t, err, streamhub.ErrCorrupt)
	_, err = sealObject(kindChunk, nil, make([]byte, maxBody+1))
	require.ErrorIs(t, err, streamhub.ErrTooLarge)
}

func TestNames(t *testing.T) {
	long := string(bytes.Repeat([]byte{0xff}, streamhub.MaxNameLength))
	for _, name := range []string{"a", "A", "..", "a/b", "\x00", "%2e", long} {
		back, ok := DecodeName(EncodeName(name))
		require.True(t, ok)
		require.Equal(t, name, back)
		id := SpaceID{uuid.Max, name}
		parsed, ok := ParseSpaceID(id.Text())
		require.True(t, ok)
		require.Equal(t, id, parsed)
		n := chunkName{segmentText(name), 1, Range{2, 3, 4, 5}, 6, 7}
		require.LessOrEqual(t, len(n.key()), 512)
		parsedName, ok := parseChunkKey(n.key())
		require.True(t, ok)
		require.Equal(t, n, parsedName)
	}

	// Long names become digests, which no short name is written as.
	require.NotEqual(t, segmentText(long), segmentText(long[1:]))
	require.Len(t, segmentText(long), len(segmentText(long[1:])))
	for _, text := range []string{"Z", "Z00", "ZZ", "W", EncodeName(long), "Z" + EncodeName(long)} {
		require.False(t, isSegmentText(text), text)
	}
}

// FuzzName wants one key for one name, of harmless characters only, in the order of the names.
func FuzzName(f *testing.F) {
	f.Add("a", "b")
	f.Add("../x", "..\\x")
	f.Fuzz(func(t *testing.T, a, b string) {
		x, y := EncodeName(a), EncodeName(b)
		if (a == b) != (x == y) || (a < b) != (x < y) {
			t.Fatalf("%q and %q become %q and %q", a, b, x, y)
		}
		for _, c := range []byte(x) {
			if (c < '0' || c > '9') && (c < 'A' || c > 'V') {
				t.Fatalf("%q becomes %q", a, x)
			}
		}
		if back, ok := DecodeName(x); !ok || back != a {
			t.Fatalf("%q comes back as %q", a, back)
		}
	})
}

// FuzzObject reads descriptions and bodies with a valid checksum.
func FuzzObject(f *testing.F) {
	for _, kind := range []byte{kindChunk, kindWindow} {
		b, err := sampleChunk().Encode()
		if kind == kindWindow {
			b, err = sampleWindow().Encode()
		}
		if err != nil {
			f.Fatal(err)
		}
		description, body, err := openObject(kind, b)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(kind, description, body)
	}
	f.Fuzz(func(t *testing.T, kind byte, description, body []byte) {
		b, err := sealObject(kind, description, body)
		if err != nil {
			return
		}
		again := func(encoded []byte, err error) {
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := openObject(kind, encoded); err != nil {
				t.Fatal(err)
			}
		}
		if c, err := DecodeChunk(b); err == nil {
			again(c.Encode())
		} else if !errors.Is(err, streamhub.ErrCorrupt) {
			t.Fatal(err)
		}
		if w, err := DecodeWindow(b); err == nil {
			again(w.Encode())
		} else if !errors.Is(err, streamhub.ErrCorrupt) {
			t.Fatal(err)
		}
	})
}

// FuzzOpen reads anything.
func FuzzOpen(f *testing.F) {
	b, _ := sampleChunk().Encode()
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := DecodeChunk(b); err != nil && !errors.Is(err, streamhub.ErrCorrupt) {
			t.Fatal(err)
		}
	})
}
