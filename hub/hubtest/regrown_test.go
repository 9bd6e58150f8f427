package hubtest_test

import (
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/hub/hubtest"
)

// TestLostWhole: a segment vanishes in a loss, and the space grows again so that other entries get the places of
// the lost ones. Its follower is told, whatever it had read and whoever writes now.
func TestLostWhole(t *testing.T) {
	for _, grown := range []int{0, 2, 3, 8} {
		env := hubtest.Open(t)
		id := uuid.New()
		s := env.Hub().Store(id)
		put := func(s *hub.Store, segment string) {
			_, err := s.Append(t.Context(), "space", segment, []streamhub.Record{{Payload: []byte("x")}}, nil)
			require.NoError(t, err)
		}
		put(s, "kept")
		before := env.Mark()
		put(s, "gone")
		put(s, "gone")
		seen, ended := make(chan struct{}, 2), make(chan error, 1)
		go func() {
			for _, err := range s.FollowSegment(t.Context(), "space", "gone", nil) {
				if err != nil {
					ended <- err
					return
				}
				seen <- struct{}{}
			}
			ended <- nil
		}()
		<-seen
		<-seen
		env.LoseHistory(before)
		other, err := env.NewHub()
		require.NoError(t, err)
		for range grown {
			put(other.Store(id), "kept")
		}
		require.ErrorIs(t, <-ended, streamhub.ErrHistoryLost)
	}
}
