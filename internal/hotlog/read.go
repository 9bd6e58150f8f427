package hotlog

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/millis"
	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// pageBytes is about how much one read asks Redis for. A frame that is larger is a page by itself.
const pageBytes = 1 << 20

// replyOverhead is about what a reply holds for each frame besides the frame: its id, its TRX number and their lengths.
const replyOverhead = 64

// maxPageFrames bounds a page of tiny frames.
const maxPageFrames = 4096

// ConsumeSegment reads what a segment holds when the call begins, in order. A segment that does
// not exist is [streamhub.ErrNotFound]; one whose wanted entries were removed is an
// [streamhub.TrimmedError]; one that is not what the cursor saw an
// [streamhub.HistoryLostError]. The sequence can be ranged over more than once.
func (s *Store) ConsumeSegment(ctx context.Context, space, segment string, options *streamhub.ReadOptions) iter.Seq2[streamhub.Entry, error] {
	return func(yield func(streamhub.Entry, error) bool) {
		if err := s.consumeSegment(ctx, space, segment, options, yield); err != nil {
			yield(streamhub.Entry{}, s.fail("consume", space, segment, err))
		}
	}
}

func (s *Store) consumeSegment(ctx context.Context, space, segment string, options *streamhub.ReadOptions, yield func(streamhub.Entry, error) bool) error {
	at, err := s.place(space, segment)
	if err != nil {
		return err
	}
	var o streamhub.ReadOptions
	if options != nil {
		o = *options
	}
	start, err := o.Cursor.Position()
	if err != nil {
		return err
	}
	if err := ofSegment(start); err != nil {
		return err
	}
	if !start.IsZero() && o.FromSequence != 0 {
		return fmt.Errorf("%w: Cursor and FromSequence exclude each other", streamhub.ErrInvalidArgument)
	}
	m, err := s.readMeta(ctx, at)
	if err != nil {
		return err
	}
	r, err := s.newReader(ctx, at, &m, start, o.FromSequence)
	if err != nil {
		return err
	}
	r.to = m.last
	if o.ToSequence != 0 {
		r.to = min(r.to, o.ToSequence)
	}
	after, until := bounds(&o)
	if after > 0 {
		if err := r.seekTime(ctx, after); err != nil {
			return err
		}
	}
	left := o.Limit
	if left == 0 {
		left = math.MaxUint64
	}
	return r.read(ctx, func(f *frame, base *streamhub.Entry, to uint64) (bool, error) {
		switch {
		case f.timestamp > until:
			return false, nil
		case f.timestamp <= after:
			return true, nil
		}
		return f.entries(base, r.next, to, func(e *streamhub.Entry) bool {
			left--
			return yield(*e, nil) && left > 0
		})
	})
}

// bounds returns the bounds in time, in Unix milliseconds: after is exclusive and 0 for none, until inclusive and the
// largest one for none.
func bounds(o *streamhub.ReadOptions) (after, until int64) {
	if until = millis.Of(o.Until); o.Until.IsZero() {
		until = math.MaxInt64
	}
	return max(0, millis.Of(o.After)), until
}

// ofSegment refuses the cursor of a space.
func ofSegment(start streamhub.Position) error {
	if !start.Timeline.IsZero() {
		return fmt.Errorf("%w: this is the cursor of a space, and a segment is resumed with a cursor of its own", streamhub.ErrInvalidCursor)
	}
	return nil
}

// A source is a log that holds a part of a segment: its own log, or that of an ancestor if the
// segment is a fork. limit is the last sequence to read from it; for its own log it is the largest
// integer.
type source struct {
	place
	meta  meta
	limit uint64 // the last sequence taken from it
}

// A reader walks over the frames of a segment. It is used by one goroutine; the goroutine that reads
// ahead gets copies of what changes.
type reader struct {
	store   *Store
	place   place
	sources []source // the segment itself last
	next    uint64   // the next sequence wanted
	to      uint64
	// check is the position that the frame with its sequence must prove, if not zero.
	check streamhub.Position
	count int // frames to ask for
	// weight is what a frame of the last page weighed in its reply, 0 before the first one.
	weight int
	// patient readers fetch a page when they have visited the one before it.
	patient bool
}

// newReader starts after start, at from, or at the first entry that is kept.
func (s *Store) newReader(ctx context.Context, at place, m *meta, start streamhub.Position, from uint64) (*reader, error) {
	if m.gone() {
		if !start.IsZero() && !m.exists {
			return nil, &streamhub.HistoryLostError{FirstLost: 1}
		}
		return nil, goneOf(m)
	}
	r := &reader{store: s, place: at, count: 4}
	var err error
	if r.sources, err = s.sources(ctx, at, m); err != nil {
		return nil, err
	}
	first, _, proof := firstOf(r.sources)
	switch {
	case !start.IsZero():
		if lost := r.lost(start); lost != 0 {
			return nil, &streamhub.HistoryLostError{FirstLost: lost}
		}
		r.next = start.Sequence + 1
		switch {
		case r.next > first:
			r.check = start
		case r.next == first:
			if start.Sequence > 0 && proof != 0 && proof != start.Proof {
				return nil, &streamhub.HistoryLostError{FirstLost: start.Sequence}
			}
		default:
			return nil, r.trimmed()
		}
	case from != 0:
		if r.next = from; from < first {
			return nil, r.trimmed()
		}
	default:
		r.next = first
	}
	r.to = m.last
	return r, nil
}

// trimmed is the error of a reader that comes too late, with the position before the first entry left.
func (r *reader) trimmed() error {
	first, _, proof := firstOf(r.sources)
	before := first - 1
	at := streamhub.Position{
		Incarnation: r.sources[len(r.sources)-1].meta.incarnation, Lineage: r.source(before).meta.lineageAt(before),
		Sequence: before, Proof: proof,
	}
	return &streamhub.TrimmedError{FirstKept: first, Cursor: at.Cursor()}
}

// goneOf is the error for a segment that cannot be read.
func goneOf(m *meta) error {
	if m.exists && m.verdict != nil {
		return &streamhub.DeletedError{Verdict: *m.verdict, Held: m.state == stateDeleted}
	}
	return streamhub.ErrNotFound
}

// firstOf returns the first sequence that can be read of a segment with these sources. It adds
// its timestamp if it is there, and the proof of the entry before it if that is known.
func firstOf(sources []source) (first uint64, timestamp int64, proof uint64) {
	own := len(sources) - 1
	for i := own; i >= 0; i-- {
		m, low := &sources[i].meta, uint64(1)
		if i > 0 {
			low = sources[i-1].limit + 1
		}
		switch {
		case i == own && m.first == 0:
			first, proof = m.last+1, m.proof
		case sources[i].limit < low:
			continue // a fork of a fork that begins before it
		case m.first == 0 || m.first > sources[i].limit:
			return first, timestamp, proof
		default:
			first, timestamp, proof = m.first, m.firstTimestamp, m.trimProof
		}
		if first > low {
			break // trimmed, and so are all sources below
		}
	}
	return first, timestamp, proof
}

// lost returns the first sequence that start has seen and that is not what it was, or 0 where that
// is not known without the proof.
func (r *reader) lost(start streamhub.Position) uint64 {
	own := &r.sources[len(r.sources)-1]
	first, sure := own.meta.lost(start)
	if src := r.source(start.Sequence); first == 0 && src != own {
		// A fork shares the fate of what it shares. Its head may name a reign that the other
		// segment has not seen.
		start.Incarnation = src.meta.incarnation
		first, sure = src.meta.lost(start)
		sure = sure && (start.Sequence > src.meta.last || src.meta.reigned(start.Lineage) >= 0)
	}
	if !sure {
		return 0
	}
	return first
}

// sources resolves the forks that lie below a segment.
func (s *Store) sources(ctx context.Context, at place, m *meta) ([]source, error) {
	chain := []source{{at, *m, math.MaxUint64}}
	limit := uint64(math.MaxUint64)
	for parent := m.parent; parent != nil; {
		limit = min(limit, parent.limit)
		name, _ := redisx.Unescape(parent.segment)
		above := place{at.spaceKeys, name, parent.segment}
		pm, err := s.readMeta(ctx, above)
		if err != nil {
			return nil, err
		}
		if !pm.exists || pm.incarnation != parent.incarnation || pm.state == stateTombstone {
			return nil, fmt.Errorf("%w: the segment is a fork of %q, which is gone", streamhub.ErrCorrupt, name)
		}
		chain = append([]source{{above, pm, limit}}, chain...)
		parent = pm.parent
	}
	return chain, nil
}

// source returns the log that holds sequence.
func (r *reader) source(sequence uint64) *source {
	for i := range r.sources {
		if sequence <= r.sources[i].limit {
			return &r.sources[i]
		}
	}
	return nil
}

// A framePage is what one read brought.
type framePage struct {
	frames []frame
	base   streamhub.Entry
	source *source
	err    error
}

// fetch reads the frames from sequence on. weight is that of r when the fetch was asked for.
func (r *reader) fetch(ctx context.Context, sequence uint64, count, weight int) framePage {
	src := r.source(sequence)
	if sequence < src.meta.hot {
		p := framePage{source: src}
		p.frames, p.err = r.store.log.coldFrames(ctx, src, sequence)
		p.base = r.base()
		return p
	}
	size := 0
	if weight > 0 {
		left := count
		if to := min(r.to, src.limit); to >= sequence && to-sequence < uint64(count) {
			left = int(to-sequence) + 1
		}
		size = left*(weight+weight/16) + 64 // some frames are a little longer
	}
	cmd := newRange(ctx, src.log(src.segment, src.meta.incarnation), strconv.FormatUint(sequence, 10), "+", count, size)
	p := framePage{source: src}
	if err := r.store.log.conn.Process(ctx, cmd); err != nil {
		p.err = redisx.ReadOutcome(err)
		return p
	}
	p.frames, p.err = r.store.log.frames(ctx, cmd)
	p.base = r.base()
	return p
}

// base is what the entries of the segment are made from.
func (r *reader) base() streamhub.Entry {
	e := streamhub.Entry{Space: r.place.space, Segment: r.place.name}
	e.Position.Incarnation = r.sources[len(r.sources)-1].meta.incarnation
	return e
}

// resolveGap returns p if it begins with the frame that holds sequence. Otherwise something has changed
// since the meta was read: entries were moved to the archive, and are read there, or were trimmed,
// deleted or lost, which is the error.
func (r *reader) resolveGap(ctx context.Context, p framePage, sequence uint64, count int) (framePage, error) {
	for {
		if err := ctx.Err(); err != nil {
			return p, err
		}
		if p.err != nil {
			return p, p.err
		}
		if len(p.frames) > 0 && p.frames[0].first() <= sequence && sequence <= p.frames[0].last {
			return p, nil
		}
		if err := r.missing(ctx, &p, sequence); err != nil {
			return p, err
		}
		p = r.fetch(ctx, sequence, count, 0)
	}
}

// A visitor gets a frame, what its entries are made from, and the last sequence that is wanted of
// it. It reports whether to go on.
type visitor func(f *frame, base *streamhub.Entry, to uint64) (bool, error)

// read calls visit with each frame that holds sequences from next to to. While one page is
// visited the next one is on its way.
func (r *reader) read(ctx context.Context, visit visitor) error {
	if r.next > r.to && r.check.IsZero() {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	var ahead chan framePage
	defer func() {
		cancel()
		if ahead != nil {
			<-ahead
		}
	}()
	at := r.next
	if !r.check.IsZero() {
		at = r.check.Sequence // it is visited for its proof only
	}
	p := r.fetch(ctx, at, r.count, r.weight)
	for {
		var err error
		p, err = r.resolveGap(ctx, p, at, r.count)
		if errors.Is(err, streamhub.ErrTrimmed) && !r.check.IsZero() {
			if err = r.trimmedCheck(err); err == nil {
				if r.next > r.to {
					return nil
				}
				at = r.next
				p = r.fetch(ctx, at, r.count, r.weight)
				continue
			}
		}
		if err != nil {
			return err
		}
		r.count = r.grow(&p)
		end := min(p.frames[len(p.frames)-1].last, p.source.limit)
		more := end < r.to
		at = end + 1
		if more && !r.patient {
			ahead = make(chan framePage, 1)
			go func(at uint64, count, weight int, into chan<- framePage) { into <- r.fetch(ctx, at, count, weight) }(at, r.count, r.weight, ahead)
		}
		for i := range p.frames {
			f := &p.frames[i]
			if f.first() > min(r.to, p.source.limit) {
				break
			}
			if goOn, err := r.visit(f, &p, visit); err != nil || !goOn {
				return err
			}
		}
		switch {
		case !more:
			return nil
		case r.patient:
			p = r.fetch(ctx, at, r.count, r.weight)
		default:
			p = <-ahead
			ahead = nil
		}
	}
}

// trimmedCheck proves the position that the read started from, if its entry was trimmed after the
// meta was read. If that entry is the last one that was trimmed, nothing is missing: the meta keeps
// its proof.
func (r *reader) trimmedCheck(err error) error {
	first, _, proof := firstOf(r.sources)
	switch {
	case first != r.next:
		return err
	case proof != 0 && proof != r.check.Proof:
		return &streamhub.HistoryLostError{FirstLost: r.check.Sequence}
	}
	r.check = streamhub.Position{}
	return nil
}

// visit proves the position that the read started from, if f holds it, and passes f on.
func (r *reader) visit(f *frame, p *framePage, visit visitor) (bool, error) {
	if !r.check.IsZero() {
		proof, err := f.proof(r.check.Sequence)
		if err != nil {
			return false, err
		}
		if proof != r.check.Proof {
			return false, &streamhub.HistoryLostError{FirstLost: r.check.Sequence}
		}
		r.check = streamhub.Position{}
	}
	if f.last < r.next {
		return true, nil
	}
	p.base.Position.Lineage = p.source.meta.lineageAt(f.last)
	to := min(f.last, r.to, p.source.limit)
	goOn, err := visit(f, &p.base, to)
	r.next = to + 1
	return goOn, err
}

// grow chooses how many frames to ask for next from what the last page weighed. A reader that reads
// ahead holds two pages, for as long as its caller takes, so they are smaller.
func (r *reader) grow(p *framePage) int {
	size := 0
	for i := range p.frames {
		size += len(p.frames[i].data)
	}
	r.weight = size/len(p.frames) + replyOverhead
	budget := pageBytes
	if !r.patient {
		budget /= 2
	}
	fit := budget / (size/len(p.frames) + 32)
	return max(1, min(fit, 16*r.count, maxPageFrames))
}

// missing explains a page that does not begin with the frame that holds sequence. Without an error
// the frame has moved to the archive, and can be read there.
func (r *reader) missing(ctx context.Context, p *framePage, sequence uint64) error {
	m, err := r.store.readMeta(ctx, p.source.place)
	switch {
	case err != nil:
		return err
	case !m.exists:
		return &streamhub.HistoryLostError{FirstLost: 1}
	// The segment was deleted and created again after the read began.
	case m.incarnation != p.source.meta.incarnation:
		return &streamhub.HistoryLostError{FirstLost: 1}
	case m.state == stateTombstone:
		return goneOf(&m)
	// It was trimmed meanwhile. The new meta says from where a reader can go on.
	case sequence < m.first:
		p.source.meta = m
		return r.trimmed()
	case sequence > m.last:
		return &streamhub.HistoryLostError{FirstLost: m.last + 1}
	// The archiver has moved it. Only the border is taken over from the new meta: the rest of the
	// read goes on with the meta that it began with.
	case sequence >= p.source.meta.hot && sequence < m.hot:
		p.source.meta.hot, p.source.meta.hotProof = m.hot, m.hotProof
		return nil
	}
	return fmt.Errorf("%w: entry %d is missing from the log", streamhub.ErrCorrupt, sequence)
}

// seekTime moves next to the first entry whose timestamp is after a time in Unix milliseconds.
// Timestamps never go back within a segment, so it searches by halves, with one frame for each step.
func (r *reader) seekTime(ctx context.Context, after int64) error {
	lo, hi := r.next, r.to+1 // the answer is in [lo, hi]
	for lo < hi {
		mid := lo + (hi-lo)/2
		if src := r.source(mid); mid < src.meta.hot && r.store.log.opt.Cold != nil {
			// The archive knows the times of what lies together without reading it.
			span, err := r.store.log.opt.Cold.Locate(ctx, src.cold(src.meta.incarnation), mid)
			if err != nil && !errors.Is(err, streamhub.ErrNotFound) {
				return err
			}
			switch last := min(span.Last, src.limit, src.meta.hot-1); {
			case err != nil:
			case span.LastTimestamp <= after:
				lo = last + 1
				continue
			case span.FirstTimestamp > after:
				hi = min(hi, max(lo, span.First))
				continue
			}
		}
		p, err := r.resolveGap(ctx, r.fetch(ctx, mid, 1, 0), mid, 1)
		if err != nil {
			return err
		}
		for i := range p.frames { // the archive returns many
			if f := &p.frames[i]; f.timestamp > after {
				hi = min(hi, max(lo, f.first()))
				break
			}
			lo = p.frames[i].last + 1
		}
	}
	if r.check.IsZero() || lo > r.next {
		r.next = lo
	}
	return nil
}

// readMeta reads what is known of a segment. A segment whose deadline has passed is expired first.
func (s *Store) readMeta(ctx context.Context, at place) (meta, error) {
	m, err := s.log.readMeta(ctx, at)
	if err != nil || m.deadline == 0 || m.gone() {
		return m, err
	}
	now, err := s.log.conn.Time(ctx).Result()
	if err != nil {
		return m, redisx.ReadOutcome(err)
	}
	if now.UnixMilli() < m.deadline {
		return m, nil
	}
	if err := s.log.expire(ctx, at, m.incarnation); err != nil {
		return m, err
	}
	return s.log.readMeta(ctx, at)
}

func (l *Log) readMeta(ctx context.Context, at place) (meta, error) {
	cmd := metaCmd(ctx, at)
	if err := l.conn.Process(ctx, cmd); err != nil {
		return meta{}, redisx.ReadOutcome(err)
	}
	return parseMeta(cmd.Val())
}

func metaCmd(ctx context.Context, at place) *redis.SliceCmd {
	return redis.NewSliceCmd(ctx, append([]any{"hmget", at.meta(at.segment)}, metaFields...)...)
}

// verify reports whether the entry at position is still what it was. An entry that was trimmed since
// counts as unchanged: it was removed on purpose.
func (l *Log) verify(ctx context.Context, at place, position streamhub.Position) error {
	if position.IsZero() {
		return nil
	}
	s := l.Store(at.store)
	m, err := s.readMeta(ctx, at)
	if err != nil {
		return err
	}
	if m.incarnation != position.Incarnation { // that the one which is there was deleted says nothing of it
		return &streamhub.HistoryLostError{FirstLost: 1}
	}
	r, err := s.newReader(ctx, at, &m, position, 0)
	if err == nil && !r.check.IsZero() {
		r.patient, r.count = true, 1
		err = r.read(ctx, func(*frame, *streamhub.Entry, uint64) (bool, error) { return false, nil })
	}
	if errors.Is(err, streamhub.ErrTrimmed) {
		return nil
	}
	return err
}

// compare refuses a segment whose meta and log disagree: after a partial restore, or if something
// else writes its keys.
func (l *Log) compare(ctx context.Context, at place, incarnation uint64) error {
	pipe := l.conn.Pipeline()
	values := metaCmd(ctx, at)
	_ = pipe.Process(ctx, values)
	tail := pipe.XRevRangeN(ctx, at.log(at.segment, incarnation), "+", "-", 1)
	if _, err := pipe.Exec(ctx); err != nil {
		return redisx.ReadOutcome(err)
	}
	m, err := parseMeta(values.Val())
	if err != nil {
		return err
	}
	if !m.exists || m.incarnation != incarnation || m.state != stateOpen {
		return nil // it moved on meanwhile, or has no log to compare with; the script will tell
	}
	entries := tail.Val()
	if len(entries) == 0 {
		return fmt.Errorf("%w: meta names %d entries, the log is missing", streamhub.ErrCorrupt, m.last)
	}
	id, err := parseTimelineID(entries[0].ID)
	if err != nil {
		return err
	}
	if id.MS > m.last { // an append may have come between the two reads
		if m, err = l.readMeta(ctx, at); err != nil || !m.exists || m.incarnation != incarnation {
			return err
		}
		if m.last > id.MS {
			return nil
		}
	}
	if id.MS != m.last {
		return fmt.Errorf("%w: meta names sequence %d, the log ends at %d", streamhub.ErrCorrupt, m.last, id.MS)
	}
	return nil
}
