package client

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"sync"

	"github.com/seed-147127fe/streamhub"
)

// WriterOptions configure a [Writer]; nil stands for the defaults.
type WriterOptions struct {
	// Records and Bytes limit one append; the defaults are 1,000 records and 256 KiB of payloads and metadata. A record
	// that is larger than Bytes is sent alone.
	Records, Bytes int
	// Generation fences the appends; see [streamhub.AppendOptions].
	Generation uint64
}

// A Writer loads many records into one segment. It collects records while an append is in flight, and sends the
// collected ones together in the next append. Records keep their order and are stored once, even if an append is
// retried. Other writers may append to the segment meanwhile.
//
// It is like a [bufio.Writer]: not safe for concurrent use, after an error it accepts nothing more, and Flush and Close
// send what is left.
type Writer struct {
	s              *Store
	ctx            context.Context
	space, segment string
	opt            WriterOptions

	// batch has the records that were not sent yet, and bytes is their size. Both belong to the goroutine that calls
	// the Writer.
	batch []streamhub.Record
	bytes int
	// A nil batch is a flush: it is received when every earlier batch was handled.
	batches chan []streamhub.Record
	failed  chan struct{} // closed when err is set
	done    sync.WaitGroup

	// mu guards the results of run.
	mu      sync.Mutex
	err     error
	written Written
}

// Written is what a [Writer] has stored.
type Written struct {
	Records uint64
	// First and Last are the sequences of the first and the last record.
	First, Last uint64
	// Cursor resumes after the last record.
	Cursor streamhub.Cursor
}

// NewWriter starts a Writer, which the caller closes. ctx bounds all of its appends.
func (s *Store) NewWriter(ctx context.Context, space, segment string, options *WriterOptions) *Writer {
	w := &Writer{
		s: s, ctx: ctx, space: space, segment: segment, opt: value(options),
		batches: make(chan []streamhub.Record), failed: make(chan struct{}),
	}
	if w.opt.Records <= 0 {
		w.opt.Records = 1000
	}
	w.opt.Records = min(w.opt.Records, streamhub.MaxFrameRecords)
	if w.opt.Bytes <= 0 {
		w.opt.Bytes = 256 << 10
	}
	w.done.Go(w.run)
	return w
}

// Write copies a record into the buffer. It returns the error of an earlier append, if there was one.
func (w *Writer) Write(r streamhub.Record) error {
	if w.batches == nil {
		return fmt.Errorf("%w: the writer is closed", streamhub.ErrShutdown)
	}
	if r.Sequence != 0 {
		return fmt.Errorf("%w: the record names sequence %d: a writer appends at the end, leave it out", streamhub.ErrInvalidArgument, r.Sequence)
	}
	size := sizeOf(&r)
	if len(w.batch) == w.opt.Records || len(w.batch) > 0 && w.bytes+size > w.opt.Bytes {
		if err := w.send(); err != nil {
			return err
		}
	}
	w.batch = append(w.batch, streamhub.Record{Payload: bytes.Clone(r.Payload), Metadata: maps.Clone(r.Metadata)})
	w.bytes += size
	return w.failure()
}

// send passes the collected records to the goroutine that appends them.
func (w *Writer) send() error {
	select {
	case w.batches <- w.batch:
		w.batch, w.bytes = nil, 0
		return nil
	case <-w.failed:
		return w.failure()
	}
}

func (w *Writer) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Flush returns when everything that was written before is stored.
func (w *Writer) Flush() error {
	if w.batches == nil {
		return w.failure()
	}
	if len(w.batch) > 0 {
		if err := w.send(); err != nil {
			return err
		}
	}
	_ = w.send() // its error is read from w.err below
	return w.failure()
}

// Close flushes and ends the writer. It returns what is stored, even with an error; after [streamhub.ErrUnknownOutcome]
// further records may be stored as well. It may be called twice.
func (w *Writer) Close() (Written, error) {
	err := w.Flush()
	if w.batches != nil {
		close(w.batches)
		w.batches = nil
		w.done.Wait()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.written, err
}

// run appends the batches, one at a time, until batches is closed.
func (w *Writer) run() {
	o := &streamhub.AppendOptions{Generation: w.opt.Generation}
	for batch := range w.batches {
		if len(batch) == 0 {
			continue
		}
		r, err := w.s.Append(w.ctx, w.space, w.segment, batch, o)
		w.mu.Lock()
		if r.Last > 0 {
			if w.written.Records == 0 {
				w.written.First = r.First
			}
			w.written.Records += uint64(len(batch))
			w.written.Last, w.written.Cursor = r.Last, r.Cursor()
		}
		w.err = err
		w.mu.Unlock()
		if err != nil {
			close(w.failed)
			return
		}
	}
}
