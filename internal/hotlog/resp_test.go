package hotlog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
)

// reply is what Redis sends for these entries of a log.
func reply(entries ...[3]string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(entries))
	for _, e := range entries {
		fmt.Fprintf(&b, "*2\r\n$%d\r\n%s\r\n*2\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", len(e[0]), e[0], len(e[1]), e[1], len(e[2]), e[2])
	}
	return b.String()
}

func parseReply(raw string) ([]frame, error) {
	cmd := newRange(context.Background(), "log", "-", "+", 1, 0)
	_, _ = cmd.buf.Write([]byte(raw))
	return (&Log{}).frames(context.Background(), cmd)
}

func TestFrames(t *testing.T) {
	data := string(appendFrame(nil, uuid.Nil, part{uuid.New(), 1, appendRecord(nil, &streamhub.Record{Payload: []byte("x\r\n")})}))
	frames, err := parseReply(reply([3]string{"1-10", "1", data}, [3]string{"2-11", "2", data}))
	require.NoError(t, err)
	require.Len(t, frames, 2)
	require.EqualValues(t, 2, frames[1].last)
	require.EqualValues(t, 11, frames[1].timestamp)
	require.EqualValues(t, 2, frames[1].number)
	frames, err = parseReply("*0\r\n")
	require.NoError(t, err)
	require.Empty(t, frames)
	good := reply([3]string{"1-10", "1", data})
	for n := range good {
		_, err := parseReply(good[:n])
		require.ErrorIs(t, err, streamhub.ErrCorrupt, "cut to %d bytes", n)
	}
	for _, bad := range []string{
		good + "x", "+OK\r\n", "*-1\r\n", "*1\r\n*3\r\n", "*999999999999999999999\r\n", "*1099511627776\r\n", "$3\r\nabc\r\n",
		reply([3]string{"x-10", "1", data}), reply([3]string{"1", "1", data}), reply([3]string{"1-10", "x", data}),
	} {
		_, err := parseReply(bad)
		require.ErrorIs(t, err, streamhub.ErrCorrupt, "%.60q", bad)
	}
}

func FuzzFrames(f *testing.F) {
	data := string(appendFrame(nil, uuid.Nil, part{uuid.New(), 1, appendRecord(nil, &streamhub.Record{Payload: []byte("x")})}))
	f.Add(reply([3]string{"1-10", "1", data}))
	f.Add("*0\r\n")
	f.Add("*2\r\n$-1\r\n")
	f.Add("")
	f.Fuzz(func(t *testing.T, raw string) {
		if strings.HasPrefix(raw, "-") {
			return // an error reply is asked for again
		}
		if _, err := parseReply(raw); err != nil && !errors.Is(err, streamhub.ErrCorrupt) {
			t.Fatal(err)
		}
	})
}

// TestAppendReply: a reply that the driver has decoded is decoded again as the bytes that Redis sent.
func TestAppendReply(t *testing.T) {
	data := string(appendFrame(nil, uuid.Nil, part{uuid.New(), 1, appendRecord(nil, &streamhub.Record{Payload: []byte("x\r\n")})}))
	raw, err := appendReply(nil, []any{
		[]any{"1-10", []any{"1", data}},
		[]any{"2-11", []any{"2", data}},
	})
	require.NoError(t, err)
	require.Equal(t, reply([3]string{"1-10", "1", data}, [3]string{"2-11", "2", data}), string(raw))
	raw, err = appendReply(nil, []any{})
	require.NoError(t, err)
	require.Equal(t, "*0\r\n", string(raw))
	_, err = appendReply(nil, []any{int64(1)})
	require.ErrorIs(t, err, streamhub.ErrCorrupt)
}
