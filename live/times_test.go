package live_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub/live"
)

// TestTimesJSON: as JSON times are integers, in Unix milliseconds.
func TestTimesJSON(t *testing.T) {
	at := time.UnixMilli(1700000000123).UTC()
	message := live.Message{Sequence: 2, Timestamp: at, By: "b", Once: "o", Stop: true, Data: []byte{0, 255}}
	round(t, `{"sequence":2,"timestamp":1700000000123,"by":"b","once":"o","stop":true,"data":"AP8="}`, message)
	status := live.Status{ID: "i", Generation: 1, Chunks: 2, LastTimestamp: at, StartedAt: at.Add(-time.Second), Viewers: 3, Metadata: json.RawMessage(`{}`)}
	round(t, `{"id":"i","generation":1,"chunks":2,"last_timestamp":1700000000123,"started_at":1699999999123,"viewers":3,"metadata":{}}`, status)
	round(t, `{"id":"i","generation":1,"chunks":0,"last_timestamp":0,"viewers":0}`, live.Status{ID: "i", Generation: 1})
}

func round[T any](t *testing.T, text string, v T) {
	t.Helper()
	got, err := json.Marshal(v)
	require.NoError(t, err)
	require.Equal(t, text, string(got))
	var back T
	require.NoError(t, json.Unmarshal(got, &back))
	require.Equal(t, v, back)
}
