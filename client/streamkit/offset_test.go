package streamkit_test

import (
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/client/streamkit/api"
	"github.com/seed-147127fe/streamhub/client/streamkit/client"
	"github.com/seed-147127fe/streamhub/client/streamkit/inprockit"
	"github.com/seed-147127fe/streamhub/client/streamkit/wskit"
)

// TestOffsetProof resumes after offsets whose entry is another one, was deleted or was trimmed.
func TestOffsetProof(t *testing.T) {
	addresses, hubs := gateways(t)
	for name, provider := range map[string]api.BidiStreamProvider{
		"inprockit": inprockit.NewInProcBidiStreamProvider(t.Context(), hubs[0]),
		"wskit":     wskit.NewBidiStreamProvider(addresses[1], nil),
	} {
		t.Run(name, func(t *testing.T) {
			ctx, store := t.Context(), uuid.New()
			c := client.NewClient(provider)
			defer func() { require.NoError(t, c.Close()) }()
			all(t, c.Produce(ctx, store, "sp", "a", records(1, 3)))
			all(t, c.Produce(ctx, store, "sp", "b", records(1, 3)))
			entries := all(t, c.ConsumeSpace(ctx, store, &client.ConsumeSpace{Space: "sp"}))
			read := func(key api.LexKey) client.Enumerator[*client.Entry] {
				return c.ConsumeSpace(ctx, store, &client.ConsumeSpace{Space: "sp", Offset: key})
			}
			lost := func(e api.Entry) {
				t.Helper()
				for _, kind := range []client.Enumerator[*client.Entry]{
					read(e.GetSpaceOffset()), c.Consume(ctx, store, &client.Consume{Offsets: map[string]api.LexKey{"sp": e.GetSpaceOffset()}}),
				} {
					require.False(t, kind.MoveNext())
					require.ErrorIs(t, kind.Err(), streamhub.ErrHistoryLost)
				}
			}
			another := *entries[1]
			another.Timestamp++
			lost(another)
			ahead := *entries[2]
			ahead.Sequence, ahead.Timestamp = 9, ahead.Timestamp+1
			lost(ahead)

			require.NoError(t, hubs[0].Store(store).Delete(ctx, "sp", "a", "on purpose"))
			require.Len(t, all(t, read(entries[1].GetSpaceOffset())), 3, "what was deleted is no loss")
		})
	}
}
