package hub

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
)

// TestReport has the rates of the time since the report before.
func TestReport(t *testing.T) {
	t.Parallel()
	h, err := Open(t.Context(), nil, &Options{Instance: &InstanceOptions{Silent: true}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	r := &reporter{hub: h, at: time.Now().Add(-15 * time.Second), self: Instance{ID: "one"}}
	seven := func() int { return 7 }
	r.connections.Store(&seven)
	records := make([]streamhub.Record, 60)
	_, err = h.Store(uuid.Nil).Append(t.Context(), "space", "segment", records, nil)
	require.NoError(t, err)
	for _, err := range h.Store(uuid.Nil).ConsumeSegment(t.Context(), "space", "segment", nil) {
		require.NoError(t, err)
	}
	_, err = h.Store(uuid.Nil).Status(t.Context(), "space", "none")
	require.ErrorIs(t, err, streamhub.ErrNotFound)
	r.send(t.Context(), reportTTL)
	all, err := h.Instances(t.Context())
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.InDelta(t, 4, all[0].AppendRate, 0.5)
	require.InDelta(t, 4, all[0].DeliveryRate, 0.5)
	require.Equal(t, int64(7), all[0].Connections)
	other := &reporter{hub: h, at: r.at, self: Instance{ID: "two", AppendRate: 1.5, ErrorRate: 2}}
	other.send(t.Context(), reportTTL)
	r.send(t.Context(), reportTTL)
	require.Len(t, r.history, 2)
	require.InDelta(t, all[0].AppendRate, r.history[0].AppendRate, 0.01)
	require.InDelta(t, all[0].AppendRate+1.5, r.history[1].AppendRate, 0.01, "that of all instances")
	require.InDelta(t, all[0].ErrorRate+2, r.history[1].ErrorRate, 0.01)
	require.Equal(t, int64(7), r.history[1].Connections)
	for range 2 * samples {
		r.remember(time.Now(), "1.0 2.0 3.0 4 5")
	}
	require.Len(t, r.history, samples, "it is bounded")
	require.Equal(t, int64(5), r.history[samples-1].Followers)
	r.remember(time.Now(), "")
	require.Len(t, r.history, samples, "an answer without figures is none")
	other.send(t.Context(), 0)

	r.at = r.at.Add(-15 * time.Second)
	r.send(t.Context(), reportTTL)
	all, err = h.Instances(t.Context())
	require.NoError(t, err)
	require.Zero(t, all[0].AppendRate)
	r.send(t.Context(), 0)
	all, err = h.Instances(t.Context())
	require.NoError(t, err)
	require.Empty(t, all)
}
