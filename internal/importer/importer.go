// Package importer brings the data of a running streamkit server into a hub, entry by entry, with its
// timestamps, sequences, TRX and metadata. streamhub import calls it.
//
// A space of the source is read in its own order: timestamp, segment, sequence. The timeline of the hub gets
// the same order, so an offset that a program has stored names the same place in both.
//
// What the hub has of a space is compared with the source, entry by entry, before anything is written. A run
// that was killed is therefore started again and goes on at the entry where the hub ends, and a space that
// holds anything else is refused. After the last entry everything is compared once more.
package importer

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/millis"
	"github.com/seed-147127fe/streamhub/internal/pause"
	"github.com/seed-147127fe/streamhub/internal/port"
	"github.com/seed-147127fe/streamhub/internal/streamz"
)

const (
	// An append of the source goes on together if it has no more than this; otherwise it is stored in parts.
	batchEntries = 10_000
	batchBytes   = 4 << 20
	// From so many entries on a batch ends with its append.
	enoughEntries = 2048
)

// A Source is a streamkit server.
type Source struct {
	Store uuid.UUID
	// Scan and Look are two connections: while an entry is looked up, the read of a space waits.
	Scan, Look *streamz.Server
}

// Options say what is brought.
type Options struct {
	// Until leaves out what is later; zero leaves out nothing. A first run with writers that still write
	// ends before them.
	Until time.Time
	// Phase is told what begins, Progress of entries that were read. Both may be nil.
	Phase    func(name string)
	Progress func(entries int64)
}

// A Left is an entry of the source that was left out: the space shows it, but the segment has another entry
// with this sequence. A race of two producers leaves such entries.
type Left struct {
	Segment   string
	Sequence  uint64
	Timestamp time.Time
	TRX       uuid.UUID
}

// A Result says what was done.
type Result struct {
	Segments int
	// Entries are those of the space that are in the hub now, Imported those that came with this run. All of
	// them were compared.
	Entries, Imported uint64
	// Left are those left out, in the order of the space.
	Left []Left
	// Later is how many entries the source has after those, at least: they came meanwhile, or lie after Until.
	Later uint64
}

// A DifferenceError says where hub and source differ. Sequence is 0 for a segment as a whole. It wraps
// [streamhub.ErrConflict].
type DifferenceError struct {
	Space, Segment string
	Sequence       uint64
	What           string
}

func (e *DifferenceError) Error() string {
	if e.Sequence == 0 {
		return fmt.Sprintf("space %q, segment %q: %s", e.Space, e.Segment, e.What)
	}
	return fmt.Sprintf("space %q, segment %q, entry %d: %s", e.Space, e.Segment, e.Sequence, e.What)
}

// Unwrap returns [streamhub.ErrConflict].
func (e *DifferenceError) Unwrap() error { return streamhub.ErrConflict }

func differs(e *streamhub.Entry, format string, args ...any) error {
	return &DifferenceError{e.Space, e.Segment, e.Sequence, fmt.Sprintf(format, args...)}
}

// settled is how long an import waits for what a server that is written to stores with a time that an entry has already:
// its clock has whole milliseconds, and the order within one is that of the names of segments.
const settled = 50 * time.Millisecond

// A run brings one space.
type run struct {
	src   Source
	dst   streamhub.Store
	space string
	o     Options
	// doubtful are sequences that the space shows more than once.
	doubtful map[place]struct{}
	left     []Left
}

// A place names an entry of the space. Two producers that raced leave two entries in one place; see [Left].
type place struct {
	segment  string
	sequence uint64
}

// Space brings a space. After an error, and after the end of the process at any moment, it is called again. No
// program may write to the space of the hub meanwhile.
func Space(ctx context.Context, src Source, dst streamhub.Store, space string, o *Options) (r Result, err error) {
	im := &run{src: src, dst: dst, space: space, doubtful: map[place]struct{}{}}
	if o != nil {
		im.o = *o
	}
	if err := streamhub.CheckName("space", space); err != nil {
		return r, err
	}
	segments, err := src.Look.Segments(ctx, src.Store, space)
	if err != nil {
		return r, err
	}
	for _, name := range segments {
		if err := streamhub.CheckName("segment", name); err != nil {
			return r, differs(&streamhub.Entry{Space: space, Segment: name}, "the source has it, and a hub does not: %v", err)
		}
	}
	im.phase("compare")
	seen, err := im.compare(ctx, true)
	if err != nil {
		return r, err
	}
	if seen.rest > 0 {
		if err := im.ordered(ctx); err != nil {
			return r, err
		}
		im.phase("import")
		if !pause.For(ctx, settled) {
			return r, context.Cause(ctx)
		}
		last := seen.last
		if r.Imported, last, err = im.copy(ctx, last, seen.end); err != nil {
			return r, err
		}
		im.phase("verify")
		// compare notes all of them again, those that copy has passed over among them.
		im.left = nil
		if seen, err = im.compare(ctx, false); err != nil {
			return r, err
		}
		if seen.last.Sequence != last.Sequence || seen.last.Segment != last.Segment {
			return r, fmt.Errorf("%w: entry %d of %q was stored, and Redis does not have it", streamhub.ErrHistoryLost, last.Sequence, last.Segment)
		}
	}
	grown := uint64(0)
	if r.Segments, grown, err = im.heads(ctx, segments, seen); err != nil {
		return r, err
	}
	r.Entries, r.Later, r.Left = seen.equal, seen.rest+grown, im.left
	return r, nil
}

func (im *run) phase(name string) {
	if im.o.Phase != nil {
		im.o.Phase(name)
	}
}

// A comparison is how far the hub equals the source.
type comparison struct {
	equal uint64          // entries
	last  streamhub.Entry // of them; without a sequence if there is none
	rest  uint64          // entries of the source after it, up to Until
	later map[string]bool // their segments
	end   time.Time       // of the last entry that the source showed
}

// compare walks along the source and the hub. With learn it also looks at what the hub does not have yet, for
// what could not be stored.
func (im *run) compare(ctx context.Context, learn bool) (c comparison, err error) {
	c.later = map[string]bool{}
	// The source is ranged over and the hub is pulled from: both are read in step, and neither is held in memory.
	next, stop := iter.Pull2(im.dst.ConsumeSpace(ctx, im.space, nil))
	defer stop()
	var have streamhub.Entry
	more := true
	advance := func() error {
		var err error
		have, err, more = next()
		return err
	}
	if err := advance(); err != nil {
		return c, err
	}
	// Of each segment the last sequence that the space has shown in its turn.
	heads := map[string]uint64{}
	for e, err := range im.src.Scan.ConsumeSpace(ctx, im.src.Store, im.space, nil, im.o.Until) {
		if err != nil {
			return c, err
		}
		c.end = e.Timestamp
		if im.o.Progress != nil {
			im.o.Progress(1)
		}
		if learn {
			if err := im.check(&e, heads); err != nil {
				return c, err
			}
		}
		if more && equal(&e, &have) == "" {
			c.equal++
			c.last = e
			if err := advance(); err != nil {
				return c, err
			}
			continue
		}
		superseded, err := im.superseded(ctx, &e, !more)
		switch {
		case err != nil:
			return c, err
		case superseded:
			im.leave(&e)
		case more:
			return c, differs(&e, "the source has it where the hub has entry %d of %q: %s", have.Sequence, have.Segment, equal(&e, &have))
		default:
			c.rest++
			c.later[e.Segment] = true
		}
	}
	if more {
		return c, differs(&have, "the hub has it and the source does not")
	}
	return c, nil
}

// equal says in which way two entries differ, "" if they do not.
func equal(a, b *streamhub.Entry) string {
	switch {
	case a.Segment != b.Segment || a.Sequence != b.Sequence:
		return "another entry"
	case !a.Timestamp.Equal(b.Timestamp):
		return fmt.Sprintf("its time is %s, not %s", b.Timestamp.Format(time.RFC3339Nano), a.Timestamp.Format(time.RFC3339Nano))
	case a.TRX != b.TRX:
		return fmt.Sprintf("its TRX is %v number %d, not %v number %d", b.TRX.ID, b.TRX.Number, a.TRX.ID, a.TRX.Number)
	case string(a.Payload) != string(b.Payload):
		return "its payload is another one"
	case !maps.Equal(a.Metadata, b.Metadata):
		return "its metadata are others"
	}
	return ""
}

// check refuses what a hub cannot store, and notes what the space shows twice.
func (im *run) check(e *streamhub.Entry, heads map[string]uint64) error {
	switch next := heads[e.Segment] + 1; {
	case e.Sequence > next:
		return differs(e, "the source shows it before entry %d: by its time it is older. The clock of the server went back, and a hub keeps one order", next)
	case e.Sequence < next:
		im.doubtful[place{e.Segment, e.Sequence}] = struct{}{}
	default:
		heads[e.Segment] = e.Sequence
	}
	switch {
	case millis.Of(e.Timestamp) <= 0:
		return differs(e, "the source gives it no time")
	case e.TRX.Number == 0 || e.TRX.Number > streamhub.MaxInteger || e.Sequence > streamhub.MaxInteger:
		return differs(e, "its TRX has the number %d: both are from 1 to 2^53-1 in a hub", e.TRX.Number)
	}
	return nil
}

// ordered refuses a segment whose entries are not in the order of their times, because a producer that won a race wrote less
// than the one that lost.
func (im *run) ordered(ctx context.Context) error {
	for p := range im.doubtful {
		truth, err := im.src.Look.Entries(ctx, im.src.Store, im.space, p.segment, p.sequence, 2)
		if err != nil {
			return err
		}
		if len(truth) == 2 && truth[1].Timestamp.Before(truth[0].Timestamp) {
			return differs(&truth[1], "it is older than entry %d: two producers wrote at once, and each left a part. A hub keeps one order", truth[0].Sequence)
		}
	}
	return nil
}

// superseded reports whether the segment has another entry with the sequence of e. With noted only entries that
// the space shows more than once are looked up.
func (im *run) superseded(ctx context.Context, e *streamhub.Entry, noted bool) (bool, error) {
	if _, ok := im.doubtful[place{e.Segment, e.Sequence}]; noted && !ok {
		return false, nil
	}
	truth, err := im.src.Look.Entries(ctx, im.src.Store, im.space, e.Segment, e.Sequence, 1)
	if err != nil {
		return false, err
	}
	if len(truth) > 0 && truth[0].Sequence == e.Sequence {
		return equal(&truth[0], e) != "", nil
	}
	return false, differs(e, "the space of the source shows it and its segment does not have it")
}

func (im *run) leave(e *streamhub.Entry) {
	im.left = append(im.left, Left{e.Segment, e.Sequence, e.Timestamp, e.TRX.ID})
}

// copy stores what the source has after an entry, up to the end that it had when it was compared: what came after that may
// not be all of its millisecond.
func (im *run) copy(ctx context.Context, last streamhub.Entry, end time.Time) (n uint64, _ streamhub.Entry, err error) {
	into, err := port.Of(im.dst).Import(ctx, im.space)
	if err != nil {
		return 0, last, err
	}
	var offset streamhub.LexKey
	if last.Sequence > 0 {
		offset = last.GetSpaceOffset()
	}
	var batch []streamhub.Entry
	size := 0
	store := func() error {
		if err := into.Add(ctx, batch); err != nil {
			return err
		}
		n += uint64(len(batch))
		batch, size = batch[:0], 0
		return nil
	}
	for e, err := range im.src.Scan.ConsumeSpace(ctx, im.src.Store, im.space, offset, end) {
		if err != nil {
			return n, last, err
		}
		if im.o.Progress != nil {
			im.o.Progress(1)
		}
		superseded, err := im.superseded(ctx, &e, true)
		if err != nil {
			return n, last, err
		}
		if superseded {
			continue
		}
		full := len(batch) >= batchEntries || size >= batchBytes
		if full || len(batch) >= enoughEntries && e.TRX.ID != batch[len(batch)-1].TRX.ID {
			if err := store(); err != nil {
				return n, last, err
			}
		}
		batch = append(batch, e)
		size += len(e.Payload) + 64
		last = e
	}
	return n, last, store()
}

// heads compares where segments end, after what compare has seen. It returns how many have entries, and how many of the others have grown
// since. A segment that the source lists and its space does not show is found here.
func (im *run) heads(ctx context.Context, segments []string, seen comparison) (n int, grown uint64, err error) {
	for _, name := range segments {
		status, err := im.dst.Status(ctx, im.space, name)
		if err != nil && !errors.Is(err, streamhub.ErrNotFound) {
			return 0, 0, err
		}
		last := status.LastSequence
		tail, err := im.src.Look.Entries(ctx, im.src.Store, im.space, name, max(last, 1), 2)
		if err != nil {
			return 0, 0, err
		}
		if last > 0 {
			n++
			if len(tail) == 0 || tail[0].Sequence != last {
				return 0, 0, differs(&streamhub.Entry{Space: im.space, Segment: name, Sequence: last}, "the hub has it and the segment of the source does not")
			}
			tail = tail[1:]
		}
		if len(tail) == 0 || seen.later[name] {
			continue
		}
		// What came since, or lies after Until, is not earlier than what the space has shown.
		next := &tail[0]
		if next.Timestamp.Before(seen.end) {
			return 0, 0, differs(next, "the segment of the source has it and its space does not show it")
		}
		grown++
	}
	return n, grown, nil
}
