package wire

import (
	"github.com/seed-147127fe/streamhub"
)

// An End is the last message of a channel: a result, an error, or for an append that was stored but
// not confirmed both.
type End struct {
	// Result is the encoded result of the operation, or empty if it has none.
	Result []byte
	Err    error
}

// Append writes e.
func (e *End) Append(b []byte) []byte {
	b = appendBytes(b, e.Result)
	b = appendBool(b, e.Err != nil)
	if e.Err != nil {
		b = appendError(b, e.Err)
	}
	return b
}

// DecodeEnd reads an End. Err is one of package streamhub's errors.
func DecodeEnd(body []byte) (*End, error) {
	d := newDecoder(body)
	e := &End{Result: d.bytes()}
	if d.bool() {
		e.Err = decodeError(&d)
	}
	if d.err != nil {
		return nil, d.err
	}
	return e, nil
}

// A Result is what an operation without items returns.
type Result interface{ append(b []byte) []byte }

// EncodeResult writes r for [End.Result].
func EncodeResult(r Result) []byte { return r.append(nil) }

// A Number is a result: a sequence, a token, a time in Unix milliseconds or a flag, as the operation
// says.
type Number uint64

// AppendResult, StatusResult, CreateResult and PeekResult are the results of the operations of these names. They are
// separate types, so that the public types need no encoding methods.
type (
	AppendResult streamhub.AppendResult
	StatusResult streamhub.Status
	CreateResult struct {
		Created bool
		Status  streamhub.Status
	}
	PeekResult streamhub.Entry
)

func (n Number) append(b []byte) []byte { return appendUint(b, uint64(n)) }

// DecodeNumber reads a [Number].
func DecodeNumber(result []byte) (uint64, error) {
	d := newDecoder(result)
	return d.uint(), d.err
}

// Flags of an append result, one byte.
const (
	repeated = 1 << iota
	created
	closed
)

func (r *AppendResult) append(b []byte) []byte {
	flags := byte(0)
	for bit, on := range map[byte]bool{repeated: r.Repeated, created: r.Created, closed: r.Closed} {
		if on {
			flags |= bit
		}
	}
	b = append(b, flags)
	b = appendTime(appendUint(appendUint(b, r.First), r.Last), r.Timestamp)
	b = append(append(b, r.TRX.ID[:]...), r.TRX.Node[:]...)
	b = appendUint(appendUint(b, r.TRX.Number), r.Generation)
	return appendPosition(b, &r.Position)
}

// DecodeAppendResult reads the result of an append.
func DecodeAppendResult(result []byte) (streamhub.AppendResult, error) {
	d := newDecoder(result)
	flags := d.byte()
	r := streamhub.AppendResult{
		First: d.uint(), Last: d.uint(), Timestamp: d.time(),
		TRX:        streamhub.TRX{ID: d.uuid(), Node: d.uuid(), Number: d.uint()},
		Generation: d.uint(), Position: decodePosition(&d),
		Repeated: flags&repeated != 0, Created: flags&created != 0, Closed: flags&closed != 0,
	}
	return r, d.err
}

func (r *StatusResult) append(b []byte) []byte { return appendStatus(b, (*streamhub.Status)(r)) }

// DecodeStatus reads a [StatusResult].
func DecodeStatus(result []byte) (streamhub.Status, error) {
	d := newDecoder(result)
	return decodeStatus(&d), d.err
}

func (r *CreateResult) append(b []byte) []byte {
	return appendStatus(appendBool(b, r.Created), &r.Status)
}

// DecodeCreateResult reads the result of a create.
func DecodeCreateResult(result []byte) (CreateResult, error) {
	d := newDecoder(result)
	return CreateResult{d.bool(), decodeStatus(&d)}, d.err
}

// A single entry has no predecessor, so it is written completely.
func (r *PeekResult) append(b []byte) []byte { return appendEntry(b, (*streamhub.Entry)(r), nil) }

// DecodePeekResult reads the result of a peek.
func DecodePeekResult(result []byte) (streamhub.Entry, error) {
	d := newDecoder(result)
	return decodeEntry(&d, &streamhub.Entry{}), d.err
}

// A CursorResult is the cursor after the last entry that a read has sent.
type CursorResult streamhub.Cursor

func (c CursorResult) append(b []byte) []byte { return appendBytes(b, string(c)) }

// DecodeCursor reads a [CursorResult]; it is empty if no entry was sent.
func DecodeCursor(result []byte) (streamhub.Cursor, error) {
	if len(result) == 0 {
		return "", nil
	}
	d := newDecoder(result)
	return streamhub.Cursor(d.string()), d.err
}
