package livehttp

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/millis"
	"github.com/seed-147127fe/streamhub/internal/verdict"
	"github.com/seed-147127fe/streamhub/live"
)

// This file serves producers that are not tied to a connection: each request carries the token of the producer, and any
// gateway serves it.

// The header and the limits of producers that are not tied to a connection.
const (
	// producerHeader carries the token of a producer.
	producerHeader = "Streamhub-Producer"
	// maxChunks bounds the body of one request of a producer.
	maxChunks = streamhub.MaxFrameBytes
	// maxLines is the largest number of lines of such a body: 16 million empty lines would take 400 MB, and 17 s to
	// store.
	maxLines = 1 << 19
	// beatsPerSilence is how many heartbeats an idle producer should send within the silence after which it counts as
	// lost.
	beatsPerSilence = 3
)

// put makes the client the producer of the next generation.
func (h *Handler) put(w http.ResponseWriter, r *http.Request, c *call) error {
	var o struct {
		Metadata json.RawMessage `json:"metadata"`
		Takeover bool            `json:"takeover"`
		Once     bool            `json:"once"`
	}
	if err := decode(w, r, &o); err != nil {
		return err
	}
	options := live.RegisterOptions{Takeover: o.Takeover, Once: o.Once, By: nameOf(c.subject), Key: r.Header.Get(producerHeader)}
	if len(o.Metadata) > 0 {
		options.Metadata = o.Metadata
	}
	p, current, err := c.streams.Start(r.Context(), c.id, &options)
	if o.Once && errors.Is(err, streamhub.ErrClosed) {
		// The request repeats an earlier one, whose generation has ended since.
		current, err = c.streams.Get(r.Context(), c.id)
	}
	if err != nil {
		return err
	}
	if p == nil {
		return h.taken(w, r, current, o.Once)
	}
	next := uint64(1)
	if options.Key != "" {
		// An earlier request with this key may have stored chunks.
		if next, err = p.Beat(r.Context()); err != nil {
			return err
		}
	}
	at := placeOfProducer(p, next)
	at.ID, at.Producer = c.id, p.Token()
	reply(w, http.StatusCreated, at)
	return nil
}

// A place says where a producer continues: the answer to a heartbeat and, with id and token, to a client that became
// the producer.
type place struct {
	Generation uint64 `json:"generation"`
	// HeartbeatMS is the interval, in milliseconds, at which an idle producer should send a heartbeat.
	HeartbeatMS int64  `json:"heartbeat_ms"`
	ID          string `json:"id,omitempty"`
	// Next is the number of the next chunk.
	Next     uint64 `json:"next"`
	Producer string `json:"producer,omitempty"`
}

func placeOfProducer(p live.RemoteProducer, next uint64) place {
	return place{Generation: p.Generation(), HeartbeatMS: (p.Silence() / beatsPerSilence).Milliseconds(), Next: next}
}

// nameOf shortens a subject to the form in which other clients see it as the producer.
func nameOf(subject string) string {
	return strings.ToValidUTF8(subject[:min(len(subject), 256)], "")
}

// taken answers a client that did not become the producer.
func (h *Handler) taken(w http.ResponseWriter, r *http.Request, current live.Stream, once bool) error {
	status, err := current.Status(r.Context())
	if err != nil {
		return err
	}
	if once && status.Verdict != nil {
		reply(w, http.StatusOK, map[string]any{"id": status.ID, "generation": status.Generation, "verdict": status.Verdict})
		return nil
	}
	message := fmt.Sprintf("generation %d is being produced", status.Generation)
	if status.By != "" {
		message += " by " + status.By
	}
	reply(w, http.StatusConflict, failure{
		Code: "already_produced", Message: message, Generation: status.Generation, By: status.By, Since: millis.Of(status.StartedAt),
	})
	return nil
}

// resume returns the producer whose token the request carries.
func resume(r *http.Request, c *call) (live.RemoteProducer, error) {
	token := r.Header.Get(producerHeader)
	if token == "" {
		return nil, fmt.Errorf("%w: the header %s is missing; PUT answered with its value", streamhub.ErrPermissionDenied, producerHeader)
	}
	return c.streams.Resume(r.Context(), c.id, token)
}

// chunks stores the chunks of a body. A request without chunks is a heartbeat.
func (h *Handler) chunks(w http.ResponseWriter, r *http.Request, c *call) error {
	p, err := resume(r, c)
	if err != nil {
		return err
	}
	text, err := bounded(w, r, maxChunks)
	if err != nil {
		return err
	}
	list, err := split(r.Header.Get("Content-Type"), text)
	if err != nil {
		return err
	}
	number := c.query.Get("first")
	first, err := strconv.ParseUint(number, 10, 53)
	if (err != nil || first == 0) && (len(list) > 0 || c.query.Has("first")) {
		return fmt.Errorf("%w: first=%.40q: want the number of the first chunk, counted from 1", streamhub.ErrInvalidArgument, number)
	}
	if len(list) == 0 {
		// A request without chunks keeps the generation from being lost.
		next, err := p.Beat(r.Context())
		if err == nil {
			reply(w, http.StatusOK, placeOfProducer(p, next))
		}
		return err
	}
	for i, chunk := range list {
		if len(chunk) > h.opt.MaxChunkBytes { // checked before any chunk is stored
			return fmt.Errorf("%w: chunk %d has %d bytes, the limit is %d", streamhub.ErrTooLarge, first+uint64(i), len(chunk), h.opt.MaxChunkBytes)
		}
	}
	// The list may be too long for one append, so it is stored in parts, in order. If a reply is lost, the client sends
	// the whole list again with the same first number. Chunks that are already stored are recognised.
	var next uint64
	for len(list) > 0 {
		n := together(list)
		if next, err = p.Publish(r.Context(), first, list[:n]); err != nil {
			return err
		}
		list, first = list[n:], first+uint64(n)
	}
	reply(w, http.StatusOK, map[string]uint64{"next": next})
	return nil
}

// together returns how many of the first chunks go into one append. Each counts 8 bytes besides its
// data, and together they take up to a quarter of the largest frame.
func together(list [][]byte) int {
	const most, each = streamhub.MaxFrameBytes / 4, 8
	n, size := 0, 0
	for n < len(list) && n < streamhub.MaxFrameRecords && (n == 0 || size+len(list[n])+each <= most) {
		size += len(list[n]) + each
		n++
	}
	return n
}

// split cuts a body into chunks, as the content type says. An empty body has no chunk; an empty line of text/plain is a
// chunk, an empty line of NDJSON is not.
func split(contentType string, text []byte) ([][]byte, error) {
	if len(text) == 0 {
		return nil, nil
	}
	kind := "application/octet-stream"
	if contentType != "" {
		kind, _, _ = mime.ParseMediaType(contentType) // parameters change nothing, also those that cannot be read
	}
	if kind == "application/octet-stream" {
		return [][]byte{text}, nil
	}
	lines := bytes.Count(text, []byte("\n"))
	if text[len(text)-1] != '\n' {
		lines++
	}
	if lines > maxLines {
		return nil, fmt.Errorf("%w: more than %d lines: each is a chunk", streamhub.ErrTooLarge, maxLines)
	}
	var list [][]byte
	switch kind {
	case "text/plain":
		for line := range bytes.Lines(text) {
			list = append(list, trimLine(line))
		}
	case "application/x-ndjson":
		for line := range bytes.Lines(text) {
			if line = trimLine(line); len(line) == 0 {
				continue
			}
			if !utf8.Valid(line) || !json.Valid(line) {
				return nil, fmt.Errorf("%w: line %d of the body is not JSON", streamhub.ErrInvalidArgument, len(list)+1)
			}
			list = append(list, line)
		}
	default:
		return nil, errMedia
	}
	return list, nil
}

// trimLine removes the line ending, \n or \r\n.
func trimLine(line []byte) []byte {
	if trimmed, ok := bytes.CutSuffix(line, []byte("\n")); ok {
		return bytes.TrimSuffix(trimmed, []byte("\r"))
	}
	return line
}

// errMedia is a body of a kind that has no chunks.
var errMedia = errors.New("want application/x-ndjson or text/plain, with a chunk a line, or application/octet-stream, which is one chunk")

// end ends the generation with the verdict of the body. A repeat gets the stored verdict.
func (h *Handler) end(w http.ResponseWriter, r *http.Request, c *call) error {
	var v streamhub.Verdict
	if err := decode(w, r, &v); err != nil {
		return err
	}
	if err := verdict.Check(v); err != nil {
		return err
	}
	p, err := resume(r, c)
	var closed *streamhub.ClosedError
	switch {
	case errors.As(err, &closed): // the answer to the first call may have been lost
		v, err = closed.Verdict, nil
	case err == nil:
		v, err = p.End(r.Context(), v)
	}
	if err == nil {
		reply(w, http.StatusOK, v)
	}
	return err
}

// patch sets the metadata of the stream.
func (h *Handler) patch(w http.ResponseWriter, r *http.Request, c *call) error {
	var o struct {
		Metadata json.RawMessage `json:"metadata"`
	}
	if err := decode(w, r, &o); err != nil {
		return err
	}
	if len(o.Metadata) == 0 {
		return fmt.Errorf(`%w: the body is {"metadata": …}`, streamhub.ErrInvalidArgument)
	}
	p, err := resume(r, c)
	if err == nil {
		err = p.SetMetadata(r.Context(), o.Metadata)
	}
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
	}
	return err
}

// messages answers with the messages of readers. It sends an event stream or, with wait, one list: the stored messages,
// or the first one that arrives within that time.
func (h *Handler) messages(w http.ResponseWriter, r *http.Request, c *call) error {
	p, err := resume(r, c)
	if err != nil {
		return err
	}
	text := c.lastEventID(r, "after")
	var after uint64
	if text != "" {
		if after, err = strconv.ParseUint(text, 10, 53); err != nil {
			return fmt.Errorf("%w: after=%.40q: want the number of a message", streamhub.ErrInvalidArgument, text)
		}
	}
	wait, polls, err := c.wait()
	if err != nil {
		return err
	}
	if !h.clients.Begin() {
		return streamhub.ErrShutdown
	}
	defer h.clients.Done()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(h.clients.Context(), cancel)()
	if polls {
		return poll(ctx, w, p, after, wait)
	}
	out := h.begin(w)
	defer out.KeepOpen(ctx, nil, 0)()
	for m, err := range p.Messages(ctx, after) {
		var closed *streamhub.ClosedError
		switch {
		case err == nil:
			body, _ := json.Marshal(m) // cannot fail: the fields are numbers, strings and bytes
			name := ""
			if m.Stop {
				name = "stop"
				body, _ = json.Marshal(stopOf(&m))
			}
			err = out.Send(event(name, strconv.FormatUint(m.Sequence, 10), body))
		case errors.As(err, &closed):
			verdict, _ := json.Marshal(closed.Verdict) // cannot fail: it was decoded from JSON
			_ = out.Send(eventWithoutID("end", verdict))
		case ctx.Err() == nil:
			h.tell(out, c.id, p.Generation(), err)
		}
		if err != nil {
			return nil
		}
	}
	return nil
}

// A stopping is a request to stop, as JSON.
type stopping struct {
	By     string `json:"by,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// stopOf converts a message that asks the producer to stop.
func stopOf(m *live.Message) stopping { return stopping{m.By, string(m.Data)} }

// gathering is how long poll collects stored messages after the first one.
const gathering = 20 * time.Millisecond

// poll answers with the stored messages, or else with the first one that arrives within wait. The follower that yields
// them does not say when it has reached the end. So the first message starts a short time in which others are
// collected.
func poll(ctx context.Context, w http.ResponseWriter, p live.RemoteProducer, after uint64, wait time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, max(wait, gathering))
	defer cancel()
	found := []live.Message{}
	var stop *stopping
	for m, err := range p.Messages(ctx, after) {
		if err != nil {
			if ctx.Err() == nil && (!errors.Is(err, streamhub.ErrClosed) || len(found) == 0) {
				return err
			}
			break
		}
		if after = m.Sequence; m.Stop {
			asked := stopOf(&m)
			stop = &asked
		} else {
			found = append(found, m)
		}
		time.AfterFunc(gathering, cancel)
	}
	answer := map[string]any{"messages": found, "after": after}
	if stop != nil {
		answer["stop"] = stop
	}
	reply(w, http.StatusOK, answer)
	return nil
}

// decode reads a JSON object; an empty body is an empty object.
func decode(w http.ResponseWriter, r *http.Request, into any) error {
	text, err := input(w, r)
	if err != nil || len(bytes.TrimSpace(text)) == 0 {
		return err
	}
	if !utf8.Valid(text) { // encoding/json would replace the invalid bytes
		return fmt.Errorf("%w: the body is not UTF-8, which JSON is", streamhub.ErrInvalidArgument)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) { // its text would name a Go type
			err = fmt.Errorf("%s in the place of %s", wrong.Value, cmp.Or(wrong.Field, "an object"))
		}
		return fmt.Errorf("%w: the body: %w", streamhub.ErrInvalidArgument, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: the body is more than one JSON object", streamhub.ErrInvalidArgument)
	}
	return nil
}
