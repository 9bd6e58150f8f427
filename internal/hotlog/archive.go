package hotlog

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive"
	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// This file has the operations with which package archiver moves history: claim a space, read windows of it, commit
// what was archived of them, and then remove it from Redis.

// noPosition begins the archive state of a space without an archive.
const noPosition = "0-0 "

// An ArchiveOwner is the archiver of a space: the token and the holder of its lease.
type ArchiveOwner struct {
	Token  uint64
	Holder string
}

func (o *ArchiveOwner) String() string { return strconv.FormatUint(o.Token, 10) + " " + o.Holder }

// An ArchiveState is the state of the archive of a space, as recorded in Redis.
type ArchiveState struct {
	// Position is the place in the timeline up to which all is archived, zero for nothing.
	Position streamhub.TimelineID
	// First is the first place of the timeline that Redis keeps, zero if the space has none.
	First   streamhub.TimelineID
	Lineage string // of the server
}

// ClaimArchive makes owner the archiver of a space. The error is [streamhub.ErrFenced] if a later owner has claimed it,
// or another one with the same token. It is [streamhub.ErrNotFound] if Redis has nothing of the space, unless erase is
// set: the claim is then for erasing its archive.
func (s *Store) ClaimArchive(ctx context.Context, space string, owner ArchiveOwner, erase bool) (state ArchiveState, err error) {
	defer func() { err = s.fail("claim archive", space, "", err) }()
	if err := streamhub.CheckName("space", space); err != nil {
		return state, err
	}
	k := keysOf(s.id, space)
	answer, err := s.log.run(ctx, s.log.claim, 1, k.state(), owner.Token, owner.Holder, erase)
	if err != nil {
		return state, err
	}
	if answer[0] != '+' {
		return state, archiveError(answer, owner)
	}
	f := strings.Fields(answer[1:])
	if len(f) != 3 {
		return state, fmt.Errorf("%w: a claim was answered %q", streamhub.ErrCorrupt, answer)
	}
	position, err1 := parseTimelineID(f[0])
	first, err2 := parseTimelineID(f[1])
	return ArchiveState{position, first, f[2]}, errors.Join(err1, err2)
}

// archiveError converts an answer of the scripts of the archiver to an error.
func archiveError(answer string, owner ArchiveOwner) error {
	code, rest, _ := strings.Cut(answer, " ")
	switch code {
	case "FENCED":
		current, _ := strconv.ParseUint(rest, 10, 63)
		return &streamhub.FencedError{Current: current, Got: owner.Token}
	case "FORK":
		return &streamhub.HistoryLostError{}
	case "AGAIN":
		return errAgain
	case "AHEAD":
		return fmt.Errorf("%w: only the entries up to %s are archived", streamhub.ErrConflict, rest)
	}
	err, _ := scriptError(answer)
	return err
}

// A Window is a part of the timeline of a space, with the frames that it names.
type Window struct {
	Changes []archive.Change
	// Segments are the segments that still exist, even if only for their forks.
	Segments []WindowSegment
	To       streamhub.TimelineID // of the last change
	// Meta is what [Store.RestoreSpace] needs besides the changes.
	Meta  []byte
	More  bool // there is another window after it
	Bytes int  // of the frames
}

// A WindowSegment has the frames of one incarnation of a segment in a window.
type WindowSegment struct {
	Segment     string
	Incarnation uint64
	Frames      []archive.Frame // may be none
	// IDs are the TRX ids at both ends of each frame; Proof is that of the last entry.
	IDs   [][2]uuid.UUID
	Proof uint64
	// Meta is what [Store.RestoreSegment] needs besides the frames.
	Meta []byte
}

// maxWindow is the most changes of a window.
const maxWindow = 8192

// ReadWindow reads the part of the timeline in Redis after the place after. The window ends at the time until (in Unix
// milliseconds, inclusive), or after about the given bytes of frames. It leaves out trimmed and deleted entries, unless
// forks read them. The place after, unless zero, must still be there.
func (s *Store) ReadWindow(ctx context.Context, space string, after streamhub.TimelineID, until int64, bytes int) (w Window, err error) {
	defer func() { err = s.fail("read window", space, "", err) }()
	r, err := s.newSpaceReader(space, streamhub.Position{})
	if err != nil || until <= 0 {
		return w, err
	}
	r.held = true
	from, end := after, streamhub.TimelineID{MS: uint64(until), N: math.MaxUint64}
	if !from.IsZero() {
		there, err := s.log.conn.XRangeN(ctx, r.timeline(), from.String(), from.String(), 1).Result()
		if err != nil {
			return w, redisx.ReadOutcome(err)
		}
		if len(there) == 0 {
			return w, &streamhub.HistoryLostError{}
		}
		from.N++
	}
	segments := map[string]*WindowSegment{}
	var order []*meta
	var names []string
	for w.More = true; w.More && len(w.Changes) < maxWindow && w.Bytes < bytes; {
		p := &spacePage{}
		if p.changes, p.next, p.more, err = s.log.changes(ctx, r.spaceKeys, from, end, r.count); err != nil {
			return w, err
		}
		if err := r.refresh(ctx, p); err != nil {
			return w, err
		}
		if err := r.frames(ctx, p); err != nil {
			return w, err
		}
		if n := len(p.changes); n > 0 {
			r.count = max(16, min((bytes-w.Bytes)/(p.bytes/n+64), 8*r.count, maxWindow-len(w.Changes)))
		}
		for i := range p.changes {
			c, m := &p.changes[i], p.metas[i]
			name, _ := redisx.Unescape(c.segment)
			w.Changes = append(w.Changes, archive.Change{
				ID: c.id, Index: c.index, Segment: name, Kind: byte(c.kind), Last: c.last, Records: c.records,
			})
			w.To = c.id
			if c.kind == changeDelete && !m.held() {
				delete(segments, c.segment)
			}
			if m.erased() || c.id.Before(m.birth) {
				continue
			}
			g := segments[c.segment]
			if g == nil || g.Incarnation != m.incarnation {
				g = &WindowSegment{Segment: name, Incarnation: m.incarnation}
				segments[c.segment] = g
				order, names = append(order, m), append(names, c.segment)
			}
			if err := g.add(p.frames[i]); err != nil {
				return w, err
			}
		}
		w.Bytes += p.bytes
		from, w.More = p.next, p.more
	}
	for i, m := range order {
		if g := segments[names[i]]; g != nil && g.Incarnation == m.incarnation {
			w.Segments = append(w.Segments, *g)
		}
	}
	if w.Segments, err = s.describe(ctx, r.spaceKeys, w.Segments); err != nil {
		return w, err
	}
	w.Meta, err = s.describeSpace(ctx, r.spaceKeys)
	return w, err
}

// add puts a frame after the others.
func (g *WindowSegment) add(f *frame) error {
	if f == nil {
		return nil // the entries are gone, or the change had none
	}
	if n := len(g.Frames); n > 0 && f.first() != g.Frames[n-1].Last+1 {
		g.Frames, g.IDs = nil, nil // the earlier frames were trimmed
	}
	var ids [2]uuid.UUID
	if _, err := f.entries(&streamhub.Entry{}, 0, math.MaxUint64, func(e *streamhub.Entry) bool {
		if e.Sequence == f.first() {
			ids[0] = e.TRX.ID
		}
		ids[1] = e.TRX.ID
		return true
	}); err != nil {
		return err
	}
	g.IDs, g.Proof = append(g.IDs, ids), proofOf(ids[1])
	g.Frames = append(g.Frames, archive.Frame{Last: f.last, Records: uint64(f.records), Number: f.number, Timestamp: f.timestamp, Data: f.data})
	return nil
}

// An ArchivedSegment says how far one incarnation of a segment is archived.
type ArchivedSegment struct {
	Segment     string
	Incarnation uint64
	First, Last uint64 // that the window has
	Proof       uint64 // of the last one
}

// commitSegments is how many segments one run of the commit script checks.
const commitSegments = 64

// CommitArchive records that the timeline is archived up to a place, and how far each segment is. If a segment has
// another entry than the archived one, the error is a [streamhub.HistoryLostError], and the recorded place is
// unchanged.
func (s *Store) CommitArchive(ctx context.Context, space string, owner ArchiveOwner, to streamhub.TimelineID, segments []ArchivedSegment) (err error) {
	defer func() { err = s.fail("commit archive", space, "", err) }()
	k := keysOf(s.id, space)
	for {
		part := segments[:min(len(segments), commitSegments)]
		segments = segments[len(part):]
		final := "0"
		if len(segments) == 0 {
			final = "1"
		}
		keys := []any{k.state()}
		args := []any{owner.String(), to.String(), final}
		for _, g := range part {
			segment := redisx.Escape(g.Segment)
			keys = append(keys, k.meta(segment), k.log(segment, g.Incarnation))
			args = append(args, strconv.FormatUint(g.Last, 10), string(appendProof(nil, g.Proof)), strconv.FormatUint(g.First, 10))
		}
		answer, err := s.log.run(ctx, s.log.commit, len(keys), append(keys, args...)...)
		if err != nil {
			return err
		}
		if answer != "+" {
			return archiveError(answer, owner)
		}
		if final == "1" {
			return nil
		}
	}
}

// archivedTo is that of lua/archived.lua.
func archivedTo(z string, position streamhub.TimelineID) uint64 {
	last, place, _ := strings.Cut(z, " ")
	place, before, _ := strings.Cut(place, " ")
	if end, err := parseTimelineID(place); place != "" && (err != nil || position.Before(end)) {
		last = before
	}
	sequence, _ := strconv.ParseUint(last, 10, 63)
	return sequence
}

// A HotSegment is a segment with entries in Redis.
type HotSegment struct {
	Segment     string
	Incarnation uint64
	// First and Last are the entries in Redis, Archived is how far they are archived too.
	First, Last, Archived         uint64
	FirstTimestamp, LastTimestamp int64 // Unix milliseconds
	Bytes                         int64 // about what they take
}

// HotSegments lists the segments after the name after that have entries in Redis. It checks up to limit names and
// returns the last of them; "" is the end. With sizes it asks Redis for their size.
func (s *Store) HotSegments(ctx context.Context, space, after string, limit int, sizes bool) (hot []HotSegment, next string, err error) {
	names, err := s.Segments(ctx, space, after, limit)
	if err != nil || len(names) == 0 {
		return nil, "", err
	}
	hot, err = s.Hot(ctx, space, names, sizes)
	return hot, names[len(names)-1], err
}

// Hot returns the named segments that have entries in Redis, and the deleted segments that forks among them read. With
// sizes it asks Redis for their size.
func (s *Store) Hot(ctx context.Context, space string, names []string, sizes bool) (hot []HotSegment, err error) {
	defer func() { err = s.fail("list", space, "", err) }()
	k := keysOf(s.id, space)
	ask := make([]string, len(names))
	seen := map[string]bool{}
	for i, name := range names {
		ask[i] = redisx.Escape(name)
		seen[ask[i]] = true
	}
	// First those that are named, then those that only their forks keep.
	for parents := false; len(ask) > 0; parents = true {
		found, err := s.log.archived(ctx, k, ask)
		if err != nil {
			return nil, err
		}
		ask = nil
		for _, a := range found {
			if a.erased() || parents && !a.held() {
				continue
			}
			if p := a.parent; p != nil && !seen[p.segment] {
				seen[p.segment] = true
				ask = append(ask, p.segment)
			}
			if a.hot == 0 || a.hot > a.last {
				continue
			}
			name, _ := redisx.Unescape(a.segment)
			hot = append(hot, HotSegment{
				Segment: name, Incarnation: a.incarnation,
				First: a.hot, Last: a.last, Archived: a.archived, FirstTimestamp: a.hotTimestamp, LastTimestamp: a.timestamp,
			})
		}
	}
	if sizes && len(hot) > 0 {
		pipe := s.log.conn.Pipeline()
		usage := make([]*redis.IntCmd, len(hot))
		for i := range hot {
			usage[i] = pipe.MemoryUsage(ctx, k.log(redisx.Escape(hot[i].Segment), hot[i].Incarnation))
		}
		if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
			return nil, redisx.ReadOutcome(err)
		}
		for i := range hot {
			hot[i].Bytes = usage[i].Val()
		}
	}
	return hot, nil
}

// An archivedMeta is the meta of a segment, and how far the segment is archived.
type archivedMeta struct {
	meta
	segment  string // escaped
	archived uint64
}

// archived reads the metas of segments, which are escaped.
func (l *Log) archived(ctx context.Context, k spaceKeys, segments []string) ([]archivedMeta, error) {
	pipe := l.conn.Pipeline()
	// Read first: the place can only have moved on when the segments are read.
	reached := pipe.HGet(ctx, k.state(), "a")
	metas, archived := make([]*redis.SliceCmd, len(segments)), make([]*redis.StringCmd, len(segments))
	for i, segment := range segments {
		metas[i] = metaCmd(ctx, place{spaceKeys: k, segment: segment})
		_ = pipe.Process(ctx, metas[i])
		archived[i] = pipe.HGet(ctx, k.meta(segment), "z")
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, redisx.ReadOutcome(err)
	}
	place, _, _ := strings.Cut(reached.Val(), " ")
	position, err := parseTimelineID(place)
	if err != nil && place != "" {
		return nil, err
	}
	found := make([]archivedMeta, len(segments))
	for i, segment := range segments {
		found[i] = archivedMeta{segment: segment, archived: archivedTo(archived[i].Val(), position)}
		if found[i].meta, err = parseMeta(metas[i].Val()); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// TimelineBytes returns the approximate size, in bytes, of the timeline of a space in Redis.
func (s *Store) TimelineBytes(ctx context.Context, space string) (int64, error) {
	n, err := s.log.conn.MemoryUsage(ctx, keysOf(s.id, space).timeline()).Result()
	if errors.Is(err, redis.Nil) {
		return 0, nil
	}
	return n, s.fail("list", space, "", redisx.ReadOutcome(err))
}

// MoveCold removes entries from Redis that are archived: whole frames of h up to sequence upTo whose
// timestamps are at or before until. It returns the first sequence that stays.
func (s *Store) MoveCold(ctx context.Context, space string, owner ArchiveOwner, h HotSegment, upTo uint64, until int64) (first uint64, err error) {
	defer func() { err = s.fail("move", space, h.Segment, err) }()
	at, err := s.place(space, h.Segment)
	if err != nil {
		return 0, err
	}
	m, err := s.log.readMeta(ctx, at)
	if err != nil || m.erased() || m.incarnation != h.Incarnation || m.hot == 0 || m.hot > m.last {
		return m.hot, err
	}
	if upTo = min(upTo, m.last); until < m.timestamp && upTo >= m.hot {
		r := &reader{store: s, place: at, count: 1, next: m.hot, to: upTo, sources: []source{{at, m, math.MaxUint64}}}
		if err := r.seekTime(ctx, until); err != nil {
			return m.hot, err
		}
		upTo = r.next - 1
	}
	for upTo >= m.hot {
		keep, err := s.cutAt(ctx, at, &m, min(upTo, m.hot+trimStep-1), func(first uint64, ts int64, proof uint64) (uint64, error) {
			answer, err := s.log.run(ctx, s.log.move, 3, at.state(), at.meta(at.segment), at.log(at.segment, m.incarnation),
				owner.String(), strconv.FormatUint(first, 10), strconv.FormatInt(ts, 10), string(appendProof(nil, proof)))
			if err != nil {
				return 0, err
			}
			if answer[0] != '+' {
				return 0, archiveError(answer, owner)
			}
			var kept uint64
			return kept, parseNumbers(answer[1:], &kept)
		})
		if err != nil || keep == m.hot {
			return m.hot, err
		}
		m.hot = keep
	}
	return m.hot, nil
}

// TrimTimeline removes the start of the timeline that is archived, up to and without keep.
func (s *Store) TrimTimeline(ctx context.Context, space string, owner ArchiveOwner, keep streamhub.TimelineID) error {
	k := keysOf(s.id, space)
	_, err := s.log.call(ctx, s.log.trimTimeline, 2, k.timeline(), k.state(), keep.String(), owner.String())
	return s.fail("trim timeline", space, "", redisx.Outcome(err))
}

// A Life names the incarnation of a segment that the archive has to keep, and its first sequence. It is zero if the
// archive may drop everything. Held says that the segment was deleted and its forks still read it.
type Life struct {
	Incarnation, First uint64
	Held               bool
}

// Life returns which entries of a segment can still be read.
func (s *Store) Life(ctx context.Context, space, segment string) (life Life, err error) {
	defer func() { err = s.fail("status", space, segment, err) }()
	at, err := s.place(space, segment)
	if err != nil {
		return life, err
	}
	m, err := s.log.readMeta(ctx, at)
	if err != nil || !m.exists || m.state == stateTombstone {
		return life, err
	}
	return Life{m.incarnation, m.first, m.state == stateDeleted}, nil
}

// Now returns the time of the server that has the space, in Unix milliseconds.
func (s *Store) Now(ctx context.Context) (int64, error) {
	now, err := s.log.conn.Time(ctx).Result()
	return now.UnixMilli(), redisx.ReadOutcome(err)
}

// OldestAfter returns the first place of the timeline beyond after, zero if there is none.
func (s *Store) OldestAfter(ctx context.Context, space string, after streamhub.TimelineID) (streamhub.TimelineID, error) {
	from := streamhub.TimelineID{MS: after.MS, N: after.N + 1}
	found, err := s.log.conn.XRangeN(ctx, keysOf(s.id, space).timeline(), from.String(), "+", 1).Result()
	if err != nil || len(found) == 0 {
		return streamhub.TimelineID{}, redisx.ReadOutcome(err)
	}
	id, err := parseTimelineID(found[0].ID)
	return id, err
}
