package livestream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/fault"
	"github.com/seed-147127fe/streamhub/internal/pause"
	"github.com/seed-147127fe/streamhub/internal/redisx"
	"github.com/seed-147127fe/streamhub/live"
)

// A space runs the heartbeat of this process for the live streams of one space. One command serves its own producers
// and readers, and finds silent producers of other processes. It has one goroutine, run.
type space struct {
	*Streams
	now chan struct{} // requests a beat

	// Manager.mu guards the fields below.

	producers map[*Producer]struct{} // several may have begun one generation, under one key
	readers   map[generation]int
	changed   map[generation]struct{} // generations whose count of readers is not yet in Redis
	users     int                     // callers that read or wait
	until     time.Time               // when the space may be dropped without producers and users
	// reaping says that a goroutine ends silent generations.
	reaping bool
	// stuck is how many silent generations the next heartbeat passes over: they could not be ended yet, and would be
	// named again in place of those after them.
	stuck int
}

// A generation names one generation of a stream.
type generation struct {
	id     string
	number uint64
}

// settling is how long a requested beat waits for further changes, so that they share one command.
const settling = 50 * time.Millisecond

// spaceLocked returns the space of s, and starts its heartbeat. Manager.mu is held.
func (m *Manager) spaceLocked(s *Streams) *space {
	w := m.spaces[s.spaceKey]
	if w == nil {
		w = &space{
			Streams: s, now: make(chan struct{}, 1),
			producers: map[*Producer]struct{}{}, readers: map[generation]int{}, changed: map[generation]struct{}{},
		}
		// Once the manager is closed no heartbeat begins. The space is not kept then, and what the caller puts into it
		// has no effect.
		if m.tasks.Go(w.run) {
			m.spaces[s.spaceKey] = w
		}
	}
	w.linger()
	return w
}

// linger keeps the space for as long as it takes to detect a silent producer. That is less than two heartbeats for a
// producer in a process. A remote one may be silent for longer; if no caller reads, Sweep ends its generation.
func (w *space) linger() { w.until = time.Now().Add(5 * w.m.opt.Heartbeat) }

// poke requests a beat soon.
func (w *space) poke() {
	select {
	case w.now <- struct{}{}:
	default:
	}
}

// touch keeps the heartbeat of the space of s for a while, so that a producer that falls silent is
// noticed.
func (m *Manager) touch(s *Streams) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.spaceLocked(s)
}

// use keeps the heartbeat of the space until the function that it returns is called; reads says that the caller counts
// as a reader. A space with readers but no producers beats too: if all producers died with their process, the instance
// of a reader notices it.
func (m *Manager) use(s *Stream, reads bool) func() {
	add := func(n int) {
		m.mu.Lock()
		defer m.mu.Unlock()
		w := m.spaceLocked(s.Streams)
		w.users += n
		if reads {
			g := generation{s.id, s.generation}
			// Also when the last reader leaves, so that the next beat removes its count.
			w.changed[g] = struct{}{}
			if w.readers[g] += n; w.readers[g] <= 0 {
				delete(w.readers, g)
			}
			w.poke()
		}
	}
	add(1)
	return func() { add(-1) }
}

// run beats until the space is no longer needed. After an error it beats again soon, because silence is counted by the
// deadline in Redis: a beat that is late can cost a healthy producer its generation.
func (w *space) run() {
	ctx := w.m.ctx
	delay := firstPause
	for {
		next, err := w.beat(ctx)
		if err != nil {
			if ctx.Err() == nil {
				w.m.opt.Logger.Log(ctx, fault.Level(err, slog.LevelWarn), "the heartbeat of live streams failed", "space", w.space, "error", err)
			}
			// No goodbye if the manager is closed meanwhile: Redis has just failed, and the counts expire by
			// themselves.
			if next, delay = delay, min(2*delay, longestPause); !pause.For(ctx, next) {
				return
			}
			continue
		}
		delay = firstPause
		if w.leave() {
			return
		}
		timer := time.NewTimer(next)
		select {
		case <-timer.C:
		case <-w.now:
			pause.For(ctx, min(settling, w.m.opt.Heartbeat/4))
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			w.goodbye(ctx)
			return
		}
	}
}

// leave drops a space that is no longer needed. It stays while Redis does not know the latest counts, and while
// generations are being reaped.
func (w *space) leave() bool {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	if len(w.producers)+len(w.changed)+w.users > 0 || w.reaping || time.Now().Before(w.until) {
		return false
	}
	delete(w.m.spaces, w.spaceKey)
	return true
}

// goodbye removes the readers of this process from the counts. The counts of a killed process lapse when its instance
// has not beaten for three heartbeats.
func (w *space) goodbye(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	w.m.conn.ZRem(ctx, w.instances(), w.m.instance)
}

// beatPart is how many generations one script of a heartbeat serves. While a script runs, Redis serves no one else.
const beatPart = 256

// A count is how many readers of a generation this process has.
type count struct {
	generation
	readers int
}

// beat reports the producers and readers of this process and receives the silent producers. It returns the delay until
// the next beat: a heartbeat, or less if a producer counts as silent earlier. One script does both for up to beatPart
// streams of a space, so 200 streams cost what one does.
func (w *space) beat(ctx context.Context) (time.Duration, error) {
	m := w.m
	m.mu.Lock()
	producers, stuck := slices.Collect(maps.Keys(w.producers)), w.stuck
	changed := w.changed
	w.changed = map[generation]struct{}{}
	counts := make([]count, 0, len(changed))
	for g := range changed {
		counts = append(counts, count{g, w.readers[g]})
	}
	m.mu.Unlock()

	interval := m.opt.Heartbeat
	for _, p := range producers {
		if p.opt.CancelUnwatched > 0 {
			// Two beats within the time allowed, so it is exceeded by about half of it at most.
			interval = min(interval, max(p.opt.CancelUnwatched/2, minHeartbeat))
		}
	}
	var lines []string
	for first := true; first || len(producers)+len(counts) > 0; first = false {
		n := min(len(producers), beatPart)
		c := min(len(counts), beatPart-n)
		var err error
		if lines, err = w.beatOf(ctx, producers[:n], counts[:c], stuck); err != nil {
			// The counts are sent again, with their newest values. If the script ran although its reply was lost, that
			// does no harm: it gets absolute numbers, not differences.
			m.mu.Lock()
			maps.Copy(w.changed, changed)
			m.mu.Unlock()
			return 0, err
		}
		producers, counts = producers[n:], counts[c:]
	}
	// Only the silent producers in the last reply count: before it, some own producers had not been reported yet.
	next, now, _ := strings.Cut(lines[0], " ")
	if due := lines[1:]; len(due) > 0 || stuck > 0 {
		w.reap(due)
		// One reply names 100 silent generations at most. The next beat names more. After the last one it
		// begins again with those whose verdict failed.
		return min(interval, m.opt.Heartbeat/4), nil
	}
	deadline, _ := strconv.ParseInt(next, 10, 64)
	present, _ := strconv.ParseInt(now, 10, 64)
	// A millisecond later, so that the deadline has passed. The lower bound is for deadlines that are renewed at the
	// last moment again and again.
	if left := time.Duration(deadline-present+1) * time.Millisecond; deadline > 0 && left < interval {
		interval = max(left, m.opt.Heartbeat/20)
	}
	return interval, nil
}

// beatOf runs the script for a part of a heartbeat and passes its answers to the producers. It returns the first line
// of the reply and the lines about silent generations.
func (w *space) beatOf(ctx context.Context, producers []*Producer, counts []count, stuck int) ([]string, error) {
	m, interval := w.m, w.m.opt.Heartbeat
	keys := []any{w.active(), w.beats(), w.instances()}
	// Counts hold for three heartbeats, so readers stay counted while a beat or two fail.
	args := []any{int64(breath * float64(interval.Milliseconds())), m.instance, (3 * interval).Milliseconds(), stuck, len(producers)}
	for _, p := range producers {
		keys = append(keys, w.session(p.id))
		watched := 0
		if p.opt.CancelUnwatched > 0 {
			watched = 1
			keys = append(keys, w.counts(p.id, p.generation))
		}
		args = append(args, redisx.Escape(p.id), decimal(p.generation), p.owner, watched)
	}
	for _, c := range counts {
		keys = append(keys, w.session(c.id), w.counts(c.id, c.number))
		args = append(args, redisx.Escape(c.id), decimal(c.number), c.readers)
	}
	v, err := m.conn.Run(ctx, beatScript, len(keys), append(keys, args...)...)
	if err != nil {
		return nil, redisx.Outcome(err)
	}
	lines, ok := texts(v)
	if !ok || len(lines) < 1+len(producers) {
		return nil, fmt.Errorf("%w: %d lines for a heartbeat of %d", streamhub.ErrCorrupt, len(lines), len(producers))
	}
	for i, p := range producers {
		p.heard(lines[1+i])
	}
	return slices.Delete(lines, 1, 1+len(producers)), nil
}

// texts returns the lines of a reply; ok is false if it is not a list of strings.
func texts(v any) ([]string, bool) {
	list, ok := v.([]any)
	lines := make([]string, len(list))
	for i := range list {
		text, isText := list[i].(string)
		lines[i], ok = text, ok && isText
	}
	return lines, ok
}

// heard handles the answer of a heartbeat for one producer. FENCED stops the producer at once. For any other end the
// segment is read, because only it has the verdict.
func (p *Producer) heard(line string) {
	code, n, _ := parseAnswer(line)
	switch code {
	case "+":
		if p.opt.CancelUnwatched > 0 && p.unwatched(n[0] > 0) {
			p.requested(&live.CancelError{Reason: "nobody was watching"})
		}
		p.mu.Lock()
		idle := p.err == nil && len(p.pending)+len(p.flying) == 0 && time.Since(p.last) > p.opt.IdleTTL
		p.mu.Unlock()
		if idle {
			p.m.tasks.Go(func() {
				v := streamhub.Verdict{Kind: streamhub.VerdictExpired, Reason: "nothing was published for " + p.opt.IdleTTL.String()}
				if _, err := p.finish(p.m.ctx, v); err == nil {
					p.m.tasks.Go(p.learn)
				}
			})
		}
	case "FENCED":
		p.stop(fenced(n[0], p.generation))
	default:
		p.m.tasks.Go(p.learn)
	}
}

// unwatched reports whether the generation was without a reader for longer than CancelUnwatched. The heartbeat calls
// it; watched says whether there is a reader now.
func (p *Producer) unwatched(watched bool) bool {
	now := time.Now()
	if watched {
		p.watched.Store(now.UnixNano())
	}
	return now.Sub(time.Unix(0, p.watched.Load())) > p.opt.CancelUnwatched
}

// learn reads from the segment why the generation has ended, and stops the producer with that reason.
func (p *Producer) learn() {
	status, err := p.log.Status(p.m.ctx, p.space, p.segment())
	switch {
	case err == nil && status.Verdict != nil:
		p.stop(&streamhub.ClosedError{Verdict: *status.Verdict, LastSequence: status.LastSequence})
	case err != nil && hasEnded(err):
		p.stop(err)
	}
	// Otherwise the verdict is about to be written, and the next heartbeat reads again.
}

// reap ends the silent generations in due, with one goroutine per space. Several instances may reap the same
// generation: the script decides whether it has ended, and the first verdict counts.
func (w *space) reap(due []string) {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	if w.reaping {
		return
	}
	if len(due) == 0 {
		w.stuck = 0
		return
	}
	w.reaping = w.m.tasks.Go(func() {
		left := 0
		for _, line := range due {
			ended, err := w.reapOne(w.m.ctx, line)
			if !ended {
				left++
			}
			if err != nil && w.m.ctx.Err() == nil {
				w.m.opt.Logger.Log(w.m.ctx, fault.Level(err, slog.LevelWarn), "a silent live stream could not be ended", "space", w.space, "stream", line, "error", err)
			}
		}
		w.m.mu.Lock()
		defer w.m.mu.Unlock()
		w.reaping = false
		w.stuck += left
	})
}

// reapOne ends one silent generation, and reports whether it has ended. The script checks once more, because the
// producer may have sent a heartbeat meanwhile. LOST and SUPERSEDED say which verdict the generation gets.
func (w *space) reapOne(ctx context.Context, line string) (ended bool, err error) {
	fields := strings.Fields(line)
	if len(fields) != 3 {
		return false, fmt.Errorf("%w: %.200q", streamhub.ErrCorrupt, line)
	}
	id, ok := redisx.Unescape(fields[1])
	number, err := strconv.ParseUint(fields[2], 10, 63)
	if !ok || err != nil {
		return false, fmt.Errorf("%w: %.200q", streamhub.ErrCorrupt, line)
	}
	code, n, err := w.ask(ctx, reapScript, id, w.beats(), fields[1], fields[2])
	if err != nil {
		return false, err
	}
	var v streamhub.Verdict
	switch code {
	case "LOST":
		v = streamhub.Verdict{Kind: streamhub.VerdictLost, Reason: "the producer was silent"}
	case "SUPERSEDED":
		v = supersededBy(n[0])
	default: // EARLY: the producer was heard again, or there was an outage. SETTLED: it has its verdict.
		return code == "SETTLED", nil
	}
	err = pastLoss(func() error {
		_, err := w.at(id, number).finish(ctx, v)
		return err
	})
	return err == nil, err
}

// Restored schedules the restored generations of live streams, which have no sessions, for the next sweep. Generations
// without a verdict then end as lost, and all are kept as long as ended streams.
func (m *Manager) Restored(ctx context.Context, store uuid.UUID, name string, segments []string) error {
	log, s := m.log.Store(store), m.Streams(store, name)
	for _, segment := range segments {
		id, number, ok := parseSegment(segment)
		if !ok {
			continue
		}
		status, err := log.Status(ctx, name, segment)
		if err != nil {
			return err
		}
		if status.Generation != number || !status.ExpiresAt.IsZero() {
			continue // another segment with such a name, or a generation that needs nothing
		}
		// A score of 0 is overdue. There is no session, so the reap script answers LOST.
		member := redis.Z{Member: segmentOf(redisx.Escape(id), number)}
		if err := m.conn.ZAdd(ctx, s.active(), member).Err(); err != nil {
			return s.fail("restore", id, redisx.Outcome(err))
		}
	}
	return nil
}

// Sweep starts the heartbeat of every space of a store in which a producer is silent, so that streams without a reader
// end too. Any number of instances may sweep at once.
func (m *Manager) Sweep(ctx context.Context, id uuid.UUID) error {
	const page = 256
	log := m.log.Store(id)
	var failed []error // errors of single spaces, which do not stop the others
	for after := ""; ; {
		names, err := log.Spaces(ctx, after, page)
		if err != nil || len(names) == 0 {
			return errors.Join(append(failed, err)...)
		}
		// The deadlines are times of Redis, from which the clock of this process may differ.
		now, err := log.Now(ctx)
		if err != nil {
			return errors.Join(append(failed, err)...)
		}
		for _, name := range names {
			s := m.Streams(id, name)
			silent, err := m.conn.ZRangeByScore(ctx, s.active(), &redis.ZRangeBy{
				Min: "-inf", Max: strconv.FormatInt(now, 10), Count: 1,
			}).Result()
			if err = redisx.ReadOutcome(err); err != nil {
				failed = append(failed, s.fail("sweep", "", err))
			}
			if ctx.Err() != nil || m.conn.Away(err) {
				return errors.Join(append(failed, ctx.Err())...)
			}
			if len(silent) > 0 {
				m.touch(s)
			}
		}
		after = names[len(names)-1]
	}
}
