package hotlog

import (
	"context"
	"fmt"
	"iter"
	"math"

	"github.com/seed-147127fe/streamhub"
)

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
		if err := ctx.Err(); err != nil { // checked even if there is nothing to read
			yield(streamhub.Entry{}, s.fail("consume", "", "", err))
			return
		}
		for space, cursor := range cursors {
			own := o
			own.Cursor = cursor
			// Every read begins before the first entry is yielded, so that all reads see the state at the call.
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
			// The head with the earliest entry; names of spaces order entries of the same
			// millisecond, so that a repeat gives the same order.
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

// A merge is one of the merged reads: the read of a space, with its next entry.
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
