//go:build faults

package integration

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub/internal/pause"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

// TestLeaseFrozenHolder freezes the process that holds a lease for longer than that lasts. Another
// one gets it with a higher token, and what the first one writes when it wakes up is refused.
func TestLeaseFrozenHolder(t *testing.T) {
	server := testredis.Start(t, nil)
	s := open(t, client(t, server.URL()), nil).Store(testStore)
	for round := range pick(2, 50) {
		r := random(seedOf(t), 0)
		ttl := time.Duration(300+r.IntN(700)) * time.Millisecond
		c := leaseConfig{
			base:  base{URL: server.URL(), Store: testStore},
			Space: "space", Segment: fmt.Sprintf("segment-%d", round), Key: fmt.Sprintf("key-%d", round), TTL: ttl, Wait: 20 * time.Second,
		}
		var first, second, line leaseLine
		a := start(t, "lease", "a", c)
		a.next(&first)
		require.NotZero(t, first.Token)
		a.tell("append")
		a.next(&line)
		require.EqualValues(t, "ok", line.Code, line.Error)

		b := start(t, "lease", "b", c)
		a.pause()
		frozen := time.Now()
		b.next(&second)
		waited := time.Since(frozen)
		require.Greater(t, second.Token, first.Token)
		b.tell("append")
		b.next(&line)
		require.EqualValues(t, "ok", line.Code, line.Error)
		pause.For(t.Context(), time.Duration(r.IntN(300))*time.Millisecond)
		a.tell("append") // it waits in the pipe until the process wakes up
		a.resume()
		refused := false
		for !refused {
			line = leaseLine{}
			a.next(&line)
			require.NotEqualValues(t, "ok", line.Code, "a frozen holder wrote over the next one")
			refused = line.Code != ""
		}
		require.EqualValues(t, "fenced", line.Code, line.Error)

		status, err := s.Status(t.Context(), c.Space, c.Segment)
		require.NoError(t, err)
		require.EqualValues(t, 2, status.LastSequence)
		require.Equal(t, second.Token, status.Generation)
		t.Logf("ttl %v: the next holder came after %v", ttl, waited.Round(time.Millisecond))
		a.stop()
		b.stop()
	}
}
