package main

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/seed-147127fe/streamhub"
)

const (
	chunkBytes = 64 << 10
	batchBytes = 1 << 20
)

// A batch has the records of one append.
type batch struct {
	records []streamhub.Record
	bytes   int
}

// A cutter cuts an input into pieces, and collects them in batches. One goroutine reads, one cuts; batches are handed
// out as soon as a reader takes them, so that a slow input does not wait for a full one.
type cutter struct {
	separator byte
	records   int  // maximum of records in a batch
	full      bool // the input never pauses: hand out full batches only
	// decode, if not nil, makes the record of a piece. A piece may then be longer than a record, by as
	// much as JSON can make it.
	decode func(piece []byte) (streamhub.Record, error)

	// line is the number of the piece that is being read, for people.
	line  int
	rest  []byte  // the beginning of an incomplete piece
	ready []batch // the last batch may still grow
}

// A tooLongError says which piece does not fit into a record.
type tooLongError struct {
	line int
	what string
}

func (e *tooLongError) Error() string {
	return fmt.Sprintf("%s %d is longer than a record may be (%d bytes); everything before it is stored", e.what, e.line, maxRecord)
}
func (e *tooLongError) Unwrap() error { return streamhub.ErrTooLarge }

// run hands batches to out until the input ends, which closes out, or ctx does. Everything that was
// cut by then is handed out first. The error, nil at the end of the input, is sent to failed before
// out is closed.
//
// A read that does not return cannot be stopped: at the end of ctx it stays behind.
func (c *cutter) run(ctx context.Context, input io.Reader, out chan<- batch, failed chan<- error) {
	defer close(out)
	reading, stop := context.WithCancel(ctx)
	defer stop()
	chunks, readError := make(chan []byte), make(chan error, 1)
	go readChunks(reading, input, chunks, readError)

	c.line = 1
	var err error
	for chunks != nil {
		from, to := chunks, out
		if len(c.ready) > 1 {
			from = nil // enough batches are waiting
		}
		if len(c.ready) == 0 || c.full && len(c.ready) == 1 {
			to = nil
		}
		var first batch
		if to != nil {
			first = c.ready[0]
		}
		select {
		case chunk, ok := <-from:
			if !ok {
				err, chunks = <-readError, nil
				if err == nil {
					err = c.end()
				}
			} else if err = c.cut(chunk); err != nil {
				chunks = nil
			}
		case to <- first:
			c.ready = c.ready[1:]
		case <-ctx.Done():
			err, chunks = context.Cause(ctx), nil
		}
	}
	stop()
	for _, b := range c.ready {
		out <- b
	}
	failed <- err
}

// readChunks reads input until its end, an error or that of ctx.
func readChunks(ctx context.Context, input io.Reader, chunks chan<- []byte, failed chan<- error) {
	defer close(chunks)
	buf := make([]byte, chunkBytes)
	for {
		n, err := input.Read(buf)
		if n > 0 {
			select {
			case chunks <- bytes.Clone(buf[:n]):
			case <-ctx.Done():
				failed <- context.Cause(ctx)
				return
			}
		}
		if err != nil {
			if err == io.EOF {
				err = nil
			}
			failed <- err
			return
		}
	}
}

// cut processes the next part of the input, and keeps the slice.
func (c *cutter) cut(chunk []byte) error {
	for {
		i := bytes.IndexByte(chunk, c.separator)
		if i < 0 {
			c.rest = append(c.rest, chunk...)
			return c.check(len(c.rest))
		}
		piece := chunk[:i:i]
		if len(c.rest) > 0 {
			piece = append(c.rest, piece...)
			c.rest = nil
		}
		if err := c.check(len(piece)); err != nil {
			return err
		}
		if err := c.piece(piece); err != nil {
			return err
		}
		c.line++
		chunk = chunk[i+1:]
	}
}

// end completes the last piece at the end of the input.
func (c *cutter) end() error {
	if len(c.rest) == 0 {
		return nil
	}
	if c.decode != nil {
		return c.piece(c.rest)
	}
	if err := c.check(len(c.rest) + len(eolKey) + len(eolNone)); err != nil {
		return err
	}
	c.add(streamhub.Record{Payload: c.rest, Metadata: map[string]string{eolKey: eolNone}})
	return nil
}

// piece adds a piece as a record to the last batch.
func (c *cutter) piece(piece []byte) error {
	if c.decode == nil {
		c.add(streamhub.Record{Payload: piece})
		return nil
	}
	if len(bytes.TrimSpace(piece)) == 0 {
		return nil
	}
	r, err := c.decode(piece)
	if err == nil && len(r.Payload) > maxRecord {
		return &tooLongError{c.line, "the payload of line"}
	}
	if err != nil {
		return failedf("line %d: %w; everything before it is stored", c.line, err)
	}
	c.add(r)
	return nil
}

// maxJSONLine is what a record takes in JSON at most: a byte is \u0000 there, and there are the other keys.
const maxJSONLine = 6*maxRecord + 64<<10

func (c *cutter) check(size int) error {
	if size <= maxRecord || c.decode != nil && size <= maxJSONLine {
		return nil
	}
	what := "line"
	if c.separator == 0 {
		what = "piece"
	}
	return &tooLongError{c.line, what}
}

func (c *cutter) add(r streamhub.Record) {
	last := len(c.ready) - 1
	if last < 0 || len(c.ready[last].records) >= c.records || c.ready[last].bytes+len(r.Payload) > batchBytes {
		c.ready = append(c.ready, batch{})
		last++
	}
	c.ready[last].records = append(c.ready[last].records, r)
	c.ready[last].bytes += len(r.Payload)
}
