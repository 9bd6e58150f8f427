package archive

import (
	"fmt"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
)

// A Frame is one frame of a segment, with the bytes that it had in Redis.
type Frame struct {
	Last    uint64 // sequence of its last record
	Records uint64
	// Number is the TRX number of the last append in the frame.
	Number    uint64
	Timestamp int64 // Unix milliseconds
	Data      []byte
}

// First returns the sequence of the first record in the frame.
func (f *Frame) First() uint64 { return f.Last - f.Records + 1 }

// A Chunk is a run of frames of one segment, at least one, without gaps.
type Chunk struct {
	Space       SpaceID
	Segment     string
	Incarnation uint64
	// Window and Attempt name the window that the chunk belongs to, and the attempt that wrote it.
	Window, Attempt uint64
	// FirstTRX and LastTRX are the ids of the first and the last append.
	FirstTRX, LastTRX uuid.UUID
	Frames            []Frame
}

// First returns the first sequence of the chunk.
func (c *Chunk) First() uint64 { return c.Frames[0].First() }

// Last returns the last sequence of the chunk.
func (c *Chunk) Last() uint64 { return c.Frames[len(c.Frames)-1].Last }

// Key is the key of the chunk in a [Backend].
func (c *Chunk) Key() string {
	n := chunkName{segmentText(c.Segment), c.Incarnation, c.Range(), c.Window, c.Attempt}
	return n.key()
}

// Range returns the sequences and times of the frames of the chunk.
func (c *Chunk) Range() Range {
	first, last := &c.Frames[0], &c.Frames[len(c.Frames)-1]
	return Range{first.First(), last.Last, first.Timestamp, last.Timestamp}
}

// Encode returns the bytes of the chunk: a header that names it, and a compressed body with the
// descriptions of all frames and then their data.
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

// DecodeChunk is the inverse of [Chunk.Encode]. The error is [streamhub.ErrCorrupt] if b is not a chunk.
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
