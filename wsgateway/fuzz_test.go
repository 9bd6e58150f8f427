package wsgateway

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
)

// FuzzEnvelope opens any envelope, and reads the content of those that ask for something.
func FuzzEnvelope(f *testing.F) {
	for kind := range operations {
		f.Add([]byte(`{"$type":"` + muxAPI + kind + `","content":{"space":"a","segment":"b","offset":"00","offsets":{"a":""}}}`))
	}
	f.Add([]byte(`{"$type":"` + muxAPI + `get_status","content":{}}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		ch := &muxChannel{}
		run, err := ch.operation(payload)
		if (run == nil) != (err != nil) {
			t.Fatalf("%q: neither a call nor an error", payload)
		}
	})
}

// FuzzMuxFrame reads any frame, and writes what a client would read again.
func FuzzMuxFrame(f *testing.F) {
	f.Add(appendMuxFrame("data", muxKey{uuid.New(), uuid.New()}, []byte(`{"type":"mux::close"}`)))
	f.Add([]byte(`{"controltype":"ping"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var frame muxFrame
		if json.Unmarshal(data, &frame) != nil {
			return
		}
		_ = controlOf(&frame)
		var again muxFrame
		if err := json.Unmarshal(appendMuxFrame("data", muxKey{frame.StoreID, frame.ChannelID}, frame.Payload), &again); err != nil {
			t.Fatal(err)
		}
		if again.StoreID != frame.StoreID || again.ChannelID != frame.ChannelID || string(again.Payload) != string(frame.Payload) {
			t.Fatalf("%+v became %+v", frame, again)
		}
	})
}

// FuzzOffset compares the filter of any offset with the definition: the bytes of the key.
func FuzzOffset(f *testing.F) {
	e := streamhub.Entry{Space: "space", Segment: "segment", Sequence: 7, Timestamp: time.UnixMilli(1700000000000)}
	f.Add([]byte(e.GetSpaceOffset()), e.Timestamp.UnixMilli(), uint64(8))
	f.Add([]byte(e.GetSpaceOffset())[:20], e.Timestamp.UnixMilli(), uint64(6))
	f.Add([]byte{0xff}, int64(1), uint64(1))
	f.Fuzz(func(t *testing.T, offset []byte, timestamp int64, sequence uint64) {
		_, filter, name := parseOffset("space", offset)
		if filter == nil {
			return
		}
		behind := streamhub.Entry{Space: "space", Segment: "segment", Sequence: sequence, Timestamp: time.UnixMilli(max(timestamp, 1))}
		if filter.pick(&behind) && behind.Timestamp.UnixMilli() <= filter.after {
			t.Fatalf("%x (%v) passes an entry at %d and begins after %d", offset, name, behind.Timestamp.UnixMilli(), filter.after)
		}
	})
}
