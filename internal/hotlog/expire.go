package hotlog

import (
	"context"
	_ "embed" // the script
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/redisx"
)

//go:embed lua/expire.lua
var expireLua string

var expireScript = redisx.NewScript(expireLua).AllowOOM()

// Expire lets a segment, open or closed, expire when ttl has passed, whatever it was created with, and
// returns the deadline in Unix milliseconds. Appends and touches do not renew it. With a ttl of 0 the
// segment never expires, and the deadline is 0.
func (s *Store) Expire(ctx context.Context, space, segment string, ttl time.Duration) (deadline int64, err error) {
	defer func() { err = s.fail("expire", space, segment, err) }()
	at, err := s.place(space, segment)
	if err != nil {
		return 0, err
	}
	if ttl < 0 || ttl != 0 && ttl < time.Millisecond {
		return 0, fmt.Errorf("%w: time to live %v", streamhub.ErrInvalidArgument, ttl)
	}
	m, err := s.readMeta(ctx, at)
	if err != nil {
		return 0, err
	}
	if m.gone() {
		return 0, goneOf(&m)
	}
	answer, err := s.log.run(ctx, expireScript, 2, at.timeline(), at.meta(at.segment), hex16(m.incarnation), ttl.Milliseconds())
	if err != nil {
		return 0, err
	}
	var v uint64
	switch {
	case answer[0] == '+':
		err = parseNumbers(answer[1:], &v)
	case strings.HasPrefix(answer, "EXPIRED"):
		if err = s.log.expire(ctx, at, m.incarnation); err == nil {
			err = streamhub.ErrNotFound
		}
	default:
		err, _ = scriptError(answer)
	}
	return int64(min(v, math.MaxInt64)), err
}
