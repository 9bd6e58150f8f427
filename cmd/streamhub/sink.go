package main

import (
	"bytes"
	"encoding/json"
	"io"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
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

// The metadata of a record that had no separator behind it.
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

// A jsonlEntry is an entry as the command line writes it. The order of the fields is part of that.
type jsonlEntry struct {
	Space     string            `json:"space"`
	Segment   string            `json:"segment"`
	Sequence  uint64            `json:"sequence"`
	Timestamp int64             `json:"timestamp"`
	TRX       jsonlTRX          `json:"trx"`
	Metadata  map[string]string `json:"metadata"`
	Payload   []byte            `json:"payload"`
	Cursor    streamhub.Cursor  `json:"cursor"`
}

type jsonlTRX struct {
	ID     uuid.UUID `json:"id"`
	Node   uuid.UUID `json:"node"`
	Number uint64    `json:"number"`
}

// appendJSONL writes the entry as a line of JSON.
func appendJSONL(b []byte, e *streamhub.Entry) ([]byte, error) {
	line := jsonlEntry{
		e.Space, e.Segment, e.Sequence, e.Timestamp, jsonlTRX(e.TRX), e.Metadata, e.Payload, e.Cursor(),
	}
	if line.Metadata == nil {
		line.Metadata = map[string]string{}
	}
	if line.Payload == nil {
		line.Payload = []byte{}
	}
	buf := bytes.NewBuffer(b)
	out := json.NewEncoder(buf)
	out.SetEscapeHTML(false)
	err := out.Encode(line)
	return buf.Bytes(), err
}
