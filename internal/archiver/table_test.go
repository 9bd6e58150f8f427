package archiver_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive"
	"github.com/seed-147127fe/streamhub/archive/tier"
)

// turn archives what is due and keeps the space.
func (w *world) turn() {
	w.Helper()
	require.NoError(w, w.runner.Space(w.ctx, w.Store, space))
}

// TestTurnsCost counts the commands of a turn over many segments: those that have not changed cost none.
func TestTurnsCost(t *testing.T) {
	t.Parallel()
	const segments = 300
	for _, policy := range []tier.Policy{
		{Age: time.Hour, KeepLast: 1},
		{Age: 24 * time.Hour, HotBytes: 1 << 30},
		{Idle: 2 * time.Hour},
	} {
		t.Run(fmt.Sprintf("%+v", policy), func(t *testing.T) {
			t.Parallel()
			w, server := newClockWorld(t, tier.Options{Policy: policy})
			commands := &counting{}
			v := w.another(tier.Options{Policy: policy}, commands)
			now := time.Now()
			server.SetTime(now)
			var batch []streamhub.Append
			for i := range segments {
				batch = append(batch, streamhub.Append{Space: space, Segment: fmt.Sprint("s", i), Records: []streamhub.Record{{Payload: []byte("x")}}})
			}
			for range 2 {
				_, errs := w.AppendAll(w.ctx, batch)
				require.Equal(t, make([]error, len(batch)), errs)
			}
			cost := func() int64 {
				before := commands.n.Load()
				v.turn()
				return commands.n.Load() - before
			}
			require.Greater(t, cost(), int64(segments), "the first turn visits each")
			require.Less(t, cost(), int64(20), "nothing has changed")
			w.append("s7", "y")
			require.NoError(t, w.Delete(w.ctx, space, "s8", ""))
			require.Less(t, cost(), int64(40), "two have changed")

			server.SetTime(now.Add(3 * time.Hour))
			w.append("s9", "z")
			cost() // what is due by age or idleness leaves
			want := uint64(2)
			if policy.HotBytes == 0 {
				want = policy.KeepLast
			}
			require.Equal(t, want, w.hot("s5"))
			require.Less(t, cost(), int64(20), "nothing has changed")
		})
	}
}

// TestTurnsNotice changes segments in every way between turns. What an archiver knows of them is what a visit finds.
func TestTurnsNotice(t *testing.T) {
	t.Parallel()
	for i, policy := range []tier.Policy{
		{Age: time.Minute}, {Age: 2 * time.Minute, KeepLast: 3}, {Age: 10 * time.Minute, Idle: time.Minute, KeepLast: 2},
		{HotBytes: 30000, KeepLast: 1}, {Age: time.Minute, HotBytes: 30000, Idle: 3 * time.Minute, KeepLast: 2},
	} {
		t.Run(fmt.Sprintf("%+v", policy), func(t *testing.T) {
			t.Parallel()
			w, server := newClockWorld(t, tier.Options{Policy: policy, WindowBytes: 2000, ChunkBytes: 500, Recent: time.Second})
			random := rand.New(rand.NewPCG(uint64(i), 18))
			now := time.Now()
			id := archive.SpaceID{Store: w.ID(), Space: space}
			name := func() string { return fmt.Sprint("s", random.IntN(8)) }
			forks := 0
			for step := range 150 {
				now = now.Add(time.Duration(random.IntN(20)) * time.Second)
				server.SetTime(now)
				var err error
				switch what := random.IntN(12); what {
				case 0:
					err = w.Delete(w.ctx, space, name(), "")
				case 1:
					status, _ := w.Status(w.ctx, space, name())
					_, err = w.Trim(w.ctx, space, status.Segment, status.FirstSequence+uint64(random.IntN(4)))
				case 2:
					forks++
					_, _, err = w.Create(w.ctx, space, fmt.Sprint("f", forks), &streamhub.CreateOptions{ForkOf: name()})
				case 3:
					err = w.Delete(w.ctx, space, fmt.Sprint("f", 1+random.IntN(forks+1)), "")
				case 4:
					_, _, err = w.Create(w.ctx, space, fmt.Sprint("t", step), &streamhub.CreateOptions{TTL: time.Minute})
					w.append(fmt.Sprint("t", step), "x")
				case 5:
					err = w.Sweep(w.ctx)
				default:
					segment := name()
					if what < 8 && forks > 0 {
						segment = fmt.Sprint("f", 1+random.IntN(forks))
					}
					payloads := make([]string, 1+random.IntN(5))
					for i := range payloads {
						payloads[i] = strings.Repeat("x", random.IntN(200))
					}
					records := make([]streamhub.Record, len(payloads))
					for i, p := range payloads {
						records[i].Payload = []byte(p)
					}
					_, err = w.Append(w.ctx, space, segment, records, nil)
				}
				if err != nil {
					require.NotErrorIs(t, err, streamhub.ErrCorrupt)
				}
				if random.IntN(3) == 0 {
					w.turn()
					require.NoError(t, w.runner.Compare(w.ctx, id, now.UnixMilli()), step)
				}
				if random.IntN(50) == 0 { // another instance takes over
					w.runner.Release(w.ctx)
				}
			}
			w.runner.Release(w.ctx)
			w.whole()
		})
	}
}
