package streamhub_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
)

// TestTimesJSON: as JSON times are integers, in Unix milliseconds, and there is none where the zero Time is.
func TestTimesJSON(t *testing.T) {
	at := time.UnixMilli(1700000000123).UTC()
	for want, v := range map[string]any{
		`{"space":"s","segment":"g","sequence":7,"timestamp":1700000000123,"trx":{"id":"00000000-0000-0000-0000-000000000000","node":"00000000-0000-0000-0000-000000000000","number":3},"metadata":{"k":"v"},"payload":"AP8="}`: &streamhub.Entry{
			Space: "s", Segment: "g", Sequence: 7, Timestamp: at, TRX: streamhub.TRX{Number: 3}, Metadata: map[string]string{"k": "v"}, Payload: []byte{0, 255},
		},
		`{"space":"s","segment":"g","first_sequence":1,"first_timestamp":1700000000123,"last_sequence":2,"last_timestamp":1700000001123,"heartbeat":false,"state":"open","expires_at":1700000002123,"ttl":90000}`: &streamhub.Status{
			Space: "s", Segment: "g", FirstSequence: 1, FirstTimestamp: at, LastSequence: 2, LastTimestamp: at.Add(time.Second),
			State: streamhub.StateOpen, ExpiresAt: at.Add(2 * time.Second), TTL: 90 * time.Second,
		},
		`{"space":"s","segment":"g","first_sequence":0,"first_timestamp":0,"last_sequence":0,"last_timestamp":0,"heartbeat":true}`: &streamhub.Status{
			Space: "s", Segment: "g", Heartbeat: true,
		},
		`{"worker_id":"00000000-0000-0000-0000-000000000001","metadata":{"k":"v"},"last_seen_at":1700000000123}`: &streamhub.Worker{
			ID: uuid.UUID{15: 1}, Metadata: map[string]string{"k": "v"}, LastSeen: at,
		},
	} {
		got, err := json.Marshal(v)
		if err != nil || string(got) != want {
			t.Errorf("%s, %v, want %s", got, err, want)
		}
		// Both ways, and whether it is a pointer that is written or a value.
		switch v := v.(type) {
		case *streamhub.Entry:
			round(t, want, *v)
		case *streamhub.Status:
			round(t, want, *v)
		case *streamhub.Worker:
			round(t, want, *v)
		}
	}
}

func round[T any](t *testing.T, text string, want T) {
	t.Helper()
	var got T
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	for _, v := range []T{got, want} {
		if again, err := json.Marshal(v); err != nil || string(again) != text {
			t.Errorf("%s, %v, want %s", again, err, text)
		}
	}
}
