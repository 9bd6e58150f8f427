package sse

import (
	"context"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A recorder notes when something was written.
type recorder struct {
	*httptest.ResponseRecorder
	mu    sync.Mutex
	times []time.Time
}

func (r *recorder) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.times = append(r.times, time.Now())
	return r.ResponseRecorder.Write(b)
}

func (*recorder) SetWriteDeadline(time.Time) error { return nil }

// TestSilence has no event stream say nothing for longer than proxies wait, whatever was written.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &recorder{ResponseRecorder: httptest.NewRecorder()}
		begun := time.Now()
		out := Begin(w, time.Minute)
		renewed := 0
		stop := out.KeepOpen(t.Context(), func(ctx context.Context) { renewed++ }, 40*time.Second)
		for _, pause := range []time.Duration{50, 1, 7, 14, 16, 100, 3} {
			<-time.After(pause * time.Second)
			require.NoError(t, out.Send([]byte("data: x\n\n")))
		}
		<-time.After(60 * time.Second)
		ended := time.Now()
		stop()
		last := begun
		for _, at := range append(w.times, ended) {
			require.LessOrEqual(t, at.Sub(last), PingEvery)
			last = at
		}
		pings := len(w.times) - 7
		require.Less(t, pings, 25, "no more than it takes")
		require.Equal(t, int(ended.Sub(begun)/(40*time.Second)), renewed)
	})
}
