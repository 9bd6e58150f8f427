package livestream

import (
	"context"
	_ "embed" // the scripts
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/fault"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
	"github.com/seed-147127fe/streamhub/internal/pause"
	"github.com/seed-147127fe/streamhub/internal/redisx"
	"github.com/seed-147127fe/streamhub/live"
)

var (
	//go:embed lua/session.lua
	sessionLua string
	//go:embed lua/register.lua
	registerLua string
	//go:embed lua/beat.lua
	beatLua string
	//go:embed lua/reap.lua
	reapLua string
	//go:embed lua/settle.lua
	settleLua string
	//go:embed lua/hold.lua
	holdLua string
	//go:embed lua/metadata.lua
	metadataLua string

	// A Redis that is out of memory accepts no new streams, but existing ones continue and can end.
	registerScript = redisx.NewScript(sessionLua + registerLua)
	metadataScript = redisx.NewScript(sessionLua + metadataLua)
	holdScript     = redisx.NewScript(sessionLua + holdLua).AllowOOM()
	beatScript     = redisx.NewScript(sessionLua + beatLua).AllowOOM()
	reapScript     = redisx.NewScript(sessionLua + reapLua).AllowOOM()
	settleScript   = redisx.NewScript(sessionLua + settleLua).AllowOOM()
)

const (
	// retryFor is how long a script is retried while Redis cannot serve.
	retryFor     = 5 * time.Second
	firstPause   = 10 * time.Millisecond
	longestPause = 500 * time.Millisecond
)

func checkID(id string) error {
	if err := streamhub.CheckName("live stream", id); err != nil {
		return err
	}
	if len(id) > live.MaxIDLength {
		return fmt.Errorf("%w: the id of a live stream has %d bytes, the limit is %d", streamhub.ErrInvalidName, len(id), live.MaxIDLength)
	}
	return nil
}

// The keys of live streams in a space. active is a sorted set of the generations with a producer, by the time at which
// each counts as silent. The others are the time of the last beat of any instance, which tells an outage from silence;
// the instances that count readers; and the session of each stream, a small hash.

func (k spaceKey) active() string    { return hotlog.Key(k.store, k.space, "la") }
func (k spaceKey) beats() string     { return hotlog.Key(k.store, k.space, "lr") }
func (k spaceKey) instances() string { return hotlog.Key(k.store, k.space, "lw") }

// counts is the hash with the number of readers of a generation by instance.
func (k spaceKey) counts(id string, generation uint64) string {
	return hotlog.Key(k.store, k.space, "lw:"+redisx.Escape(id)+"~"+decimal(generation))
}

func (k spaceKey) session(id string) string {
	return hotlog.Key(k.store, k.space, "ls:"+redisx.Escape(id))
}

// segmentOf is the segment of one generation of a stream, backLane that of what its readers send.
func segmentOf(id string, generation uint64) string { return id + "~" + decimal(generation) }
func backLane(id string, generation uint64) string  { return segmentOf(id, generation) + "~b" }

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }

// run runs a script about one stream. KEYS[1] and KEYS[2] of each are the set of active generations and the session;
// more is the third key, unless it is empty. Every script is safe to run twice, so it is retried while that can help.
func (s *Streams) run(ctx context.Context, script *redisx.Script, id, more string, args ...any) (any, error) {
	keys := []any{s.active(), s.session(id)}
	if more != "" {
		keys = append(keys, more)
	}
	return s.m.patiently(ctx, func() (any, error) {
		v, err := s.m.conn.Run(ctx, script, len(keys), append(keys, args...)...)
		return v, redisx.Outcome(err)
	})
}

// patiently calls do until it succeeds, or repeating it does not help. The errors of do are those of package streamhub.
// Once an outcome was unknown, a later error that means "nothing happened" applies only to its own attempt. The caller
// then gets an unknown outcome.
func (m *Manager) patiently(ctx context.Context, do func() (any, error)) (any, error) {
	end := time.Now().Add(retryFor)
	var unknown error
	pauses := pause.Backoff{First: firstPause, Longest: longestPause}
	for {
		v, err := do()
		if err == nil {
			return v, nil
		}
		if errors.Is(err, streamhub.ErrUnknownOutcome) {
			unknown = err
		}
		if !redisx.IsNoScript(err) && !pause.Worthwhile(err) || time.Now().After(end) || !pauses.Wait(ctx) {
			if unknown != nil {
				return nil, unknown
			}
			return nil, err
		}
	}
}

// ask is run for a script that answers with a text: a code, and one number where there is any.
func (s *Streams) ask(ctx context.Context, script *redisx.Script, id, more string, args ...any) (code string, numbers [2]uint64, err error) {
	v, err := s.run(ctx, script, id, more, args...)
	if err != nil {
		return "", numbers, err
	}
	text, _ := v.(string)
	code, numbers, ok := parseAnswer(text)
	if !ok {
		err = fmt.Errorf("%w: a script answered %q", streamhub.ErrCorrupt, text)
	}
	return code, numbers, err
}

// parseAnswer reads "CODE" and up to two numbers.
func parseAnswer(text string) (code string, numbers [2]uint64, ok bool) {
	fields := strings.Fields(text)
	if len(fields) == 0 || len(fields) > 3 {
		return "", numbers, false
	}
	for i, f := range fields[1:] {
		n, err := strconv.ParseUint(f, 10, 63)
		if err != nil {
			return "", numbers, false
		}
		numbers[i] = n
	}
	return fields[0], numbers, true
}

// fail makes the error of a call about a stream. The error of a context is returned unchanged.
func (s *Streams) fail(op, id string, err error) error {
	return fault.Outer(streamhub.Error{Op: op, Store: s.store, Space: s.space, Segment: id}, err)
}
