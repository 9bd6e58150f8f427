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

// This file serves producers that no connection keeps: each request proves by a token that it comes
// from the producer, and any gateway takes it.

// Names and bounds of producers without a connection.
const (
	// producerHeader carries the token of a producer.
	producerHeader = "Streamhub-Producer"
	// maxChunks bounds the body of one request of a producer.
	maxChunks = streamhub.MaxFrameBytes
	// maxLines is how many lines it has at most: a list of 16 million empty ones takes 400 MB, and 17 s to store.
	maxLines = 1 << 19
	// beatsPerSilence is how often a producer with nothing to say should be heard of in the time after
	// which it counts as lost.
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
		// The request repeats one whose generation has ended since.
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

// A place is where a producer stands: the answer to a heartbeat and, with id and token, to a client that became the
// producer.
type place struct {
	Generation uint64 `json:"generation"`
	// HeartbeatMS is how often a producer with nothing to say sends a heartbeat, in milliseconds.
	HeartbeatMS int64  `json:"heartbeat_ms"`
	ID          string `json:"id,omitempty"`
	// Next is the number of the next chunk.
	Next     uint64 `json:"next"`
	Producer string `json:"producer,omitempty"`
}

func placeOfProducer(p live.RemoteProducer, next uint64) place {
	return place{Generation: p.Generation(), HeartbeatMS: (p.Silence() / beatsPerSilence).Milliseconds(), Next: next}
}

// nameOf is what is kept of a subject, for others to see who produces.
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

// resume returns the producer that the request comes from.
func resume(r *http.Request, c *call) (live.RemoteProducer, error) {
	token := r.Header.Get(producerHeader)
	if token == "" {
		return nil, fmt.Errorf("%w: the header %s is missing; PUT answered with its value", streamhub.ErrPermissionDenied, producerHeader)
	}
	return c.streams.Resume(r.Context(), c.id, token)
}

// chunks stores chunks; without any it is a heartbeat.
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
		// A request without chunks says that the producer is there, so that its generation is not
		// lost.
		next, err := p.Beat(r.Context())
		if err == nil {
			reply(w, http.StatusOK, placeOfProducer(p, next))
		}
		return err
	}
	for i, chunk := range list {
		if len(chunk) > h.opt.MaxChunkBytes { // before any of them is stored
			return fmt.Errorf("%w: chunk %d has %d bytes, the limit is %d", streamhub.ErrTooLarge, first+uint64(i), len(chunk), h.opt.MaxChunkBytes)
		}
	}
	// The list may be longer than one append takes. The parts are stored in order; if the reply to
	// one is lost, the client sends the whole list again under the same first number, and what is
	// stored already is recognised.
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

// split cuts a body into chunks, as the content type says. An empty body has no chunk; an empty line
// of text/plain is a chunk, and one of NDJSON is none.
func split(contentType string, text []byte) ([][]byte, error) {
	if len(text) == 0 {
		return nil, nil
	}
	kind := "application/octet-stream"
	if contentType != "" {
		var err error
		if kind, _, err = mime.ParseMediaType(contentType); err != nil {
			return nil, errMedia
		}
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

// trimLine takes the end of a line off, \n or \r\n.
func trimLine(line []byte) []byte {
	if trimmed, ok := bytes.CutSuffix(line, []byte("\n")); ok {
		return bytes.TrimSuffix(trimmed, []byte("\r"))
	}
	return line
}

// errMedia is a body of a kind that has no chunks.
var errMedia = errors.New("want application/x-ndjson or text/plain, with a chunk a line, or application/octet-stream, which is one chunk")

// end ends the generation.
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

// messages gives a producer what readers send: as an event stream, or, with wait, all that is there,
// or the first one to come in that time.
func (h *Handler) messages(w http.ResponseWriter, r *http.Request, c *call) error {
	p, err := resume(r, c)
	if err != nil {
		return err
	}
	text := r.Header.Get("Last-Event-ID")
	if text == "" {
		text = c.query.Get("after")
	}
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
			body, _ := json.Marshal(m) // numbers, texts and bytes
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

// A stopping is a request to stop.
type stopping struct {
	By     string `json:"by,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// stopOf makes the answer of a message that asks the producer to stop.
func stopOf(m *live.Message) stopping { return stopping{m.By, string(m.Data)} }

// gathering is for how long messages are gathered that were there before they were asked for.
const gathering = 20 * time.Millisecond

// poll answers with the messages that are there, or else with the first one that comes within wait.
// Messages come from a follower that does not say when it is at the end, so the first message starts
// a short time in which others are gathered.
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
	if !utf8.Valid(text) { // which package json lets pass
		return fmt.Errorf("%w: the body is not UTF-8, which JSON is", streamhub.ErrInvalidArgument)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) { // its text has a type of Go in it
			err = fmt.Errorf("%s in the place of %s", wrong.Value, cmp.Or(wrong.Field, "an object"))
		}
		return fmt.Errorf("%w: the body: %w", streamhub.ErrInvalidArgument, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: the body is more than one JSON object", streamhub.ErrInvalidArgument)
	}
	return nil
}
