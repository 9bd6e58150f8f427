//go:build faults

package integration

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/integration/history"
	"github.com/seed-147127fe/streamhub/internal/faultproxy"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

// A topology is a Redis of one kind.
type topology struct {
	url string
	// servers hold data, masters first.
	servers []*testredis.Server
	// spaces lie on different masters where there are several.
	spaces []string
}

func single(t *testing.T) topology {
	s := testredis.Start(t, nil)
	return topology{s.URL(), []*testredis.Server{s}, []string{"space"}}
}

func sentinel(t *testing.T) topology {
	s := testredis.StartSentinel(t, &testredis.SentinelOptions{Replicas: 1})
	return topology{sentinelURL(s), s.Servers, []string{"space"}}
}

func cluster(t *testing.T) topology {
	c := testredis.StartCluster(t, 3, 0, nil)
	return topology{clusterURL(c), c.Nodes, spread(c)}
}

// spread names a space for each master of a cluster.
func spread(c *testredis.Cluster) []string {
	byMaster := map[int]string{}
	var spaces []string
	for i := 0; len(spaces) < 3; i++ {
		space := fmt.Sprintf("space-%d", i)
		if m := c.MasterFor(tagOf(space)); byMaster[m] == "" {
			byMaster[m] = space
			spaces = append(spaces, space)
		}
	}
	return spaces
}

// TestCutReplies cuts one reply of fifty after the script that it belongs to. Every append is
// stored once and acknowledged, and no error tells anything else.
func TestCutReplies(t *testing.T) {
	const hubs = 8
	appends := 20000
	for name, begin := range map[string]func(*testing.T) topology{"single": single, "sentinel": sentinel, "cluster": cluster} {
		for _, expect := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s,expect=%v", name, expect), func(t *testing.T) {
				seed := seedOf(t)
				top := begin(t)
				r := newRelay(t, seed, faultproxy.Faults{CutReply: 0.02}, top.servers...)
				before := calls(t, top.servers...)["evalsha"]
				started := time.Now()
				var all sync.WaitGroup
				rec := history.NewRecorder(clock)
				var places []place
				failures := make(chan error, appends)
				clients := make([]*hub.Hub, hubs)
				for i := range clients {
					clients[i] = openUnderFaults(t, r, top.url)
				}
				for i, h := range clients {
					// The segments are as large as the search of the checker allows.
					at := place{top.spaces[i%len(top.spaces)], fmt.Sprintf("segment-%d", i)}
					if !expect {
						at.segment = "shared"
					}
					if i < len(top.spaces) || expect {
						places = append(places, at)
					}
					all.Go(func() {
						random := random(seed, uint64(i))
						c := rec.Client(fmt.Sprintf("hub %d", i), h.Store(testStore))
						for n := range appends / hubs {
							o := &streamhub.AppendOptions{}
							if expect {
								o.ExpectedSequence = uint64(n + 1)
							}
							if _, err := c.Append(t.Context(), at.space, at.segment, records(random, 1), o); err != nil {
								failures <- fmt.Errorf("%s append %d: %w", at.key(), n, err)
								return
							}
						}
					})
				}
				all.Wait()
				close(failures)
				for err := range failures {
					t.Error(err)
				}
				after := calls(t, top.servers...)["evalsha"]
				took := time.Since(started)
				h := open(t, client(t, top.url), nil)
				report := check(t, rec.History(), h.Store(testStore), places, history.Options{Seed: seed, MaxOps: 2 * appends})
				cuts := r.counters().CutReplies
				require.Equal(t, appends, report.Entries)
				require.Equal(t, appends, report.Acked)
				require.GreaterOrEqual(t, after-before, int64(appends), "runs of the script")
				require.GreaterOrEqual(t, cuts, int64(appends/100), "hardly anything was cut")
				t.Logf("%d appends in %v: %d runs, %d replies cut", appends, took.Round(time.Millisecond), after-before, cuts)
			})
		}
	}
}

// openUnderFaults opens a hub whose first calls may fail too.
func openUnderFaults(t *testing.T, r *relay, url string) *hub.Hub {
	t.Helper()
	c := r.through(t, url)
	var h *hub.Hub
	eventually(t, 20*time.Second, func(ctx context.Context) (err error) {
		h, err = hub.Open(ctx, c, &hub.Options{SweepEvery: -1})
		return err
	})
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Errorf("close the hub: %v", err)
		}
	})
	return h
}
