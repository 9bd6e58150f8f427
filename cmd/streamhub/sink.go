package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/millis"
)

// sinkBytes is how much a sink gathers before it writes.
const sinkBytes = 64 << 10

// A sink writes entries, several at a time, and knows which of them have left.
type sink struct {
	w      io.Writer
	format func([]byte, *streamhub.Entry) ([]byte, error)
	buf    []byte
	ends   []entryEnd // of the entries in buf
	// written is the position of the last entry that was written as a whole.
	written streamhub.Position
}

// An entryEnd is where an entry ends in the buffer.
type entryEnd struct {
	offset   int
	position streamhub.Position
}

func newSink(w io.Writer, format func([]byte, *streamhub.Entry) ([]byte, error)) *sink {
	return &sink{w: w, format: format, buf: make([]byte, 0, sinkBytes)}
}

// write takes an entry.
func (k *sink) write(e *streamhub.Entry) error {
	var err error
	if k.buf, err = k.format(k.buf, e); err != nil {
		return err
	}
	k.ends = append(k.ends, entryEnd{len(k.buf), e.Position})
	if len(k.buf) >= sinkBytes {
		return k.flush()
	}
	return nil
}

// flush writes what was gathered.
func (k *sink) flush() error {
	if len(k.buf) == 0 {
		return nil
	}
	n, err := k.w.Write(k.buf)
	for _, end := range k.ends {
		if end.offset <= n {
			k.written = end.position
		}
	}
	k.buf, k.ends = k.buf[:0], k.ends[:0]
	return err
}

// The metadata of a record that had no separator after it.
const (
	eolKey  = "eol"
	eolNone = "none"
)

// appendRaw writes the payload as a line.
func appendRaw(b []byte, e *streamhub.Entry, separator byte) []byte {
	b = append(b, e.Payload...)
	if e.Metadata[eolKey] != eolNone {
		b = append(b, separator)
	}
	return b
}

// decodeRecord reads what [appendJSONL] and [appendJSON] write.
func decodeRecord(line []byte) (streamhub.Record, error) {
	var r struct {
		Metadata map[string]string `json:"metadata"`
		Payload  *[]byte           `json:"payload"`
		Text     *string           `json:"text"`
	}
	var wrong *json.UnmarshalTypeError
	switch err := json.Unmarshal(line, &r); {
	case errors.As(err, &wrong): // its text has a type of Go in it
		return streamhub.Record{}, fmt.Errorf("%s in the place of %s", wrong.Value, cmp.Or(wrong.Field, "an object"))
	case err != nil:
		return streamhub.Record{}, err
	}
	switch {
	case r.Payload != nil && r.Text == nil:
		return streamhub.Record{Payload: *r.Payload, Metadata: r.Metadata}, nil
	case r.Text != nil && r.Payload == nil:
		return streamhub.Record{Payload: []byte(*r.Text), Metadata: r.Metadata}, nil
	}
	return streamhub.Record{}, errors.New(`want one of "text" and "payload", which is in base64`)
}

// A jsonlEntry is an entry as the command line writes it. The order of the fields is part of that.
type jsonlEntry struct {
	Space     string            `json:"space"`
	Segment   string            `json:"segment"`
	Sequence  uint64            `json:"sequence"`
	Timestamp int64             `json:"timestamp"`
	TRX       jsonlTRX          `json:"trx"`
	Metadata  map[string]string `json:"metadata"`
	Payload   *[]byte           `json:"payload,omitempty"`
	Text      *string           `json:"text,omitempty"`
	Cursor    streamhub.Cursor  `json:"cursor"`
}

type jsonlTRX struct {
	ID     uuid.UUID `json:"id"`
	Node   uuid.UUID `json:"node"`
	Number uint64    `json:"number"`
}

// appendJSONL writes the entry as a line of JSON, its payload in base64.
func appendJSONL(b []byte, e *streamhub.Entry) ([]byte, error) {
	line := jsonOf(e)
	payload := e.Payload
	if payload == nil {
		payload = []byte{}
	}
	line.Payload = &payload
	return encodeEntry(b, line)
}

// appendJSON writes the entry as a line of JSON, its payload as text where it is one.
func appendJSON(b []byte, e *streamhub.Entry) ([]byte, error) {
	if !utf8.Valid(e.Payload) {
		return appendJSONL(b, e)
	}
	line := jsonOf(e)
	text := string(e.Payload)
	line.Text = &text
	return encodeEntry(b, line)
}

// appendText writes the entry for people, in one line.
func appendText(b []byte, e *streamhub.Entry) ([]byte, error) {
	b = e.Timestamp.UTC().AppendFormat(b, "2006-01-02 15:04:05.000")
	b = fmt.Appendf(b, "  %s/%s  %d  ", oneLine(e.Space), oneLine(e.Segment), e.Sequence)
	if utf8.Valid(e.Payload) {
		b = append(b, oneLine(string(e.Payload))...)
	} else {
		b = fmt.Appendf(b, "%q", e.Payload)
	}
	for _, key := range slices.Sorted(maps.Keys(e.Metadata)) {
		b = fmt.Appendf(b, "  %s=%s", oneLine(key), oneLine(e.Metadata[key]))
	}
	return append(b, '\n'), nil
}

func jsonOf(e *streamhub.Entry) jsonlEntry {
	line := jsonlEntry{
		Space: e.Space, Segment: e.Segment, Sequence: e.Sequence, Timestamp: millis.Of(e.Timestamp), TRX: jsonlTRX(e.TRX),
		Metadata: e.Metadata, Cursor: e.Cursor(),
	}
	if line.Metadata == nil {
		line.Metadata = map[string]string{}
	}
	return line
}

func encodeEntry(b []byte, line jsonlEntry) ([]byte, error) {
	buf := bytes.NewBuffer(b)
	out := json.NewEncoder(buf)
	out.SetEscapeHTML(false)
	err := out.Encode(line)
	return buf.Bytes(), err
}
