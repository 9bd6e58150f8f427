package wire

import (
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/live"
)

// The operations on live streams. Every request may be repeated: a repeat is recognised, or changes nothing.
const (
	OpLiveStart     Op = 24
	OpLiveResume    Op = 25
	OpLivePublish   Op = 26
	OpLiveEnd       Op = 27
	OpLiveMetadata  Op = 28
	OpLiveMessages  Op = 29
	OpLiveFind      Op = 30
	OpLiveStatus    Op = 31
	OpLiveSubscribe Op = 32
	OpLiveFollow    Op = 33
	OpLiveWait      Op = 34
	OpLiveCancel    Op = 35
	OpLiveSend      Op = 36
	OpLiveActive    Op = 37
	OpLiveRemove    Op = 38
	OpLiveList      Op = 39
)

// LiveStart begins a generation: the result is a [LiveProducerResult].
type LiveStart struct {
	Space, ID      string
	Takeover, Once bool
	Metadata       []byte // JSON, or nothing
	// By names the producer for other clients. Key recognises a repeat after a lost reply: requests with one key begin
	// one generation.
	By, Key     string
	ContentType string
	// EndedTTL is how long the stream is kept after its end, 0 for the default.
	EndedTTL time.Duration
}

// LiveResume checks the token of a producer. The result is a [LiveProducerResult].
type LiveResume struct{ Space, ID, Token string }

// LivePublish stores chunks; without chunks it is a heartbeat. The result is a [Number], the number of the next chunk.
type LivePublish struct {
	Space, ID, Token string
	// First is the number of the first of Chunks, counted from 1. A repeat under the same number
	// stores nothing twice.
	First  uint64
	Chunks [][]byte
}

// LiveEnd ends a generation. The result is a [LiveVerdictResult]: the stored verdict, which differs from the request's
// if another process has ended the generation first.
type LiveEnd struct {
	Space, ID, Token string
	Verdict          streamhub.Verdict
}

// LiveMetadata replaces the metadata, JSON. It has no result.
type LiveMetadata struct {
	Space, ID, Token string
	Metadata         []byte
}

// LiveMessages has the messages after sequence After as items, first the stored ones and then new ones.
type LiveMessages struct {
	Space, ID, Token string
	After            uint64
}

// LiveFind has one item, a [Number]: the current generation. With Wait it waits until there is one.
type LiveFind struct {
	Space, ID string
	Wait      bool
}

// LiveStatus asks for the status of one generation. The result is a [LiveStatusResult].
type LiveStatus struct {
	Space, ID  string
	Generation uint64
}

// LiveSubscribe has the chunks of a generation as items. Cursor resumes after a chunk; Batch joins the stored chunks
// into one.
type LiveSubscribe struct {
	Space, ID  string
	Generation uint64
	Cursor     live.Cursor
	Batch      bool
}

// LiveFollow has updates of several streams as items. Generations asks for every generation that is
// kept, not only for the current one.
type LiveFollow struct {
	Space       string
	IDs         []string
	Cursor      streamhub.Cursor
	Generations bool
}

// LiveWait waits for the end of a generation. It has one item, a [LiveVerdictResult].
type LiveWait struct {
	Space, ID  string
	Generation uint64
}

// LiveCancel asks the producer to stop and waits for the end, unless NoWait is set. It has one item,
// a [LiveVerdictResult]; its kind is empty if there is no verdict yet.
type LiveCancel struct {
	Space, ID  string
	Generation uint64
	By, Reason string
	NoWait     bool
}

// LiveSend stores a message: the result is a [Number], its sequence.
type LiveSend struct {
	Space, ID  string
	Generation uint64
	Data       []byte
	// By names the sender. Once names a question that gets one answer; Key recognises a repeat of
	// this message.
	By, Once, Key string
}

// LiveActive: the result is a [NamesResult], the ids of the streams that have a producer.
type LiveActive struct {
	Space string
	IDs   []string
}

// LiveRemove removes a stream if Generation is its current generation. It has no result.
type LiveRemove struct {
	Space, ID  string
	Generation uint64
}

// LiveList has [LiveRef]s as items. It begins after the stream that AfterID and AfterGeneration name.
type LiveList struct {
	Space, AfterID  string
	AfterGeneration uint64
}

func (*LiveStart) Op() Op     { return OpLiveStart }
func (*LiveResume) Op() Op    { return OpLiveResume }
func (*LivePublish) Op() Op   { return OpLivePublish }
func (*LiveEnd) Op() Op       { return OpLiveEnd }
func (*LiveMetadata) Op() Op  { return OpLiveMetadata }
func (*LiveMessages) Op() Op  { return OpLiveMessages }
func (*LiveFind) Op() Op      { return OpLiveFind }
func (*LiveStatus) Op() Op    { return OpLiveStatus }
func (*LiveSubscribe) Op() Op { return OpLiveSubscribe }
func (*LiveFollow) Op() Op    { return OpLiveFollow }
func (*LiveWait) Op() Op      { return OpLiveWait }
func (*LiveCancel) Op() Op    { return OpLiveCancel }
func (*LiveSend) Op() Op      { return OpLiveSend }
func (*LiveActive) Op() Op    { return OpLiveActive }
func (*LiveRemove) Op() Op    { return OpLiveRemove }
func (*LiveList) Op() Op      { return OpLiveList }

// liveRequests decode the requests above.
var liveRequests = map[Op]func(*decoder) Request{
	OpLiveStart: func(d *decoder) Request {
		return &LiveStart{
			Space: d.string(), ID: d.string(), Takeover: d.bool(), Once: d.bool(), Metadata: d.bytes(),
			By: d.string(), Key: d.string(), ContentType: d.string(), EndedTTL: time.Duration(d.int()),
		}
	},
	OpLiveResume: func(d *decoder) Request { return &LiveResume{d.string(), d.string(), d.string()} },
	OpLivePublish: func(d *decoder) Request {
		return &LivePublish{d.string(), d.string(), d.string(), d.uint(), decodeChunks(d)}
	},
	OpLiveEnd: func(d *decoder) Request { return &LiveEnd{d.string(), d.string(), d.string(), decodeVerdict(d)} },
	OpLiveMetadata: func(d *decoder) Request {
		return &LiveMetadata{d.string(), d.string(), d.string(), d.bytes()}
	},
	OpLiveMessages: func(d *decoder) Request {
		return &LiveMessages{d.string(), d.string(), d.string(), d.uint()}
	},
	OpLiveFind:   func(d *decoder) Request { return &LiveFind{d.string(), d.string(), d.bool()} },
	OpLiveStatus: func(d *decoder) Request { return &LiveStatus{d.string(), d.string(), d.uint()} },
	OpLiveSubscribe: func(d *decoder) Request {
		return &LiveSubscribe{d.string(), d.string(), d.uint(), live.Cursor(d.string()), d.bool()}
	},
	OpLiveFollow: func(d *decoder) Request {
		return &LiveFollow{d.string(), decodeNames(d), streamhub.Cursor(d.string()), d.bool()}
	},
	OpLiveWait: func(d *decoder) Request { return &LiveWait{d.string(), d.string(), d.uint()} },
	OpLiveCancel: func(d *decoder) Request {
		return &LiveCancel{d.string(), d.string(), d.uint(), d.string(), d.string(), d.bool()}
	},
	OpLiveSend: func(d *decoder) Request {
		return &LiveSend{d.string(), d.string(), d.uint(), d.bytes(), d.string(), d.string(), d.string()}
	},
	OpLiveActive: func(d *decoder) Request { return &LiveActive{d.string(), decodeNames(d)} },
	OpLiveRemove: func(d *decoder) Request { return &LiveRemove{d.string(), d.string(), d.uint()} },
	OpLiveList:   func(d *decoder) Request { return &LiveList{d.string(), d.string(), d.uint()} },
}

func (r *LiveStart) append(b []byte) []byte {
	b = appendBool(appendBool(appendNames(b, r.Space, r.ID), r.Takeover), r.Once)
	b = appendNames(appendBytes(b, r.Metadata), r.By, r.Key, r.ContentType)
	return appendInt(b, int64(r.EndedTTL))
}
func (r *LiveResume) append(b []byte) []byte { return appendNames(b, r.Space, r.ID, r.Token) }
func (r *LivePublish) append(b []byte) []byte {
	b = appendUint(appendUint(appendNames(b, r.Space, r.ID, r.Token), r.First), uint64(len(r.Chunks)))
	for _, chunk := range r.Chunks {
		b = appendBytes(b, chunk)
	}
	return b
}
func (r *LiveEnd) append(b []byte) []byte {
	return appendVerdict(appendNames(b, r.Space, r.ID, r.Token), &r.Verdict)
}
func (r *LiveMetadata) append(b []byte) []byte {
	return appendBytes(appendNames(b, r.Space, r.ID, r.Token), r.Metadata)
}
func (r *LiveMessages) append(b []byte) []byte {
	return appendUint(appendNames(b, r.Space, r.ID, r.Token), r.After)
}
func (r *LiveFind) append(b []byte) []byte { return appendBool(appendNames(b, r.Space, r.ID), r.Wait) }
func (r *LiveStatus) append(b []byte) []byte {
	return appendUint(appendNames(b, r.Space, r.ID), r.Generation)
}
func (r *LiveSubscribe) append(b []byte) []byte {
	b = appendUint(appendNames(b, r.Space, r.ID), r.Generation)
	return appendBool(appendBytes(b, string(r.Cursor)), r.Batch)
}
func (r *LiveFollow) append(b []byte) []byte {
	b = appendNameList(appendNames(b, r.Space), r.IDs)
	return appendBool(appendBytes(b, string(r.Cursor)), r.Generations)
}
func (r *LiveWait) append(b []byte) []byte {
	return appendUint(appendNames(b, r.Space, r.ID), r.Generation)
}
func (r *LiveCancel) append(b []byte) []byte {
	b = appendUint(appendNames(b, r.Space, r.ID), r.Generation)
	return appendBool(appendNames(b, r.By, r.Reason), r.NoWait)
}
func (r *LiveSend) append(b []byte) []byte {
	b = appendUint(appendNames(b, r.Space, r.ID), r.Generation)
	return appendNames(appendBytes(b, r.Data), r.By, r.Once, r.Key)
}
func (r *LiveActive) append(b []byte) []byte { return appendNameList(appendNames(b, r.Space), r.IDs) }
func (r *LiveRemove) append(b []byte) []byte {
	return appendUint(appendNames(b, r.Space, r.ID), r.Generation)
}
func (r *LiveList) append(b []byte) []byte {
	return appendUint(appendNames(b, r.Space, r.AfterID), r.AfterGeneration)
}

// appendNameList writes a count and that many strings.
func appendNameList(b []byte, names []string) []byte {
	return appendNames(appendUint(b, uint64(len(names))), names...)
}

func decodeNames(d *decoder) []string {
	n := d.count(1)
	if n == 0 {
		return nil
	}
	names := make([]string, 0, min(n, firstElements))
	for i := 0; i < n && d.element(); i++ {
		names = append(names, d.string())
	}
	return names
}

// decodeChunks reads chunks, which share memory with the input.
func decodeChunks(d *decoder) [][]byte {
	n := d.count(1)
	if n > streamhub.MaxFrameRecords {
		d.fail("more chunks than a frame takes")
	}
	if n == 0 || d.err != nil {
		return nil
	}
	chunks := make([][]byte, 0, min(n, firstElements))
	for i := 0; i < n && d.element(); i++ {
		chunks = append(chunks, d.bytes())
	}
	return chunks
}

// A LiveProducerResult has the token of the producer, or names the generation of another producer.
type LiveProducerResult struct {
	Token      string // empty if another producer has the stream
	Generation uint64
	// Silence is how long the producer may send nothing before it counts as lost.
	Silence time.Duration
}

func (r *LiveProducerResult) append(b []byte) []byte {
	return appendInt(appendUint(appendBytes(b, r.Token), r.Generation), int64(r.Silence))
}

// DecodeLiveProducer reads a [LiveProducerResult].
func DecodeLiveProducer(result []byte) (LiveProducerResult, error) {
	d := newDecoder(result)
	r := LiveProducerResult{d.string(), d.uint(), time.Duration(d.int())}
	return r, d.err
}

// A LiveVerdictResult is a verdict; without a kind there is none yet.
type LiveVerdictResult streamhub.Verdict

func (r *LiveVerdictResult) append(b []byte) []byte {
	return appendVerdict(b, (*streamhub.Verdict)(r))
}

// DecodeLiveVerdict reads a [LiveVerdictResult].
func DecodeLiveVerdict(result []byte) (streamhub.Verdict, error) {
	d := newDecoder(result)
	return decodeVerdict(&d), d.err
}

// A LiveStatusResult is a status as JSON, in the form that browsers get too. It extends to the end of the result.
type LiveStatusResult []byte

func (r LiveStatusResult) append(b []byte) []byte { return append(b, r...) }

// A NamesResult is a list of names.
type NamesResult []string

func (r NamesResult) append(b []byte) []byte { return appendNameList(b, r) }

// DecodeNamesResult reads a [NamesResult].
func DecodeNamesResult(result []byte) ([]string, error) {
	d := newDecoder(result)
	return decodeNames(&d), d.err
}

// A LiveRef is an item that names a generation of a stream.
type LiveRef struct {
	ID         string
	Generation uint64
}

func (r *LiveRef) append(b []byte) []byte {
	return frame(appendUint(appendBytes(b, r.ID), r.Generation), len(b))
}

// DecodeLiveRefs reads the items of one body.
func DecodeLiveRefs(body []byte) ([]LiveRef, error) {
	return decodeItems(body, func(d *decoder) LiveRef { return LiveRef{d.string(), d.uint()} })
}

// A LiveChunk is an item of a subscription.
type LiveChunk live.Chunk

func (c *LiveChunk) append(b []byte) []byte {
	return frame(appendChunk(b, (*live.Chunk)(c)), len(b))
}

func appendChunk(b []byte, c *live.Chunk) []byte {
	b = appendTime(appendUint(appendUint(b, c.Generation), c.Sequence), c.Timestamp)
	b = appendPosition(appendUint(b, c.Replayed), &c.Position)
	return appendBytes(b, c.Data)
}

// DecodeLiveChunks reads the items of one body.
func DecodeLiveChunks(body []byte) ([]live.Chunk, error) { return decodeItems(body, decodeChunk) }

func decodeChunk(d *decoder) live.Chunk {
	return live.Chunk{
		Generation: d.uint(), Sequence: d.uint(), Timestamp: d.time(), Replayed: d.uint(), Position: decodePosition(d), Data: d.bytes(),
	}
}

// A LiveUpdate is an item of a follower of several streams: flags (1 byte), id, cursor of the space,
// the chunk, and then the verdict or the error that the flags announce.
type LiveUpdate live.Update

// Flags of an update.
const (
	updateVerdict = 1 << iota
	updateError
)

func (u *LiveUpdate) append(b []byte) []byte {
	start, flags := len(b), byte(0)
	if u.Verdict != nil {
		flags |= updateVerdict
	}
	if u.Err != nil {
		flags |= updateError
	}
	b = appendChunk(appendNames(append(b, flags), u.ID, string(u.Cursor)), &u.Chunk)
	if u.Verdict != nil {
		b = appendVerdict(b, u.Verdict)
	}
	if u.Err != nil {
		b = appendError(b, u.Err)
	}
	return frame(b, start)
}

// DecodeLiveUpdates reads the items of one body.
func DecodeLiveUpdates(body []byte) ([]live.Update, error) {
	return decodeItems(body, func(d *decoder) live.Update {
		flags := d.byte()
		u := live.Update{ID: d.string(), Cursor: streamhub.Cursor(d.string()), Chunk: decodeChunk(d)}
		if flags&updateVerdict != 0 {
			v := decodeVerdict(d)
			u.Verdict = &v
		}
		if flags&updateError != 0 {
			u.Err = decodeError(d)
		}
		return u
	})
}

// A LiveMessage is an item for a producer: a message of a reader.
type LiveMessage live.Message

func (m *LiveMessage) append(b []byte) []byte {
	start := len(b)
	b = appendNames(appendTime(appendUint(b, m.Sequence), m.Timestamp), m.By, m.Once)
	return frame(appendBytes(appendBool(b, m.Stop), m.Data), start)
}

// DecodeLiveMessages reads the messages of one items body.
func DecodeLiveMessages(body []byte) ([]live.Message, error) {
	return decodeItems(body, func(d *decoder) live.Message {
		return live.Message{Sequence: d.uint(), Timestamp: d.time(), By: d.string(), Once: d.string(), Stop: d.bool(), Data: d.bytes()}
	})
}

// decodeItems reads items that each follow their length, so that fields may be added at their ends.
func decodeItems[T any](body []byte, decode func(*decoder) T) (items []T, err error) {
	d := newDecoder(body)
	for len(d.b) > 0 {
		item := newDecoder(d.bytes())
		items = append(items, decode(&item))
		if item.err != nil {
			return nil, item.err
		}
	}
	return items, d.err
}
