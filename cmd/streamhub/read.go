package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/hub"
)

// readAhead is how many entries are read before they are written.
const readAhead = 64

type readCmd struct {
	target
	Place  placeName `arg:"" name:"space[/segment]" help:"Segment or space to read."`
	From   string    `placeholder:"CURSOR|SEQ" help:"Start after the entry of a cursor, or at a sequence of a segment; the first entry kept if not given."`
	Limit  uint64    `placeholder:"N" help:"End after N entries, with --follow too; 0 is no limit."`
	Follow bool      `short:"f" help:"Go on with what is appended, until the segment is closed."`
	Output string    `enum:"raw,text,json,jsonl" default:"raw" help:"raw: payloads as lines, and the cursor to resume with on standard error. text: a line for people. json: an object a line, with payloads that are UTF-8 as text. jsonl: the same with all payloads in base64."`
	JSON   bool      `name:"json" help:"Short for --output json."`
	Null   bool      `help:"raw: a NUL after each entry instead of a line feed."`
}

// Run writes entries until there are no more, the limit is reached or a signal ends it.
func (c *readCmd) Run(s *session) error {
	from, cursor, err := c.start()
	if err != nil {
		return err
	}
	if c.JSON {
		if c.Output != "raw" && c.Output != "json" {
			return usagef("--json and --output %s exclude each other", c.Output)
		}
		c.Output = "json"
	}
	if c.Null && c.Output != "raw" {
		return usagef("--null goes with --output raw only")
	}
	store, done, err := c.open(s, hub.Options{}, client.DefaultRetryPolicy())
	if err != nil {
		return err
	}
	defer done()

	out := newSink(s.stdout, c.format())
	if c.Follow {
		noteMissing(s, store, c.Place)
	}
	bar := s.progress(!c.Follow && !isTerminal(s.stdout.w), "entries", -1)
	err = c.copy(s.ctx, c.entries(s.ctx, store, from, cursor), out, bar)
	bar.finish()
	if unread(err) {
		return nil
	}
	if err == nil && !c.Follow && c.From == "" && out.written.IsZero() {
		if c.Place.segment != "" {
			s.note("the segment %q of the space %q keeps no entry", c.Place.segment, c.Place.space)
		} else if err = c.exists(s.ctx, store); err != nil {
			return err
		} else {
			s.note("the space %q keeps no entry", c.Place.space)
		}
	}
	var closed *streamhub.ClosedError
	if errors.As(err, &closed) {
		// The cursor comes last, so the verdict is written here and not by the caller.
		if err = json.NewEncoder(s.stderr).Encode(closed.Verdict); err != nil {
			return err
		}
	}
	if c.Output == "raw" {
		// An error is reported before the cursor, which is the last line whatever happens.
		if err != nil && interruptedCode(err) < 0 {
			s.note("%s", s.explain(err))
			err = &statusError{code: codeOf(err)}
		}
		c.printCursor(s, store, out, from, cursor)
	}
	return err
}

// exists returns an error if the space never existed, as opposed to one without entries. For a segment the read itself
// reports that.
func (c *readCmd) exists(ctx context.Context, store *client.Store) error {
	end, err := store.SpaceEnd(ctx, c.Place.space)
	if err != nil || end != "" {
		return err
	}
	for _, err := range store.Segments(ctx, c.Place.space) {
		return err
	}
	return failedf("read %q: %w: there is no such space, and never was; streamhub ls lists what there is", c.Place.space, streamhub.ErrNotFound)
}

// noteMissing notes that the segment or space for which a command waits does not exist: the name may be mistyped. It
// ignores its own failures, which the command will report.
func noteMissing(s *session, store *client.Store, at placeName) {
	if at.segment != "" {
		if _, err := store.Status(s.ctx, at.space, at.segment); errors.Is(err, streamhub.ErrNotFound) {
			s.note("there is no segment %q in the space %q yet; waiting for it", at.segment, at.space)
		}
		return
	}
	for _, err := range store.Segments(s.ctx, at.space) {
		_ = err // it exists, or that cannot be found out
		return
	}
	if s.ctx.Err() == nil {
		s.note("there is no segment in the space %q yet; waiting for one", at.space)
	}
}

// start parses --from.
func (c *readCmd) start() (from uint64, cursor streamhub.Cursor, err error) {
	if c.From == "" || strings.Trim(c.From, "0123456789") != "" {
		cursor = streamhub.Cursor(c.From)
		_, err = cursor.Position()
		return 0, cursor, err
	}
	if c.Place.segment == "" {
		return 0, "", usagef("--from %s is a sequence, and sequences belong to a segment: write %s/SEGMENT, or resume a space with a cursor", c.From, c.Place.space)
	}
	if from, err = strconv.ParseUint(c.From, 10, 64); err != nil || from > streamhub.MaxInteger {
		return 0, "", usagef("--from %s is larger than any sequence", c.From)
	}
	return from, "", nil
}

func (c *readCmd) format() func([]byte, *streamhub.Entry) ([]byte, error) {
	switch {
	case c.Output == "jsonl":
		return appendJSONL
	case c.Output == "json":
		return appendJSON
	case c.Output == "text":
		return appendText
	case c.Null:
		return func(b []byte, e *streamhub.Entry) ([]byte, error) { return appendRaw(b, e, 0), nil }
	}
	return func(b []byte, e *streamhub.Entry) ([]byte, error) { return appendRaw(b, e, '\n'), nil }
}

func (c *readCmd) entries(ctx context.Context, store *client.Store, from uint64, cursor streamhub.Cursor) iter.Seq2[streamhub.Entry, error] {
	space, segment := c.Place.space, c.Place.segment
	follow := &streamhub.FollowOptions{Cursor: cursor, FromSequence: from, Limit: c.Limit}
	read := &streamhub.ReadOptions{Cursor: cursor, FromSequence: from, Limit: c.Limit}
	switch {
	case c.Follow && segment == "":
		return store.FollowSpace(ctx, space, follow)
	case c.Follow:
		return store.FollowSegment(ctx, space, segment, follow)
	case segment == "":
		return store.ConsumeSpace(ctx, space, read)
	}
	return store.ConsumeSegment(ctx, space, segment, read)
}

// copy writes entries to out, and flushes it whenever no next entry is ready. It returns nil at the end of the entries,
// or the error that ended it, after a flush.
func (c *readCmd) copy(ctx context.Context, entries iter.Seq2[streamhub.Entry, error], out *sink, bar *progress) error {
	ctx, cancel := context.WithCancel(ctx)
	ahead := make(chan streamhub.Entry, readAhead)
	var failed error // set before ahead is closed
	go func() {
		defer close(ahead)
		for e, err := range entries {
			if failed = err; err != nil {
				return
			}
			select {
			case ahead <- e:
			case <-ctx.Done():
				return
			}
		}
	}()
	defer func() {
		cancel()
		for range ahead { // until the reader has ended
		}
	}()
	for {
		var e streamhub.Entry
		var ok bool
		select {
		case e, ok = <-ahead:
		default:
			if err := out.flush(); err != nil {
				return err
			}
			select {
			case e, ok = <-ahead:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		if cause := context.Cause(ctx); cause != nil {
			return errors.Join(out.flush(), cause)
		}
		if !ok {
			if err := out.flush(); err != nil {
				return err
			}
			return failed
		}
		if err := out.write(&e); err != nil {
			return err
		}
		bar.add(1)
	}
}

// printCursor writes where to resume. Nothing is written if that cannot be told, or if it is the beginning.
func (c *readCmd) printCursor(s *session, store *client.Store, out *sink, from uint64, cursor streamhub.Cursor) {
	if out.written.IsZero() {
		if from > 1 {
			// Nothing was read from a sequence on: the entry before it is where to resume, if it is there.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), goodbyeTime)
			defer cancel()
			status, err := store.Status(ctx, c.Place.space, c.Place.segment)
			if err == nil && status.LastSequence < from-1 {
				s.note("%q ends at sequence %d: there is nothing from %d on", c.Place.segment, status.LastSequence, from)
			}
			if err != nil || status.LastSequence != from-1 {
				return
			}
			cursor = status.Cursor()
		}
	} else {
		cursor = out.written.Cursor()
	}
	if cursor != "" {
		fmt.Fprintf(s.stderr, "cursor: %s\n", cursor)
	}
}
