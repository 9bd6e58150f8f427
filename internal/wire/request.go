package wire

import (
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
)

// An Op is an operation on a store. Its number is a part of the protocol and does not change.
type Op byte

// The operations. Each has a request type of the same name.
const (
	OpAppend           Op = 1
	OpCreate           Op = 2
	OpDelete           Op = 3
	OpTrim             Op = 4
	OpTouch            Op = 5
	OpStatus           Op = 6
	OpPeek             Op = 7
	OpSpaces           Op = 8
	OpSegments         Op = 9
	OpConsumeSegment   Op = 10
	OpConsumeSpace     Op = 11
	OpConsume          Op = 12
	OpFollow           Op = 13
	OpFollowSpace      Op = 14
	OpSubscribeSegment Op = 15
	OpSubscribeSpace   Op = 16
	OpWorkers          Op = 17
	OpJoinWorkers      Op = 18
	OpAcquireLease     Op = 19
	OpRenewLease       Op = 20
	OpReleaseLease     Op = 21
	OpSpaceEnd         Op = 22
	OpExpire           Op = 23
)

// A Request is what a channel is opened for: one of the types below. Op names it on the wire. append writes its fields
// in the order of docs/protocol.md, in which the decoder reads them. New fields go at the end.
type Request interface {
	Op() Op
	append(b []byte) []byte
}

// An UnknownOpError is the error for an operation that this version does not know. The channel ends with it; the
// connection stays open.
type UnknownOpError struct{ Op Op }

func (e *UnknownOpError) Error() string { return fmt.Sprintf("unknown operation %d", e.Op) }
func (e *UnknownOpError) Unwrap() error { return streamhub.ErrInvalidArgument }

// Append: the result is an [AppendResult]. Closing is an append too.
type Append struct {
	streamhub.Append
	// Chained says that the append depends on the previous append to the same segment in the same WebSocket message. It
	// is not made while that one may still be stored.
	Chained bool
	// Known is the position of the last entry of the segment that the sender knows of, or the zero position. If that
	// entry was lost, the append is not made.
	Known streamhub.Position
}

// Create: the result is a [CreateResult].
type Create struct {
	Space, Segment string
	Options        streamhub.CreateOptions
}

// Delete removes a segment. Reason becomes a part of its verdict. It has no result.
type Delete struct{ Space, Segment, Reason string }

// Trim: the result is a [Number], the first sequence kept.
type Trim struct {
	Space, Segment string
	UpTo           uint64
}

// Touch: the result is a [Number], the deadline in Unix milliseconds.
type Touch struct{ Space, Segment string }

// Status: the result is a [StatusResult].
type Status struct{ Space, Segment string }

// Peek: the result is a [PeekResult].
type Peek struct{ Space, Segment string }

// Spaces has names as items.
type Spaces struct{}

// Segments has names as items.
type Segments struct{ Space string }

// ConsumeSegment has entries as items, and so have those up to FollowSpace.
type ConsumeSegment struct {
	Space, Segment string
	Options        streamhub.ReadOptions
}

// ConsumeSpace reads a space.
type ConsumeSpace struct {
	Space   string
	Options streamhub.ReadOptions
}

// Consume reads several spaces, each after its own cursor, in one sequence.
type Consume struct {
	Cursors map[string]streamhub.Cursor
	Options streamhub.ReadOptions
}

// Follow reads a segment and then the entries that are appended to it.
type Follow struct {
	Space, Segment string
	Options        streamhub.FollowOptions
}

// FollowSpace reads a space and then the entries that are appended to it.
type FollowSpace struct {
	Space   string
	Options streamhub.FollowOptions
}

// SubscribeSegment has statuses as items.
type SubscribeSegment struct{ Space, Segment string }

// SubscribeSpace has statuses as items.
type SubscribeSpace struct{ Space string }

// Workers has lists of workers as items.
type Workers struct{}

// JoinWorkers keeps a worker on the list while the channel is open. Its only item, which is empty,
// says that the worker is on the list. TTL is how long the worker stays there if the gateway dies.
type JoinWorkers struct {
	Worker streamhub.Worker
	TTL    time.Duration
}

// AcquireLease acquires a lease for Holder, a name that the client chooses. The result is a [Number],
// the token.
type AcquireLease struct {
	Key, Holder string
	TTL         time.Duration
}

// RenewLease extends a lease by TTL from now on. The result is a [Number], the token.
type RenewLease struct {
	Key, Holder string
	TTL         time.Duration
}

// ReleaseLease: the result is a [Number], 1 if the holder had the lease.
type ReleaseLease struct{ Key, Holder string }

// Expire sets the time to live of a segment, 0 for never. The result is a [Number], the deadline in
// Unix milliseconds, 0 for none.
type Expire struct {
	Space, Segment string
	TTL            time.Duration
}

// SpaceEnd: the result is a [CursorResult].
type SpaceEnd struct{ Space string }

func (*Append) Op() Op           { return OpAppend }
func (*Create) Op() Op           { return OpCreate }
func (*Delete) Op() Op           { return OpDelete }
func (*Trim) Op() Op             { return OpTrim }
func (*Touch) Op() Op            { return OpTouch }
func (*Status) Op() Op           { return OpStatus }
func (*Peek) Op() Op             { return OpPeek }
func (*Spaces) Op() Op           { return OpSpaces }
func (*Segments) Op() Op         { return OpSegments }
func (*ConsumeSegment) Op() Op   { return OpConsumeSegment }
func (*ConsumeSpace) Op() Op     { return OpConsumeSpace }
func (*Consume) Op() Op          { return OpConsume }
func (*Follow) Op() Op           { return OpFollow }
func (*FollowSpace) Op() Op      { return OpFollowSpace }
func (*SubscribeSegment) Op() Op { return OpSubscribeSegment }
func (*SubscribeSpace) Op() Op   { return OpSubscribeSpace }
func (*Workers) Op() Op          { return OpWorkers }
func (*JoinWorkers) Op() Op      { return OpJoinWorkers }
func (*AcquireLease) Op() Op     { return OpAcquireLease }
func (*RenewLease) Op() Op       { return OpRenewLease }
func (*ReleaseLease) Op() Op     { return OpReleaseLease }
func (*SpaceEnd) Op() Op         { return OpSpaceEnd }
func (*Expire) Op() Op           { return OpExpire }

// requests decode the fields of a request, which follow the header of an [Open]. Go evaluates the operands of a
// composite literal from left to right, so the order of the fields is that of the bytes.
var requests = map[Op]func(*decoder) Request{
	OpAppend: decodeAppend,
	OpCreate: func(d *decoder) Request {
		return &Create{d.string(), d.string(), decodeCreateOptions(d)}
	},
	OpDelete: func(d *decoder) Request { return &Delete{d.string(), d.string(), d.string()} },
	OpTrim:   func(d *decoder) Request { return &Trim{d.string(), d.string(), d.uint()} },
	OpTouch:  func(d *decoder) Request { return &Touch{d.string(), d.string()} },
	OpStatus: func(d *decoder) Request { return &Status{d.string(), d.string()} },
	OpPeek:   func(d *decoder) Request { return &Peek{d.string(), d.string()} },
	OpSpaces: func(*decoder) Request { return &Spaces{} },
	OpSegments: func(d *decoder) Request {
		return &Segments{d.string()}
	},
	OpConsumeSegment: func(d *decoder) Request {
		return &ConsumeSegment{d.string(), d.string(), decodeReadOptions(d)}
	},
	OpConsumeSpace: func(d *decoder) Request { return &ConsumeSpace{d.string(), decodeReadOptions(d)} },
	OpConsume: func(d *decoder) Request {
		c := &Consume{Options: decodeReadOptions(d)}
		if pairs := d.pairs(); len(pairs) > 0 {
			c.Cursors = make(map[string]streamhub.Cursor, len(pairs)) // after the pairs were read, so that a count alone allocates nothing
			for space, cursor := range pairs {
				c.Cursors[space] = streamhub.Cursor(cursor)
			}
		}
		return c
	},
	OpFollow:      func(d *decoder) Request { return &Follow{d.string(), d.string(), decodeFollowOptions(d)} },
	OpFollowSpace: func(d *decoder) Request { return &FollowSpace{d.string(), decodeFollowOptions(d)} },
	OpSubscribeSegment: func(d *decoder) Request {
		return &SubscribeSegment{d.string(), d.string()}
	},
	OpSubscribeSpace: func(d *decoder) Request { return &SubscribeSpace{d.string()} },
	OpWorkers:        func(*decoder) Request { return &Workers{} },
	OpJoinWorkers: func(d *decoder) Request {
		return &JoinWorkers{streamhub.Worker{ID: d.uuid(), Metadata: d.pairs()}, time.Duration(d.int())}
	},
	OpAcquireLease: func(d *decoder) Request {
		return &AcquireLease{d.string(), d.string(), time.Duration(d.int())}
	},
	OpRenewLease: func(d *decoder) Request {
		return &RenewLease{d.string(), d.string(), time.Duration(d.int())}
	},
	OpReleaseLease: func(d *decoder) Request { return &ReleaseLease{d.string(), d.string()} },
	OpExpire: func(d *decoder) Request {
		return &Expire{d.string(), d.string(), time.Duration(d.int())}
	},
	OpSpaceEnd: func(d *decoder) Request { return &SpaceEnd{d.string()} },
}

// appendNames appends strings to b, each after its length.
func appendNames(b []byte, names ...string) []byte {
	for _, name := range names {
		b = appendBytes(b, name)
	}
	return b
}

func (r *Create) append(b []byte) []byte {
	return appendCreateOptions(appendNames(b, r.Space, r.Segment), &r.Options)
}
func (r *Delete) append(b []byte) []byte { return appendNames(b, r.Space, r.Segment, r.Reason) }
func (r *Trim) append(b []byte) []byte {
	return appendUint(appendNames(b, r.Space, r.Segment), r.UpTo)
}
func (r *Touch) append(b []byte) []byte    { return appendNames(b, r.Space, r.Segment) }
func (r *Status) append(b []byte) []byte   { return appendNames(b, r.Space, r.Segment) }
func (r *Peek) append(b []byte) []byte     { return appendNames(b, r.Space, r.Segment) }
func (*Spaces) append(b []byte) []byte     { return b }
func (r *Segments) append(b []byte) []byte { return appendNames(b, r.Space) }
func (r *ConsumeSegment) append(b []byte) []byte {
	return appendReadOptions(appendNames(b, r.Space, r.Segment), &r.Options)
}
func (r *ConsumeSpace) append(b []byte) []byte {
	return appendReadOptions(appendNames(b, r.Space), &r.Options)
}
func (r *Consume) append(b []byte) []byte {
	pairs := make(map[string]string, len(r.Cursors))
	for space, cursor := range r.Cursors {
		pairs[space] = string(cursor)
	}
	return appendPairs(appendReadOptions(b, &r.Options), pairs)
}
func (r *Follow) append(b []byte) []byte {
	return appendFollowOptions(appendNames(b, r.Space, r.Segment), &r.Options)
}
func (r *FollowSpace) append(b []byte) []byte {
	return appendFollowOptions(appendNames(b, r.Space), &r.Options)
}
func (r *SubscribeSegment) append(b []byte) []byte { return appendNames(b, r.Space, r.Segment) }
func (r *SubscribeSpace) append(b []byte) []byte   { return appendNames(b, r.Space) }
func (*Workers) append(b []byte) []byte            { return b }
func (r *JoinWorkers) append(b []byte) []byte {
	b = append(b, r.Worker.ID[:]...)
	return appendInt(appendPairs(b, r.Worker.Metadata), int64(r.TTL))
}
func (r *AcquireLease) append(b []byte) []byte {
	return appendInt(appendNames(b, r.Key, r.Holder), int64(r.TTL))
}
func (r *RenewLease) append(b []byte) []byte {
	return appendInt(appendNames(b, r.Key, r.Holder), int64(r.TTL))
}
func (r *ReleaseLease) append(b []byte) []byte { return appendNames(b, r.Key, r.Holder) }
func (r *Expire) append(b []byte) []byte {
	return appendInt(appendNames(b, r.Space, r.Segment), int64(r.TTL))
}
func (r *SpaceEnd) append(b []byte) []byte { return appendNames(b, r.Space) }

// Each rare option of an append has a bit, and its value is present only if the bit is set.
const (
	hasProducer = 1 << iota
	hasClose
	mustExist
	checkOnly
	hasDurability
	hasSequences // some records name their sequences
	isChained
	hasIncarnation
	hasKnown
)

func (r *Append) append(b []byte) []byte {
	o := r.Options
	if o == nil {
		o = &streamhub.AppendOptions{}
	}
	flags := uint64(0)
	set := func(bit uint64, on bool) {
		if on {
			flags |= bit
		}
	}
	set(hasProducer, o.Producer != nil)
	set(hasClose, o.Close != nil)
	set(mustExist, o.MustExist)
	set(checkOnly, o.CheckOnly)
	set(hasDurability, o.Durability != nil)
	set(isChained, r.Chained)
	set(hasIncarnation, o.Incarnation != 0)
	set(hasKnown, r.Known != streamhub.Position{})
	set(hasSequences, nameSequences(r.Records))

	b = appendUint(appendNames(b, r.Space, r.Segment), flags)
	b = append(b, o.TRX[:]...)
	b = appendUint(appendUint(b, o.ExpectedSequence), o.Generation)
	b = appendNames(b, o.ContentType, o.StreamSeq)
	if p := o.Producer; p != nil {
		b = appendUint(appendUint(appendBytes(b, p.ID), p.Epoch), p.Seq)
	}
	if o.Close != nil {
		b = appendVerdict(b, o.Close)
	}
	if u := o.Durability; u != nil {
		b = appendInt(appendBool(appendInt(b, int64(u.Replicas)), u.Fsync), int64(u.Timeout))
	}
	if o.Incarnation != 0 {
		b = appendUint64(b, o.Incarnation)
	}
	if flags&hasKnown != 0 {
		b = appendPosition(b, &r.Known)
	}
	return appendRecords(b, r.Records, flags&hasSequences != 0)
}

// nameSequences reports whether any of records names a sequence. The hub checks whether they fit together.
func nameSequences(records []streamhub.Record) bool {
	return slices.ContainsFunc(records, func(r streamhub.Record) bool { return r.Sequence != 0 })
}

func appendRecords(b []byte, records []streamhub.Record, sequences bool) []byte {
	b = appendUint(b, uint64(len(records)))
	for i := range records {
		if sequences {
			b = appendUint(b, records[i].Sequence)
		}
		b = appendBytes(appendPairs(b, records[i].Metadata), records[i].Payload)
	}
	return b
}

func decodeAppend(d *decoder) Request {
	r := &Append{}
	r.Space, r.Segment = d.string(), d.string()
	flags := d.uint()
	r.Chained = flags&isChained != 0
	o := &streamhub.AppendOptions{
		TRX: d.uuid(), ExpectedSequence: d.uint(), Generation: d.uint(), ContentType: d.string(), StreamSeq: d.string(),
		MustExist: flags&mustExist != 0, CheckOnly: flags&checkOnly != 0,
	}
	if flags&hasProducer != 0 {
		o.Producer = &streamhub.Producer{ID: d.string(), Epoch: d.uint(), Seq: d.uint()}
	}
	if flags&hasClose != 0 {
		v := decodeVerdict(d)
		o.Close = &v
	}
	if flags&hasDurability != 0 {
		o.Durability = &streamhub.Durability{Replicas: int(d.int()), Fsync: d.bool(), Timeout: time.Duration(d.int())}
	}
	if flags&hasIncarnation != 0 {
		o.Incarnation = d.uint64()
	}
	if flags&hasKnown != 0 {
		r.Known = decodePosition(d)
	}
	r.Options = o
	r.Records = decodeRecords(d, flags&hasSequences != 0)
	return r
}

func decodeRecords(d *decoder, sequences bool) []streamhub.Record {
	n := d.count(2)
	if n > streamhub.MaxFrameRecords {
		d.fail("more records than a frame takes")
		return nil
	}
	if n == 0 {
		return nil
	}
	records := make([]streamhub.Record, 0, min(n, firstElements))
	for i := 0; i < n && d.element(); i++ {
		var r streamhub.Record
		if sequences {
			r.Sequence = d.uint()
		}
		r.Metadata, r.Payload = d.pairs(), d.bytes()
		records = append(records, r)
	}
	return records
}

func appendCreateOptions(b []byte, o *streamhub.CreateOptions) []byte {
	b = appendInt(appendBytes(b, o.ContentType), int64(o.TTL))
	b = appendTime(b, o.ExpiresAt)
	b = appendBool(b, o.Closed != nil)
	if o.Closed != nil {
		b = appendVerdict(b, o.Closed)
	}
	b = appendUint(b, o.Generation)
	b = appendBytes(b, o.ForkOf)
	b = appendBool(b, o.ForkAt != nil)
	if o.ForkAt != nil {
		b = appendUint(b, *o.ForkAt)
	}
	b = appendBytes(appendUint64(b, o.ForkIncarnation), o.Origin)
	sequences := nameSequences(o.Records)
	return appendRecords(appendBool(b, sequences), o.Records, sequences)
}

func decodeCreateOptions(d *decoder) streamhub.CreateOptions {
	o := streamhub.CreateOptions{ContentType: d.string(), TTL: time.Duration(d.int()), ExpiresAt: d.time()}
	if d.bool() {
		v := decodeVerdict(d)
		o.Closed = &v
	}
	o.Generation = d.uint()
	o.ForkOf = d.string()
	if d.bool() {
		at := d.uint()
		o.ForkAt = &at
	}
	o.ForkIncarnation, o.Origin = d.uint64(), d.string()
	o.Records = decodeRecords(d, d.bool())
	return o
}

func appendReadOptions(b []byte, o *streamhub.ReadOptions) []byte {
	b = appendUint(appendUint(appendBytes(b, string(o.Cursor)), o.FromSequence), o.ToSequence)
	return appendUint(appendTime(appendTime(b, o.After), o.Until), o.Limit)
}

func decodeReadOptions(d *decoder) streamhub.ReadOptions {
	return streamhub.ReadOptions{
		Cursor: streamhub.Cursor(d.string()), FromSequence: d.uint(), ToSequence: d.uint(),
		After: d.time(), Until: d.time(), Limit: d.uint(),
	}
}

func appendFollowOptions(b []byte, o *streamhub.FollowOptions) []byte {
	b = appendUint(appendBytes(b, string(o.Cursor)), o.FromSequence)
	return appendUint(appendBool(b, o.Live), o.Limit)
}

func decodeFollowOptions(d *decoder) streamhub.FollowOptions {
	return streamhub.FollowOptions{
		Cursor: streamhub.Cursor(d.string()), FromSequence: d.uint(), Live: d.bool(), Limit: d.uint(),
	}
}

func appendVerdict(b []byte, v *streamhub.Verdict) []byte {
	return appendBytes(appendNames(b, string(v.Kind), v.Reason), []byte(v.Output))
}

func decodeVerdict(d *decoder) streamhub.Verdict {
	return streamhub.Verdict{Kind: streamhub.VerdictKind(d.string()), Reason: d.string(), Output: d.bytes()}
}

// NewTRX gives an append a TRX id if it has none, and returns the id, with which the sender can repeat it.
func (r *Append) NewTRX() uuid.UUID {
	if r.Options == nil {
		r.Options = &streamhub.AppendOptions{}
	}
	if r.Options.TRX == uuid.Nil {
		r.Options.TRX = uuid.New()
	}
	return r.Options.TRX
}
