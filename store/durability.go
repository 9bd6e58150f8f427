package store

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub"
)

// checkDurability refuses a level that the server cannot give.
func (l *Log) checkDurability(d streamhub.Durability) error {
	switch {
	case d.Replicas < 0 || d.Timeout < 0:
		return fmt.Errorf("%w: a negative durability", streamhub.ErrInvalidArgument)
	case d.Replicas > 0 && l.conn.Version == "":
		return fmt.Errorf("%w: durability with replicas: this server has none", streamhub.ErrInvalidArgument)
	case d.Fsync && !l.conn.AtLeast(7, 2):
		return fmt.Errorf("%w: durability with fsync needs Redis 7.2, this is %s", streamhub.ErrInvalidArgument, l.conn.Version)
	}
	return nil
}

// addWait asks, on the connection that carries the appends, for what d promises. The function it
// returns is called behind Exec and tells what was not reached.
func addWait(ctx context.Context, pipe redis.Pipeliner, d streamhub.Durability) func() error {
	if d.Replicas == 0 && !d.Fsync {
		return func() error { return nil }
	}
	timeout := d.Timeout
	if timeout == 0 {
		timeout = time.Second
	}
	ms := strconv.FormatInt(max(1, timeout.Milliseconds()), 10)
	if d.Fsync {
		wait := pipe.Do(ctx, "waitaof", 1, d.Replicas, ms)
		return func() error {
			got, err := wait.Int64Slice()
			if err == nil && len(got) == 2 && got[0] >= 1 && got[1] >= int64(d.Replicas) {
				return nil
			}
			return notConfirmed(err)
		}
	}
	wait := pipe.Do(ctx, "wait", d.Replicas, ms)
	return func() error {
		if got, err := wait.Int64(); err != nil || got < int64(d.Replicas) {
			return notConfirmed(err)
		}
		return nil
	}
}

func notConfirmed(err error) error {
	if err != nil {
		return fmt.Errorf("%w: %w", streamhub.ErrNotConfirmed, err)
	}
	return streamhub.ErrNotConfirmed
}
