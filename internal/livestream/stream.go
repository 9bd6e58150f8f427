package livestream

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/millis"
	"github.com/seed-147127fe/streamhub/internal/redisx"
	"github.com/seed-147127fe/streamhub/live"
)

// A Stream is one generation of a live stream, for all callers but its producer. It holds no resources and needs no
// closing.
type Stream struct {
	*Streams
	id         string
	generation uint64
}

// ID and Generation implement [live.Stream].
func (s *Stream) ID() string         { return s.id }
func (s *Stream) Generation() uint64 { return s.generation }

// segment has the chunks of the generation, backLane the messages of readers to its producer.
func (s *Stream) segment() string  { return segmentOf(s.id, s.generation) }
func (s *Stream) backLane() string { return backLane(s.id, s.generation) }

func (s *Streams) at(id string, generation uint64) *Stream {
	return &Stream{Streams: s, id: id, generation: generation}
}

// Get implements [live.Streams].
func (s *Streams) Get(ctx context.Context, id string) (live.Stream, error) {
	d, err := s.describe(ctx, id)
	if err != nil {
		return nil, s.fail("get", id, err)
	}
	s.m.touch(s)
	return s.at(id, d.generation), nil
}

// Generation implements [live.Streams].
func (s *Streams) Generation(id string, generation uint64) (live.Stream, error) {
	if err := checkID(id); err != nil {
		return nil, s.fail("get", id, err)
	}
	return s.at(id, generation), nil
}

// Active implements [live.Streams].
func (s *Streams) Active(ctx context.Context, ids []string) (map[string]bool, error) {
	if err := s.m.checkOpen(); err != nil {
		return nil, s.fail("active", "", err)
	}
	active := make(map[string]bool, len(ids))
	pipe := s.m.conn.Pipeline()
	ask := make(map[string]func() []any, len(ids))
	for _, id := range ids {
		if err := checkID(id); err != nil {
			return nil, s.fail("active", id, err)
		}
		ask[id] = pipe.HMGet(ctx, s.session(id), "g", "e").Val
	}
	if len(ask) == 0 {
		return active, nil
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, s.fail("active", "", redisx.ReadOutcome(err))
	}
	for id, answer := range ask {
		v := answer()
		// "e" comes with the end. A producer that is silent counts as active until an instance has noticed.
		active[id] = v[0] != nil && v[1] == nil
	}
	s.m.touch(s)
	return active, nil
}

// Status implements [live.Stream].
func (s *Stream) Status(ctx context.Context) (live.Status, error) {
	status, err := s.status(ctx)
	return status, s.fail("status", s.id, err)
}

// status combines the session and the segment. The session describes only the current generation.
func (s *Stream) status(ctx context.Context) (live.Status, error) {
	status := live.Status{ID: s.id, Generation: s.generation}
	d, err := s.describe(ctx, s.id)
	if err != nil && !errors.Is(err, streamhub.ErrNotFound) {
		return status, err
	}
	if inForce := err == nil && d.generation == s.generation; inForce {
		status.StartedAt, status.Metadata, status.By = millis.Time(d.startedAt), d.metadata, d.by
		if status.Viewers, err = s.viewers(ctx, s.id, s.generation); err != nil {
			return status, err
		}
	} else {
		// Another generation is current, or none. So no producer is about to create the segment of this one.
		d.ended = true
	}
	segment, err := s.log.Status(ctx, s.space, s.segment())
	if errors.Is(err, streamhub.ErrNotFound) && !errors.As(err, new(*streamhub.DeletedError)) && !d.ended {
		return status, nil // the producer is about to create the segment
	}
	if err != nil {
		return status, err
	}
	status.Chunks, status.LastTimestamp, status.Verdict = segment.LastSequence, segment.LastTimestamp, segment.Verdict
	if segment.LastSequence > 0 {
		status.Cursor = live.CursorAt(s.generation, segment.Position)
	}
	return status, nil
}

// Metadata implements [live.Stream].
func (s *Stream) Metadata(ctx context.Context, v any) (bool, error) {
	d, err := s.describe(ctx, s.id)
	if err == nil && (d.generation != s.generation || len(d.metadata) == 0) {
		return false, nil
	}
	if err == nil {
		err = json.Unmarshal(d.metadata, v)
	}
	return err == nil, s.fail("metadata", s.id, err)
}

// A description is the decoded session of a stream.
type description struct {
	generation uint64
	// startedAt is the time of Redis, in Unix milliseconds.
	startedAt int64
	keep      int64 // milliseconds
	// before is the generation that the current one took over from, 0 if there is none, and keepBefore is its keep.
	before     uint64
	keepBefore int64
	// ended says that the generation has ended; its segment has the verdict or will soon have it.
	ended    bool
	by       string
	metadata json.RawMessage
}

// describe reads the session of a stream. Without a session the error is [streamhub.ErrNotFound].
func (s *Streams) describe(ctx context.Context, id string) (d description, err error) {
	if err := cmp.Or(checkID(id), s.m.checkOpen()); err != nil {
		return d, err
	}
	v, err := s.m.patiently(ctx, func() (any, error) {
		fields, err := s.m.conn.HMGet(ctx, s.session(id), "g", "t", "k", "e", "m", "b", "p", "r").Result()
		return fields, redisx.ReadOutcome(err)
	})
	if err != nil {
		return d, err
	}
	fields := v.([]any)
	if fields[0] == nil {
		return d, streamhub.ErrNotFound
	}
	text := func(i int) string { t, _ := fields[i].(string); return t }
	d.ended = fields[3] != nil
	d.by = text(5)
	if m := text(4); m != "" {
		d.metadata = json.RawMessage(m)
	}
	var errs [5]error
	d.generation, errs[0] = strconv.ParseUint(text(0), 10, 63)
	d.startedAt, errs[1] = strconv.ParseInt(text(1), 10, 64)
	d.keep, errs[2] = strconv.ParseInt(text(2), 10, 64)
	if fields[6] != nil {
		d.before, errs[3] = strconv.ParseUint(text(6), 10, 63)
		d.keepBefore, errs[4] = strconv.ParseInt(text(7), 10, 64)
	}
	if errors.Join(errs[:]...) != nil {
		return d, fmt.Errorf("%w: the session of a live stream is %.200q", streamhub.ErrCorrupt, v)
	}
	return d, nil
}

// viewers returns the sum of the readers of a generation on all live instances.
func (s *Streams) viewers(ctx context.Context, id string, generation uint64) (int, error) {
	v, err := s.m.patiently(ctx, func() (any, error) {
		counts, err := s.m.conn.HGetAll(ctx, s.counts(id, generation)).Result()
		if err != nil || len(counts) == 0 {
			return 0, redisx.ReadOutcome(err)
		}
		// The deadlines of the instances are times of Redis, from which the clock of this process may differ.
		now, err := s.m.conn.Time(ctx).Result()
		if err != nil {
			return 0, redisx.ReadOutcome(err)
		}
		here, err := s.m.conn.ZRangeByScore(ctx, s.instances(), &redis.ZRangeBy{
			Min: "(" + strconv.FormatInt(now.UnixMilli(), 10), Max: "+inf",
		}).Result()
		sum := 0
		// The hash also has counts of dead instances. They have no deadline, so they are skipped.
		for _, instance := range here {
			n, _ := strconv.Atoi(counts[instance]) // 0 for one without readers
			sum += n
		}
		return sum, redisx.ReadOutcome(err)
	})
	if err != nil {
		return 0, err
	}
	return v.(int), nil
}
