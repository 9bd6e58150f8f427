//go:build faults

package integration

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/pause"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

// TestPowerCuts kills servers under writers and cuts each of their files to what was synced; STREAMHUB_POWER_CUTS says how often.
// What was acknowledged with Fsync is there afterwards. What was acknowledged without is counted.
func TestPowerCuts(t *testing.T) {
	rounds := rounds(t, "STREAMHUB_POWER_CUTS", 3)
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("install gcc: a power cut is simulated by a library that is preloaded into redis-server")
	}
	library, synced := filepath.Join(t.TempDir(), "synced.so"), t.TempDir()
	out, err := exec.CommandContext(t.Context(), gcc, "-shared", "-fPIC", "-O1", "-o", library, filepath.Join("testdata", "synced.c"), "-ldl").CombinedOutput()
	require.NoError(t, err, "%s", out)
	t.Setenv("STREAMHUB_SYNCED", synced)
	t.Setenv("LD_PRELOAD", library)

	fsync := streamhub.Durability{Fsync: true}
	for _, test := range []struct {
		name, policy string
		level        streamhub.Durability
		cluster      bool
		kept         bool // whatever was acknowledged
	}{
		{"fsync, always", "always", fsync, false, true},
		{"fsync, everysec", "everysec", fsync, false, true},
		{"fsync, always, cluster", "always", fsync, true, true},
		{"default, always", "always", streamhub.Durability{}, false, true},
		{"default, everysec", "everysec", streamhub.Durability{}, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := &powerCut{t: t, synced: synced, level: test.level}
			if test.cluster {
				cluster := testredis.StartCluster(t, 3, 0, &testredis.ClusterOptions{Options: testredis.Options{AOF: test.policy}})
				c.servers, c.url = cluster.Nodes, clusterURL(cluster)
			} else {
				server := testredis.Start(t, &testredis.Options{AOF: test.policy})
				c.servers, c.url = []*testredis.Server{server}, server.URL()
			}
			// Where the server cannot give the level, it is refused.
			h, err := hub.Open(t.Context(), client(t, c.url), &hub.Options{Durability: test.level})
			if errors.Is(err, streamhub.ErrInvalidArgument) {
				t.Skip(err)
			}
			require.NoError(t, err)
			require.NoError(t, h.Close())
			acked, lost := 0, 0
			for round := range rounds {
				a, l := c.round(fmt.Sprint("space", round))
				acked, lost = acked+a, lost+l
			}
			t.Logf("%d power cuts: %d of %d acknowledged appends were lost", rounds, lost, acked)
			require.GreaterOrEqual(t, acked, 8*rounds, "too little was acknowledged") // each writer writes once before the cut
			if test.kept {
				require.Zero(t, lost)
			}
		})
	}
}

// A powerCut has servers that lose their power.
type powerCut struct {
	t       *testing.T
	synced  string
	servers []*testredis.Server
	url     string
	level   streamhub.Durability
}

// round cuts the power under writers to one space, and returns how many appends were acknowledged, and how many of them are lost.
func (c *powerCut) round(space string) (acked, lost int) {
	const writers = 8
	h, err := hub.Open(c.t.Context(), client(c.t, c.url), &hub.Options{Durability: c.level, RetryFor: time.Millisecond, SweepEvery: -1})
	require.NoError(c.t, err)
	// The nodes of a Cluster that came back need time to find each other.
	eventually(c.t, time.Minute, func(ctx context.Context) error {
		_, err := h.Store(testStore).Append(ctx, space, "before", []streamhub.Record{{Payload: []byte("x")}}, nil)
		return err
	})
	ctx, cancel := context.WithCancel(c.t.Context())
	defer cancel()
	began := make(chan struct{}, writers)
	var all [writers][]uint64 // the sequences that were acknowledged
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for first := true; ctx.Err() == nil; first = false {
				r, err := h.Store(testStore).Append(ctx, space, fmt.Sprint(w), []streamhub.Record{{Payload: []byte("x")}}, nil)
				if err != nil {
					if first {
						c.t.Error(err)
					}
					return // the power is gone
				}
				if all[w] = append(all[w], r.Last); first {
					began <- struct{}{}
				}
			}
		})
	}
	for range writers {
		select {
		case <-began:
		case <-time.After(30 * time.Second):
			c.t.Fatal("the writers did not begin")
		}
	}
	pause.For(ctx, time.Duration(300+rand.IntN(1500))*time.Millisecond)
	for _, s := range c.servers {
		s.Kill()
	}
	cancel()
	writing.Wait()
	require.NoError(c.t, h.Close())
	for _, s := range c.servers {
		c.cut(s.Dir())
	}
	for _, s := range c.servers {
		s.Restart()
	}
	var after *hub.Hub
	eventually(c.t, 30*time.Second, func(ctx context.Context) (err error) {
		after, err = hub.Open(ctx, client(c.t, c.url), nil)
		return err
	})
	defer after.Close()
	for w := range writers {
		kept := map[uint64]bool{}
		eventually(c.t, 30*time.Second, func(ctx context.Context) error {
			for e, err := range after.Store(testStore).ConsumeSegment(ctx, space, fmt.Sprint(w), nil) {
				if err != nil && !errors.Is(err, streamhub.ErrNotFound) {
					return err
				}
				kept[e.Sequence] = true
			}
			return nil
		})
		acked += len(all[w])
		for _, sequence := range all[w] {
			if !kept[sequence] {
				lost++
			}
		}
	}
	return acked, lost
}

// cut leaves of each file what was synced.
func (c *powerCut) cut(dir string) {
	c.t.Helper()
	require.NoError(c.t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || d.Name() == "nodes.conf" {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		size := int64(0)
		text, err := os.ReadFile(filepath.Join(c.synced, fmt.Sprint(info.Sys().(*syscall.Stat_t).Ino)))
		if err == nil {
			size, err = strconv.ParseInt(string(text), 10, 64)
		} else if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		if err == nil && size < info.Size() {
			err = os.Truncate(path, size)
		}
		return err
	}))
}
