//go:build faults

package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/millis"
	"github.com/seed-147127fe/streamhub/internal/pause"
	"github.com/seed-147127fe/streamhub/internal/streamz"
	"github.com/seed-147127fe/streamhub/internal/testredis"
	"github.com/seed-147127fe/streamhub/internal/teststreamkit"
)

// TestImportKilled imports a streamkit server and kills the process twice in between, with -9. In the end hub and
// server are equal entry by entry, and an offset that the server gave out resumes after the same entry.
func TestImportKilled(t *testing.T) {
	entries, segments := pick(12_000, 100_000), pick(120, 500)
	ctx := within(t, 10*time.Minute)
	path, err := program()
	require.NoError(t, err)
	redis := testredis.Start(t, nil)
	old, store := teststreamkit.Start(t, "secret"), uuid.New()
	for n, i := 0, 0; n < entries; i++ {
		if i%5 != 0 { // some are of the same millisecond
			old.Tick(time.Millisecond)
		}
		records := make([]streamhub.Record, min(1+i%40, entries-n))
		for r := range records {
			records[r].Payload = fmt.Appendf(nil, "entry %d of the store", n+r)
			if r%3 == 0 {
				records[r].Metadata = map[string]string{"number": fmt.Sprint(n + r)}
			}
		}
		old.Produce(store, "orders", fmt.Sprintf("order-%d", i*17%segments), records...)
		n += len(records)
	}
	want := old.Entries(store, "orders")
	require.Len(t, want, entries)

	run := func() (*exec.Cmd, *bytes.Buffer) {
		var out bytes.Buffer
		cmd := exec.CommandContext(ctx, path, "import", old.URL, "--source-token", "secret", "--store", store.String(), "--redis", redis.URL())
		cmd.Stdout, cmd.Stderr = &out, &out
		require.NoError(t, cmd.Start())
		return cmd, &out
	}
	begun := time.Now()
	h := open(t, client(t, redis.URL()), nil).Store(store)
	stored := func() (n uint64) {
		for name, err := range h.Segments(ctx, "orders") {
			require.NoError(t, err)
			s, err := h.Status(ctx, "orders", name)
			require.NoError(t, err)
			n += s.LastSequence
		}
		return n
	}
	const batch = 2100 // entries that an import has read and not stored yet, at most
	var kept []uint64
	for kill := range 2 {
		// It compares what is there first. Then a third of the entries comes, and no more.
		old.HoldAfter(int64(entries + entries/3))
		cmd, out := run()
		had := stored()
		for stored() < had+uint64(entries/3)-batch {
			require.True(t, pause.For(ctx, 10*time.Millisecond), "%s", out)
		}
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait()
		n := stored()
		t.Logf("killed with %d of %d entries in the hub", n, entries)
		require.Less(t, n, uint64(entries), "kill %d came too late", kill)
		kept = append(kept, n)
	}
	require.Greater(t, kept[1], kept[0], "the second run went on")
	old.HoldAfter(0)
	cmd, out := run()
	require.NoError(t, cmd.Wait(), "%s", out)
	t.Logf("after %s: %s", time.Since(begun).Round(time.Millisecond), out)
	var summary struct {
		Segments          int
		Entries, Imported uint64
		LeftOut           int `json:"left_out"`
	}
	require.NoError(t, json.Unmarshal(bytes.SplitN(out.Bytes(), []byte("\n"), 2)[0], &summary))
	require.Equal(t, segments, summary.Segments)
	require.EqualValues(t, entries, summary.Entries)
	require.Equal(t, uint64(entries)-kept[1], summary.Imported)
	require.Zero(t, summary.LeftOut)

	n := 0
	for e, err := range h.ConsumeSpace(ctx, "orders", nil) {
		require.NoError(t, err)
		w := want[n]
		have := teststreamkit.Entry{Sequence: e.Sequence, Timestamp: millis.Of(e.Timestamp), TRX: e.TRX, Payload: e.Payload, Metadata: e.Metadata, Space: e.Space, Segment: e.Segment}
		require.Equal(t, *w, have, "entry %d", n)
		n++
	}
	require.Equal(t, entries, n)

	// Offsets, through a gateway and with the protocol of the released client.
	gateway := startGateway(t, redis.URL())
	conn, err := streamz.Dial(ctx, gateway.address, "", nil)
	require.NoError(t, err)
	defer conn.Close()
	const follow = 100
	for at := 0; at < entries; at += entries / 97 {
		n := at + 1
		for e, err := range conn.ConsumeSpace(ctx, store, "orders", want[at].Key(), time.Time{}) {
			require.NoError(t, err)
			require.Equal(t, want[n].Key(), e.GetSpaceOffset(), "after entry %d", at)
			if n++; n > at+follow {
				break
			}
		}
		require.Equal(t, min(at+follow+1, entries), n)
	}
}
