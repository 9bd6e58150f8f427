package wsgateway

import (
	"encoding/json"
	"testing"

	"github.com/google/uuid"
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
