package archive

import (
	"fmt"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
)

// A Frame is one frame of a segment as it lay in Redis.
type Frame struct {
	Last    uint64 // sequence of its last record
	Records uint64
	// Number is that of the TRX of its last append.
	Number    uint64
	Timestamp int64 // Unix milliseconds
	Data      []byte
}

// First is the sequence of the first record.
func (f *Frame) First() uint64 { return f.Last - f.Records + 1 }

// A Chunk is a run of frames of one segment, at least one, without gaps.
type Chunk struct {
	Space       SpaceID
	Segment     string
	Incarnation uint64
	// Window and Attempt say which writing it belongs to.
	Window, Attempt uint64
	// FirstTRX and LastTRX are the ids of the appends at both ends.
	FirstTRX, LastTRX uuid.UUID
	Frames            []Frame
}

// First and Last are the sequences at both ends.
func (c *Chunk) First() uint64 { return c.Frames[0].First() }

// Last: see First.
func (c *Chunk) Last() uint64 { return c.Frames[len(c.Frames)-1].Last }

// Key is where the chunk lies.
func (c *Chunk) Key() string {
	n := chunkName{segmentText(c.Segment), c.Incarnation, c.Range(), c.Window, c.Attempt}
	return n.key()
}

// Range is what the chunk holds.
func (c *Chunk) Range() Range {
	first, last := &c.Frames[0], &c.Frames[len(c.Frames)-1]
	return Range{first.First(), last.Last, first.Timestamp, last.Timestamp}
}

// Encode writes the chunk. The description holds what the chunk is; the body first what is known of
// each frame and then their data.
func (c *Chunk) Encode() ([]byte, error) {
	var d, body writer
	d.b = append(d.b, c.Space.Store[:]...)
	d.text(c.Space.Space)
	d.text(c.Segment)
	for _, v := range [...]uint64{c.Incarnation, c.Window, c.Attempt} {
		d.fixed(v)
	}
	d.b = append(append(d.b, c.FirstTRX[:]...), c.LastTRX[:]...)
	d.span(c.Range())
	d.uint(uint64(len(c.Frames)))

	number, timestamp := uint64(0), int64(0)
	for i := range c.Frames {
		f := &c.Frames[i]
		body.uint(f.Records)
		body.uint(f.Number - number)
		body.int(f.Timestamp - timestamp)
		body.uint(uint64(len(f.Data)))
		number, timestamp = f.Number, f.Timestamp
	}
	for i := range c.Frames {
		body.b = append(body.b, c.Frames[i].Data...)
	}
	return sealObject(kindChunk, d.b, body.b)
}

// DecodeChunk reads what Encode wrote. The frames share its memory.
func DecodeChunk(b []byte) (*Chunk, error) {
	description, body, err := openObject(kindChunk, b)
	if err != nil {
		return nil, err
	}
	d, c := reader{b: description}, &Chunk{}
	copy(c.Space.Store[:], d.bytes(16))
	c.Space.Space, c.Segment = d.text(), d.text()
	c.Incarnation, c.Window, c.Attempt = d.fixed(), d.fixed(), d.fixed()
	copy(c.FirstTRX[:], d.bytes(16))
	copy(c.LastTRX[:], d.bytes(16))
	span, n := d.span(), d.uint()
	if err := d.end("description"); err != nil {
		return nil, err
	}
	r := reader{b: body}
	if n == 0 || n > uint64(len(body)/4) {
		return nil, fmt.Errorf("%w: a chunk of %d frames", streamhub.ErrCorrupt, n)
	}
	c.Frames = make([]Frame, n)
	sizes := make([]uint64, n)
	at, number, timestamp := span.First-1, uint64(0), int64(0)
	for i := range c.Frames {
		f := &c.Frames[i]
		f.Records = r.uint()
		number += r.uint()
		timestamp += r.int()
		at += f.Records
		f.Last, f.Number, f.Timestamp = at, number, timestamp
		sizes[i] = r.uint()
		if f.Records == 0 || f.Records > streamhub.MaxFrameRecords || at > streamhub.MaxInteger {
			r.failed = true
		}
	}
	for i := range c.Frames {
		c.Frames[i].Data = r.bytes(sizes[i])
	}
	if err := r.end("frames"); err != nil {
		return nil, err
	}
	if span.First == 0 || c.Range() != span {
		return nil, fmt.Errorf("%w: the frames of a chunk are not those that it names", streamhub.ErrCorrupt)
	}
	return c, nil
}
