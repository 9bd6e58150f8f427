package wsgateway

import (
	"errors"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/offset"
	"github.com/seed-147127fe/streamhub/internal/port"
	"github.com/seed-147127fe/streamhub/internal/wire"
)

// consumeSpace answers with the entries after an offset. Offsets of streamkit name a timestamp, a segment and a
// sequence, not a place in the timeline. If the offset cannot be resolved to a cursor, entries are read from its
// timestamp on and filtered.
func (ch *muxChannel) consumeSpace(r *muxConsumeSpace) error {
	if r.Space == "" {
		return nil
	}
	options := streamhub.ReadOptions{After: bound(r.After), Until: bound(r.Until), Limit: r.limit()}
	place, err := offset.Resolve(lookup{ch}, r.Space, r.Offset)
	if err != nil {
		return err
	}
	options.Cursor = place.Cursor
	out := reply{ch: ch}
	if place.Filters() {
		if place.After.After(options.After) {
			options.After = place.After
		}
		out.pick = limited(place.Passes, options.Limit)
		// The limit counts the entries that pass the filter, so limited applies it.
		options.Limit = 0
	}
	_, err = ch.run(&wire.ConsumeSpace{Space: r.Space, Options: options}, out)
	return finished(err)
}

// consume answers with the entries of several spaces, each after its own offset.
func (ch *muxChannel) consume(r *muxConsume) error {
	request := wire.Consume{
		Cursors: map[string]streamhub.Cursor{},
		Options: streamhub.ReadOptions{After: bound(r.After), Until: bound(r.Until), Limit: r.limit()},
	}
	places := map[string]offset.Place{}
	filters := false
	for space, key := range r.Offsets {
		if space == "" {
			continue
		}
		place, err := offset.Resolve(lookup{ch}, space, key)
		if err != nil {
			return err
		}
		request.Cursors[space], places[space] = place.Cursor, place
		filters = filters || place.Filters()
	}
	out := reply{ch: ch}
	if filters {
		out.pick = limited(func(e *streamhub.Entry) bool {
			place := places[e.Space]
			return place.Passes(e)
		}, request.Options.Limit)
		request.Options.Limit = 0
	}
	_, err := ch.run(&request, out)
	return finished(err)
}

// finished returns nil for two ends that are no errors in this protocol: the limit was reached, or nothing exists.
func finished(err error) error {
	if errors.Is(err, errEnough) || errors.Is(err, streamhub.ErrNotFound) {
		return nil
	}
	return err
}

// limited wraps pick so that the read ends after limit picked entries; 0 is no limit.
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

// A lookup reads the entries by which an offset is resolved to a cursor.
type lookup struct{ ch *muxChannel }

func (l lookup) Between(space string, after, until time.Time, visit func(*streamhub.Entry) bool) error {
	_, err := l.ch.run(&wire.ConsumeSpace{Space: space, Options: streamhub.ReadOptions{After: after, Until: until}}, &finder{visit: visit})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

func (l lookup) Status(space, segment string) (streamhub.Status, error) {
	result, err := l.ch.run(&wire.Status{Space: space, Segment: segment}, nil)
	if err != nil {
		return streamhub.Status{}, err
	}
	return streamhub.Status(*result.(*wire.StatusResult)), nil
}

// A finder is a reply that passes entries to a function instead of sending them.
type finder struct {
	reply
	visit func(*streamhub.Entry) bool
}

func (f *finder) Page(p *port.Page) error {
	for i := range p.Entries {
		if !f.visit(&p.Entries[i]) {
			return errEnough
		}
	}
	return nil
}
