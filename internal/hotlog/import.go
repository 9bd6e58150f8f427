package hotlog

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/millis"
)

const (
	// importFrames and importBytes bound one run of the import script, which Redis executes alone.
	importFrames = 128
	importBytes  = 4 << 20
)

// An Importer stores the entries of another system in a space: with their original sequences, timestamps and TRX. The
// order of the timeline is their order, so they must come sorted by timestamp, and no program may append to the space
// meanwhile. It is for one goroutine.
type Importer struct {
	store *Store
	keys  spaceKeys
	end   streamhub.TimelineID // of the timeline
	lives map[string]*imported
}

// An imported is what an importer knows about a segment: its incarnation, and the last sequence that is stored.
type imported struct {
	place
	incarnation uint64
	last        uint64
}

// Import returns an importer that continues after the entries of the space.
func (s *Store) Import(ctx context.Context, space string) (_ *Importer, err error) {
	defer func() { err = s.fail("import", space, "", err) }()
	if err := streamhub.CheckName("space", space); err != nil {
		return nil, err
	}
	im := &Importer{store: s, keys: keysOf(s.id, space), lives: map[string]*imported{}}
	if err := s.log.registerSpaces(ctx, []spaceKeys{im.keys}); err != nil {
		return nil, err
	}
	im.end, err = s.log.timelineEnd(ctx, im.keys)
	return im, err
}

// Add stores entries, which are in the order of their timestamps. Entries that follow each other with the same TRX
// become one append. It stores them in several steps, each all or none: after an error a new importer finds out
// how many are stored. [streamhub.ErrConflict] means that the space has changed meanwhile, or that an entry does
// not continue what is there; [streamhub.ErrHistoryLost] that Redis came back without some of what was stored.
func (im *Importer) Add(ctx context.Context, entries []streamhub.Entry) error {
	for len(entries) > 0 {
		n, err := im.step(ctx, entries)
		if err != nil {
			return im.store.fail("import", im.keys.space, entries[0].Segment, err)
		}
		entries = entries[n:]
	}
	return nil
}

// step stores as many entries as fit into one run of the script. It gives each frame its place in the timeline: the
// time of the entries, and a counter for those of the same millisecond. The script compares the end of the timeline
// with the one that this importer left.
func (im *Importer) step(ctx context.Context, entries []streamhub.Entry) (n int, err error) {
	keys := []any{im.keys.timeline(), im.keys.state(), im.keys.inventory()}
	args := []any{im.end.String()}
	end, size := im.end, 0
	var of []*imported
	lasts := map[*imported]uint64{}
	for n < len(entries) && len(of) < importFrames && size < importBytes {
		g := im.together(entries[n:])
		l, err := im.live(ctx, g[0].Segment)
		if err != nil {
			return 0, err
		}
		frame, err := importFrame(g)
		if err != nil {
			return 0, err
		}
		first, last := &g[0], &g[len(g)-1]
		ms := millis.Of(first.Timestamp)
		switch {
		case ms <= 0 || uint64(ms) < end.MS:
			return 0, fmt.Errorf("%w: entry %d of %q has the time %d, and the space is at %d already", streamhub.ErrConflict, first.Sequence, first.Segment, ms, end.MS)
		case uint64(ms) == end.MS:
			end.N++
		default:
			end = streamhub.TimelineID{MS: uint64(ms)}
		}
		reference := strconv.FormatUint(last.Sequence, 10)
		if len(g) > 1 {
			reference += ":" + strconv.Itoa(len(g))
		}
		keys = append(keys, l.meta(l.segment), l.log(l.segment, l.incarnation))
		args = append(args, end.String(), first.Sequence, last.Sequence, first.TRX.Number, reference, frame)
		of = append(of, l)
		lasts[l] = last.Sequence
		n += len(g)
		size += len(frame)
	}
	answer, err := im.store.log.run(ctx, im.store.log.imported, len(keys), append(keys, args...)...)
	if err == nil && answer != "+" {
		err = im.refused(answer, of)
	}
	if err != nil {
		return 0, err
	}
	im.end = end
	for l, last := range lasts {
		l.last = last
	}
	return n, nil
}

// together returns the first entries that make one frame.
func (im *Importer) together(entries []streamhub.Entry) []streamhub.Entry {
	first, size := &entries[0], 0
	n := 0
	for n < len(entries) && n < streamhub.MaxFrameRecords {
		e := &entries[n]
		size += recordBytes(&streamhub.Record{Payload: e.Payload, Metadata: e.Metadata})
		if n > 0 && (size > streamhub.MaxFrameBytes/2 || e.Segment != first.Segment || e.Sequence != first.Sequence+uint64(n) ||
			e.TRX != first.TRX || !e.Timestamp.Equal(first.Timestamp)) {
			break
		}
		n++
	}
	return entries[:n]
}

// importFrame encodes entries that share a TRX.
func importFrame(entries []streamhub.Entry) ([]byte, error) {
	first := &entries[0]
	last := first.Sequence + uint64(len(entries)) - 1
	if last > streamhub.MaxInteger || first.TRX.Number > streamhub.MaxInteger || first.Sequence == 0 || first.TRX.Number == 0 {
		return nil, fmt.Errorf("%w: entry %d with TRX number %d: both are at least 1 and less than 2^53", streamhub.ErrInvalidArgument, first.Sequence, first.TRX.Number)
	}
	var body []byte
	for i := range entries {
		e := &entries[i]
		if len(e.Metadata) > maxMetadata {
			return nil, fmt.Errorf("%w: entry %d has %d pairs of metadata, the limit is %d", streamhub.ErrTooLarge, e.Sequence, len(e.Metadata), maxMetadata)
		}
		body = appendRecord(body, &streamhub.Record{Payload: e.Payload, Metadata: e.Metadata})
	}
	if len(body) > streamhub.MaxFrameBytes {
		return nil, fmt.Errorf("%w: entry %d has %d bytes, the limit is %d", streamhub.ErrTooLarge, first.Sequence, len(body), streamhub.MaxFrameBytes)
	}
	return appendFrame(nil, first.TRX.Node, part{first.TRX.ID, len(entries), body}), nil
}

// live returns what is known of a segment. The incarnation of one that is not there is chosen here,
// since the key of its log ends with it and must be declared.
func (im *Importer) live(ctx context.Context, segment string) (*imported, error) {
	if l := im.lives[segment]; l != nil {
		return l, nil
	}
	at, err := im.store.place(im.keys.space, segment)
	if err != nil {
		return nil, err
	}
	m, err := im.store.log.readMeta(ctx, at)
	if err != nil {
		return nil, err
	}
	l := &imported{place: at, incarnation: m.incarnation, last: m.last}
	if !m.exists {
		l.incarnation = proofOf(newID())
	}
	im.lives[segment] = l
	return l, nil
}

// refused makes an error of an answer of lua/import.lua, "<code> <number of the frame> <fact>".
func (im *Importer) refused(answer string, of []*imported) error {
	code, rest, _ := strings.Cut(answer, " ")
	text, rest, _ := strings.Cut(rest, " ")
	segment := ""
	if n, err := strconv.Atoi(text); err == nil && n >= 1 && n <= len(of) {
		segment = of[n-1].name
	}
	switch code {
	case "CHANGED":
		if end, err := parseTimelineID(text); err == nil && end.Before(im.end) {
			return fmt.Errorf("%w: Redis does not have all that was stored: the timeline of the space ends at %s, not at %s", streamhub.ErrHistoryLost, end, im.end)
		}
		return fmt.Errorf("%w: another program has written to the space: its timeline ends at %s, not at %s", streamhub.ErrConflict, text, im.end)
	case "SEQUENCE":
		return fmt.Errorf("%w: the next entry of %q has to be %s", streamhub.ErrConflict, segment, rest)
	case "STATE":
		return fmt.Errorf("%w: %q was closed or deleted and takes no entries", streamhub.ErrConflict, segment)
	case "OTHER":
		return fmt.Errorf("%w: %q was deleted and created again", streamhub.ErrConflict, segment)
	}
	err, _ := scriptError(answer)
	return err
}

// End returns the last place of the timeline.
func (im *Importer) End() streamhub.TimelineID { return im.end }
