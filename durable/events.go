package durable

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/port"
	"github.com/seed-147127fe/streamhub/internal/sse"
)

// events answers with an event stream: the stored entries, and then new ones.
func (q *reading) events(w http.ResponseWriter, r *http.Request) error {
	d, s := q.handler, q.stream
	p, status, err := q.first(r)
	if err != nil {
		return err
	}
	lifetime := d.opt.EventStreamTime
	// An event stream ends with a fixed expiry of the stream. It renews a sliding one, see renew.
	if status.TTL == 0 && !status.ExpiresAt.IsZero() {
		lifetime = min(lifetime, max(time.Until(status.ExpiresAt), 0))
	}
	ctx, done, err := d.wait(r.Context(), lifetime)
	if err != nil {
		return err
	}
	defer done()
	out := &eventWriter{cursor: q.cursor, form: formOf(contentType(&status))}
	// no-transform, because a compressing proxy would hold events back until it has enough of them.
	if w.Header().Set("Cache-Control", "no-cache, no-transform"); out.form == base64Form {
		w.Header().Set(headerSSEEncoding, "base64")
	}
	if kept, after := status.FirstSequence, p.after; out.form == textForm {
		out.before = func() []byte { return s.cutBefore(ctx, kept, after) }
	}
	out.Writer = sse.Begin(w, d.opt.WriteTimeout)
	var renew func(context.Context)
	if status.TTL > 0 {
		renew = func(ctx context.Context) { d.renews.touch(ctx, s) }
	}
	// Renew three times within the time to live, so that one renewal may fail.
	defer out.KeepOpen(ctx, renew, max(status.TTL/3, renewEvery))()
	// From here on an error ends the event stream, and the client reconnects.
	for {
		atEnd := p.end == tailOf(&status)
		closed := atEnd && status.State == streamhub.StateClosed
		var data []byte
		if !p.empty() {
			data = out.data(p.body, closed)
		}
		if out.write(data, p.end, atEnd, closed) != nil || closed {
			return nil
		}
		if atEnd {
			break
		}
		incarnation := p.incarnation
		// Another incarnation does not continue the last event, so the event stream ends.
		if p, status, err = d.fetch(ctx, s, p.end); err != nil || p.incarnation != incarnation {
			return nil
		}
	}
	out.follow(ctx, s, &status)
	return nil
}

// follow writes entries as they are appended, until ctx ends or the stream is closed. The clients of one page get the
// same bytes if they agree in form, cursor and prefix, so a page is encoded once for all of them.
func (out *eventWriter) follow(ctx context.Context, s *stream, status *streamhub.Status) {
	end := tailOf(status)
	for news, err := range port.Of(s.store).FollowSegment(ctx, s.space, s.segment, &streamhub.FollowOptions{Cursor: status.Cursor()}, nil) {
		if err != nil {
			if errors.Is(err, streamhub.ErrClosed) {
				_ = out.write(out.form.event(out.held), end, true, true) // the held bytes will never be completed
			}
			return
		}
		end = endOf(news, end.life)
		cursor := out.nextCursor()
		var prefix []byte
		var cut int
		if out.form == textForm {
			parts := make([][]byte, len(news.Entries))
			for i := range news.Entries {
				parts[i] = news.Entries[i].Payload
			}
			prefix, cut = out.step(parts...)
		}
		whole := news.Encode(eventKey{out.form, cursor, string(prefix)}, func(entries []streamhub.Entry) []byte {
			data := out.form.event(joined(prefix, encode(entries, out.form == jsonForm), cut))
			return appendControl(data, end, cursor, true, false)
		})
		if out.Send(whole) != nil {
			return
		}
	}
}

// An eventKey is the key under which a page caches its encoded events. It has everything in which the events of one
// page differ between clients.
type eventKey struct {
	form   form
	cursor string
	prefix string // see [joiner.step]
}

// A bodyKey is the key under which a page caches its body for long-polls.
type bodyKey struct{ json bool }

// body encodes a page as the body of a response, once for all readers of the page.
func body(p *port.Page, json bool) []byte {
	return p.Encode(bodyKey{json}, func(entries []streamhub.Entry) []byte { return encode(entries, json) })
}

// endOf returns the offset after a page of a stream.
func endOf(p *port.Page, life uint64) offset {
	return offsetOf(life, &p.Entries[len(p.Entries)-1].Position)
}

// A form says how an event encodes data: text unchanged, JSON messages as an array, anything else in base64.
type form int

const (
	textForm form = iota
	jsonForm
	base64Form
)

func formOf(contentType string) form {
	switch media := mediaType(contentType); {
	case media == "application/json":
		return jsonForm
	case strings.HasPrefix(media, "text/"):
		return textForm
	}
	return base64Form
}

// event writes a body as a data event.
func (f form) event(body []byte) []byte {
	if len(body) == 0 {
		return nil
	}
	b := make([]byte, 0, len(body)+len(body)/2+256)
	b = append(b, "event: data\n"...)
	if f == base64Form {
		b = append(b, "data:"...)
		b = base64.StdEncoding.AppendEncode(b, body)
		return append(b, "\n\n"...)
	}
	return append(sse.AppendData(b, body), '\n')
}

// appendControl appends the control event that follows each data event. It has the offset to resume from, the cursor
// for caches, and whether the client has reached the end.
func appendControl(b []byte, next offset, cursor string, upToDate, closed bool) []byte {
	b = fmt.Appendf(b, "event: control\ndata:{\"streamNextOffset\":%q", next.String())
	// No client reconnects after a close, so it gets no cursor.
	if !closed {
		b = fmt.Appendf(b, ",\"streamCursor\":%q", cursor)
	}
	if upToDate {
		b = append(b, `,"upToDate":true`...)
	}
	if closed {
		b = append(b, `,"streamClosed":true`...)
	}
	return append(b, "}\n\n"...)
}

// An eventWriter writes the events of one reader.
type eventWriter struct {
	*sse.Writer
	joiner        // of text forms
	cursor string // the last cursor that the client has
	form   form
}

// data encodes a page as a data event. It holds back an incomplete code point at the end, unless last is set.
func (out *eventWriter) data(body []byte, last bool) []byte {
	if out.form != textForm {
		return out.form.event(body)
	}
	prefix, cut := out.step(body)
	if last {
		cut = 0
	}
	return out.form.event(joined(prefix, body, cut))
}

// nextCursor returns the next cursor of this reader. It is the same for all clients, unless a client has a cursor of
// a later interval.
func (out *eventWriter) nextCursor() string {
	return nextCursor(out.cursor, time.Now())
}

// write sends a data event, unless data is empty, and the control event after it.
func (out *eventWriter) write(data []byte, end offset, upToDate, closed bool) error {
	return out.Send(appendControl(data, end, out.nextCursor(), upToDate, closed))
}
