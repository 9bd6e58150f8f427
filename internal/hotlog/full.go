package hotlog

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// A space whose part in Redis has reached its limit takes no entries until the archiver has made room. The archiver
// records that in field x of the space. Each process with the archive checks that field for the spaces that it appends
// to, so that the append script need not.

var errSpaceFull = errors.New("the space has reached its limit of bytes in Redis: raise the limit, or let the archive catch up")

// SetFull says whether a space has reached its limit.
func (s *Store) SetFull(ctx context.Context, space string, full bool) error {
	k := keysOf(s.id, space)
	var err error
	if full {
		err = s.log.conn.HSet(ctx, k.state(), "x", "1").Err()
	} else {
		err = s.log.conn.HDel(ctx, k.state(), "x").Err()
	}
	s.log.setFull(k.prefix, full)
	return s.fail("limit", space, "", redisx.Outcome(err))
}

func (l *Log) setFull(prefix string, full bool) {
	if full {
		l.full.Store(prefix, nil)
	} else {
		l.full.Delete(prefix)
	}
}

// LookFull finds out which of the spaces that this process appends to have reached their limits.
func (l *Log) LookFull(ctx context.Context) error {
	var prefixes []string
	l.appender.mu.Lock()
	for prefix := range l.appender.listed {
		prefixes = append(prefixes, prefix)
	}
	l.appender.mu.Unlock()
	for begin := 0; begin < len(prefixes); begin += pipelineRanges {
		part := prefixes[begin:min(begin+pipelineRanges, len(prefixes))]
		cmds := make([]*redis.SliceCmd, len(part))
		pipe := l.conn.Pipeline()
		for i, prefix := range part {
			cmds[i] = pipe.HMGet(ctx, spaceKeys{prefix: prefix}.state(), "x")
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return redisx.ReadOutcome(err)
		}
		for i, prefix := range part {
			l.setFull(prefix, cmds[i].Val()[0] != nil)
		}
	}
	return nil
}

// room refuses entries for a space that has reached its limit.
func (l *Log) room(k spaceKeys) error {
	if _, full := l.full.Load(k.prefix); full {
		return &streamhub.UnavailableError{Reason: streamhub.ReasonFull, Err: errSpaceFull}
	}
	return nil
}
