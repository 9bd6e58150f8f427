package genkit

import (
	"bytes"
	"context"
	"errors"
	"iter"

	"github.com/firebase/genkit/go/core/x/streaming"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/live"
)

// A live chunk is an unchanged chunk of the flow or, if its first byte is frameMark, a frame. A frame is the mark, a
// kind, flags, and a part of a chunk, of an output or of an error. No JSON begins with the mark; a chunk that does is
// put into a frame.
const (
	frameMark   = 0x1e
	frameHeader = 3

	chunkFrame  = 'c'
	outputFrame = 'o'
	errorFrame  = 'e'

	firstFlag = 1
	lastFlag  = 2
)

// inFrames marks a verdict whose output, or error, is in the frames before it.
const inFrames = "the output is in the last chunks of the stream"

// The size of parts, in bytes. They are made smaller if the hub accepts only smaller chunks.
const (
	partBytes    = 512 << 10
	minPartBytes = 64
)

// publish stores data in frames, in parts of at most *size bytes.
func publish(ctx context.Context, p live.Producer, kind byte, data []byte, size *int) error {
	frame := make([]byte, 0, frameHeader+min(*size, len(data)))
	flags := byte(firstFlag)
	for {
		n := min(*size, len(data))
		last := byte(0)
		if n == len(data) {
			last = lastFlag
		}
		frame = append(append(frame[:0], frameMark, kind, flags|last), data[:n]...)
		err := p.Publish(ctx, frame) // Publish copies the frame
		if errors.Is(err, streamhub.ErrTooLarge) && *size > minPartBytes {
			// Later frames use the smaller size at once, because the limit of the hub does not change.
			*size /= 2
			continue
		}
		if err != nil || last != 0 {
			return err
		}
		data, flags = data[n:], 0
	}
}

// An event is one event of a stream, with the cursor that resumes after it.
type event struct {
	streaming.StreamEvent
	cursor live.Cursor
}

// events yields the events of a stream after a cursor. The last one is the output or the error, unless ctx ends first.
func (m *StreamManager) events(ctx context.Context, s live.Stream, after live.Cursor) iter.Seq[event] {
	return func(yield func(event) bool) {
		var chunk, output, failed parts
		for c, err := range s.Subscribe(ctx, &live.SubscribeOptions{Cursor: after}) {
			if err != nil {
				if ctx.Err() == nil {
					yield(event{StreamEvent: lastEvent(err, &output, &failed)})
				}
				return
			}
			data := c.Data
			if len(data) >= frameHeader && data[0] == frameMark {
				into := map[byte]*parts{chunkFrame: &chunk, outputFrame: &output, errorFrame: &failed}[data[1]]
				if into == nil {
					continue // a kind of a later version
				}
				into.add(data[2], data[frameHeader:])
				if into != &chunk || !chunk.whole {
					continue
				}
				data, chunk = chunk.data, parts{}
			}
			if len(data) == 0 {
				data = nil // null as JSON, as from the manager of Genkit
			}
			if !yield(event{streaming.StreamEvent{Type: streaming.StreamEventChunk, Chunk: data}, c.Cursor()}) {
				return
			}
		}
	}
}

// parts collects the parts of one chunk, output or error.
type parts struct {
	data         []byte
	begun, whole bool
}

// add adds a part. A first part drops an unfinished predecessor, which its writer has given up.
func (p *parts) add(flags byte, data []byte) {
	if flags&firstFlag != 0 {
		*p = parts{begun: true}
	}
	if p.begun {
		p.data = append(p.data, data...)
		p.whole = flags&lastFlag != 0
	}
}

// lastEvent is the event that stands for the end of a subscription.
func lastEvent(err error, output, failed *parts) streaming.StreamEvent {
	var closed *streamhub.ClosedError
	if !errors.As(err, &closed) {
		return streaming.StreamEvent{Type: streaming.StreamEventError, Err: publicError(err)}
	}
	v := closed.Verdict
	if bytes.Equal(v.Output, framed) {
		switch {
		case v.Kind == streamhub.VerdictDone && output.whole:
			v.Output = output.data
		case v.Kind == streamhub.VerdictFailed && failed.whole:
			v.Output = failed.data
		default:
			return streaming.StreamEvent{Type: streaming.StreamEventError, Err: publicError(streamhub.ErrHistoryLost)}
		}
	}
	if v.Kind == streamhub.VerdictDone {
		return streaming.StreamEvent{Type: streaming.StreamEventDone, Output: v.Output}
	}
	return streaming.StreamEvent{Type: streaming.StreamEventError, Err: publicError(&streamhub.ClosedError{Verdict: v})}
}
