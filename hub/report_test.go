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
