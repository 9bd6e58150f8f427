package durable

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

func testRegister(t *testing.T, limits *stepLimits) register {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: testredis.Shared(t).Addr(), ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = client.Close() })
	h, err := hub.Open(t.Context(), client, &hub.Options{SweepEvery: -1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	r := registerOf(h, uuid.New())
	r.limits = limits
	return r
}

func linkAt(life, sequence uint64) *link {
	return &link{Acked: offset{life: life, sequence: sequence, proof: 7}, Lineage: life}
}

func equalLinks(t *testing.T, want, got map[string]*link) {
	t.Helper()
	require.Len(t, got, len(want))
	for path, l := range want {
		require.NotNil(t, got[path], path)
		require.Equal(t, l.Acked, got[path].Acked, path)
		require.Equal(t, l.Explicit, got[path].Explicit, path)
	}
}

// TestRegisterFolds compares a subscription that two gateways change by turns with a plain map. What Redis holds of it
// grows with what it has, not with what happened to it, however small its entries and appends are.
func TestRegisterFolds(t *testing.T) {
	limits := &stepLimits{entryBytes: 1 << 10, appendBytes: 4 << 10, entries: 8}
	r := testRegister(t, limits)
	const seed = 14
	random := rand.New(rand.NewPCG(seed, 1))
	want := map[string]*link{}
	create := func(n int) {
		want = map[string]*link{}
		require.NoError(t, r.change(t.Context(), "s", func(s *subscription) (map[string]*link, error) {
			s.begins = true
			s.core = core{Created: int64(n), Generation: s.Generation}
			links := map[string]*link{}
			for i := range n {
				path := fmt.Sprint("path/", i)
				links[path], want[path] = linkAt(1, uint64(i+1)), linkAt(1, uint64(i+1))
			}
			return links, nil
		}))
	}
	create(300)
	kept := [2]*subscription{{links: map[string]*link{}}, {links: map[string]*link{}}}
	for round := range 600 {
		changed := map[string]*link{}
		for range random.IntN(4) {
			path := fmt.Sprint("path/", random.IntN(400))
			if random.IntN(3) == 0 {
				changed[path] = nil
				delete(want, path)
			} else {
				changed[path] = linkAt(2, uint64(round+1))
				want[path] = linkAt(2, uint64(round+1))
			}
		}
		s := kept[round%2]
		require.NoError(t, r.update(t.Context(), "s", s))
		s.Generation++
		require.NoError(t, r.save(t.Context(), "s", s, changed))
		equalLinks(t, want, s.links)
		if round%25 == 0 {
			fresh, err := r.load(t.Context(), "s")
			require.NoError(t, err)
			equalLinks(t, want, fresh.links)
			require.Equal(t, s.Generation, fresh.Generation)
			// Twice what is filled, and some for entries that are not full and steps that took several.
			require.LessOrEqual(t, len(fresh.entries), limits.entries+3*(fresh.size/limits.entryBytes+1), "round %d", round)
		}
		if round == 300 {
			generation := s.Generation
			require.NoError(t, r.change(t.Context(), "s", func(s *subscription) (map[string]*link, error) {
				s.core = core{Deleted: true, Generation: s.Generation}
				return nil, nil
			}))
			gone, err := r.load(t.Context(), "s")
			require.NoError(t, err)
			require.True(t, gone.Deleted)
			require.Empty(t, gone.links)
			require.Len(t, gone.entries, 1)
			create(200)
			again, err := r.load(t.Context(), "s")
			require.NoError(t, err)
			require.Equal(t, generation, again.Generation)
			equalLinks(t, want, again.links)
		}
	}
}

// TestRegisterPartly: a subscription whose creator died between two appends is not there, and can be created.
func TestRegisterPartly(t *testing.T) {
	r := testRegister(t, &stepLimits{entryBytes: 512, appendBytes: 1 << 10, entries: 8})
	links := map[string]*link{}
	for i := range 100 {
		links[fmt.Sprint("old/", i)] = linkAt(1, 1)
	}
	s, err := r.load(t.Context(), "s")
	require.NoError(t, err)
	s.core, s.begins = core{Created: 1}, true
	require.NoError(t, r.save(t.Context(), "s", s, links))

	// The first append alone, as a dead creator leaves it.
	var part step
	part.core, part.Whole = core{Deleted: true}, true
	part.Links = map[string]*link{"stale": linkAt(1, 1)}
	other := testRegister(t, r.limits)
	o, err := other.load(t.Context(), "s")
	require.NoError(t, err)
	require.Zero(t, o.sequence)
	payload, err := json.Marshal(&part)
	require.NoError(t, err)
	_, err = other.log.Append(t.Context(), other.space, "s", []streamhub.Record{{Payload: payload}}, nil)
	require.NoError(t, err)
	require.NoError(t, other.update(t.Context(), "s", o))
	require.True(t, o.Deleted)
	o.core, o.begins = core{Created: 2}, true
	require.NoError(t, other.save(t.Context(), "s", o, map[string]*link{"new": linkAt(2, 1)}))
	again, err := other.load(t.Context(), "s")
	require.NoError(t, err)
	equalLinks(t, map[string]*link{"new": linkAt(2, 1)}, again.links)
	require.False(t, again.Deleted)

	// Who reads between the appends of a creation sees no subscription.
	at, visible := &subscription{links: map[string]*link{}}, 0
	for e, err := range r.log.ConsumeSegment(t.Context(), r.space, "s", nil) {
		require.NoError(t, err)
		var next step
		require.NoError(t, json.Unmarshal(e.Payload, &next))
		at.apply(e.Sequence, &next)
		if !at.Deleted {
			visible++
		}
	}
	equalLinks(t, links, at.links)
	require.False(t, at.Deleted)
	require.Greater(t, len(at.entries), 4*visible, "only the last append shows it")
}

// TestRegisterDropsGone: links to streams that are gone are not written again.
func TestRegisterDropsGone(t *testing.T) {
	r := testRegister(t, &stepLimits{entryBytes: 512, appendBytes: 4 << 10, entries: 4})
	s, err := r.load(t.Context(), "s")
	require.NoError(t, err)
	links := map[string]*link{"explicit": {Explicit: true}}
	for i := range 50 {
		links[fmt.Sprint("gone/", i)] = linkAt(1, 1)
	}
	s.core = core{Created: 1}
	require.NoError(t, r.save(t.Context(), "s", s, links))
	s.gone = func(path string) bool { return path != "kept" }
	for i := range 100 {
		require.NoError(t, r.save(t.Context(), "s", s, map[string]*link{"kept": linkAt(1, uint64(i+1))}))
	}
	fresh, err := r.load(t.Context(), "s")
	require.NoError(t, err)
	equalLinks(t, map[string]*link{"explicit": {Explicit: true}, "kept": linkAt(1, 100)}, fresh.links)
	require.LessOrEqual(t, len(fresh.entries), 8)
}

// TestRegisterLarge creates a subscription with more links than one append takes. STREAMHUB_LINKS is how many.
func TestRegisterLarge(t *testing.T) {
	n := 20_000
	limits := defaultStepLimits
	limits.appendBytes = 256 << 10
	if text := os.Getenv("STREAMHUB_LINKS"); text != "" {
		var err error
		n, err = strconv.Atoi(text)
		require.NoError(t, err, "STREAMHUB_LINKS")
		limits = defaultStepLimits
	}
	r := testRegister(t, &limits)
	begin := time.Now()
	require.NoError(t, r.change(t.Context(), "s", func(s *subscription) (map[string]*link, error) {
		s.begins = true
		s.core = core{Created: 1}
		links := make(map[string]*link, n)
		for i := range n {
			links[fmt.Sprintf("tenant/orders/%09d", i)] = linkAt(1, uint64(i+1))
		}
		return links, nil
	}))
	created := time.Since(begin)
	begin = time.Now()
	s, err := r.load(t.Context(), "s")
	require.NoError(t, err)
	require.Len(t, s.links, n)
	loaded := time.Since(begin)
	begin = time.Now()
	const saves = 1000
	for i := range saves {
		s.Generation++
		err := r.save(t.Context(), "s", s, map[string]*link{fmt.Sprintf("tenant/orders/%09d", i): linkAt(1, uint64(n+i))})
		require.NoError(t, err)
	}
	t.Logf("%d links: created in %v, loaded in %v, a step takes %v; %d entries", n, created, loaded, time.Since(begin)/saves, len(s.entries))
	fresh, err := r.load(t.Context(), "s")
	require.NoError(t, err)
	equalLinks(t, s.links, fresh.links)
	require.EqualValues(t, saves, fresh.Generation)
}
