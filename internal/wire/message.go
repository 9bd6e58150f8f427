package wire

import (
	"iter"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
)

// A Type says what a message is.
type Type byte

// The types. Those from Items on are sent by servers.
const (
	// TypeOpen begins a channel with an [Open].
	TypeOpen Type = 1
	// TypeCredit allows that many more bytes of items on a channel.
	TypeCredit Type = 2
	// TypeCancel asks the server to end a channel. The server answers with a TypeEnd, with the code canceled unless the
	// channel had already ended.
	TypeCancel Type = 3
	// TypeAuth carries a new token for the connection; the answer is a TypeAuthResult.
	TypeAuth Type = 4

	// TypeItems carries items of a channel, one after the other.
	TypeItems Type = 16
	// TypeEnd is the last message of a channel, an [End].
	TypeEnd Type = 17
	// TypeAuthResult is the answer to a TypeAuth, an [End] without result.
	TypeAuthResult Type = 18
	// TypeGoAway says that the connection will be closed soon, so that the client opens no more channels on it.
	TypeGoAway Type = 19
)

// MaxMessage is the longest WebSocket message of a client that a gateway takes by default, in bytes: the records of the
// largest append and what comes with them.
const MaxMessage = streamhub.MaxFrameBytes + 4<<20

// A Message is one protocol message: type (1 byte), channel and length of the body (uvarints), body. Channel 0 is the
// connection itself. The body shares memory with the input.
type Message struct {
	Type    Type
	Channel uint64
	Body    []byte
}

// AppendMessage writes a message.
func AppendMessage(b []byte, t Type, channel uint64, body []byte) []byte {
	return appendBytes(appendUint(append(b, byte(t)), channel), body)
}

// Messages reads the messages of one WebSocket message. After an error nothing more can be read, so the sequence ends.
func Messages(data []byte) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		d := newDecoder(data)
		for len(d.b) > 0 {
			m := Message{Type: Type(d.byte()), Channel: d.uint(), Body: d.bytes()}
			if !yield(m, d.err) || d.err != nil {
				return
			}
		}
	}
}

// AppendHeader writes the part of a message before a body of n bytes, for a body that is shared and written in place.
func AppendHeader(b []byte, t Type, channel uint64, n int) []byte {
	return appendUint(appendUint(append(b, byte(t)), channel), uint64(n))
}

// An Open is the body of a TypeOpen.
type Open struct {
	Store uuid.UUID
	// Credit is how many bytes of items may be sent before a TypeCredit. The last item may exceed it, whatever its
	// size.
	Credit uint64
	// Trace is the trace context of OpenTelemetry, if any.
	Trace   map[string]string
	Request Request
}

// Append writes o.
func (o *Open) Append(b []byte) []byte {
	b = append(b, byte(o.Request.Op()))
	b = append(b, o.Store[:]...)
	b = appendUint(b, o.Credit)
	b = appendPairs(b, o.Trace)
	return o.Request.append(b)
}

// DecodeOpen reads an Open. The error is an [UnknownOpError] for an unknown operation, and [streamhub.ErrTooLarge] for
// more records and pairs than a gateway decodes.
func DecodeOpen(body []byte) (*Open, error) {
	d := decoder{b: body, elements: maxElements}
	op := Op(d.byte())
	o := &Open{Store: d.uuid(), Credit: d.uint(), Trace: d.pairs()}
	if d.err != nil {
		return nil, d.err
	}
	decode := requests[op]
	if decode == nil {
		decode = liveRequests[op]
	}
	if decode == nil {
		return nil, &UnknownOpError{op}
	}
	o.Request = decode(&d)
	return o, d.err
}

// AppendCredit writes the body of a TypeCredit.
func AppendCredit(b []byte, bytes uint64) []byte { return appendUint(b, bytes) }

// DecodeCredit reads the body of a TypeCredit.
func DecodeCredit(body []byte) (uint64, error) {
	d := newDecoder(body)
	return d.uint(), d.err
}

// AppendToken writes the body of a TypeAuth.
func AppendToken(b []byte, token string) []byte { return appendBytes(b, token) }

// DecodeToken reads the body of a TypeAuth.
func DecodeToken(body []byte) (string, error) {
	d := newDecoder(body)
	return d.string(), d.err
}

// A GoAway is the body of a TypeGoAway.
type GoAway struct{ Reason string }

// Append writes g.
func (g *GoAway) Append(b []byte) []byte { return appendBytes(b, g.Reason) }

// DecodeGoAway reads a GoAway.
func DecodeGoAway(body []byte) (*GoAway, error) {
	d := newDecoder(body)
	return &GoAway{d.string()}, d.err
}
