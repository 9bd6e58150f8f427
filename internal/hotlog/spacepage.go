package hotlog

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"sync"

	"github.com/redis/go-redis/v9"
	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/redisx"
)

const (
	firstChanges   = 32      // size of the first page of a timeline
	maxChanges     = 8192    // and of the largest one
	timelineBytes  = 4 << 20 // about what one page of a timeline may bring
	pipelineRanges = 256     // reads of logs that travel together
)

// A spacePage is a part of a timeline with the frames that it names.
type spacePage struct {
	from    streamhub.TimelineID
	changes []change
	frames  []*frame // of each change; nil where there is nothing to read
	metas   []*meta
	state   spaceState           // read after the changes
	next    streamhub.TimelineID // where the page after it begins
	more    bool
	// archived says that the start of the timeline is archived, so that nothing shortens it.
	archived bool
	bytes    int
	err      error
}

// reached is the place of the last change of the page, or before if there is none.
func (p *spacePage) reached(before streamhub.TimelineID) streamhub.TimelineID {
	if n := len(p.changes); n > 0 {
		return p.changes[n-1].id
	}
	return before
}

// fetch reads the timeline from an id on, and the frames that it names. last is the place that was
// read just before from, zero if there was none.
func (r *spaceReader) fetch(ctx context.Context, from, last streamhub.TimelineID) *spacePage {
	p := &spacePage{from: from}
	p.err = func() error {
		if err := r.timelinePage(ctx, p, from, last); err != nil {
			return err
		}
		if err := r.refresh(ctx, p); err != nil {
			return err
		}
		return r.frames(ctx, p)
	}()
	return p
}

// timelinePage reads a part of the timeline, in Redis or in the archive. Where the space is archived
// it must continue at last, if last is not zero: history may have been lost since that was read.
func (r *spaceReader) timelinePage(ctx context.Context, p *spacePage, from, last streamhub.TimelineID) (err error) {
	l := r.store.log
	begin, count := from, r.count
	if l.opt.Cold != nil && !last.IsZero() {
		begin, count = last, count+1
	}
	if p.changes, p.next, p.more, err = l.changes(ctx, r.spaceKeys, begin, r.end, count); err != nil || l.opt.Cold == nil {
		return err
	}
	// The start is asked for after the read: it may have moved meanwhile.
	state, err := l.spaceState(ctx, r.spaceKeys)
	if err != nil {
		return err
	}
	if p.archived = state.archived; p.archived && from.Before(state.first) {
		p.changes, p.next, p.more, err = l.coldChanges(ctx, r.spaceKeys, from, r.end, last, r.count)
		return err
	}
	n := 0
	for n < len(p.changes) && p.changes[n].id.Before(from) {
		n++
	}
	if p.archived && !last.IsZero() && n == 0 && !last.Before(state.first) && state.swept.Before(last) {
		return &streamhub.HistoryLostError{}
	}
	p.changes = p.changes[n:]
	return nil
}

// refresh reads the meta of each segment that the page names, and the state of the space.
func (r *spaceReader) refresh(ctx context.Context, p *spacePage) error {
	p.metas = make([]*meta, len(p.changes))
	fresh := map[string]*meta{}
	cmds := map[string]*redis.SliceCmd{}
	pipe := r.store.log.conn.Pipeline()
	state := pipe.HMGet(ctx, r.state(), stateFields...)
	for i := range p.changes {
		name := p.changes[i].segment
		if fresh[name] == nil {
			fresh[name] = new(meta)
			cmds[name] = metaCmd(ctx, place{spaceKeys: r.spaceKeys, segment: name})
			_ = pipe.Process(ctx, cmds[name])
		}
		p.metas[i] = fresh[name]
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return redisx.ReadOutcome(err)
	}
	var err error
	if p.state, err = parseSpaceState(state.Val()); err != nil {
		return err
	}
	var timed, absent []string
	for name, cmd := range cmds {
		m, err := parseMeta(cmd.Val())
		if err != nil {
			return err
		}
		*fresh[name] = m
		switch {
		case !m.exists:
			absent = append(absent, name)
		case m.deadline != 0 && !m.gone():
			timed = append(timed, name)
		}
	}
	if err := r.expired(ctx, timed, fresh); err != nil {
		return err
	}
	return r.vanishedMetas(ctx, absent, fresh)
}

// expired ends the segments among names whose deadline has passed.
func (r *spaceReader) expired(ctx context.Context, names []string, metas map[string]*meta) error {
	if len(names) == 0 {
		return nil
	}
	now, err := r.store.log.conn.Time(ctx).Result()
	if err != nil {
		return redisx.ReadOutcome(err)
	}
	for _, name := range names {
		if now.UnixMilli() < metas[name].deadline {
			continue
		}
		if *metas[name], err = r.store.readMeta(ctx, place{spaceKeys: r.spaceKeys, segment: name}); err != nil {
			return err
		}
	}
	return nil
}

// vanishedMetas distinguishes segments that were deleted long ago, so that nothing is left of them, from segments whose
// meta was lost, which are still listed.
func (r *spaceReader) vanishedMetas(ctx context.Context, names []string, metas map[string]*meta) error {
	if len(names) == 0 {
		return nil
	}
	pipe := r.store.log.conn.Pipeline()
	listed := make([]*redis.FloatCmd, len(names))
	for i, segment := range names {
		name, _ := redisx.Unescape(segment)
		listed[i] = pipe.ZScore(ctx, r.inventory(), name)
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return redisx.ReadOutcome(err)
	}
	for i, segment := range names {
		if listed[i].Err() != nil {
			continue
		}
		m, err := r.store.log.readMeta(ctx, place{spaceKeys: r.spaceKeys, segment: segment})
		if err != nil {
			return err
		}
		if *metas[segment] = m; !m.exists {
			return &streamhub.HistoryLostError{}
		}
	}
	return nil
}

// A span is the part of one log that a page names: one XRANGE from its first change to its last.
type span struct {
	meta    *meta
	changes []int // of the page
	cmd     rangeCmd
}

// frames reads what the changes of the page name: for each segment one range of its log.
func (r *spaceReader) frames(ctx context.Context, p *spacePage) error {
	p.frames = make([]*frame, len(p.changes))
	hot, cold, err := r.plan(ctx, p)
	if err != nil {
		return err
	}
	for part := range slices.Chunk(hot, pipelineRanges) {
		pipe := r.store.log.conn.Pipeline()
		for _, s := range part {
			first, last := &p.changes[s.changes[0]], &p.changes[s.changes[len(s.changes)-1]]
			s.cmd = newRange(ctx, r.log(first.segment, s.meta.incarnation), strconv.FormatUint(first.last, 10), strconv.FormatUint(last.last, 10), len(s.changes), 0)
			_ = pipe.Process(ctx, s.cmd)
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return redisx.ReadOutcome(err)
		}
		for _, s := range part {
			if err := r.place(ctx, p, s, cold); err != nil {
				return err
			}
		}
	}
	return r.coldFrames(ctx, p, cold)
}

// plan says where the frames are that the changes of a page name: the spans in Redis, and by segment the changes in the
// archive.
func (r *spaceReader) plan(ctx context.Context, p *spacePage) (hot []*span, cold map[string][]int, err error) {
	spans := map[string]*span{}
	cold = map[string][]int{}
	for i := range p.changes {
		c, m := &p.changes[i], p.metas[i]
		switch {
		// A change before the birth of the segment is of an earlier incarnation, whose entries are
		// gone.
		case c.records == 0 || r.hides(m) || c.id.Before(m.birth):
		case c.last > m.last:
			return nil, nil, &streamhub.HistoryLostError{}
		case m.first == 0 || c.last < m.first:
			if err := r.tell(ctx, c); err != nil {
				return nil, nil, err
			}
		case c.last < m.hot:
			cold[c.segment] = append(cold[c.segment], i)
		default:
			s := spans[c.segment]
			if s == nil {
				s = &span{meta: m}
				spans[c.segment] = s
				hot = append(hot, s)
			}
			s.changes = append(s.changes, i)
		}
	}
	return hot, cold, nil
}

// place gives the changes of a span the frames that were read. Those that have moved to the archive since the plan was
// made are added to cold.
func (r *spaceReader) place(ctx context.Context, p *spacePage, s *span, cold map[string][]int) error {
	frames, err := r.store.log.frames(ctx, s.cmd)
	if err != nil {
		return err
	}
	for _, i := range s.changes {
		c := &p.changes[i]
		for len(frames) > 0 && frames[0].last < c.last {
			frames = frames[1:]
		}
		if len(frames) > 0 && frames[0].last == c.last {
			p.frames[i] = &frames[0]
			p.bytes += len(frames[0].data)
			continue
		}
		moved := c.last < s.meta.hot // an earlier change found this out, and raised hot
		if !moved {
			if moved, err = r.vanished(ctx, c, s.meta); err != nil {
				return err
			}
		}
		if moved {
			cold[c.segment] = append(cold[c.segment], i)
		}
	}
	return nil
}

// coldReads is how many segments are read from the archive at once.
const coldReads = 8

// coldFrames reads the frames of changes, by segment, from the archive.
func (r *spaceReader) coldFrames(ctx context.Context, p *spacePage, changes map[string][]int) error {
	if len(changes) == 0 {
		return nil
	}
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex
		failed error
		places = make(chan struct{}, coldReads)
	)
	for segment, of := range changes {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			slices.Sort(of)
			name, _ := redisx.Unescape(segment)
			src := &source{place{r.spaceKeys, name, segment}, *p.metas[of[0]], math.MaxUint64}
			lasts := make([]uint64, len(of))
			for n, i := range of {
				lasts[n] = p.changes[i].last
			}
			frames, err := r.store.log.coldSpan(ctx, src, lasts)
			for n := 0; n < len(of) && err == nil; n++ {
				c := &p.changes[of[n]]
				if frames[n] == nil {
					_, err = r.vanished(ctx, c, &src.meta)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = err
				return
			}
			for n, i := range of {
				if p.frames[i] = frames[n]; frames[n] != nil {
					p.bytes += len(frames[n].data)
				}
			}
		})
	}
	wg.Wait()
	return failed
}

// vanished explains a frame that was there when the meta was read: it has moved to the archive, it
// was deleted or trimmed, or it is lost.
func (r *spaceReader) vanished(ctx context.Context, c *change, seen *meta) (moved bool, err error) {
	m, err := r.store.log.readMeta(ctx, place{spaceKeys: r.spaceKeys, segment: c.segment})
	switch {
	case err != nil:
		return false, err
	case m.exists && (r.hides(&m) || c.id.Before(m.birth)):
		return false, nil
	case m.exists && c.last < m.first:
		return false, r.tell(ctx, c)
	case m.exists && m.incarnation == seen.incarnation && c.last >= seen.hot && c.last < m.hot:
		seen.hot, seen.hotProof = m.hot, m.hotProof
		return true, nil
	case m.exists && c.last < seen.hot:
		return false, fmt.Errorf("%w: entry %d of %q is missing from the archive", streamhub.ErrCorrupt, c.last, c.segment)
	}
	return false, &streamhub.HistoryLostError{}
}

// ReadSpacePage reads beyond after along the timeline of a space, or from its start if after is zero. next is the
// position to go on from; it moves also where there was nothing to read. A reader that began at the start passes one
// start with all of its pages, and then gets an error only for later trims; nil is for one that began with a cursor.
func (s *Store) ReadSpacePage(ctx context.Context, space string, after streamhub.Position, start *SpaceStart) (entries []streamhub.Entry, next streamhub.Position, more bool, err error) {
	defer func() { err = s.fail("read", space, "", err) }()
	r, err := s.newSpaceReader(space, after)
	if err != nil {
		return nil, after, false, err
	}
	r.begun = start
	if after.IsZero() {
		if err := r.whole(ctx); err != nil {
			return nil, after, false, err
		}
	}
	p := r.first(ctx)
	if p.err == nil {
		p.err = r.missed(ctx, p)
	}
	if p.err != nil {
		return nil, after, false, r.resumable(ctx, p.err)
	}
	for last := (streamhub.TimelineID{}); ; {
		if _, err = r.visit(p, func(e *streamhub.Entry) bool {
			entries = append(entries, *e)
			return true
		}); err != nil {
			return entries, r.at, p.more, err
		}
		if next = r.after(p); next != after || !p.more {
			return entries, next, p.more, nil
		}
		// The page has only the place that was already read, because it ends a window of the archive.
		last = p.reached(last)
		if p = r.fetch(ctx, p.next, last); p.err == nil {
			p.err = r.missed(ctx, p)
		}
		if p.err != nil {
			return nil, after, false, r.resumable(ctx, p.err)
		}
	}
}

// after is the position after a page that was visited.
func (r *spaceReader) after(p *spacePage) streamhub.Position {
	n := len(p.changes) - 1
	if n < 0 {
		return r.at
	}
	c := &p.changes[n]
	if r.at.Timeline == c.id && r.at.Index == c.index {
		return r.at
	}
	return streamhub.Position{Timeline: c.id, Index: c.index, Mark: r.mark, Trimmed: r.told(c.id), Incarnation: p.metas[n].incarnation, Sequence: c.last, Lineage: p.state.lineageAt(c.id)}
}
