package history

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
)

// A Store is what is under test; that of package hub is one, and but for Follow that of package
// store.
type Store interface {
	Append(ctx context.Context, space, segment string, records []streamhub.Record, options *streamhub.AppendOptions) (streamhub.AppendResult, error)
	Status(ctx context.Context, space, segment string) (streamhub.Status, error)
	ConsumeSegment(ctx context.Context, space, segment string, options *streamhub.ReadOptions) iter.Seq2[streamhub.Entry, error]
}

// A Recorder keeps the operations of the clients of one process. It is safe for concurrent use.
type Recorder struct {
	clock func() int64

	mu   sync.Mutex
	ops  []*Op
	next uint64
	sink *json.Encoder
	err  error
}

// NewRecorder makes a recorder. clock gives nanoseconds that never go back; processes whose
// operations are checked together need the same one. Nil is the monotonic clock of this process.
func NewRecorder(clock func() int64) *Recorder {
	if clock == nil {
		begin := time.Now()
		clock = func() int64 { return int64(time.Since(begin)) }
	}
	return &Recorder{clock: clock}
}

// Now returns the time on the clock of the recorder.
func (r *Recorder) Now() int64 { return r.clock() }

// Tee writes every operation to w too, as a line when it begins and one when it ends, so that those
// of a process that is killed are known; see [Decode]. It is called before the first operation.
func (r *Recorder) Tee(w io.Writer) { r.sink = json.NewEncoder(w) }

// Err returns the first error of the writer given to Tee.
func (r *Recorder) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

func (r *Recorder) begin(o *Op) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next++
	o.ID, o.Outcome = r.next, Unknown
	o.Call = r.clock()
	r.ops = append(r.ops, o)
	r.write(o)
}

// end is called with what the operation is to become. A caller reads ops only when all have ended.
func (r *Recorder) end(o *Op, change func()) {
	now := r.clock()
	r.mu.Lock()
	defer r.mu.Unlock()
	o.Return = now
	change()
	r.write(o)
}

func (r *Recorder) write(o *Op) {
	if r.sink != nil && r.err == nil {
		r.err = r.sink.Encode(o)
	}
}

// Len returns how many operations were begun.
func (r *Recorder) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.ops)
}

// Acked returns how many appends were acknowledged.
func (r *Recorder) Acked() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, o := range r.ops {
		if o.Kind == Append && o.Outcome == OK {
			n++
		}
	}
	return n
}

// History returns copies of the operations so far. What has not ended has an unknown outcome.
func (r *Recorder) History() []Op {
	r.mu.Lock()
	defer r.mu.Unlock()
	ops := make([]Op, len(r.ops))
	for i, o := range r.ops {
		ops[i] = *o
	}
	return ops
}

// Decode reads what Tee wrote. An operation without an end has an unknown outcome; half a line at
// the end, of a process that was killed, is left out.
func Decode(r io.Reader) ([]Op, error) {
	var ops []Op
	byID := map[uint64]int{}
	in := bufio.NewReaderSize(r, 1<<20)
	for {
		line, err := in.ReadBytes('\n')
		if err == io.EOF {
			return ops, nil
		}
		if err != nil {
			return ops, err
		}
		var o Op
		if err := json.Unmarshal(line, &o); err != nil {
			return ops, fmt.Errorf("line %d: %w", len(ops)+1, err)
		}
		if i, ok := byID[o.ID]; ok {
			ops[i] = o
			continue
		}
		byID[o.ID] = len(ops)
		ops = append(ops, o)
	}
}

// A Client is one user of a store; its calls are recorded. One that is used by several goroutines
// appears as one in reports, which is all that its name is for.
type Client struct {
	rec   *Recorder
	name  string
	store Store
}

// Client makes a client of store.
func (r *Recorder) Client(name string, store Store) *Client { return &Client{r, name, store} }

// producers is the name space of the ids of appends of named producers.
var producers = uuid.MustParse("5f0a1c4e-6a39-4d8e-9d1b-0a86ad9f1f5c")

// Append calls Append of the store. An append without TRX id gets one: a random one, or for a
// producer one made from what identifies it. A verdict without reason gets the id as its reason.
func (c *Client) Append(ctx context.Context, space, segment string, records []streamhub.Record, options *streamhub.AppendOptions) (streamhub.AppendResult, error) {
	var o streamhub.AppendOptions
	if options != nil {
		o = *options
	}
	op := &Op{Client: c.name, Space: space, Segment: segment, Kind: Append,
		Expect: o.ExpectedSequence, Generation: o.Generation, Close: o.Close != nil, MustExist: o.MustExist}
	if op.Expect == 0 && len(records) > 0 {
		op.Expect = records[0].Sequence
	}
	if p := o.Producer; p != nil {
		same := *p
		op.Producer = &same
		if o.TRX == uuid.Nil {
			o.TRX = uuid.NewSHA1(producers, fmt.Appendf(nil, "%q %q %q %d %d", space, segment, p.ID, p.Epoch, p.Seq))
		}
	}
	if o.TRX == uuid.Nil {
		o.TRX = uuid.New()
	}
	if o.Close != nil && o.Close.Reason == "" {
		v := *o.Close
		v.Reason = o.TRX.String()
		o.Close = &v
	}
	op.TRX = o.TRX
	for i := range records {
		op.Records = append(op.Records, Digest(records[i].Payload, records[i].Metadata))
	}
	c.rec.begin(op)
	result, err := c.store.Append(ctx, space, segment, records, &o)
	c.rec.end(op, func() {
		op.note(err)
		if op.Outcome == OK || op.Outcome == Weak {
			op.First, op.Last, op.InForce = result.First, result.Last, result.Generation
			op.Repeated, op.Closed, op.TRX = result.Repeated, result.Closed, result.TRX.ID
		}
	})
	return result, err
}

// Status calls Status of the store.
func (c *Client) Status(ctx context.Context, space, segment string) (streamhub.Status, error) {
	op := &Op{Client: c.name, Space: space, Segment: segment, Kind: Tail}
	c.rec.begin(op)
	s, err := c.store.Status(ctx, space, segment)
	c.rec.end(op, func() {
		op.note(err)
		if op.Outcome == OK {
			op.Last, op.InForce, op.Closed = s.LastSequence, s.Generation, s.State == streamhub.StateClosed
		}
	})
	return s, err
}

// ReadAll reads the segment from its first entry on and returns the number of the last one.
func (c *Client) ReadAll(ctx context.Context, space, segment string) (uint64, error) {
	op := &Op{Client: c.name, Space: space, Segment: segment, Kind: Read}
	c.rec.begin(op)
	var chain Chain
	var last uint64
	var failed error
	for e, err := range c.store.ConsumeSegment(ctx, space, segment, nil) {
		if err != nil {
			failed = err
			break
		}
		last = e.Sequence
		chain = chain.Link(e.Sequence, e.TRX.ID, Digest(e.Payload, e.Metadata))
	}
	c.rec.end(op, func() {
		op.note(failed)
		op.Chain, op.Last = chain, last
	})
	return last, failed
}

// A Log is what a segment held when everything was over.
type Log struct {
	Space, Segment string
	Status         streamhub.Status
	Entries        []Seen
}

// Key names the segment.
func (l *Log) Key() string { return l.Space + "/" + l.Segment }

// entry returns the entry with this sequence, nil if there is none.
func (l *Log) entry(sequence uint64) *Seen {
	if len(l.Entries) == 0 {
		return nil
	}
	if at := sequence - l.Entries[0].Sequence; at < uint64(len(l.Entries)) && l.Entries[at].Sequence == sequence {
		return &l.Entries[at]
	}
	at := slices.IndexFunc(l.Entries, func(e Seen) bool { return e.Sequence == sequence })
	if at < 0 {
		return nil
	}
	return &l.Entries[at]
}

// ReadLog reads a log. A segment that does not exist has an empty one.
func ReadLog(ctx context.Context, store Store, space, segment string) (Log, error) {
	l := Log{Space: space, Segment: segment}
	var err error
	if l.Status, err = store.Status(ctx, space, segment); err != nil {
		if streamhub.CodeOf(err) == "not_found" {
			err = nil
		}
		return l, err
	}
	for e, err := range store.ConsumeSegment(ctx, space, segment, nil) {
		if err != nil {
			return l, err
		}
		l.Entries = append(l.Entries, See(&e, 0))
	}
	return l, nil
}
