package archiver_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive"
	"github.com/seed-147127fe/streamhub/archive/tier"
	"github.com/seed-147127fe/streamhub/internal/archiver"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
	"github.com/seed-147127fe/streamhub/internal/redisx"
	"github.com/seed-147127fe/streamhub/internal/testredis"
	"github.com/seed-147127fe/streamhub/lease"
)

func TestMain(m *testing.M) { testredis.Main(m) }

const space = "space"

// everything leaves, save the last keep entries of each segment.
func everything(keep uint64) tier.Options {
	return tier.Options{Policy: tier.Policy{Age: time.Nanosecond, KeepLast: keep}, WindowBytes: 2000, ChunkBytes: 500, Recent: 1}
}

// A world is a Redis, a store in it and an archive.
type world struct {
	*testing.T
	*hotlog.Store
	ctx     context.Context
	server  redis.Options
	backend archive.Backend
	conn    *redisx.Conn
	log     *hotlog.Log
	tier    *archiver.Tier
	runner  *archiver.Runner
}

func newWorld(t *testing.T, o tier.Options) *world {
	t.Helper()
	w, _ := newClockWorld(t, o)
	return w
}

func newClockWorld(t *testing.T, o tier.Options) (*world, *miniredis.Miniredis) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	server := miniredis.RunT(t)
	w := &world{T: t, ctx: ctx, server: redis.Options{Addr: server.Addr()}, backend: archive.NewMemory()}
	return w.with(uuid.New(), o), server
}

// newUserWorld is a world on a real server as the documented user, to which nothing may be refused.
func newUserWorld(t *testing.T, o tier.Options) *world {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	server := testredis.Start(t, nil)
	testredis.AsUser(t, server)
	w := &world{T: t, ctx: ctx, backend: archive.NewMemory()}
	w.server = redis.Options{Addr: server.Addr(), Username: testredis.User, Password: testredis.Password, DisableIdentity: true}
	return w.with(uuid.New(), o)
}

// with is the world as another process sees it that was opened with these options.
func (w *world) with(id uuid.UUID, o tier.Options, hooks ...redis.Hook) *world {
	w.Helper()
	v := *w
	options := w.server
	options.Protocol, options.ContextTimeoutEnabled = 2, true
	client := redis.NewClient(&options)
	w.Cleanup(func() { _ = client.Close() })
	client.AddHook(testredis.DeclaredKeys(w, &w.server))
	for _, h := range hooks {
		client.AddHook(h)
	}
	var err error
	v.conn, err = redisx.Connect(w.ctx, client)
	require.NoError(w, err)
	v.tier, err = archiver.New(w.ctx, v.backend, &o)
	require.NoError(w, err)
	v.log, err = hotlog.Open(w.ctx, v.conn, &hotlog.Options{Cold: v.tier})
	require.NoError(w, err)
	w.Cleanup(func() { require.NoError(w, v.log.Close()) })
	v.Store = v.log.Store(id)
	v.runner = v.tier.Runner(v.log, lease.New(v.conn, nil))
	return &v
}

func (w *world) another(o tier.Options, hooks ...redis.Hook) *world {
	w.Helper()
	return w.with(w.ID(), o, hooks...)
}

// move archives what is due.
func (w *world) move() {
	w.Helper()
	require.NoError(w, w.runner.Space(w.ctx, w.Store, space))
	w.runner.Release(w.ctx)
}

func (w *world) append(segment string, payloads ...string) streamhub.AppendResult {
	w.Helper()
	records := make([]streamhub.Record, len(payloads))
	for i, p := range payloads {
		records[i].Payload = []byte(p)
	}
	r, err := w.Append(w.ctx, space, segment, records, nil)
	require.NoError(w, err)
	return r
}

// history appends to six segments by calls that name several of them.
func (w *world) history(seed uint64, calls int) {
	w.Helper()
	random := rand.New(rand.NewPCG(1, seed))
	n := 0
	for call := range calls {
		var batch []streamhub.Append
		for _, segment := range random.Perm(6)[:1+random.IntN(6)] {
			a := streamhub.Append{Space: space, Segment: fmt.Sprint("s/", segment)}
			for range 1 + random.IntN(4) {
				n++
				a.Records = append(a.Records, streamhub.Record{
					Payload: []byte(fmt.Sprint(seed, " ", call, "/", n)), Metadata: map[string]string{"n": fmt.Sprint(n)},
				})
			}
			batch = append(batch, a)
		}
		_, errs := w.AppendAll(w.ctx, batch)
		require.Equal(w, make([]error, len(batch)), errs)
	}
}

func (w *world) read(segment string, o *streamhub.ReadOptions) []streamhub.Entry {
	w.Helper()
	entries, err := w.tryRead(segment, o)
	require.NoError(w, err)
	return entries
}

func (w *world) tryRead(segment string, o *streamhub.ReadOptions) (entries []streamhub.Entry, err error) {
	for e, err := range w.ConsumeSegment(w.ctx, space, segment, o) {
		if err != nil {
			return entries, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

func (w *world) readSpace(o *streamhub.ReadOptions) []streamhub.Entry {
	w.Helper()
	entries, err := w.tryReadSpace(o)
	require.NoError(w, err)
	return entries
}

func (w *world) tryReadSpace(o *streamhub.ReadOptions) (entries []streamhub.Entry, err error) {
	for e, err := range w.ConsumeSpace(w.ctx, space, o) {
		if err != nil {
			return entries, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// hot is how many entries of a segment are in Redis.
func (w *world) hot(segment string) uint64 {
	w.Helper()
	for after := ""; ; {
		hot, next, err := w.HotSegments(w.ctx, space, after, 2, true)
		require.NoError(w, err)
		for _, h := range hot {
			if h.Segment == segment {
				return h.Last - h.First + 1
			}
		}
		if next == "" {
			return 0
		}
		after = next
	}
}
