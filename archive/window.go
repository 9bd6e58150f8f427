package archive

import (
	"fmt"

	"github.com/seed-147127fe/streamhub"
)

// A Change is one change of a segment in a timeline. The archive only stores it; package hotlog defines Kind, Last and
// Records.
type Change struct {
	ID            streamhub.TimelineID
	Index         uint32 // its place among the changes of the same timeline entry
	Segment       string
	Kind          byte
	Last, Records uint64
}

// A Part describes one incarnation of a segment in a window.
type Part struct {
	Segment     string
	Incarnation uint64
	// Chunks are the ranges of entries that the window holds of the segment; there may be none.
	Chunks []Range
	// Proof is the proof of the last entry of the segment in the window.
	Proof uint64
	// Meta is the rest of the state that a restore needs, in the encoding of the log.
	Meta []byte
}

// Last returns the last sequence of the segment in the window, 0 if there is none.
func (p *Part) Last() uint64 {
	if n := len(p.Chunks); n > 0 {
		return p.Chunks[n-1].Last
	}
	return 0
}

// A Window is the part of the timeline of a space after After, up to and including To. Windows are
// numbered from 1 without gaps. Several archivers can write a window of the same number; Attempt
// tells them apart, and the manifest names the one that counts.
type Window struct {
	Space           SpaceID
	Number, Attempt uint64
	After, To       streamhub.TimelineID
	Changes         []Change // at least one, in order
	Parts           []Part
	// Meta is the other state of the space that a restore needs, in the encoding of the log. Windows that older
	// versions wrote have none.
	Meta []byte
}

// Key is the key of the window in a [Backend].
func (w *Window) Key() string { return windowKey(w.Number, w.Attempt) }

// keys returns the keys of the chunks of the window.
func (w *Window) keys() []string {
	var keys []string
	for i := range w.Parts {
		p := &w.Parts[i]
		for _, span := range p.Chunks {
			n := chunkName{segmentText(p.Segment), p.Incarnation, span, w.Number, w.Attempt}
			keys = append(keys, n.key())
		}
	}
	return keys
}

// Encode returns the bytes of the window: a header that names it, and a compressed body. The body
// holds the names of segments, each once, then the changes and the parts, which refer to names by
// number. The time of a change is stored as the difference from the previous one.
func (w *Window) Encode() ([]byte, error) {
	var d, body writer
	d.b = append(d.b, w.Space.Store[:]...)
	d.text(w.Space.Space)
	d.fixed(w.Number)
	d.fixed(w.Attempt)
	for _, id := range [...]streamhub.TimelineID{w.After, w.To} {
		d.uint(id.MS)
		d.uint(id.N)
	}
	d.uint(uint64(len(w.Changes)))

	index := map[string]uint64{}
	var names []string
	number := func(segment string) uint64 {
		i, ok := index[segment]
		if !ok {
			i = uint64(len(names))
			index[segment] = i
			names = append(names, segment)
		}
		return i
	}
	for i := range w.Changes {
		number(w.Changes[i].Segment)
	}
	for i := range w.Parts {
		number(w.Parts[i].Segment)
	}
	body.uint(uint64(len(names)))
	for _, name := range names {
		body.text(name)
	}
	ms := uint64(0)
	for i := range w.Changes {
		c := &w.Changes[i]
		body.uint(c.ID.MS - ms)
		body.uint(c.ID.N)
		body.uint(uint64(c.Index))
		body.uint(number(c.Segment))
		body.b = append(body.b, c.Kind)
		body.uint(c.Last)
		body.uint(c.Records)
		ms = c.ID.MS
	}
	body.uint(uint64(len(w.Parts)))
	for i := range w.Parts {
		p := &w.Parts[i]
		body.uint(number(p.Segment))
		body.fixed(p.Incarnation)
		body.fixed(p.Proof)
		body.uint(uint64(len(p.Chunks)))
		for _, span := range p.Chunks {
			body.span(span)
		}
		body.text(string(p.Meta))
	}
	if len(w.Meta) > 0 {
		body.text(string(w.Meta))
	}
	return sealObject(kindWindow, d.b, body.b)
}

// DecodeWindow is the inverse of [Window.Encode]. It checks that changes are in order and inside the window, and that
// the chunks of a part have no gap. Otherwise the error is [streamhub.ErrCorrupt].
func DecodeWindow(b []byte) (*Window, error) {
	description, body, err := openObject(kindWindow, b)
	if err != nil {
		return nil, err
	}
	d, w := reader{b: description}, &Window{}
	copy(w.Space.Store[:], d.bytes(16))
	w.Space.Space = d.text()
	w.Number, w.Attempt = d.fixed(), d.fixed()
	w.After = streamhub.TimelineID{MS: d.uint(), N: d.uint()}
	w.To = streamhub.TimelineID{MS: d.uint(), N: d.uint()}
	n := d.uint()
	if err := d.end("description"); err != nil {
		return nil, err
	}
	r := reader{b: body}
	names := make([]string, r.count(1))
	for i := range names {
		names[i] = r.text()
	}
	name := func() string {
		i := r.uint()
		if i >= uint64(len(names)) {
			r.failed = true
			return ""
		}
		return names[i]
	}
	if n > uint64(len(r.b)/7) {
		return nil, fmt.Errorf("%w: a window of %d changes", streamhub.ErrCorrupt, n)
	}
	w.Changes = make([]Change, n)
	ms := uint64(0)
	for i := range w.Changes {
		c := &w.Changes[i]
		ms += r.uint()
		c.ID = streamhub.TimelineID{MS: ms, N: r.uint()}
		c.Index = uint32(r.uint())
		c.Segment = name()
		if kind := r.bytes(1); !r.failed {
			c.Kind = kind[0]
		}
		c.Last, c.Records = r.uint(), r.uint()
		if c.Records > c.Last || !w.After.Before(c.ID) || w.To.Before(c.ID) || i > 0 && c.ID.Before(w.Changes[i-1].ID) {
			r.failed = true
		}
	}
	w.Parts = make([]Part, r.count(19))
	for i := range w.Parts {
		p := &w.Parts[i]
		p.Segment, p.Incarnation = name(), r.fixed()
		p.Proof = r.fixed()
		for n := range r.count(4) {
			span := r.span()
			if span.First == 0 || span.First > span.Last || n > 0 && span.First != p.Chunks[n-1].Last+1 {
				r.failed = true
			}
			p.Chunks = append(p.Chunks, span)
		}
		p.Meta = r.bytes(r.uint())
	}
	if len(r.b) > 0 {
		w.Meta = r.bytes(r.uint())
		r.failed = r.failed || len(w.Meta) == 0
	}
	return w, r.end("timeline")
}
