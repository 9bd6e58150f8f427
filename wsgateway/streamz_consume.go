package wsgateway

import (
	"bytes"
	"encoding/binary"
	"errors"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/port"
	"github.com/seed-147127fe/streamhub/internal/wire"
)

// An offset of streamkit is the key of an entry. One that names an entry is turned into the place
// of that entry in the timeline. Reading goes on after it, in the order in which Redis took the
// entries. Any other one, a prefix or something foreign, is compared with the key of each entry; a
// timestamp in it says where to begin.

func (ch *muxChannel) consumeSpace(r *muxConsumeSpace) error {
	if r.Space == "" {
		return nil
	}
	options := streamhub.ReadOptions{After: bound(r.After), Until: bound(r.Until), Limit: r.limit()}
	cursor, filter, err := ch.resolve(r.Space, r.Offset)
	if err != nil {
		return err
	}
	options.Cursor = cursor
	out := reply{ch: ch}
	if filter != nil {
		options.After = bound(max(r.After, filter.after))
		out.pick = limited(filter.pick, options.Limit)
		options.Limit = 0
	}
	_, err = ch.run(&wire.ConsumeSpace{Space: r.Space, Options: options}, out)
	return finished(err)
}

func (ch *muxChannel) consume(r *muxConsume) error {
	request := wire.Consume{
		Cursors: map[string]streamhub.Cursor{},
		Options: streamhub.ReadOptions{After: bound(r.After), Until: bound(r.Until), Limit: r.limit()},
	}
	filters := map[string]*offsetFilter{}
	for space, offset := range r.Offsets {
		if space == "" {
			continue
		}
		cursor, filter, err := ch.resolve(space, offset)
		if err != nil {
			return err
		}
		request.Cursors[space] = cursor
		if filter != nil {
			filters[space] = filter
		}
	}
	out := reply{ch: ch}
	if len(filters) > 0 {
		out.pick = limited(func(e *streamhub.Entry) bool {
			f := filters[e.Space]
			return f == nil || f.pick(e)
		}, request.Options.Limit)
		request.Options.Limit = 0
	}
	_, err := ch.run(&request, out)
	return finished(err)
}

// finished takes the end of a read that had enough for none.
func finished(err error) error {
	if errors.Is(err, errEnough) || errors.Is(err, streamhub.ErrNotFound) {
		return nil
	}
	return err
}

// limited passes on what pick takes, up to limit entries; 0 is no limit.
func limited(pick func(*streamhub.Entry) bool, limit uint64) func(*streamhub.Entry) (bool, error) {
	n := uint64(0)
	return func(e *streamhub.Entry) (bool, error) {
		switch {
		case limit > 0 && n == limit:
			return false, errEnough
		case !pick(e):
			return false, nil
		}
		n++
		return true, nil
	}
}

// An offsetFilter passes entries after an offset that names none.
type offsetFilter struct {
	offset streamhub.LexKey
	after  int64 // no entry up to here is after the offset
}

func (f *offsetFilter) pick(e *streamhub.Entry) bool {
	return bytes.Compare(e.GetSpaceOffset(), f.offset) > 0
}

// resolve returns where reading goes on after an offset: a cursor, or a filter.
func (ch *muxChannel) resolve(space string, offset streamhub.LexKey) (streamhub.Cursor, *offsetFilter, error) {
	at, filter, find := parseOffset(space, offset)
	if find == nil {
		return "", filter, nil
	}
	_, err := ch.run(&wire.ConsumeSpace{Space: space, Options: streamhub.ReadOptions{After: bound(filter.after), Until: bound(at)}}, find)
	if err != nil && !errors.Is(err, errEnough) && !errors.Is(err, streamhub.ErrNotFound) && !errors.Is(err, streamhub.ErrTrimmed) {
		return "", nil, err
	}
	if find.cursor == "" {
		return "", filter, nil
	}
	return find.cursor, nil, nil
}

// parseOffset returns the filter for an offset, nil for the empty one, and if it has the form of one
// that names an entry, what finds that and its timestamp.
func parseOffset(space string, offset streamhub.LexKey) (at int64, filter *offsetFilter, find *finder) {
	if len(offset) == 0 {
		return 0, nil, nil
	}
	rest, ok := bytes.CutPrefix(offset, append(streamhub.Encode("DAT", "SPACES", space), 0))
	if !ok {
		return 0, &offsetFilter{offset: offset}, nil
	}
	// A timestamp that is cut short is not greater than any that it is the beginning of.
	var stamp [8]byte
	copy(stamp[:], rest)
	at = int64(binary.BigEndian.Uint64(stamp[:]) ^ 1<<63)
	filter = &offsetFilter{offset: offset}
	if at > 1 {
		filter.after = at - 1
	}
	// <timestamp> 0 <segment> 0 <sequence>
	if len(rest) < 8+1+1+1+8 || rest[8] != 0 || rest[len(rest)-9] != 0 || at <= 0 {
		return at, filter, nil
	}
	return at, filter, &finder{segment: string(rest[9 : len(rest)-9]), sequence: binary.BigEndian.Uint64(rest[len(rest)-8:])}
}

// A finder looks for one entry.
type finder struct {
	reply
	segment  string
	sequence uint64
	cursor   streamhub.Cursor
}

func (f *finder) Page(p *port.Page) error {
	for i := range p.Entries {
		if e := &p.Entries[i]; e.Sequence == f.sequence && e.Segment == f.segment {
			f.cursor = e.Cursor()
			return errEnough
		}
	}
	return nil
}
