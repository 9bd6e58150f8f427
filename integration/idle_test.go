//go:build faults

package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/integration/history"
	"github.com/seed-147127fe/streamhub/internal/pause"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

// TestIdleFollowers lets two hundred followers of two hundred segments of a space wait. They have
// one Pub/Sub connection together and cost Redis at most one command a second, pings included.
func TestIdleFollowers(t *testing.T) {
	const segments = 200
	quiet := pick(12*time.Second, 60*time.Second)
	server := testredis.Start(t, nil)
	writer := open(t, client(t, server.URL()), nil).Store(testStore)
	reader := open(t, client(t, server.URL()), &hub.Options{}).Store(testStore)
	ctx := within(t, quiet+2*time.Minute)
	rec := history.NewRecorder(clock)
	c := rec.Client("writer", writer)
	var followers []*history.Following
	for i := range segments {
		at := place{"space", fmt.Sprintf("segment-%d", i)}
		fill(t, c, at, 1)
		f, wait := history.Start(at.segment, at.space, at.segment, 1, reader.FollowSegment(t.Context(), at.space, at.segment, nil), clock, nil)
		t.Cleanup(wait)
		followers = append(followers, f)
	}
	for _, f := range followers {
		require.NoError(t, f.Wait(ctx, 1))
	}
	require.True(t, pause.For(ctx, 7*time.Second)) // what the last entry set off, a re-check too, comes to rest

	before := calls(t, server)
	begin := time.Now()
	require.True(t, pause.For(ctx, quiet))
	commands, sum := since(before, calls(t, server))
	elapsed := time.Since(begin)
	perSecond := float64(sum) / elapsed.Seconds()
	t.Logf("%d commands in %v, %.2f a second: %v", sum, elapsed.Round(time.Millisecond), perSecond, commands)
	require.LessOrEqual(t, perSecond, 1.0)

	list, err := server.Client().Do(ctx, "client", "list", "type", "pubsub").Text()
	require.NoError(t, err)
	require.Len(t, strings.Split(strings.TrimSpace(list), "\n"), 1, "Pub/Sub connections:\n%s", list)

	// They are awake.
	for i, f := range followers {
		fill(t, c, place{"space", fmt.Sprintf("segment-%d", i)}, 1)
		require.NoError(t, f.Wait(ctx, 2))
	}
}
