package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/live"
)

// liveCmd groups the commands for live streams.
type liveCmd struct {
	Publish livePublishCmd `cmd:"" help:"Produce a live stream from standard input, a chunk a line."`
	Read    liveReadCmd    `cmd:"" help:"Write the chunks of a live stream to standard output, a line each, and its verdict to standard error."`
	Cancel  liveCancelCmd  `cmd:"" help:"Ask the producer of a live stream to stop, and wait for the verdict."`
	Status  liveStatusCmd  `cmd:"" help:"Write the status of a live stream."`
	Ls      liveLsCmd      `cmd:"" help:"List the live streams of a space."`
}

// defaultLiveSpace is the space of live streams if none is named.
const defaultLiveSpace = "live"

// livePlace is a live stream, and where it is.
type livePlace struct {
	target
	Space string `default:"live" help:"Space of the live stream."`
	ID    string `arg:"" help:"Live stream."`
}

// open returns the live streams of the place, and a function that closes the connection.
func (p *livePlace) open(s *session) (live.Streams, func(), error) {
	store, done, err := p.target.open(s, hub.Options{}, client.DefaultRetryPolicy())
	if err != nil {
		return nil, nil, err
	}
	return store.Live(p.Space), done, nil
}

// ended writes a verdict as one line, and is the end of a command whose live stream has it.
func ended(w io.Writer, v streamhub.Verdict) error {
	if err := json.NewEncoder(w).Encode(&v); err != nil {
		return err
	}
	if v.Kind != streamhub.VerdictDone {
		return &statusError{code: exitFailed}
	}
	return nil
}

type livePublishCmd struct {
	livePlace
	Takeover bool `help:"End a generation that is being produced and begin the next one."`
}

// Run ends with the verdict on standard error.
func (c *livePublishCmd) Run(s *session) error {
	streams, done, err := c.open(s)
	if err != nil {
		return err
	}
	defer done()
	p, current, err := streams.Register(s.ctx, c.ID, &live.RegisterOptions{Takeover: c.Takeover})
	if err != nil {
		return interrupted(s.ctx, err)
	}
	if p == nil {
		return &statusError{exitConflict, fmt.Errorf("the live stream %q is being produced (generation %d): --takeover ends that generation and begins the next one", c.ID, current.Generation())}
	}
	err = publishLines(s.ctx, p, s.stdin)
	bye, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), drainTime)
	defer cancel()
	switch {
	case err == nil:
		err = p.Done(bye, nil)
		if err != nil && !errors.Is(err, streamhub.ErrClosed) && !errors.Is(err, streamhub.ErrFenced) {
			return err
		}
	case s.ctx.Err() != nil:
		_ = p.End(bye, streamhub.Verdict{Kind: streamhub.VerdictLost, Reason: "the producer was interrupted"})
		return context.Cause(s.ctx)
	case errors.As(err, new(*live.CancelError)):
		err = p.Close(bye)
		if err != nil {
			return err
		}
	case errors.Is(err, streamhub.ErrClosed), errors.Is(err, streamhub.ErrFenced): // the verdict says why
	default:
		return errors.Join(err, p.Fail(bye, err))
	}
	verdict, err := p.Wait(bye)
	if errors.Is(err, streamhub.ErrNotFound) { // it was there
		err = &streamhub.HistoryLostError{FirstLost: 1}
	}
	if err != nil {
		return err
	}
	return ended(s.stderr, verdict)
}

// publishLines publishes each line of input without its end, \n or \r\n. It ends with the input, or with
// the reason for which the producer has to stop.
func publishLines(ctx context.Context, p live.Producer, input io.Reader) error {
	lines, failed := make(chan []byte), make(chan error, 1)
	// A blocked read of standard input must not keep the command from ending, so it has its own goroutine, which ends
	// with the program.
	go func() {
		defer close(lines)
		r := bufio.NewReaderSize(input, 64<<10)
		for {
			line, err := r.ReadBytes('\n')
			if trimmed, whole := bytes.CutSuffix(line, []byte("\n")); whole {
				line = bytes.TrimSuffix(trimmed, []byte("\r"))
			}
			if err == nil || errors.Is(err, io.EOF) && len(line) > 0 {
				select {
				case lines <- line:
				case <-p.Context().Done():
					return
				}
			}
			if err != nil {
				failed <- err
				return
			}
		}
	}()
	for {
		select {
		case line, more := <-lines:
			if !more {
				if err := <-failed; !errors.Is(err, io.EOF) {
					return err
				}
				return p.Flush(ctx)
			}
			if err := p.Publish(ctx, line); err != nil {
				return err
			}
		case <-p.Context().Done():
			return context.Cause(p.Context())
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

type liveReadCmd struct {
	livePlace
	From string        `placeholder:"CURSOR" help:"Resume after the chunk with this cursor."`
	Wait time.Duration `placeholder:"D" help:"How long to wait for a live stream that has not begun, 5m at most."`
}

// maxLiveWait bounds --wait.
const maxLiveWait = 5 * time.Minute

// Run writes chunks until the live stream ends, through any number of connections.
func (c *liveReadCmd) Run(s *session) error {
	cursor := live.Cursor(c.From)
	if _, err := cursor.Generation(); err != nil {
		return err
	}
	if c.Wait < 0 || c.Wait > maxLiveWait {
		return usagef("--wait %v: want a time up to %v", c.Wait, maxLiveWait)
	}
	streams, done, err := c.open(s)
	if err != nil {
		return err
	}
	defer done()
	stream, err := c.find(s, streams)
	if err != nil {
		return interrupted(s.ctx, err)
	}
	for chunk, err := range stream.Subscribe(s.ctx, &live.SubscribeOptions{Cursor: cursor}) {
		var closed *streamhub.ClosedError
		switch {
		case errors.As(err, &closed):
			return ended(s.stderr, closed.Verdict)
		case s.ctx.Err() != nil:
			if cursor != "" {
				s.note("cursor: %s", cursor)
			}
			return context.Cause(s.ctx)
		case err != nil:
			return err
		}
		if _, err := s.stdout.Write(append(chunk.Data[:len(chunk.Data):len(chunk.Data)], '\n')); err != nil {
			return err
		}
		cursor = chunk.Cursor()
	}
	return nil
}

// find returns the stream; with --wait it waits for one that has not begun.
func (c *liveReadCmd) find(s *session, streams live.Streams) (live.Stream, error) {
	if c.From != "" || c.Wait == 0 {
		return streams.Get(s.ctx, c.ID)
	}
	ctx, cancel := context.WithTimeout(s.ctx, c.Wait)
	defer cancel()
	stream, err := streams.Await(ctx, c.ID)
	if err != nil && s.ctx.Err() == nil && ctx.Err() != nil {
		return streams.Get(s.ctx, c.ID) // which says whether it is missing
	}
	return stream, err
}

type liveCancelCmd struct {
	livePlace
	Reason string `help:"Reason to tell the producer."`
	NoWait bool   `help:"End as soon as the request is stored."`
}

// Run writes the verdict.
func (c *liveCancelCmd) Run(s *session) error {
	streams, done, err := c.open(s)
	if err != nil {
		return err
	}
	defer done()
	stream, err := streams.Get(s.ctx, c.ID)
	if err != nil {
		return interrupted(s.ctx, err)
	}
	verdict, err := stream.Cancel(s.ctx, &live.CancelOptions{Reason: c.Reason, NoWait: c.NoWait})
	if err != nil {
		return interrupted(s.ctx, err)
	}
	if verdict.Kind == "" {
		_, err := fmt.Fprintln(s.stdout, "{}")
		return err
	}
	return json.NewEncoder(s.stdout).Encode(&verdict)
}

type liveStatusCmd struct {
	livePlace
}

// Run writes it as one line of JSON.
func (c *liveStatusCmd) Run(s *session) error {
	streams, done, err := c.open(s)
	if err != nil {
		return err
	}
	defer done()
	stream, err := streams.Get(s.ctx, c.ID)
	if err != nil {
		return interrupted(s.ctx, err)
	}
	status, err := stream.Status(s.ctx)
	if err != nil {
		return interrupted(s.ctx, err)
	}
	return json.NewEncoder(s.stdout).Encode(&status)
}
