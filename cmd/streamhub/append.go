package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/pause"
)

const (
	// appendPatience is how long a batch is retried while Redis cannot serve.
	appendPatience = 30 * time.Second
	// appendTry is how long the hub retries by itself before the user is informed.
	appendTry = time.Second
	// longestAppendPause is the longest pause between two attempts.
	longestAppendPause = 2 * time.Second
)

type appendCmd struct {
	target
	Segment    segmentName `arg:"" name:"space/segment" help:"Segment to append to; it is created if need be."`
	File       string      `placeholder:"F" help:"File to read instead of standard input."`
	Batch      int         `default:"1000" placeholder:"N" help:"Most records of one append."`
	Expect     *uint64     `placeholder:"SEQ" help:"Sequence that the first record must get; no other program may append meanwhile."`
	Durability durability  `placeholder:"LEVEL" help:"When a batch counts as done: replicas=N, fsync, timeout=D, separated by commas; the hub's own level if not given."`
	Null       bool        `xor:"form" help:"Records end with NUL instead of a line feed."`
	JSON       bool        `xor:"form" help:"Each line is an object as read --output json and jsonl write it: payload (base64) or text, and metadata; other keys are left out."`
}

// An appendSummary is the last line on standard output. A run that stored nothing has none.
type appendSummary struct {
	First   uint64           `json:"first"`
	Last    uint64           `json:"last"`
	Records int              `json:"records"`
	Cursor  streamhub.Cursor `json:"cursor"`
}

// Run appends the input and reports what was stored, even if it fails before the end.
func (c *appendCmd) Run(s *session) error {
	if c.Batch < 1 || c.Batch > streamhub.MaxFrameRecords {
		return usagef("--batch %d: an append carries 1 to %d records", c.Batch, streamhub.MaxFrameRecords)
	}
	if c.Expect != nil && (*c.Expect == 0 || *c.Expect > streamhub.MaxInteger) {
		return usagef("--expect %d: sequences begin with 1 and stay below 2^53", *c.Expect)
	}
	input, size, full, err := c.input(s)
	if err != nil {
		return err
	}
	defer input.Close()
	store, done, err := c.open(s, hub.Options{RetryFor: appendTry}, client.NoRetryPolicy())
	if err != nil {
		return err
	}
	defer done()

	cutter := &cutter{separator: '\n', records: c.Batch, full: full}
	if c.Null {
		cutter.separator = 0
	}
	if c.JSON {
		cutter.decode = decodeRecord
	}
	a := &appending{
		session: s, store: store, at: c.Segment,
		producer: streamhub.Producer{ID: uuid.NewString()}, level: c.Durability.level,
		bar: s.progress(c.File != "" || !isTerminal(s.stdin), "bytes", size),
	}
	if c.Expect != nil {
		a.chained, a.expect = true, *c.Expect
	}
	err = a.all(cutter, input)
	a.bar.finish()
	if err == nil && a.summary.Records == 0 {
		s.note("the input is empty: nothing was appended, and no segment was made")
	}
	if a.summary.Records > 0 {
		if reported := json.NewEncoder(s.stdout).Encode(a.summary); reported != nil && !unread(reported) {
			err = errors.Join(err, reported)
		}
	}
	if interruptedCode(err) == 0 {
		return failedf("stopped by SIGTERM: %d records are stored, the rest of the input is not", a.summary.Records)
	}
	return err
}

// input opens the input. size is -1 if it is unknown; full says that reading never blocks.
func (c *appendCmd) input(s *session) (input io.ReadCloser, size int64, full bool, err error) {
	file, ok := s.stdin.(*os.File)
	if c.File != "" {
		if file, err = os.Open(c.File); err != nil {
			return nil, 0, false, failedf("--file: %w", err)
		}
		input = file
	} else if input = io.NopCloser(s.stdin); !ok {
		return input, -1, false, nil
	}
	info, err := file.Stat()
	if err != nil {
		_ = input.Close()
		return nil, 0, false, err
	}
	if info.Mode().IsRegular() {
		return input, info.Size(), true, nil
	}
	return input, -1, false, nil
}

// appending is one run of the command. It has a producer, so that a repeated batch is stored once and batches keep
// their order.
type appending struct {
	*session
	store    *client.Store
	at       segmentName
	producer streamhub.Producer
	level    *streamhub.Durability // nil for the hub's own
	chained  bool                  // no other program may append meanwhile
	expect   uint64                // the next sequence, if chained
	summary  appendSummary
	bar      *progress
}

// all appends the batches of the cutter. The summary is correct even after an error.
func (a *appending) all(c *cutter, input io.Reader) error {
	cutting, stop := context.WithCancelCause(a.ctx)
	batches, cutError := make(chan batch), make(chan error, 1)
	go c.run(cutting, input, batches, cutError)
	var failed error
	for b := range batches {
		if failed != nil {
			continue // what had been cut
		}
		if failed = a.one(b); failed != nil {
			stop(failed)
		}
		a.bar.add(int64(b.bytes + len(b.records)))
	}
	stop(nil)
	if failed != nil {
		return failed
	}
	return <-cutError
}

// one appends a batch, and retries it while Redis cannot serve. A complete batch is stored even if the command is
// interrupted, unless Redis cannot serve.
func (a *appending) one(b batch) error {
	options := &streamhub.AppendOptions{Producer: &a.producer, Durability: a.level}
	if a.chained {
		options.ExpectedSequence = a.expect
	}
	ctx := context.WithoutCancel(a.ctx)
	end := time.Now().Add(appendPatience)
	pauses := pause.Backoff{First: 50 * time.Millisecond, Longest: longestAppendPause}
	for {
		result, err := a.store.Append(ctx, a.at.space, a.at.segment, b.records, options)
		if err == nil {
			a.stored(result, len(b.records))
			return nil
		}
		if errors.Is(err, streamhub.ErrNotConfirmed) {
			a.stored(result, len(b.records))
			return failedf("%w\n  up to sequence %d all is stored; the rest of the input was not sent", err, result.Last)
		}
		left := time.Until(end).Round(time.Second)
		if !streamhub.Retryable(err) || left <= 0 || a.ctx.Err() != nil {
			return a.failed(err, len(b.records))
		}
		a.note("%v; trying again for %v", err, left)
		pauses.Wait(a.ctx)
	}
}

func (a *appending) stored(r streamhub.AppendResult, records int) {
	if a.summary.Records == 0 {
		a.summary.First = r.First
	}
	a.summary.Last, a.summary.Cursor = r.Last, r.Cursor()
	a.summary.Records += records
	a.expect = r.Last + 1
	a.producer.Seq++
}

// failed explains an error that ends the run.
func (a *appending) failed(err error, records int) error {
	switch {
	case errors.Is(err, streamhub.ErrProducerGap) && a.producer.Seq > 0:
		// No other process uses this producer, so its earlier batches are lost.
		return &statusError{exitHistory, errors.Join(&streamhub.HistoryLostError{FirstLost: a.summary.First}, err)}
	case errors.Is(err, streamhub.ErrUnknownOutcome):
		return failedf("%w\n  the next %d records are stored or not: look at the end of the segment before they are sent again", err, records)
	}
	return err
}
