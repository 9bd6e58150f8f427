package streamhub_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
)

func TestLexKey(t *testing.T) {
	e := &streamhub.Entry{Space: "sp", Segment: "sg", Sequence: 258, Timestamp: time.UnixMilli(1700000000000)}
	require.Equal(t, "44415400535041434553007370008000018bcfe5680000736700"+"0000000000000102",
		hex.EncodeToString(e.GetSpaceOffset()))
	require.Equal(t, "444154005345474d454e545300737000736700"+"0000000000000102", hex.EncodeToString(e.GetSegmentOffset()))

	text, err := json.Marshal(e.GetSpaceOffset())
	require.NoError(t, err)
	var back streamhub.LexKey
	require.NoError(t, json.Unmarshal(text, &back))
	require.Equal(t, e.GetSpaceOffset(), back)
	require.NoError(t, json.Unmarshal([]byte("null"), &back))
	require.Empty(t, back)
	require.Error(t, json.Unmarshal([]byte(`"xyz"`), &back))
	require.Panics(t, func() { streamhub.Encode(1.5i) })

	for _, pair := range [][2]any{
		{int64(-1), int64(0)}, {-5, 7}, {uint64(9), uint64(10)}, {"a", "b"}, {[]byte{1}, []byte{2}},
		{time.Unix(1, 0), time.Unix(2, 0)}, {uuid.Nil, uuid.Max},
	} {
		require.Negative(t, bytes.Compare(streamhub.Encode("x", pair[0]), streamhub.Encode("x", pair[1])), "%v", pair)
	}
}
