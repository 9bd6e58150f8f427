package hotlog

import (
	"context"
	_ "embed" // the script
	"fmt"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/redisx"
)

//go:embed lua/expire.lua
var expireLua string

var expireScript = redisx.NewScript(spell(headLua, expireLua)).AllowOOM()

// Expire lets a segment, open or closed, expire when ttl has passed, whatever it was created with, and
// returns the deadline. Appends and touches do not renew it. With a ttl of 0 the segment never expires,
// and the deadline is the zero Time.
func (s *Store) Expire(ctx context.Context, space, segment string, ttl time.Duration) (deadline time.Time, err error) {
	defer func() { err = s.fail("expire", space, segment, err) }()
	at, err := s.place(space, segment)
	if err != nil {
		return deadline, err
	}
	if ttl < 0 || ttl != 0 && ttl < time.Millisecond {
		return deadline, fmt.Errorf("%w: a time to live of %v: want 0 or a millisecond or more", streamhub.ErrInvalidArgument, ttl)
	}
	return s.deadline(ctx, at, expireScript, ttl.Milliseconds())
}
