//go:build faults

package integration

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub/integration/history"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

// TestContend lets eight processes of four goroutines each append to one segment. Without an
// expectation every append is taken at its first try; with one each sequence has one winner.
func TestContend(t *testing.T) {
	const processes, goroutines = 8, 4
	tries := pick(100, 150)
	for _, expect := range []bool{false, true} {
		t.Run(fmt.Sprintf("expect=%v", expect), func(t *testing.T) {
			server := testredis.Start(t, nil)
			for round := range pick(1, 20) {
				seed := seedOf(t)
				at := place{"contend", fmt.Sprintf("segment-%d", round)}
				workers := make([]*worker, processes)
				var all sync.WaitGroup
				for i := range workers {
					workers[i] = launch(t, "append", fmt.Sprintf("p%d", i), appendConfig{
						base:  base{URL: server.URL(), Store: testStore, Name: fmt.Sprintf("p%d", i), Seed: seed + uint64(i)},
						Space: at.space, Segment: at.segment, Goroutines: goroutines, Tries: tries, Expect: expect,
					})
				}
				for _, w := range workers {
					select {
					case <-w.ready:
					case <-time.After(time.Minute):
						t.Fatalf("%s is not ready: %s", w.name, w.complaints())
					}
				}
				before := calls(t, server)["evalsha"]
				begin := time.Now()
				for _, w := range workers {
					w.tell("go")
				}
				for _, w := range workers {
					all.Go(func() { <-w.ended })
				}
				all.Wait()
				took := time.Since(begin)
				after := calls(t, server)["evalsha"]
				var ops []history.Op
				for _, w := range workers {
					w.wait(time.Minute)
					ops = append(ops, w.ops()...)
				}
				h := open(t, client(t, server.URL()), nil)
				r := check(t, ops, h.Store(testStore), []place{at}, history.Options{Seed: seed})
				require.Equal(t, processes*goroutines*tries, r.Operations)
				if !expect {
					require.Equal(t, r.Operations, r.Acked, "accepted at the first try")
					require.Equal(t, r.Operations, r.Entries)
					require.LessOrEqual(t, after-before, int64(r.Operations), "runs of the script")
				} else {
					require.Equal(t, r.Operations, r.Acked+r.Refused)
					require.Equal(t, r.Entries, r.Acked, "one winner per sequence")
					require.NotZero(t, r.Refused, "nobody competed")
				}
				t.Logf("%d appends in %v, %d runs of the script", r.Operations, took.Round(time.Millisecond), after-before)
				require.NoError(t, h.Close())
			}
		})
	}
}
