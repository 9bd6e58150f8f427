package livestream

import (
	"context"
	"errors"
	"iter"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub/internal/redisx"
	"github.com/seed-147127fe/streamhub/live"
)

// listPage is how many names of segments are handled together.
const listPage = 256

// List implements [live.Streams].
func (s *Streams) List(ctx context.Context, o *live.ListOptions) iter.Seq2[live.Stream, error] {
	return func(yield func(live.Stream, error) bool) {
		if err := s.m.checkOpen(); err != nil {
			yield(nil, s.fail("list", "", err))
			return
		}
		after := ""
		if o != nil && o.AfterID != "" {
			if err := checkID(o.AfterID); err != nil {
				yield(nil, s.fail("list", o.AfterID, err))
				return
			}
			after = segmentOf(o.AfterID, o.AfterGeneration)
		}
		for {
			names, err := s.log.Segments(ctx, s.space, after, listPage)
			var found []*Stream
			if err == nil && len(names) > 0 {
				after = names[len(names)-1]
				found, err = s.inForce(ctx, names)
			}
			if err != nil {
				yield(nil, s.fail("list", "", err))
				return
			}
			for _, stream := range found {
				if !yield(stream, nil) {
					return
				}
			}
			if len(names) == 0 {
				return
			}
		}
	}
}

// inForce returns the generations among segments that are current, as their sessions say.
func (s *Streams) inForce(ctx context.Context, segments []string) ([]*Stream, error) {
	var named []*Stream
	var current []func() (string, error)
	pipe := s.m.conn.Pipeline()
	for _, segment := range segments {
		if id, generation, ok := parseSegment(segment); ok {
			named = append(named, s.at(id, generation))
			current = append(current, pipe.HGet(ctx, s.session(id), "g").Result)
		}
	}
	if len(named) == 0 {
		return nil, nil
	}
	// redis.Nil is the answer for a session that has expired: its segment is still kept, but is no longer in force.
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, redisx.ReadOutcome(err)
	}
	found := named[:0]
	for i, stream := range named {
		if text, err := current[i](); err == nil && text == decimal(stream.generation) {
			found = append(found, stream)
		}
	}
	return found, nil
}

// parseSegment reads the name that segmentOf writes, "<id>~<generation>". An id may hold ~ itself.
func parseSegment(segment string) (id string, generation uint64, ok bool) {
	at := strings.LastIndexByte(segment, '~')
	generation, err := strconv.ParseUint(segment[at+1:], 10, 63)
	if at <= 0 || err != nil || segmentOf(segment[:at], generation) != segment {
		return "", 0, false
	}
	return segment[:at], generation, checkID(segment[:at]) == nil
}
