package hotlog

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"unsafe"

	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// Frames are read as the bytes that Redis sent and decoded where they lie: the driver's own form
// of a stream entry is a map, and costs more than everything else in a replay.

// rangeCmd makes the command that reads count frames of a log.
func rangeCmd(ctx context.Context, log string, from, to string, count int) *redis.RawCmd {
	return redis.NewRawCmd(ctx, "xrange", log, from, to, "count", count)
}

// reply returns what a raw command that reads was answered. To the driver an error reply to such a command is a reply like
// any other, even one that says where a slot has moved. So the command is then sent once more as one that the driver
// understands.
func (l *Log) reply(ctx context.Context, cmd *redis.RawCmd) ([]byte, error) {
	raw, err := cmd.Result()
	if err != nil {
		return nil, redisx.ReadOutcome(err)
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

// appendReply writes arrays and bulk strings as Redis does.
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

// frames decodes the reply to a rangeCmd.
func (l *Log) frames(ctx context.Context, cmd *redis.RawCmd) ([]frame, error) {
	raw, err := l.reply(ctx, cmd)
	if err != nil {
		return nil, err
	}
	p := respParser{b: raw}
	n := p.array()
	frames := make([]frame, 0, min(n, 1<<16))
	for range n {
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

// text is b as a string that shares its memory.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// A respParser reads arrays and bulk strings until it fails.
type respParser struct {
	b      []byte
	failed bool
}

func (p *respParser) error() error {
	return fmt.Errorf("%w: a reply to XRANGE of another form", streamhub.ErrCorrupt)
}

// number reads "<kind><decimal>\r\n".
func (p *respParser) number(kind byte) int {
	if p.failed || len(p.b) < 4 || p.b[0] != kind {
		p.failed = true
		return 0
	}
	n, i := 0, 1
	for ; i < len(p.b) && p.b[i] != '\r'; i++ {
		c := p.b[i] - '0'
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
	b := p.b[:n:n]
	p.b = p.b[n+2:]
	return b
}
