package wire_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/millis"
	"github.com/seed-147127fe/streamhub/internal/wire"
	"github.com/seed-147127fe/streamhub/live"
)

var update = flag.Bool("update", false, "write the golden files")

var (
	trx      = uuid.MustParse("00112233-4455-6677-8899-aabbccddeeff")
	node     = uuid.MustParse("11111111-2222-3333-4444-555555555555")
	store    = uuid.MustParse("aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee")
	position = streamhub.Position{Incarnation: 1, Lineage: 2, Sequence: 7, Proof: 0x8899aabbccddeeff}
	along    = streamhub.Position{Incarnation: 1, Lineage: 2, Sequence: 7, Proof: 3, Timeline: streamhub.TimelineID{MS: 1700000000000, N: 4}, Index: 5}
	marked   = func() streamhub.Position { p := along; p.Mark = 9; return p }()
	verdict  = streamhub.Verdict{Kind: streamhub.VerdictDone, Reason: "why", Output: []byte(`{"n":1}`)}
	forkAt   = uint64(9)
	records  = []streamhub.Record{{Payload: []byte("a"), Metadata: map[string]string{"k": "v", "b": ""}}, {Payload: []byte("bb")}}
	entries  = []streamhub.Entry{
		{Space: "sp", Segment: "sg", Sequence: 7, Timestamp: millis.Time(1700000000000), TRX: streamhub.TRX{ID: trx, Number: 3}, Metadata: map[string]string{"k": "v"}, Payload: []byte("one"), Position: position},
		{Space: "sp", Segment: "sg", Sequence: 8, Timestamp: millis.Time(1700000000000), TRX: streamhub.TRX{ID: trx, Number: 3}, Payload: []byte{}, Position: func() streamhub.Position { p := position; p.Sequence = 8; return p }()},
		{Space: "sp", Segment: "other", Sequence: 7, Timestamp: millis.Time(1700000000001), TRX: streamhub.TRX{ID: node, Node: node, Number: 1}, Payload: []byte("three"), Position: marked},
		{Space: "sp", Segment: "other", Sequence: 8, Timestamp: millis.Time(1700000000001), TRX: streamhub.TRX{ID: node, Node: node, Number: 1}, Payload: []byte("four"), Position: func() streamhub.Position {
			p := marked
			p.Sequence, p.Trimmed = 8, streamhub.TimelineID{MS: 1700000000009, N: 3}
			return p
		}()},
	}
	status = streamhub.Status{
		Space: "sp", Segment: "sg", FirstSequence: 1, FirstTimestamp: millis.Time(2), LastSequence: 7, LastTimestamp: millis.Time(3), State: streamhub.StateClosed,
		Verdict: &verdict, Generation: 5, ContentType: "text/plain", TTL: time.Minute, ExpiresAt: millis.Time(6), Parent: "p", ForkedAt: 4, Position: position, Heartbeat: true,
	}
	workers = []streamhub.Worker{{ID: node, Metadata: map[string]string{"k": "v"}, LastSeen: millis.Time(5)}, {ID: trx}}
	result  = streamhub.AppendResult{First: 6, Last: 7, Timestamp: millis.Time(8), TRX: streamhub.TRX{ID: trx, Node: node, Number: 3}, Repeated: true, Closed: true, Generation: 5, Position: position}
)

// requests has one of each.
var requests = []wire.Request{
	&wire.Append{Chained: true, Known: position, Append: streamhub.Append{Space: "sp", Segment: "sg", Records: records, Options: &streamhub.AppendOptions{
		ExpectedSequence: 4, Generation: 5, Producer: &streamhub.Producer{ID: "p", Epoch: 1, Seq: 2}, TRX: trx, Close: &verdict,
		ContentType: "text/plain", StreamSeq: "s", MustExist: true, CheckOnly: true,
		Incarnation: 6, Durability: &streamhub.Durability{Replicas: 1, Fsync: true, Timeout: time.Second},
	}}},
	&wire.Create{Space: "sp", Segment: "sg", Options: streamhub.CreateOptions{
		ContentType: "text/plain", TTL: time.Minute, ExpiresAt: millis.Time(1700000000000), Closed: &verdict, Generation: 3, Records: records, ForkOf: "x", ForkAt: &forkAt, ForkIncarnation: 8, Origin: "o",
	}},
	&wire.Delete{Space: "sp", Segment: "sg", Reason: "why"},
	&wire.Trim{Space: "sp", Segment: "sg", UpTo: 300},
	&wire.Touch{Space: "sp", Segment: "sg"},
	&wire.Status{Space: "sp", Segment: "sg"},
	&wire.Expire{Space: "sp", Segment: "sg", TTL: time.Hour},
	&wire.Peek{Space: "sp", Segment: "sg"},
	&wire.Spaces{},
	&wire.Segments{Space: "sp"},
	&wire.ConsumeSegment{Space: "sp", Segment: "sg", Options: streamhub.ReadOptions{Cursor: "c", FromSequence: 1, ToSequence: 2, After: millis.Time(-3), Until: millis.Time(4), Limit: 5}},
	&wire.ConsumeSpace{Space: "sp", Options: streamhub.ReadOptions{Limit: 5}},
	&wire.Consume{Cursors: map[string]streamhub.Cursor{"a": "x", "b": ""}, Options: streamhub.ReadOptions{Limit: 5}},
	&wire.Follow{Space: "sp", Segment: "sg", Options: streamhub.FollowOptions{Cursor: "c", FromSequence: 2, Live: true, Limit: 3}},
	&wire.FollowSpace{Space: "sp", Options: streamhub.FollowOptions{Live: true}},
	&wire.SubscribeSegment{Space: "sp", Segment: "sg"},
	&wire.SubscribeSpace{Space: "sp"},
	&wire.Workers{},
	&wire.JoinWorkers{Worker: streamhub.Worker{ID: node, Metadata: map[string]string{"k": "v"}}, TTL: time.Minute},
	&wire.AcquireLease{Key: "k", Holder: "h", TTL: time.Minute},
	&wire.RenewLease{Key: "k", Holder: "h", TTL: time.Minute},
	&wire.ReleaseLease{Key: "k", Holder: "h"},
	&wire.SpaceEnd{Space: "sp"},
	&wire.LiveStart{Space: "sp", ID: "id", Takeover: true, Metadata: []byte(`{"n":1}`), By: "anna", Key: "0123456789abcdef", ContentType: "text/plain", EndedTTL: time.Minute},
	&wire.LiveResume{Space: "sp", ID: "id", Token: "1.x"},
	&wire.LivePublish{Space: "sp", ID: "id", Token: "1.x", First: 300, Chunks: [][]byte{[]byte("one"), []byte("two")}},
	&wire.LiveEnd{Space: "sp", ID: "id", Token: "1.x", Verdict: verdict},
	&wire.LiveMetadata{Space: "sp", ID: "id", Token: "1.x", Metadata: []byte(`{"n":1}`)},
	&wire.LiveMessages{Space: "sp", ID: "id", Token: "1.x", After: 2},
	&wire.LiveFind{Space: "sp", ID: "id", Wait: true},
	&wire.LiveStatus{Space: "sp", ID: "id", Generation: 300},
	&wire.LiveSubscribe{Space: "sp", ID: "id", Generation: 300, Cursor: "c", Batch: true},
	&wire.LiveFollow{Space: "sp", IDs: []string{"a", "b"}, Cursor: "c", Generations: true},
	&wire.LiveWait{Space: "sp", ID: "id", Generation: 300},
	&wire.LiveCancel{Space: "sp", ID: "id", Generation: 300, By: "anna", Reason: "why", NoWait: true},
	&wire.LiveSend{Space: "sp", ID: "id", Generation: 300, Data: []byte("x"), By: "anna", Once: "q", Key: "0123456789abcdef"},
	&wire.LiveActive{Space: "sp", IDs: []string{"a", "b"}},
	&wire.LiveRemove{Space: "sp", ID: "id", Generation: 300},
	&wire.LiveList{Space: "sp", AfterID: "id", AfterGeneration: 300},
}

// failures has an error of each kind.
var failures = []error{
	&streamhub.SequenceError{Expected: 3, Got: 2}, &streamhub.FencedError{Current: 5, Got: 4},
	&streamhub.ClosedError{Verdict: verdict, LastSequence: 7},
	&streamhub.ProducerError{Kind: streamhub.ErrProducerGap, Epoch: 1, ExpectedSeq: 2},
	&streamhub.HistoryLostError{FirstLost: 3}, &streamhub.TrimmedError{FirstKept: 4, Cursor: "c", Space: "s"},
	&streamhub.UnavailableError{Reason: streamhub.ReasonFull, Err: errors.New("the gateway cannot use its Redis")},
	&streamhub.UnknownOutcomeError{TRX: trx, Err: errors.New("no answer from Redis")},
	&streamhub.LeaseHeldError{Holder: "h", Token: 3, Left: time.Second},
	&streamhub.DeletedError{Verdict: verdict, Held: true},
}

// A codec reads bytes and writes what it has read.
type codec func(b []byte) ([]byte, error)

func items[T any](decode func([]byte) ([]T, error), encode func([]byte, T) []byte) codec {
	return func(b []byte) ([]byte, error) {
		list, err := decode(b)
		if err != nil {
			return nil, err
		}
		out := []byte{}
		for _, item := range list {
			out = encode(out, item)
		}
		return out, nil
	}
}

func one[T any](decode func([]byte) (T, error), encode func(T) []byte) codec {
	return func(b []byte) ([]byte, error) {
		v, err := decode(b)
		if err != nil {
			return nil, err
		}
		return encode(v), nil
	}
}

var codecs = map[string]codec{
	"messages": func(b []byte) ([]byte, error) {
		out := []byte{}
		for m, err := range wire.Messages(b) {
			if err != nil {
				return nil, err
			}
			out = wire.AppendMessage(out, m.Type, m.Channel, m.Body)
		}
		return out, nil
	},
	"open":   one(wire.DecodeOpen, func(o *wire.Open) []byte { return o.Append(nil) }),
	"credit": one(wire.DecodeCredit, func(n uint64) []byte { return wire.AppendCredit(nil, n) }),
	"token":  one(wire.DecodeToken, func(s string) []byte { return wire.AppendToken(nil, s) }),
	"goaway": one(wire.DecodeGoAway, func(g *wire.GoAway) []byte { return g.Append(nil) }),
	"end":    one(wire.DecodeEnd, func(e *wire.End) []byte { return e.Append(nil) }),
	"entries": func(b []byte) ([]byte, error) {
		list, err := wire.DecodeEntries(b)
		if err != nil {
			return nil, err
		}
		return wire.AppendEntries(nil, list), nil
	},
	"names":    items(wire.DecodeNames, wire.AppendName),
	"statuses": items(wire.DecodeStatuses, func(b []byte, s streamhub.Status) []byte { return wire.AppendStatus(b, &s) }),
	"workers":  one(wire.DecodeWorkers, func(w []streamhub.Worker) []byte { return wire.AppendWorkers(nil, w) }),
	"number":   one(wire.DecodeNumber, func(n uint64) []byte { return wire.EncodeResult(wire.Number(n)) }),
	"append": one(wire.DecodeAppendResult, func(r streamhub.AppendResult) []byte {
		return wire.EncodeResult((*wire.AppendResult)(&r))
	}),
	"create":   one(wire.DecodeCreateResult, func(r wire.CreateResult) []byte { return wire.EncodeResult(&r) }),
	"status":   one(wire.DecodeStatus, func(s streamhub.Status) []byte { return wire.EncodeResult((*wire.StatusResult)(&s)) }),
	"peek":     one(wire.DecodePeekResult, func(e streamhub.Entry) []byte { return wire.EncodeResult((*wire.PeekResult)(&e)) }),
	"producer": one(wire.DecodeLiveProducer, func(r wire.LiveProducerResult) []byte { return wire.EncodeResult(&r) }),
	"verdict": one(wire.DecodeLiveVerdict, func(v streamhub.Verdict) []byte {
		return wire.EncodeResult((*wire.LiveVerdictResult)(&v))
	}),
	"namelist": one(wire.DecodeNamesResult, func(names []string) []byte { return wire.EncodeResult(wire.NamesResult(names)) }),
	"refs":     items(wire.DecodeLiveRefs, func(b []byte, r wire.LiveRef) []byte { return append(b, wire.EncodeResult(&r)...) }),
	"chunks": items(wire.DecodeLiveChunks, func(b []byte, c live.Chunk) []byte {
		return append(b, wire.EncodeResult((*wire.LiveChunk)(&c))...)
	}),
	"updates": items(wire.DecodeLiveUpdates, func(b []byte, u live.Update) []byte {
		return append(b, wire.EncodeResult((*wire.LiveUpdate)(&u))...)
	}),
	"livemessages": items(wire.DecodeLiveMessages, func(b []byte, m live.Message) []byte {
		return append(b, wire.EncodeResult((*wire.LiveMessage)(&m))...)
	}),
	"cursor": one(wire.DecodeCursor, func(c streamhub.Cursor) []byte { return wire.EncodeResult(wire.CursorResult(c)) }),
}

// samples are the golden values, by codec.
func samples() map[string][][]byte {
	s := map[string][][]byte{
		"messages": {wire.AppendMessage(wire.AppendMessage(nil, wire.TypeItems, 300, []byte("body")), wire.TypeCancel, 1, nil)},
		"credit":   {wire.AppendCredit(nil, 1<<20)},
		"token":    {wire.AppendToken(nil, "a.b.c")},
		"goaway":   {(&wire.GoAway{Reason: "why"}).Append(nil)},
		"end":      {(&wire.End{}).Append(nil), (&wire.End{Result: []byte{1, 2}}).Append(nil)},
		"entries":  {wire.AppendEntries(nil, entries)},
		"names":    {wire.AppendName(wire.AppendName(nil, "a"), "\x00ä")},
		"statuses": {wire.AppendStatus(wire.AppendStatus(nil, &status), &streamhub.Status{Space: "x"})},
		"workers":  {wire.AppendWorkers(nil, workers)},
		"producer": {wire.EncodeResult(&wire.LiveProducerResult{Token: "1.x", Generation: 300, Silence: time.Minute})},
		"verdict":  {wire.EncodeResult((*wire.LiveVerdictResult)(&verdict))},
		"namelist": {wire.EncodeResult(wire.NamesResult{"a", "b"})},
		"refs":     {wire.EncodeResult(&wire.LiveRef{ID: "id", Generation: 300})},
		"chunks": {wire.EncodeResult(&wire.LiveChunk{
			Generation: 300, Sequence: 7, Timestamp: time.UnixMilli(1700000000000), Replayed: 1, Position: position, Data: []byte("one"),
		})},
		"updates": {
			wire.EncodeResult(&wire.LiveUpdate{ID: "id", Cursor: "c", Chunk: live.Chunk{Generation: 300, Sequence: 7, Replayed: 1, Position: position, Data: []byte("one")}}),
			wire.EncodeResult(&wire.LiveUpdate{ID: "id", Cursor: "c", Chunk: live.Chunk{Generation: 300}, Verdict: &verdict}),
			wire.EncodeResult(&wire.LiveUpdate{ID: "id", Chunk: live.Chunk{Generation: 300}, Err: failures[4]}),
		},
		"livemessages": {wire.EncodeResult(&wire.LiveMessage{Sequence: 7, Timestamp: time.UnixMilli(1700000000000), By: "anna", Once: "q", Stop: true, Data: []byte("x")})},
		"number":       {wire.EncodeResult(wire.Number(1 << 40))},
		"append":       {wire.EncodeResult((*wire.AppendResult)(&result))},
		"create":       {wire.EncodeResult(&wire.CreateResult{Created: true, Status: status})},
		"status":       {wire.EncodeResult((*wire.StatusResult)(&status))},
		"peek":         {wire.EncodeResult((*wire.PeekResult)(&entries[0]))},
		"cursor":       {wire.EncodeResult(wire.CursorResult(position.Cursor()))},
	}
	for _, r := range requests {
		o := wire.Open{Store: store, Credit: 4096, Trace: map[string]string{"traceparent": "00-x"}, Request: r}
		s["open"] = append(s["open"], o.Append(nil))
	}
	for _, err := range failures {
		s["end"] = append(s["end"], (&wire.End{Err: err}).Append(nil))
	}
	return s
}

// TestGolden compares the bytes of every message with those of the release that wrote the files:
// peers of both versions are connected to each other.
func TestGolden(t *testing.T) {
	all := samples()
	require.Len(t, all, len(codecs))
	for name, list := range all {
		t.Run(name, func(t *testing.T) {
			var lines []string
			for _, b := range list {
				lines = append(lines, hex.EncodeToString(b))
				again, err := codecs[name](b)
				require.NoError(t, err)
				require.Equal(t, b, again)
			}
			text := strings.Join(lines, "\n") + "\n"
			file := filepath.Join("testdata", name+".hex")
			if *update {
				require.NoError(t, os.MkdirAll("testdata", 0o755))
				require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
			}
			golden, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Equal(t, string(golden), text)
		})
	}
}

// TestValues compares what is decoded with what was encoded.
func TestValues(t *testing.T) {
	for _, r := range requests {
		o := wire.Open{Store: store, Credit: 4096, Trace: map[string]string{"a": "b"}, Request: r}
		got, err := wire.DecodeOpen(o.Append(nil))
		require.NoError(t, err)
		require.Equal(t, &o, got)
	}
	for _, want := range failures {
		end, err := wire.DecodeEnd((&wire.End{Err: &streamhub.Error{Op: "append", Err: want}}).Append(nil))
		require.NoError(t, err)
		require.Equal(t, want, end.Err)
	}
	gotEntries, err := wire.DecodeEntries(append(wire.AppendEntries(nil, entries), wire.AppendEntries(nil, entries[1:])...))
	require.NoError(t, err)
	require.Equal(t, append(append([]streamhub.Entry{}, entries...), entries[1:]...), gotEntries)
	statuses, err := wire.DecodeStatuses(wire.AppendStatus(nil, &status))
	require.NoError(t, err)
	require.Equal(t, []streamhub.Status{status}, statuses)
	gotResult, err := wire.DecodeAppendResult(wire.EncodeResult((*wire.AppendResult)(&result)))
	require.NoError(t, err)
	require.Equal(t, result, gotResult)
	list, err := wire.DecodeWorkers(wire.AppendWorkers(nil, workers))
	require.NoError(t, err)
	require.Equal(t, workers, list)
}

// TestCodes sends every condition over the wire: a client tells them apart as a hub does.
func TestCodes(t *testing.T) {
	for _, code := range streamhub.Codes() {
		want := code.Err()
		if want == nil {
			want = errors.New("secret address 10.0.0.1")
		}
		end, err := wire.DecodeEnd((&wire.End{Err: fmt.Errorf("%w: details", want)}).Append(nil))
		require.NoError(t, err)
		require.Equal(t, code, streamhub.CodeOf(end.Err), "%v", end.Err)
		require.NotContains(t, end.Err.Error(), "10.0.0.1")
		if code.Err() != nil {
			require.ErrorIs(t, end.Err, want)
		}
	}
	end, err := wire.DecodeEnd((&wire.End{Err: &streamhub.UnavailableError{Reason: streamhub.ReasonDown, Err: errors.New("dial 10.0.0.1")}}).Append(nil))
	require.NoError(t, err)
	require.NotContains(t, end.Err.Error(), "10.0.0.1")
	require.ErrorIs(t, func() error {
		end, _ := wire.DecodeEnd((&wire.End{Err: context.Canceled}).Append(nil))
		return end.Err
	}(), context.Canceled)
}

// TestCut decodes every beginning of every message: an error or a value, and no panic.
func TestCut(t *testing.T) {
	for name, list := range samples() {
		for _, b := range list {
			for n := range b {
				_, _ = codecs[name](b[:n])
			}
			_, err := codecs[name](append(bytes.Clone(b[:len(b):len(b)]), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff))
			switch name {
			case "messages", "names", "entries", "statuses", "workers", "refs", "chunks", "updates", "livemessages":
				require.Error(t, err, "%s has items up to its end", name)
			default:
				require.NoError(t, err, "%s may get fields at its end", name)
			}
		}
	}
}

func TestUnknown(t *testing.T) {
	o := wire.Open{Request: &wire.Spaces{}}
	b := o.Append(nil)
	b[0] = 200
	_, err := wire.DecodeOpen(b)
	var unknown *wire.UnknownOpError
	require.ErrorAs(t, err, &unknown)
	require.ErrorIs(t, err, streamhub.ErrInvalidArgument)
	_, err = wire.DecodeOpen(nil)
	require.ErrorIs(t, err, wire.ErrMalformed)
}

// fuzz decodes anything. What decodes is encoded to something that decodes to the same.
func fuzz(f *testing.F, name string) {
	f.Helper()
	for _, b := range samples()[name] {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		once, err := codecs[name](b)
		if err != nil {
			return
		}
		twice, err := codecs[name](once)
		if err != nil {
			t.Fatalf("%x was written and is not read: %v", once, err)
		}
		if !bytes.Equal(once, twice) {
			t.Fatalf("%x and then %x", once, twice)
		}
	})
}

func FuzzMessages(f *testing.F)     { fuzz(f, "messages") }
func FuzzOpen(f *testing.F)         { fuzz(f, "open") }
func FuzzCredit(f *testing.F)       { fuzz(f, "credit") }
func FuzzToken(f *testing.F)        { fuzz(f, "token") }
func FuzzGoAway(f *testing.F)       { fuzz(f, "goaway") }
func FuzzEnd(f *testing.F)          { fuzz(f, "end") }
func FuzzEntries(f *testing.F)      { fuzz(f, "entries") }
func FuzzNames(f *testing.F)        { fuzz(f, "names") }
func FuzzStatuses(f *testing.F)     { fuzz(f, "statuses") }
func FuzzWorkers(f *testing.F)      { fuzz(f, "workers") }
func FuzzNumber(f *testing.F)       { fuzz(f, "number") }
func FuzzAppendResult(f *testing.F) { fuzz(f, "append") }
func FuzzCreateResult(f *testing.F) { fuzz(f, "create") }
func FuzzStatusResult(f *testing.F) { fuzz(f, "status") }
func FuzzPeekResult(f *testing.F)   { fuzz(f, "peek") }
func FuzzCursorResult(f *testing.F) { fuzz(f, "cursor") }

// BenchmarkEntries is a page of 100 entries of 100 bytes.
func BenchmarkEntries(b *testing.B) {
	page := make([]streamhub.Entry, 100)
	for i := range page {
		page[i] = entries[0]
		page[i].Sequence += uint64(i)
		page[i].Position.Sequence = page[i].Sequence
		page[i].Metadata, page[i].Payload = nil, make([]byte, 100)
	}
	body := wire.AppendEntries(nil, page)
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(body)))
		for b.Loop() {
			body = wire.AppendEntries(body[:0], page)
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(body)))
		for b.Loop() {
			if _, err := wire.DecodeEntries(body); err != nil {
				b.Fatal(err)
			}
		}
	})
}
