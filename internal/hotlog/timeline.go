package hotlog

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"
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

// ConsumeSpace reads what a space holds when the call begins, over all of its segments, in the
// order in which Redis took it. Entries that were deleted are left out; entries that were trimmed
// are too at the start, but after a cursor they are an [streamhub.TrimmedError]. The sequence can
// be ranged over more than once.
func (s *Store) ConsumeSpace(ctx context.Context, space string, options *streamhub.ReadOptions) iter.Seq2[streamhub.Entry, error] {
	return func(yield func(streamhub.Entry, error) bool) {
		if err := s.consumeSpace(ctx, space, options, yield); err != nil {
			yield(streamhub.Entry{}, s.fail("consume", space, "", err))
		}
	}
}

func (s *Store) consumeSpace(ctx context.Context, space string, options *streamhub.ReadOptions, yield func(streamhub.Entry, error) bool) error {
	var o streamhub.ReadOptions
	if options != nil {
		o = *options
	}
	if o.FromSequence != 0 || o.ToSequence != 0 {
		return fmt.Errorf("%w: FromSequence and ToSequence are for a segment, a space is bounded by After and Until", streamhub.ErrInvalidArgument)
	}
	start, err := o.Cursor.Position()
	if err != nil {
		return err
	}
	r, err := s.newSpaceReader(space, start)
	if err != nil {
		return err
	}
	if r.end, err = s.log.timelineEnd(ctx, r.spaceKeys); err != nil {
		return err
	}
	after, until := bounds(&o)
	if start.IsZero() && after == 0 {
		if err := r.whole(ctx); err != nil {
			return err
		}
	}
	if r.end.isZero() {
		if !start.IsZero() {
			return &streamhub.HistoryLostError{}
		}
		return nil
	}
	end := r.end
	if err := r.bound(ctx, after, until); err != nil || r.end.before(r.from) {
		return err
	}
	r.toEnd = r.end == end
	left := o.Limit
	if left == 0 {
		left = math.MaxUint64
	}
	return r.read(ctx, func(e *streamhub.Entry) bool {
		left--
		return yield(*e, nil) && left > 0
	})
}

// Consume reads several spaces at once, each after its cursor, by timestamp; entries of one
// space keep their order. Options hold for all of them; their Cursor must be empty.
func (s *Store) Consume(ctx context.Context, cursors map[string]streamhub.Cursor, options *streamhub.ReadOptions) iter.Seq2[streamhub.Entry, error] {
	return func(yield func(streamhub.Entry, error) bool) {
		var o streamhub.ReadOptions
		if options != nil {
			o = *options
		}
		left := o.Limit
		if left == 0 {
			left = math.MaxUint64
		}
		heads := make([]*merge, 0, len(cursors))
		defer func() {
			for _, h := range heads {
				h.stop()
			}
		}()
		if o.Cursor != "" {
			yield(streamhub.Entry{}, s.fail("consume", "", "", fmt.Errorf("%w: options for several spaces have no Cursor: pass one for each space", streamhub.ErrInvalidArgument)))
			return
		}
		for space, cursor := range cursors {
			own := o
			own.Cursor = cursor
			h := &merge{}
			h.next, h.stop = iter.Pull2(s.ConsumeSpace(ctx, space, &own))
			heads = append(heads, h)
			if !h.advance() {
				heads = heads[:len(heads)-1]
				h.stop()
			} else if h.err != nil {
				yield(streamhub.Entry{}, h.err)
				return
			}
		}
		for len(heads) > 0 {
			first := 0
			for i, h := range heads {
				if f := heads[first]; h.entry.Timestamp.Before(f.entry.Timestamp) ||
					h.entry.Timestamp.Equal(f.entry.Timestamp) && h.entry.Space < f.entry.Space {
					first = i
				}
			}
			h := heads[first]
			left--
			if !yield(h.entry, nil) || left == 0 {
				return
			}
			if !h.advance() {
				h.stop()
				heads[first] = heads[len(heads)-1]
				heads = heads[:len(heads)-1]
			} else if h.err != nil {
				yield(streamhub.Entry{}, h.err)
				return
			}
		}
	}
}

// A merge is one of several reads that become one.
type merge struct {
	next  func() (streamhub.Entry, error, bool)
	stop  func()
	entry streamhub.Entry
	err   error
}

func (m *merge) advance() (ok bool) {
	m.entry, m.err, ok = m.next()
	return ok
}

// A spaceReader walks along the timeline of a space.
type spaceReader struct {
	store *Store
	spaceKeys
	mark  uint32             // of the space
	from  timelineID         // the first entry of the timeline to read
	end   timelineID         // and the last
	start streamhub.Position // what lies at from was read up to here, if not zero
	at    streamhub.Position // after what was visited
	count int
	// toEnd says that end is a place of the timeline that the read has to reach.
	toEnd bool
	// held says that what only forks may read is read too.
	held bool
}

// hides reports whether the reader must not see the entries of a segment.
func (r *spaceReader) hides(m *meta) bool { return m.erased() || m.held() && !r.held }

func (s *Store) newSpaceReader(space string, start streamhub.Position) (*spaceReader, error) {
	if err := streamhub.CheckName("space", space); err != nil {
		return nil, err
	}
	if !start.IsZero() && start.Timeline.IsZero() {
		return nil, fmt.Errorf("%w: this is the cursor of a segment, and a space is resumed with a cursor of its own", streamhub.ErrInvalidCursor)
	}
	k := keysOf(s.id, space)
	mark := k.mark()
	if !start.IsZero() && start.Mark != mark {
		return nil, fmt.Errorf("%w: this is the cursor of another space", streamhub.ErrInvalidCursor)
	}
	return &spaceReader{
		store: s, spaceKeys: k, mark: mark, start: start, at: start,
		from:  timelineID{start.Timeline.MS, start.Timeline.N},
		end:   timelineID{math.MaxUint64, math.MaxUint64},
		count: firstChanges,
	}, nil
}

// timelineEnd returns the id of the last entry of a timeline, zero if there is none.
func (l *Log) timelineEnd(ctx context.Context, k spaceKeys) (timelineID, error) {
	last, err := l.conn.XRevRangeN(ctx, k.timeline(), "+", "-", 1).Result()
	if err != nil || len(last) == 0 {
		return timelineID{}, redisx.ReadOutcome(err)
	}
	return parseTimelineID(last[0].ID)
}

// bound narrows what is read to the time after one timestamp and until another; see bounds. A cursor that then lies outside is proved first.
func (r *spaceReader) bound(ctx context.Context, after, until int64) error {
	from, end := r.from, r.end
	if after > 0 && from.ms <= uint64(after) {
		from = timelineID{ms: uint64(after) + 1}
	}
	if until := uint64(max(until, 0)); until < end.ms {
		end = timelineID{until, math.MaxUint64}
	}
	if !r.start.IsZero() && (from != r.from || end.before(from)) {
		if err := r.probe(ctx); err != nil {
			return err
		}
	}
	r.from, r.end = from, end
	return nil
}

// first fetches the first page and compares the cursor that the read starts from.
func (r *spaceReader) first(ctx context.Context) *spacePage {
	p := r.fetch(ctx, r.from, timelineID{})
	switch {
	case p.err == nil:
		p.err = r.prove(p)
	case errors.Is(p.err, streamhub.ErrTrimmed):
		// Lost history goes first: the cursor of the other error would hide it.
		if err := r.probe(ctx); err != nil {
			p.err = err
		}
	}
	return p
}

// probe compares the cursor that the read starts from with its own place of the timeline, whatever was
// trimmed after it.
func (r *spaceReader) probe(ctx context.Context) error {
	own := *r
	own.from = timelineID{r.start.Timeline.MS, r.start.Timeline.N}
	place := own
	place.start, place.end = streamhub.Position{}, own.from // a read without a cursor is not told of trims
	p := place.fetch(ctx, own.from, timelineID{})
	if p.err != nil {
		return p.err
	}
	return own.prove(p)
}

// whole refuses a timeline that does not begin where it should.
func (r *spaceReader) whole(ctx context.Context) error {
	// In this order: the start that is written down never lags behind the one there is.
	pipe := r.store.log.conn.Pipeline()
	begins := pipe.XRangeN(ctx, r.timeline(), "-", "+", 1)
	should := pipe.HMGet(ctx, r.state(), stateFields...)
	if _, err := pipe.Exec(ctx); err != nil {
		return redisx.ReadOutcome(err)
	}
	err := r.judge(begins.Val(), should.Val())
	if errors.Is(err, streamhub.ErrHistoryLost) && r.store.log.conn.Cluster != nil {
		// While a slot moves, one of the commands of a pipeline may be sent once more, after the others.
		if begins = r.store.log.conn.XRangeN(ctx, r.timeline(), "-", "+", 1); begins.Err() != nil {
			return redisx.ReadOutcome(begins.Err())
		}
		if should = r.store.log.conn.HMGet(ctx, r.state(), stateFields...); should.Err() != nil {
			return redisx.ReadOutcome(should.Err())
		}
		err = r.judge(begins.Val(), should.Val())
	}
	return err
}

// judge compares the first entry of a timeline with what the state of the space says of it, which was read later.
func (r *spaceReader) judge(begins []redis.XMessage, should []any) error {
	state, err := parseSpaceState(should)
	if err != nil || state.start.isZero() {
		return err
	}
	if state.archived && r.store.log.opt.Cold == nil && state.start.before(state.first) {
		return errNoArchive
	}
	if len(begins) == 0 {
		return &streamhub.HistoryLostError{}
	}
	id, err := parseTimelineID(begins[0].ID)
	if err != nil {
		return err
	}
	// One that was lost and begins anew within the same millisecond has the same id.
	segment, ref, known := strings.Cut(state.begin, " ")
	if state.first.before(id) || known && id == state.start && begins[0].Values[segment] != ref {
		return &streamhub.HistoryLostError{}
	}
	return nil
}

// A spacePage is a part of a timeline with the frames that it names.
type spacePage struct {
	from    timelineID
	changes []change
	frames  []*frame // of each change; nil where there is nothing to read
	metas   []*meta
	state   spaceState // read after the changes
	next    timelineID // where the page after it begins
	more    bool
	// archived says that the start of the timeline is archived, so that nothing shortens it.
	archived bool
	bytes    int
	err      error
}

// reached is the place of the last change of the page, or before if there is none.
func (p *spacePage) reached(before timelineID) timelineID {
	if n := len(p.changes); n > 0 {
		return p.changes[n-1].id
	}
	return before
}

// read calls visit with each entry. While one page is visited the next one is on its way.
func (r *spaceReader) read(ctx context.Context, visit func(e *streamhub.Entry) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	var ahead chan *spacePage
	defer func() {
		cancel()
		if ahead != nil {
			<-ahead
		}
	}()
	p := r.first(ctx)
	archived := false
	for last := (timelineID{}); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		if p.err == nil {
			p.err = r.missed(p)
		}
		if p.err != nil {
			return r.resumable(ctx, p.err)
		}
		if n := len(p.changes); n > 0 && p.bytes > 0 {
			r.count = max(16, min(timelineBytes/(p.bytes/n+64), 8*r.count, maxChanges))
		}
		if archived && !p.archived {
			return &streamhub.HistoryLostError{} // Redis has forgotten the archive
		}
		archived = p.archived
		last = p.reached(last)
		if p.more {
			ahead = make(chan *spacePage, 1)
			go func(from, last timelineID, into chan<- *spacePage) { into <- r.fetch(ctx, from, last) }(p.next, last, ahead)
		}
		if goOn, err := r.visit(p, visit); err != nil || !goOn {
			return err
		}
		r.at = r.after(p)
		if !p.more {
			if r.toEnd && last != r.end {
				return r.cutShort(ctx, archived && p.state.swept.before(r.end))
			}
			return nil
		}
		p = <-ahead
		ahead = nil
	}
}

// resumable gives the error of a reader that met what was trimmed the cursor to go on from: after
// what was visited, without all that was trimmed so far.
func (r *spaceReader) resumable(ctx context.Context, err error) error {
	var trimmed *streamhub.TrimmedError
	if !errors.As(err, &trimmed) {
		return err
	}
	end, err := r.store.log.timelineEnd(ctx, r.spaceKeys)
	if err != nil {
		return err
	}
	at := r.at
	at.Trimmed = end.public()
	return &streamhub.TrimmedError{Cursor: at.Cursor(), Space: r.space}
}

// told is what a position at id says of the trims that the reader was told of.
func (r *spaceReader) told(id timelineID) streamhub.TimelineID {
	if t := r.start.Trimmed; id.before(timelineID{t.MS, t.N}) {
		return t
	}
	return streamhub.TimelineID{}
}

// cutShort explains a read that did not meet the end that the timeline had when it began. Where sweeps
// do not come, sure is set: that place cannot be gone on purpose.
func (r *spaceReader) cutShort(ctx context.Context, sure bool) error {
	end, err := r.store.log.timelineEnd(ctx, r.spaceKeys)
	if err == nil && (sure || end.before(r.end)) {
		err = &streamhub.HistoryLostError{}
	}
	return err
}

// visit passes the entries of a page on.
func (r *spaceReader) visit(p *spacePage, visit func(e *streamhub.Entry) bool) (bool, error) {
	pass := func(e *streamhub.Entry) bool {
		r.at = e.Position
		return visit(e)
	}
	for i := range p.changes {
		c, f := &p.changes[i], p.frames[i]
		if f == nil {
			continue
		}
		name, _ := redisx.Unescape(c.segment)
		base := streamhub.Entry{Space: r.space, Segment: name}
		base.Position = streamhub.Position{
			Incarnation: p.metas[i].incarnation, Lineage: p.metas[i].lineageAt(c.last),
			Timeline: streamhub.TimelineID{MS: c.id.ms, N: c.id.n, Index: c.index}, Mark: r.mark, Trimmed: r.told(c.id),
		}
		from := uint64(0)
		if at := r.start.Timeline; !at.IsZero() && c.id == (timelineID{at.MS, at.N}) {
			if c.index < at.Index {
				continue
			}
			if c.index == at.Index {
				from = r.start.Sequence + 1
			}
		}
		if goOn, err := f.entries(&base, from, math.MaxUint64, pass); err != nil || !goOn {
			return false, err
		}
	}
	return true, nil
}

// behind reports whether there is something in c after the cursor that the read started from. What
// was trimmed is not, up to the place that the cursor names for that.
func (r *spaceReader) behind(c *change) bool {
	at := r.start.Timeline
	if t := r.start.Trimmed; !t.IsZero() && !(timelineID{t.MS, t.N}).before(c.id) {
		return false
	}
	if id := (timelineID{at.MS, at.N}); at.IsZero() || c.id != id {
		return !c.id.before(id)
	}
	return c.index > at.Index || c.index == at.Index && c.last > r.start.Sequence
}

// prove compares the first page with the cursor that the read started from.
func (r *spaceReader) prove(p *spacePage) error {
	at := r.start.Timeline
	id := timelineID{at.MS, at.N}
	if at.IsZero() || p.err != nil || r.from != id {
		return nil // no cursor, or a later time bound
	}
	if p.state.lost(r.start.Lineage, id) {
		return &streamhub.HistoryLostError{}
	}
	for i := range p.changes {
		c := &p.changes[i]
		if c.id != id {
			break
		}
		if c.index != at.Index {
			continue
		}
		if c.records == 0 && c.last == r.start.Sequence {
			return nil // it brought nothing that could be compared
		}
		if c.last < r.start.Sequence || c.first() > r.start.Sequence {
			return &streamhub.HistoryLostError{}
		}
		if p.frames[i] == nil {
			return nil // its entries are gone on purpose
		}
		proof, err := p.frames[i].proof(r.start.Sequence)
		if err == nil && proof != r.start.Proof {
			err = &streamhub.HistoryLostError{}
		}
		return err
	}
	switch {
	case p.state.archived && r.store.log.opt.Cold == nil && id.before(p.state.first):
		return errNoArchive
	case len(p.changes) > 0 && p.changes[0].id == id, // it names less than the cursor has seen
		p.state.start.isZero(), id.before(p.state.start), p.state.swept.before(id):
		return &streamhub.HistoryLostError{}
	}
	return nil // a sweep has removed the entry of the timeline: what it named is gone on purpose
}

// missed refuses a page of a read that started from a cursor if a sweep removed something from it
// that was trimmed before it was read.
func (r *spaceReader) missed(p *spacePage) error {
	t := &p.state.trimmed
	if r.start.IsZero() || t.id.isZero() || t.id.before(p.from) || !r.behind(t) {
		return nil
	}
	if p.more && !t.id.before(p.next) {
		return nil // it belongs to a later page
	}
	// If it lies after the end of the read, others that were removed before it may lie within: a reader
	// is told once too often rather than not at all.
	for i := range p.changes {
		if c := &p.changes[i]; c.id == t.id && c.index == t.index {
			return nil // the sweep came after the page was read
		}
	}
	return &streamhub.TrimmedError{}
}

// fetch reads the timeline from an id on, and the frames that it names. last is the place that was
// read just before from, zero if there was none.
func (r *spaceReader) fetch(ctx context.Context, from, last timelineID) *spacePage {
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
func (r *spaceReader) timelinePage(ctx context.Context, p *spacePage, from, last timelineID) (err error) {
	l := r.store.log
	begin, count := from, r.count
	if l.opt.Cold != nil && !last.isZero() {
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
	if p.archived = state.archived; p.archived && from.before(state.first) {
		p.changes, p.next, p.more, err = l.coldChanges(ctx, r.spaceKeys, from, r.end, last, r.count)
		return err
	}
	n := 0
	for n < len(p.changes) && p.changes[n].id.before(from) {
		n++
	}
	if p.archived && !last.isZero() && n == 0 && !last.before(state.first) && state.swept.before(last) {
		return &streamhub.HistoryLostError{}
	}
	p.changes = p.changes[n:]
	return nil
}

// changes reads up to about count entries of a timeline. next is where to go on if there are more.
func (l *Log) changes(ctx context.Context, k spaceKeys, from, to timelineID, count int) (changes []change, next timelineID, more bool, err error) {
	cmd := newRange(ctx, k.timeline(), from.String(), to.String(), count, 0)
	if err := l.conn.Process(ctx, cmd); err != nil {
		return nil, next, false, redisx.ReadOutcome(err)
	}
	raw, err := l.reply(ctx, cmd)
	if err != nil {
		return nil, next, false, err
	}
	p := respParser{b: raw}
	n := p.array()
	changes = make([]change, 0, min(n, maxChanges))
	for range n {
		if p.array() != 2 {
			break
		}
		id, err := parseTimelineID(text(p.bulk()))
		if err != nil {
			return nil, next, false, err
		}
		pairs := p.array() / 2
		for i := range pairs {
			c, err := parseChange(string(p.bulk()), text(p.bulk()))
			if err != nil {
				return nil, next, false, err
			}
			c.id, c.index = id, uint32(i)
			changes = append(changes, c)
		}
		next = timelineID{id.ms, id.n + 1}
	}
	if p.failed || len(p.b) != 0 {
		return nil, next, false, p.error()
	}
	return changes, next, n >= count, nil
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

// vanishedMetas tells segments that were deleted so long ago that nothing is left of them from
// those whose meta was lost: these are still listed.
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

// frames reads what the changes of the page name: for each segment one range of its log.
func (r *spaceReader) frames(ctx context.Context, p *spacePage) error {
	type span struct {
		from, to uint64
		of       []int // changes
		m        *meta
		cmd      rangeCmd
	}
	spans := map[string]*span{}
	var order []*span
	cold := map[string][]int{} // changes, by segment
	p.frames = make([]*frame, len(p.changes))
	for i := range p.changes {
		c, m := &p.changes[i], p.metas[i]
		if c.records == 0 || r.hides(m) || c.id.before(m.birth) {
			continue
		}
		if c.last > m.last {
			return &streamhub.HistoryLostError{}
		}
		if m.first == 0 || c.last < m.first {
			if !r.start.IsZero() && r.behind(c) {
				return &streamhub.TrimmedError{}
			}
			continue
		}
		if c.last < m.hot {
			cold[c.segment] = append(cold[c.segment], i)
			continue
		}
		sp := spans[c.segment]
		if sp == nil {
			sp = &span{from: c.last, m: m}
			spans[c.segment] = sp
			order = append(order, sp)
		}
		sp.to = c.last
		sp.of = append(sp.of, i)
	}
	for begin := 0; begin < len(order); begin += pipelineRanges {
		part := order[begin:min(begin+pipelineRanges, len(order))]
		pipe := r.store.log.conn.Pipeline()
		for _, sp := range part {
			log := r.log(p.changes[sp.of[0]].segment, sp.m.incarnation)
			sp.cmd = newRange(ctx, log, strconv.FormatUint(sp.from, 10), strconv.FormatUint(sp.to, 10), len(sp.of), 0)
			_ = pipe.Process(ctx, sp.cmd)
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return redisx.ReadOutcome(err)
		}
		for _, sp := range part {
			frames, err := r.store.log.frames(ctx, sp.cmd)
			if err != nil {
				return err
			}
			n := 0
			for _, i := range sp.of {
				c := &p.changes[i]
				for n < len(frames) && frames[n].last < c.last {
					n++
				}
				if n < len(frames) && frames[n].last == c.last {
					p.frames[i] = &frames[n]
					p.bytes += len(frames[n].data)
					continue
				}
				moved := c.last < sp.m.hot // as was seen of one before it
				if !moved {
					if moved, err = r.vanished(ctx, c, sp.m); err != nil {
						return err
					}
				}
				if moved {
					cold[c.segment] = append(cold[c.segment], i)
				}
			}
		}
	}
	return r.coldFrames(ctx, p, cold)
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
	case m.exists && (r.hides(&m) || c.id.before(m.birth)):
		return false, nil
	case m.exists && c.last < m.first:
		if r.start.IsZero() || !r.behind(c) {
			return false, nil
		}
		return false, &streamhub.TrimmedError{}
	case m.exists && m.incarnation == seen.incarnation && c.last >= seen.hot && c.last < m.hot:
		seen.hot, seen.hotProof = m.hot, m.hotProof
		return true, nil
	case m.exists && c.last < seen.hot:
		return false, fmt.Errorf("%w: entry %d of %q is missing from the archive", streamhub.ErrCorrupt, c.last, c.segment)
	}
	return false, &streamhub.HistoryLostError{}
}
