//go:build soak

package wsgateway_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub/wsgateway"
	"github.com/seed-147127fe/streamhub/wsgateway/streamkittest"
)

// TestStreamkitLongAfterExpiry has subscriptions of a client whose token expired ten minutes ago: they hear of each append
// of that time, and the client's own calls go on.
func TestStreamkitLongAfterExpiry(t *testing.T) {
	const after = 10 * time.Minute
	expires := time.Now().Add(5 * time.Second)
	address, store := serve(t, &wsgateway.Options{Auth: verifier(t)}), uuid.New()
	old := streamkittest.Dial(t, streamkittest.Gateway{Address: address, Token: func(t testing.TB, scopes ...string) string {
		text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
			"sub": "somebody", "exp": expires.Unix(), "scopes": scopes,
		}).SignedString(secret)
		require.NoError(t, err)
		return text
	}}, "streamkit::*")
	var subscribed []*streamkittest.Channel
	for _, segment := range []string{"sg", "*"} {
		subscribed = append(subscribed, old.Open(store, "subscribe_to_segment_status",
			map[string]any{"space": "sp", "segment": segment, "heartbeat_interval_seconds": 1}))
	}
	producer := streamkittest.Dial(t, streamkittest.Gateway{Address: address, Token: token}, "streamkit::*")
	const every = 10 * time.Second
	tick := time.NewTicker(every)
	defer tick.Stop()
	n := uint64(0)
	for time.Now().Before(expires.Add(after)) {
		n++
		_, problem := producer.Produce(store, "sp", "sg", n, fmt.Appendf(nil, "%d", n))
		require.Empty(t, problem)
		for _, ch := range subscribed {
			for status := (streamkittest.Status{}); status.LastSequence < n; {
				message, ok := ch.Next()
				require.True(t, ok, "%v after the token", time.Since(expires))
				require.NoError(t, json.Unmarshal(message, &status))
			}
		}
		<-tick.C
	}
	t.Logf("%d appends, the last one %v after the token", n, time.Since(expires).Round(time.Second))
	_, problem := old.Produce(store, "sp", "sg", n+1, []byte("of the client itself"))
	require.Empty(t, problem)
}

// TestStreamkitSilence leaves connections silent: after 25 to 30 s the gateway pings, and a client that answers stays. One that does not
// is dead after 90 s.
func TestStreamkitSilence(t *testing.T) {
	g := streamkittest.Gateway{Address: serve(t, &wsgateway.Options{Auth: verifier(t)}), Token: token}
	store := uuid.New()
	for _, answers := range []bool{true, false} {
		t.Run(map[bool]string{true: "answers", false: "dead"}[answers], func(t *testing.T) {
			t.Parallel()
			c, begun := streamkittest.Dial(t, g, "streamkit::*"), time.Now()
			pings := c.Pings(answers)
			for n := range 3 {
				select {
				case <-pings:
				case <-time.After(35 * time.Second):
					t.Fatalf("no ping after %v", time.Since(begun))
				}
				t.Logf("ping %d after %v", n+1, time.Since(begun).Round(time.Second))
				if n == 0 {
					require.Greater(t, time.Since(begun), 20*time.Second)
				}
			}
			if answers {
				_, problem := c.Produce(store, "sp", "sg", 1, []byte("x"))
				require.Empty(t, problem)
				return
			}
			c.Code() // it waits for the end
			require.Greater(t, time.Since(begun), 85*time.Second)
			require.Less(t, time.Since(begun), 130*time.Second)
		})
	}
}
