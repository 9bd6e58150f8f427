package hub_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

// BenchmarkFollow is an append until every follower of the segment in this process has it.
func BenchmarkFollow(b *testing.B) {
	for _, followers := range []int{1, 100} {
		b.Run(fmt.Sprintf("followers=%d", followers), func(b *testing.B) {
			h, err := hub.Open(b.Context(), testredis.Shared(b).Client(), nil)
			require.NoError(b, err)
			b.Cleanup(func() { require.NoError(b, h.Close()) })
			s := h.Store(uuid.New())
			one := records(string(make([]byte, 100)))
			ctx, leave := context.WithCancel(b.Context())
			var running, due sync.WaitGroup
			add := func() {
				due.Add(followers)
				if _, err := s.Append(b.Context(), "space", "seg", one, nil); err != nil {
					b.Fatal(err)
				}
				due.Wait()
			}
			for range followers {
				running.Go(func() {
					for _, err := range s.FollowSegment(ctx, "space", "seg", nil) {
						if err == nil {
							due.Done()
						}
					}
				})
			}
			add()
			b.ReportAllocs()
			for b.Loop() {
				add()
			}
			leave()
			running.Wait()
		})
	}
}
