package follow

import (
	"cmp"
	"sort"

	"github.com/seed-147127fe/streamhub"
)

// A window holds all entries after a position up to the live one, in chunks as they were read. Chunks are immutable, so
// followers may keep them while the window moves.
type window struct {
	from   streamhub.Position
	chunks []chunk
	bytes  int
}

type chunk struct {
	*Page
	bytes int
}

func (c *chunk) last() streamhub.Position { return c.Entries[len(c.Entries)-1].Position }

// entryBytes is the memory of an entry, in bytes, in addition to its payload and metadata.
const entryBytes = 200

// weigh estimates the memory of entries, in bytes.
func weigh(entries []streamhub.Entry) int {
	n := len(entries) * entryBytes
	for i := range entries {
		n += len(entries[i].Payload)
		for k, v := range entries[i].Metadata {
			n += len(k) + len(v) + 64
		}
	}
	return n
}

// add appends a chunk and returns its size.
func (w *window) add(entries []streamhub.Entry) int {
	c := chunk{&Page{Entries: entries}, weigh(entries)}
	w.chunks = append(w.chunks, c)
	w.bytes += c.bytes
	return c.bytes
}

// drop removes the oldest chunk and returns its size.
func (w *window) drop() int {
	c := w.chunks[0]
	w.from = c.last()
	w.chunks[0] = chunk{}
	w.chunks = w.chunks[1:]
	w.bytes -= c.bytes
	if len(w.chunks) == 0 {
		w.chunks = nil
	}
	return c.bytes
}

// restart empties the window, which then begins at at, and returns the size of the dropped chunks.
func (w *window) restart(at streamhub.Position) int {
	bytes := w.bytes
	*w = window{from: at}
	return bytes
}

// pageAfter returns the entries after p in the first chunk that has any, or nil.
func (w *window) pageAfter(p streamhub.Position) *Page {
	if p == w.from && len(w.chunks) > 0 {
		return w.chunks[0].Page
	}
	i := sort.Search(len(w.chunks), func(i int) bool { return order(w.chunks[i].last(), p) > 0 })
	if i == len(w.chunks) {
		return nil
	}
	entries := w.chunks[i].Entries
	skip := sort.Search(len(entries), func(i int) bool { return order(entries[i].Position, p) > 0 })
	return w.chunks[i].part(skip, len(entries))
}

// after counts the entries after p.
func (w *window) after(p streamhub.Position) (n uint64) {
	for i := len(w.chunks) - 1; i >= 0; i-- {
		entries := w.chunks[i].Entries
		n += uint64(len(entries) - sort.Search(len(entries), func(i int) bool { return order(entries[i].Position, p) > 0 }))
	}
	return n
}

// holds reports whether the window has all known entries after p. A p inside the window must be the position of one of
// its entries, with the same proof: a follower of another history may be at the same sequence, and must read to notice
// that.
func (w *window) holds(p streamhub.Position) bool {
	if p == w.from {
		return true
	}
	switch way := order(p, w.from); {
	case way < 0:
		return false
	case way == 0:
		return same(p, w.from)
	}
	i := sort.Search(len(w.chunks), func(i int) bool { return order(w.chunks[i].last(), p) >= 0 })
	if i == len(w.chunks) {
		return true // p is beyond the end
	}
	entries := w.chunks[i].Entries
	j := sort.Search(len(entries), func(i int) bool { return order(entries[i].Position, p) >= 0 })
	return order(entries[j].Position, p) != 0 || same(p, entries[j].Position)
}

// order compares two positions of one segment, or of one space, as cmp.Compare does.
func order(a, b streamhub.Position) int {
	return cmp.Or(
		cmp.Compare(a.Timeline.MS, b.Timeline.MS),
		cmp.Compare(a.Timeline.N, b.Timeline.N),
		cmp.Compare(a.Index, b.Index),
		cmp.Compare(a.Sequence, b.Sequence),
	)
}

// same reports whether two positions with the same sequence belong to the same history.
func same(a, b streamhub.Position) bool {
	if a.IsZero() || b.IsZero() {
		return true // both are at the beginning
	}
	if !a.Timeline.IsZero() && (a.Proof == 0 || b.Proof == 0) {
		return true // one is at a change without an entry, which has no proof
	}
	return a.Incarnation == b.Incarnation && a.Proof == b.Proof
}
