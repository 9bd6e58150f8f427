package hotlog

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// Frames are decoded in place, in the bytes that Redis sent: the driver would turn each stream entry into a map, which
// costs more than the rest of a replay.

// A rangeCmd is an XRANGE whose reply is read as it comes into one buffer. The driver sends it again as any other
// command that reads, which it would not do with a [redis.RawWriteToCmd]: it cannot know that the writer starts over.
type rangeCmd struct {
	*redis.RawWriteToCmd
	buf *replyBuffer
}

// NoRetry lets the driver send the command again after a lost connection.
func (rangeCmd) NoRetry() bool { return false }

// newRange makes the command that reads count entries of a stream. size is the approximate size of the reply in bytes,
// 0 if it is unknown.
func newRange(ctx context.Context, stream, from, to string, count, size int) rangeCmd {
	buf := &replyBuffer{count: count, size: size}
	return rangeCmd{redis.NewRawWriteToCmd(ctx, buf, "xrange", stream, from, to, "count", buf), buf}
}

// newLast makes the command that reads the last entry of a stream.
func newLast(ctx context.Context, stream string) rangeCmd {
	buf := &replyBuffer{count: 1}
	return rangeCmd{redis.NewRawWriteToCmd(ctx, buf, "xrevrange", stream, "+", "-", "count", buf), buf}
}

// A replyBuffer holds a reply. It is also the last argument of its command, COUNT: the driver asks for its bytes each time
// it writes the command, so that a reply that was cut off is forgotten when the next one begins.
type replyBuffer struct {
	// b has the bytes received so far. After the last byte it does not change any more: entries are decoded in place
	// and share it.
	b []byte
	// count is the argument of COUNT. size is what the reply is expected to have, in bytes, and spares growing b step
	// by step; 0 if unknown.
	count int
	size  int
}

// MarshalBinary implements [encoding.BinaryMarshaler]. The memory of a reply that was cut off is used again: no reply
// is decoded before the driver is done with its command.
func (r *replyBuffer) MarshalBinary() ([]byte, error) {
	r.b = r.b[:0]
	return strconv.AppendInt(nil, int64(r.count), 10), nil
}

// String is for hooks.
func (r *replyBuffer) String() string { return strconv.Itoa(r.count) }

// grow makes room for n more bytes.
func (r *replyBuffer) grow(n int) {
	if r.b == nil {
		r.b = make([]byte, 0, max(r.size, n+64))
	}
	r.b = slices.Grow(r.b, n)
}

// Write implements [io.Writer].
func (r *replyBuffer) Write(p []byte) (int, error) {
	r.grow(len(p))
	r.b = append(r.b, p...)
	return len(p), nil
}

// ReadFrom implements [io.ReaderFrom]: the driver's copy of a string reads into the buffer itself.
func (r *replyBuffer) ReadFrom(from io.Reader) (int64, error) {
	// The length comes from the wire and is allocated before the bytes are there, so it is bounded.
	limited, ok := from.(*io.LimitedReader)
	if !ok || limited.N > maxBulk {
		return 0, fmt.Errorf("%w: a reply with a string of unknown length", streamhub.ErrCorrupt)
	}
	r.grow(int(limited.N))
	n, err := io.ReadFull(from, r.b[len(r.b):len(r.b)+int(limited.N)])
	r.b = r.b[:len(r.b)+n]
	return int64(n), err
}

// maxBulk is the longest string that Redis has unless it was told otherwise, with the line end.
const maxBulk = 512<<20 + 2

// reply returns the reply to a raw reading command. The driver passes an error reply to such a command on like any
// other, even one that says where a slot has moved. The command is then sent once more in a form that the driver
// handles.
func (l *Log) reply(ctx context.Context, cmd rangeCmd) ([]byte, error) {
	if err := cmd.Err(); err != nil {
		return nil, redisx.ReadOutcome(err)
	}
	raw := cmd.buf.b
	if cap(raw) > 2*len(raw) {
		raw = bytes.Clone(raw) // entries hold it for as long as they live
	}
	if len(raw) == 0 || raw[0] != '-' {
		return raw, nil
	}
	again := redis.NewCmd(ctx, cmd.Args()...)
	if err := l.conn.Process(ctx, again); err != nil {
		return nil, redisx.ReadOutcome(err)
	}
	return appendReply(nil, again.Val())
}

// appendReply writes arrays and bulk strings as Redis does: what the driver has parsed then goes through the same
// decoder as any other reply.
func appendReply(b []byte, v any) (_ []byte, err error) {
	switch v := v.(type) {
	case string:
		b = append(strconv.AppendInt(append(b, '$'), int64(len(v)), 10), "\r\n"...)
		return append(append(b, v...), "\r\n"...), nil
	case []any:
		b = append(strconv.AppendInt(append(b, '*'), int64(len(v)), 10), "\r\n"...)
		for i := range v {
			if b, err = appendReply(b, v[i]); err != nil {
				return nil, err
			}
		}
		return b, nil
	}
	return nil, fmt.Errorf("%w: a reply that holds a %T", streamhub.ErrCorrupt, v)
}

// frames decodes the reply to a rangeCmd of a log.
func (l *Log) frames(ctx context.Context, cmd rangeCmd) ([]frame, error) {
	raw, err := l.reply(ctx, cmd)
	if err != nil {
		return nil, err
	}
	p := respParser{b: raw}
	n := p.array()
	// n comes from the reply itself: a damaged reply must not cause an allocation for entries that it does not have.
	frames := make([]frame, 0, min(n, 1<<16))
	for range n {
		// An entry is its id and its fields. A frame is one field, so these are two strings.
		if p.array() != 2 {
			return nil, p.error()
		}
		id := p.bulk()
		if p.array() != 2 {
			return nil, p.error()
		}
		number := p.bulk()
		data := p.bulk()
		if p.failed {
			return nil, p.error()
		}
		f, err := frameOf(text(id), text(number), data)
		if err != nil {
			return nil, err
		}
		frames = append(frames, f)
	}
	if p.failed || len(p.b) != 0 {
		return nil, p.error()
	}
	return frames, nil
}

// messageFrames is [Log.frames] for entries that the driver has parsed. A trim looks at two of them, where that costs
// little.
func messageFrames(messages []redis.XMessage) ([]frame, error) {
	frames := make([]frame, 0, len(messages))
	for _, m := range messages {
		for number, data := range m.Values {
			s, _ := data.(string)
			f, err := frameOf(m.ID, number, []byte(s))
			if err != nil {
				return nil, err
			}
			frames = append(frames, f)
		}
	}
	return frames, nil
}

// frameOf makes a frame of an entry of a log: its id is "<last sequence>-<timestamp>", its one
// field the TRX number of the last append.
func frameOf(id, number string, data []byte) (frame, error) {
	last, ts, _ := strings.Cut(id, "-")
	l, err1 := strconv.ParseUint(last, 10, 63)
	t, err2 := strconv.ParseInt(ts, 10, 64)
	n, err3 := strconv.ParseUint(number, 10, 63)
	if err1 != nil || err2 != nil || err3 != nil {
		return frame{}, fmt.Errorf("%w: log entry %q, field %q", streamhub.ErrCorrupt, id, number)
	}
	return parseFrame(l, n, t, data)
}

// text returns b as a string that shares its memory. b must not change as long as the string is used.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// A respParser reads arrays and bulk strings until it fails. From then on every method returns zeros, so that a
// caller may look at failed once for several of them. The strings share b.
type respParser struct {
	b      []byte
	failed bool
}

func (p *respParser) error() error {
	return fmt.Errorf("%w: a reply to XRANGE of another form", streamhub.ErrCorrupt)
}

// number reads "<kind><decimal>\r\n". A negative number fails: Redis writes null so, and no entry of a stream holds
// one.
func (p *respParser) number(kind byte) int {
	if p.failed || len(p.b) < 4 || p.b[0] != kind {
		p.failed = true
		return 0
	}
	n, i := 0, 1
	for ; i < len(p.b) && p.b[i] != '\r'; i++ {
		c := p.b[i] - '0'
		// A letter or a sign is above 9, since c is unsigned. 2^40 is more than any reply has, and leaves room for a
		// digit.
		if c > 9 || n > 1<<40 {
			p.failed = true
			return 0
		}
		n = n*10 + int(c)
	}
	if i == 1 || i+2 > len(p.b) {
		p.failed = true
		return 0
	}
	p.b = p.b[i+2:]
	return n
}

func (p *respParser) array() int { return p.number('*') }

func (p *respParser) bulk() []byte {
	n := p.number('$')
	if p.failed || n+2 > len(p.b) || !bytes.Equal(p.b[n:n+2], []byte("\r\n")) {
		p.failed = true
		return nil
	}
	// Its capacity ends with it: an append to one string must not write into the next.
	b := p.b[:n:n]
	p.b = p.b[n+2:]
	return b
}
