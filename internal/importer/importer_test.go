package importer_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/importer"
	"github.com/seed-147127fe/streamhub/internal/millis"
	"github.com/seed-147127fe/streamhub/internal/streamz"
	"github.com/seed-147127fe/streamhub/internal/testredis"
	"github.com/seed-147127fe/streamhub/internal/teststreamkit"
	"github.com/seed-147127fe/streamhub/wsgateway"
)

func TestMain(m *testing.M) { testredis.Main(m) }

// A bench is a server of streamkit and a hub.
type bench struct {
	t     *testing.T
	old   *teststreamkit.Server
	hub   *hub.Hub
	store uuid.UUID
}

// each runs a test on miniredis and on Redis.
func each(t *testing.T, test func(b *bench)) {
	for _, real := range []bool{false, true} {
		t.Run(map[bool]string{false: "miniredis", true: "redis"}[real], func(t *testing.T) {
			b := &bench{t: t, old: teststreamkit.Start(t, "secret"), store: uuid.New()}
			var err error
			if real {
				client := testredis.Start(t, nil).Client()
				b.hub, err = hub.Open(t.Context(), client, nil)
			} else {
				b.hub, err = hub.Open(t.Context(), nil, nil)
			}
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, b.hub.Close()) })
			test(b)
		})
	}
}

func (b *bench) bring(space string, o *importer.Options) (importer.Result, error) {
	b.t.Helper()
	return bring(b.t, b.old, b.hub.Store(b.store), space, o)
}

func bring(t *testing.T, old *teststreamkit.Server, into streamhub.Store, space string, o *importer.Options) (importer.Result, error) {
	t.Helper()
	return bringOver(t, old.URL, into, space, o, nil)
}

func bringOver(t *testing.T, url string, into streamhub.Store, space string, o *importer.Options, way *streamz.Options) (importer.Result, error) {
	t.Helper()
	src := importer.Source{Store: into.ID()}
	for _, c := range []**streamz.Server{&src.Scan, &src.Look} {
		server, err := streamz.Open(t.Context(), url, "secret", way)
		require.NoError(t, err)
		defer server.Close()
		*c = server
	}
	return importer.Space(t.Context(), src, into, space, o)
}

func record(text string) streamhub.Record { return streamhub.Record{Payload: []byte(text)} }

// fill writes chunks over several segments, some of them within the same millisecond.
func (b *bench) fill(space string, chunks, segments int) {
	for n := range chunks {
		if n%3 != 0 {
			b.old.Tick(time.Millisecond)
		}
		records := []streamhub.Record{record(fmt.Sprintf("first of %d", n))}
		for i := range n % 4 {
			records = append(records, streamhub.Record{Payload: fmt.Appendf(nil, "%d in %d", i, n), Metadata: map[string]string{"n": fmt.Sprint(n)}})
		}
		b.old.Produce(b.store, space, fmt.Sprintf("segment-%02d", (n*7)%segments), records...)
	}
}

// same compares what the hub has with what the old server shows, but for what was left out.
func (b *bench) same(space string, want []*teststreamkit.Entry) []streamhub.Entry {
	b.t.Helper()
	var have []streamhub.Entry
	for e, err := range b.hub.Store(b.store).ConsumeSpace(b.t.Context(), space, nil) {
		require.NoError(b.t, err)
		have = append(have, e)
	}
	require.Len(b.t, have, len(want))
	for i, w := range want {
		h := have[i]
		require.Equal(b.t, w.Segment, h.Segment)
		require.Equal(b.t, w.Sequence, h.Sequence)
		require.Equal(b.t, w.Timestamp, millis.Of(h.Timestamp))
		require.Equal(b.t, w.TRX, h.TRX)
		require.Equal(b.t, string(w.Payload), string(h.Payload))
		require.Equal(b.t, len(w.Metadata), len(h.Metadata))
		for k, v := range w.Metadata {
			require.Equal(b.t, v, h.Metadata[k])
		}
	}
	return have
}

func TestSpace(t *testing.T) {
	each(t, func(b *bench) {
		b.fill("orders", 200, 9)
		r, err := b.bring("orders", nil)
		require.NoError(b.t, err)
		want := b.old.Entries(b.store, "orders")
		require.EqualValues(b.t, len(want), r.Entries)
		require.EqualValues(b.t, len(want), r.Imported)
		require.Equal(b.t, 9, r.Segments)
		b.same("orders", want)

		// A run that has nothing to do changes nothing.
		r, err = b.bring("orders", nil)
		require.NoError(b.t, err)
		require.Zero(b.t, r.Imported)
		require.EqualValues(b.t, len(want), r.Entries)

		// The segments go on where they end, at a later time, and so does the space.
		store := b.hub.Store(b.store)
		status, err := store.Status(b.t.Context(), "orders", "segment-00")
		require.NoError(b.t, err)
		require.EqualValues(b.t, 1, status.FirstSequence)
		end, err := store.SpaceEnd(b.t.Context(), "orders")
		require.NoError(b.t, err)
		result, err := store.Append(b.t.Context(), "orders", "segment-00", []streamhub.Record{record("new")}, &streamhub.AppendOptions{ExpectedSequence: status.LastSequence + 1})
		require.NoError(b.t, err)
		require.True(b.t, result.Timestamp.After(status.LastTimestamp))
		n := 0
		for e, err := range store.ConsumeSpace(b.t.Context(), "orders", &streamhub.ReadOptions{Cursor: end}) {
			require.NoError(b.t, err)
			require.Equal(b.t, "new", string(e.Payload))
			n++
		}
		require.Equal(b.t, 1, n)

		// Then the two have parted.
		_, err = b.bring("orders", nil)
		var difference *importer.DifferenceError
		require.ErrorAs(b.t, err, &difference)
		require.ErrorIs(b.t, err, streamhub.ErrConflict)
		require.Equal(b.t, "segment-00", difference.Segment)
		require.Equal(b.t, status.LastSequence+1, difference.Sequence)
	})
}

// TestResume cuts the connections of an import again and again.
func TestResume(t *testing.T) {
	each(t, func(b *bench) {
		b.fill("orders", 1500, 20)
		want := b.old.Entries(b.store, "orders")
		for cut, n := int64(len(want)/3), 0; ; n++ {
			require.Less(b.t, n, 10)
			b.old.CutAfter(cut)
			_, err := b.bring("orders", nil)
			if err == nil {
				require.Greater(b.t, n, 1)
				break
			}
			require.ErrorIs(b.t, err, streamhub.ErrUnavailable)
			require.True(b.t, streamhub.Retryable(err))
			cut += int64(len(want))
		}
		b.same("orders", want)
	})
}

// TestRace leaves out what only the space shows, and says so.
func TestRace(t *testing.T) {
	each(t, func(b *bench) {
		b.old.Produce(b.store, "sp", "a", record("1"), record("2"))
		b.old.Tick(time.Millisecond)
		first := b.old.Produce(b.store, "sp", "a", record("3 of the loser"))
		b.old.Produce(b.store, "sp", "b", record("1"))
		b.old.Tick(time.Millisecond)
		second := b.old.Replace(b.store, "sp", "a", 3, []byte("3 of the winner"))
		b.old.Tick(time.Millisecond)
		b.old.Produce(b.store, "sp", "a", record("4"))
		r, err := b.bring("sp", nil)
		require.NoError(b.t, err)
		require.Equal(b.t, []importer.Left{{Segment: "a", Sequence: 3, Timestamp: millis.Time(first[0].Timestamp), TRX: first[0].TRX.ID}}, r.Left)
		want := b.old.Entries(b.store, "sp")
		require.Len(b.t, want, 6)
		b.same("sp", append(want[:2:2], want[3:]...))
		require.Equal(b.t, second.TRX.ID, want[4].TRX.ID)
		again, err := b.bring("sp", nil)
		require.NoError(b.t, err)
		require.Equal(b.t, r.Left, again.Left)
	})
}

// TestRefused changes nothing where the hub has something else, or would have to.
func TestRefused(t *testing.T) {
	each(t, func(b *bench) {
		ctx, store := b.t.Context(), b.hub.Store(b.store)
		refused := func(space, segment string, sequence uint64, what string) {
			b.t.Helper()
			before := len(entries(b.t, store, space))
			_, err := b.bring(space, nil)
			var difference *importer.DifferenceError
			require.ErrorAs(b.t, err, &difference)
			require.Equal(b.t, segment, difference.Segment)
			require.Equal(b.t, sequence, difference.Sequence)
			require.Contains(b.t, err.Error(), what)
			require.Len(b.t, entries(b.t, store, space), before)
		}
		// Another program has written there.
		b.old.Produce(b.store, "taken", "a", record("1"))
		_, err := store.Append(ctx, "taken", "a", []streamhub.Record{record("1")}, nil)
		require.NoError(b.t, err)
		refused("taken", "a", 1, "time")

		// The clock of the server went back.
		b.old.Produce(b.store, "back", "a", record("1"))
		b.old.Tick(-time.Minute)
		b.old.Produce(b.store, "back", "a", record("2"))
		refused("back", "a", 2, "clock")

		// An entry came to the source that belongs before what the hub has.
		b.old.Produce(b.store, "late", "a", record("1"))
		_, err = b.bring("late", nil)
		require.NoError(b.t, err)
		b.old.Tick(-time.Minute)
		b.old.Produce(b.store, "late", "b", record("1"))
		refused("late", "b", 1, "another entry")

		// Two producers raced, and the one that won wrote less, and later.
		b.old.Produce(b.store, "race", "a", record("1"), record("2"))
		b.old.Tick(time.Millisecond)
		b.old.Replace(b.store, "race", "a", 1, []byte("of the winner"))
		refused("race", "a", 2, "two producers")

		// A payload is another one.
		b.old.Produce(b.store, "other", "a", record("1"))
		_, err = b.bring("other", nil)
		require.NoError(b.t, err)
		b.old.Entries(b.store, "other")[0].Payload = []byte("2")
		refused("other", "a", 1, "payload")
	})
}

// TestUntil brings what there was at a time, and the rest later.
func TestUntil(t *testing.T) {
	each(t, func(b *bench) {
		b.fill("sp", 20, 3)
		at := millis.Time(b.old.Tick(time.Millisecond))
		b.old.Tick(time.Millisecond)
		early := b.old.Entries(b.store, "sp")
		b.fill("sp", 20, 5)
		r, err := b.bring("sp", &importer.Options{Until: at})
		require.NoError(b.t, err)
		require.EqualValues(b.t, len(early), r.Entries)
		b.same("sp", early)
		r, err = b.bring("sp", nil)
		require.NoError(b.t, err)
		all := b.old.Entries(b.store, "sp")
		require.EqualValues(b.t, len(all)-len(early), r.Imported)
		b.same("sp", all)
	})
}

// TestNames brings spaces and segments whose names begin with those of others. Released servers mix them up when they are asked for
// one.
func TestNames(t *testing.T) {
	each(t, func(b *bench) {
		for n := range 40 {
			b.old.Tick(time.Millisecond)
			if n == 2 {
				b.old.Replace(b.store, "orders", "order-1", 1, []byte("of the winner"))
				b.old.Replace(b.store, "orders", "order-1", 2, []byte("more of the winner"))
			}
			for _, space := range []string{"orders", "orders-eu", "orders-eu-1"} {
				b.old.Produce(b.store, space, fmt.Sprint("order-", n%12), record(fmt.Sprint(space, n)), record("more"))
			}
		}
		for _, space := range []string{"orders", "orders-eu", "orders-eu-1"} {
			var want []*teststreamkit.Entry
			for i, e := range b.old.Entries(b.store, space) {
				if space != "orders" || i != 2 && i != 3 { // of the loser
					want = append(want, e)
				}
			}
			for _, imported := range []int{len(want), 0} {
				r, err := b.bring(space, nil)
				require.NoError(b.t, err)
				require.EqualValues(b.t, imported, r.Imported)
				require.Equal(b.t, 12, r.Segments)
				require.Zero(b.t, r.Later)
				require.Len(b.t, r.Left, len(b.old.Entries(b.store, space))-len(want))
				b.same(space, want)
			}
		}
	})
}

// TestGrows lets programs write to the source all the time, some of it with the time that its last entry has already: a
// run brings what was there when it began, and the next one goes on.
func TestGrows(t *testing.T) {
	each(t, func(b *bench) {
		b.fill("sp", 40, 3)
		produced := 0
		produce := func(segment string) {
			produced++
			b.old.Produce(b.store, "sp", segment, record(fmt.Sprint(segment, produced)))
		}
		late := false
		o := &importer.Options{
			Phase: func(name string) {
				if name == "import" {
					produce("a") // before what was read last, and of the same millisecond
				}
				late = name == "verify"
				b.old.Tick(time.Millisecond)
				produce("z")
			},
			Progress: func(n int64) {
				if late {
					late = false
					produce("a")
					produce("another")
				}
			},
		}
		before := len(b.old.Entries(b.store, "sp"))
		r, err := b.bring("sp", o)
		require.NoError(b.t, err)
		require.EqualValues(b.t, before+2, r.Imported, "what was there when it was read, and of that millisecond")
		require.NotZero(b.t, r.Later)
		r, err = b.bring("sp", nil)
		require.NoError(b.t, err)
		require.Zero(b.t, r.Later)
		want := b.old.Entries(b.store, "sp")
		require.EqualValues(b.t, len(want), r.Entries)
		b.same("sp", want)
	})
}

// TestGrowsAtTheEnd lets segments grow after the space was read for the last time.
func TestGrowsAtTheEnd(t *testing.T) {
	each(t, func(b *bench) {
		b.fill("sp", 40, 3)
		n, seen := int64(len(b.old.Entries(b.store, "sp"))), int64(0)
		_, err := b.bring("sp", nil)
		require.NoError(b.t, err)
		r, err := b.bring("sp", &importer.Options{Progress: func(int64) {
			if seen++; seen == n {
				b.old.Tick(time.Millisecond)
				b.old.Produce(b.store, "sp", "segment-01", record("later"))
				b.old.Produce(b.store, "sp", "segment-02", record("later"))
			}
		}})
		require.NoError(b.t, err)
		require.EqualValues(b.t, 2, r.Later)
		r, err = b.bring("sp", nil)
		require.NoError(b.t, err)
		require.EqualValues(b.t, n+2, r.Entries)
		require.EqualValues(b.t, 2, r.Imported)
	})
}

// TestUnreadable brings an entry that the old server has stored and cannot send to a released client: its frame has more than 8 MiB.
func TestUnreadable(t *testing.T) {
	b := &bench{t: t, old: teststreamkit.Start(t, "secret"), store: uuid.New()}
	var err error
	b.hub, err = hub.Open(t.Context(), nil, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, b.hub.Close()) }()
	b.old.Produce(b.store, "sp", "a", streamhub.Record{Payload: make([]byte, 4_718_548)}, record("2"))
	_, err = b.bring("sp", nil)
	require.NoError(t, err)
	b.same("sp", b.old.Entries(b.store, "sp"))
}

// TestMeanwhile lets a program write to the space of the hub while an import runs.
func TestMeanwhile(t *testing.T) {
	each(t, func(b *bench) {
		b.fill("sp", 600, 9)
		store, wrote := b.hub.Store(b.store), false
		n := len(b.old.Entries(b.store, "sp"))
		_, err := b.bring("sp", &importer.Options{Progress: func(int64) {
			if !wrote && b.old.Sent() > int64(n+n/2) {
				wrote = true
				_, err := store.Append(b.t.Context(), "sp", "theirs", []streamhub.Record{record("x")}, nil)
				require.NoError(b.t, err)
			}
		}})
		require.True(b.t, wrote)
		require.ErrorIs(b.t, err, streamhub.ErrConflict)
	})
}

// TestRemoved removes a segment of the source while it is imported: one that is stored already is a difference.
func TestRemoved(t *testing.T) {
	each(t, func(b *bench) {
		for _, phase := range []string{"import", "verify"} {
			b.fill(phase, 60, 4)
			_, err := b.bring(phase, &importer.Options{Phase: func(name string) {
				if name == phase {
					b.old.Remove(b.store, phase, "segment-02")
				}
			}})
			if phase == "import" {
				require.NoError(b.t, err)
				b.same(phase, b.old.Entries(b.store, phase))
				continue
			}
			require.ErrorIs(b.t, err, streamhub.ErrConflict)
			require.ErrorContains(b.t, err, `the hub has entry 1 of "segment-02"`)
		}
	})
}

// TestReconnect cuts the connections of an import again and again: it connects again and goes on after the entry that came
// last. One that began again would never come to the end.
func TestReconnect(t *testing.T) {
	each(t, func(b *bench) {
		b.fill("sp", 200, 7)
		want := b.old.Entries(b.store, "sp")
		const every = 100
		lost, back := 0, 0
		b.old.CutAfter(every)
		r, err := bringOver(b.t, b.old.URL, b.hub.Store(b.store), "sp", nil, &streamz.Options{
			Patience: time.Minute,
			Lost: func(err error) {
				lost++
				require.ErrorIs(b.t, err, streamhub.ErrUnavailable)
				b.old.CutAfter(every)
			},
			Back: func() { back++ },
		})
		require.NoError(b.t, err)
		require.EqualValues(b.t, len(want), r.Imported)
		require.EqualValues(b.t, len(want), r.Entries)
		require.GreaterOrEqual(b.t, lost, 3*len(want)/every-1, "each pass is cut")
		require.Equal(b.t, lost, back)
		have := entries(b.t, b.hub.Store(b.store), "sp")
		require.Len(b.t, have, len(want))
		for i, w := range want {
			require.Equal(b.t, w.Key(), have[i].GetSpaceOffset())
		}
	})
}

// TestGivesUp ends an import whose source stays away.
func TestGivesUp(t *testing.T) {
	each(t, func(b *bench) {
		b.fill("sp", 30, 2)
		var away atomic.Bool
		through := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: b.old.Host()})
		proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if away.Load() {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			through.ServeHTTP(w, r)
		}))
		defer proxy.Close()
		lost := 0
		_, err := bringOver(b.t, "ws"+strings.TrimPrefix(proxy.URL, "http"), b.hub.Store(b.store), "sp", &importer.Options{Phase: func(name string) {
			if name == "import" {
				away.Store(true)
				b.old.CutAfter(1)
			}
		}}, &streamz.Options{Patience: 300 * time.Millisecond, Lost: func(error) { lost++ }})
		require.ErrorIs(b.t, err, streamhub.ErrUnavailable)
		require.Equal(b.t, 1, lost, "it is said once")
	})
}

// TestOffsets resumes at every entry through a gateway, with the offset that the old server gave.
func TestOffsets(t *testing.T) {
	each(t, func(b *bench) {
		b.fill("sp", 60, 4)
		_, err := b.bring("sp", nil)
		require.NoError(b.t, err)
		g, err := wsgateway.New(b.t.Context(), b.hub, nil)
		require.NoError(b.t, err)
		server := httptest.NewServer(g)
		defer server.Close()
		defer func() { require.NoError(b.t, g.Shutdown(context.WithoutCancel(b.t.Context()))) }()
		conn, err := streamz.Dial(b.t.Context(), "ws"+strings.TrimPrefix(server.URL, "http"), "", nil)
		require.NoError(b.t, err)
		defer conn.Close()
		want := b.old.Entries(b.store, "sp")
		for i, w := range want {
			n := i + 1
			for e, err := range conn.ConsumeSpace(b.t.Context(), b.store, "sp", w.Key(), time.Time{}) {
				require.NoError(b.t, err)
				require.Equal(b.t, want[n].Key(), e.GetSpaceOffset())
				n++
			}
			require.Equal(b.t, len(want), n)
		}
	})
}

func entries(t *testing.T, store streamhub.Store, space string) (list []streamhub.Entry) {
	t.Helper()
	for e, err := range store.ConsumeSpace(t.Context(), space, nil) {
		require.NoError(t, err)
		list = append(list, e)
	}
	return list
}

func TestDial(t *testing.T) {
	old := teststreamkit.Start(t, "secret")
	_, err := streamz.Dial(t.Context(), old.URL, "another", nil)
	require.ErrorIs(t, err, streamhub.ErrUnauthenticated)
	_, err = streamz.Dial(t.Context(), "ws://127.0.0.1:1", "", nil)
	require.ErrorIs(t, err, streamhub.ErrUnavailable)
}
