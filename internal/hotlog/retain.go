package hotlog

import (
	"context"
	_ "embed" // the script
	"fmt"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/millis"
	"github.com/seed-147127fe/streamhub/internal/redisx"
)

//go:embed lua/retain.lua
var retainLua string

var retainScript = redisx.NewScript(spell(headLua, retainLua)).AllowOOM()

// Retain lets a closed segment expire after ttl, and returns the deadline. A segment that already has a deadline keeps
// it, so the call may be repeated. The error is [streamhub.ErrConflict] if the segment is open.
func (s *Store) Retain(ctx context.Context, space, segment string, ttl time.Duration) (deadline time.Time, err error) {
	defer func() { err = s.fail("retain", space, segment, err) }()
	at, err := s.place(space, segment)
	if err != nil {
		return deadline, err
	}
	if ttl.Milliseconds() <= 0 {
		return deadline, fmt.Errorf("%w: a time to live of %v: want a millisecond or more", streamhub.ErrInvalidArgument, ttl)
	}
	m, err := s.readMeta(ctx, at)
	if err != nil {
		return deadline, err
	}
	if m.gone() {
		return deadline, goneOf(&m)
	}
	answer, err := s.log.run(ctx, retainScript, 2, at.deadlines(), at.meta(at.segment), hex16(m.incarnation), ttl.Milliseconds())
	switch {
	case err != nil:
		return deadline, err
	case answer == "OPEN":
		return deadline, fmt.Errorf("%w: it is open: only a closed segment can be retained for a time", streamhub.ErrConflict)
	case answer[0] != '+':
		err, _ = scriptError(answer)
		return deadline, err
	}
	var v int64
	err = parseNumbers(answer[1:], &v)
	return millis.Time(v), err
}
