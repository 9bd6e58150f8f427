package follow

import (
	"bytes"
	"context"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
)

func (w *world) workers(by *Watcher) *puller[[]streamhub.Worker] {
	return pull(w.t, w.t.Context(), func(ctx context.Context) iter.Seq2[[]streamhub.Worker, error] {
		return by.Workers(ctx, w.store.ID())
	})
}

func ids(list []streamhub.Worker) (ids []uuid.UUID) {
	for i := range list {
		ids = append(ids, list[i].ID)
	}
	return ids
}

func TestPresence(t *testing.T) {
	backends(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		one, two := w.watch(&Options{Recheck: never}), w.watch(&Options{Recheck: never})
		p := w.workers(one)
		require.Empty(t, p.next(soon))
		a, b := uuid.New(), uuid.New()
		ma, err := two.Join(ctx, w.store.ID(), streamhub.Worker{ID: a, Metadata: map[string]string{"host": "ü b"}}, 0)
		require.NoError(t, err)
		list := p.next(soon)
		require.Len(t, list, 1)
		require.Equal(t, a, list[0].ID)
		require.Equal(t, map[string]string{"host": "ü b"}, list[0].Metadata)
		require.WithinDuration(t, time.Now(), list[0].LastSeen, time.Minute)
		mb, err := one.Join(ctx, w.store.ID(), streamhub.Worker{ID: b}, time.Minute)
		require.NoError(t, err)
		both := ids(p.next(soon))
		require.ElementsMatch(t, []uuid.UUID{a, b}, both)
		require.True(t, slices.IsSortedFunc(both, func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) }))
		require.Len(t, w.workers(two).next(soon), 2)
		require.NoError(t, ma.Leave(ctx))
		require.Equal(t, []uuid.UUID{b}, ids(p.next(soon)))
		require.NoError(t, ma.Err())
		require.NoError(t, ma.Leave(ctx))
		<-ma.Done()
		// Closing takes it off, too.
		other := w.workers(two)
		require.Len(t, other.next(soon), 1)
		require.NoError(t, one.Close())
		require.Empty(t, other.next(soon))
		require.NoError(t, mb.Err())
		_, err = one.Join(ctx, w.store.ID(), streamhub.Worker{ID: b}, 0)
		require.ErrorIs(t, err, streamhub.ErrShutdown)
	})
}

// lasting is a short ttl: a busy machine may hold up a renewal, but not for a whole second.
const lasting = 1500 * time.Millisecond

func TestPresenceRenews(t *testing.T) {
	w := onRedis(t)
	by := w.watch(&Options{Recheck: 50 * time.Millisecond})
	id := uuid.New()
	ctx, cancel := context.WithCancel(t.Context())
	m, err := by.Join(ctx, w.store.ID(), streamhub.Worker{ID: id}, lasting)
	require.NoError(t, err)
	p := w.workers(by)
	require.Len(t, p.next(soon), 1)
	// Its first deadline passes twice.
	p.ask()
	select {
	case v := <-p.got:
		require.FailNow(t, "it went", "%v", v)
	case <-time.After(2 * lasting):
	}
	cancel()
	require.Empty(t, p.take(soon).value)
	<-m.Done()
	require.NoError(t, m.Err())
}

// TestPresenceExpires: a worker whose process died goes when its ttl has passed, noticed by a
// re-check only.
func TestPresenceExpires(t *testing.T) {
	backends(t, func(t *testing.T, w *world) {
		by := w.watch(&Options{Recheck: 50 * time.Millisecond})
		m := &Membership{w: by, key: key{store: w.store.ID()}, id: uuid.NewString(), holder: "dead", ttl: lasting, metadata: "null"}
		require.NoError(t, m.renew(t.Context(), "join")) // nobody renews it
		p := w.workers(by)
		require.Len(t, p.next(soon), 1)
		require.Empty(t, p.next(soon))
	})
}

func TestPresenceReplaced(t *testing.T) {
	backends(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		one, two := w.watch(nil), w.watch(nil)
		id := uuid.New()
		old, err := one.Join(ctx, w.store.ID(), streamhub.Worker{ID: id, Metadata: map[string]string{"n": "1"}}, lasting)
		require.NoError(t, err)
		p := w.workers(two)
		require.Len(t, p.next(soon), 1)
		newer, err := two.Join(ctx, w.store.ID(), streamhub.Worker{ID: id, Metadata: map[string]string{"n": "2"}}, time.Minute)
		require.NoError(t, err)
		require.Equal(t, "2", p.next(soon)[0].Metadata["n"])
		select {
		case <-old.Done():
		case <-time.After(soon):
			require.FailNow(t, "the older one goes on")
		}
		require.ErrorIs(t, old.Err(), streamhub.ErrLeaseLost)
		require.NoError(t, old.Leave(ctx))
		require.Len(t, w.workers(one).next(soon), 1, "it is not its own any more")
		require.NoError(t, newer.Err())
		require.NoError(t, newer.Leave(ctx))
		require.Empty(t, p.next(soon))
	})
}

func TestJoinRefuses(t *testing.T) {
	w := onRedis(t)
	by := w.watch(nil)
	for _, ttl := range []time.Duration{-1, time.Millisecond, 25 * time.Hour} {
		_, err := by.Join(t.Context(), w.store.ID(), streamhub.Worker{}, ttl)
		require.ErrorIs(t, err, streamhub.ErrInvalidArgument)
	}
	_, err := by.Join(t.Context(), w.store.ID(), streamhub.Worker{Metadata: map[string]string{"k": string(make([]byte, 20_000))}}, 0)
	require.ErrorIs(t, err, streamhub.ErrTooLarge)
	for _, metadata := range []map[string]string{{"k": "\xff"}, {"\xff": "v"}, {"\xc3": "\xa9"}} {
		_, err := by.Join(t.Context(), w.store.ID(), streamhub.Worker{Metadata: metadata}, 0)
		require.ErrorIs(t, err, streamhub.ErrInvalidArgument)
	}
}
