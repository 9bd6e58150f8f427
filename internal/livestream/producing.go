package livestream

import (
	"context"
	"errors"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/redisx"
	"github.com/seed-147127fe/streamhub/live"
)

// activePage is how many names one command reads: few enough that Redis serves other clients in
// between.
const activePage = 500

// ListStatus yields the generations of the space that have a producer, in no order, each once. With ended it also
// yields the last generation of each stream that has ended and is kept. Each costs two commands. Streams that begin or
// end meanwhile may be missing.
func (s *Streams) ListStatus(ctx context.Context, ended bool) iter.Seq2[live.Listed, error] {
	return func(yield func(live.Listed, error) bool) {
		silent, err := s.deadlines(ctx)
		if err != nil {
			yield(live.Listed{}, s.fail("list", "", redisx.ReadOutcome(err)))
			return
		}
		seen := map[string]bool{}
		give := func(id string) bool {
			if seen[id] {
				return true
			}
			seen[id] = true
			d, err := s.describe(ctx, id)
			if err == nil {
				var status live.Status
				if status, err = s.at(id, d.generation).status(ctx); err == nil {
					return yield(live.Listed{Status: status, SilentAt: silent[segmentOf(id, d.generation)]}, nil)
				}
			}
			if errors.Is(err, streamhub.ErrNotFound) {
				return true // the generation was removed meanwhile
			}
			yield(live.Listed{}, s.fail("list", id, err))
			return false
		}
		for name := range silent {
			if id, ok := idOf(name); ok && !give(id) {
				return
			}
		}
		if !ended {
			return
		}
		// Streams that have ended are not among the active ones. Only their segments lead to them.
		for name, err := range s.log.AllSegments(ctx, s.space) {
			if err != nil {
				yield(live.Listed{}, s.fail("list", "", err))
				return
			}
			if id, ok := idOf(name); ok && !give(id) {
				return
			}
		}
	}
}

// deadlines returns the segments of the generations that have a producer, and when each counts as silent.
func (s *Streams) deadlines(ctx context.Context) (map[string]time.Time, error) {
	if err := s.m.checkOpen(); err != nil {
		return nil, err
	}
	silent := map[string]time.Time{}
	for page, err := range s.m.conn.ByScore(ctx, s.active(), activePage) {
		if err != nil {
			return nil, err
		}
		for _, z := range page {
			text, _ := z.Member.(string)
			if name, ok := redisx.Unescape(text); ok {
				silent[name] = time.UnixMilli(int64(z.Score))
			}
		}
	}
	return silent, nil
}

// idOf returns the stream to which a segment belongs as a generation. A back lane is not one: its name ends in "~b".
func idOf(segment string) (id string, ok bool) {
	at := strings.LastIndexByte(segment, '~')
	if at <= 0 {
		return "", false
	}
	_, err := strconv.ParseUint(segment[at+1:], 10, 64)
	return segment[:at], err == nil
}
