package archivetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive"
)

var writeCases = []namedCase{
	{"Empty", empty},
	{"WriteAndRead", writeAndRead},
	{"ClaimTokens", claimTokens},
	{"StaleWriter", staleWriter},
	{"Rewind", rewind},
	{"RewindOfReaders", rewindOfReaders},
	{"Prune", prune},
	{"Erase", erase},
}

func isFenced(err error) bool { return errors.Is(err, streamhub.ErrFenced) }

// write writes a window after the last one.
func (f *fixture) write(w *archive.Writer, h *history, changes int) {
	f.Helper()
	window, chunks := h.window(w.Commit().Position, changes)
	require.NoError(f, w.Write(f.ctx, window, chunks))
}

// holds requires that the archive holds the history, every entry once, along the timeline and by segment, and nothing
// else.
func (f *fixture) holds(h *history) {
	f.Helper()
	f.shows(f.archive(), h)
}

// shows requires the same of an archive that may have read before.
func (f *fixture) shows(a *archive.Archive, h *history) {
	f.Helper()
	used := map[string]bool{}
	// The timeline comes first: looking for a chunk would let a stale reader notice later windows.
	var order []string
	for from := (streamhub.TimelineID{}); ; {
		w, err := a.Window(f.ctx, f.space, from)
		if errors.Is(err, streamhub.ErrNotFound) {
			break
		}
		require.NoError(f, err)
		used[w.Key()] = true
		for _, c := range w.Changes {
			order = append(order, fmt.Sprint(c.Segment, " ", c.Last))
			// Each position must lead to its window.
			at, err := a.Window(f.ctx, f.space, c.ID)
			require.NoError(f, err)
			require.Equal(f, w.Number, at.Number)
		}
		from = streamhub.TimelineID{MS: w.To.MS, N: w.To.N + 1}
	}
	require.Equal(f, h.order, order)
	for name, frames := range h.frames {
		for _, want := range frames {
			for _, sequence := range []uint64{want.First(), want.Last} {
				c, err := a.Chunk(f.ctx, f.space, name, incarnation, sequence)
				require.NoError(f, err, "%s %d", name, sequence)
				span, err := a.Locate(f.ctx, f.space, name, incarnation, sequence)
				require.NoError(f, err)
				require.Equal(f, c.Range(), span)
				used[c.Key()] = true
				found := 0
				for _, got := range c.Frames {
					if got.First() <= sequence && sequence <= got.Last {
						require.Equal(f, want, got)
						found++
					}
				}
				require.Equal(f, 1, found)
			}
		}
		_, err := a.Chunk(f.ctx, f.space, name, incarnation, h.last[name]+1)
		require.ErrorIs(f, err, streamhub.ErrNotFound)
	}
	for _, key := range f.keys("", 1000) {
		if !strings.HasPrefix(key, "c!") {
			require.True(f, used[key], "%s is garbage", key)
		}
	}
}

func empty(f *fixture) {
	a := f.archive()
	_, err := a.Manifest(f.ctx, f.space)
	require.ErrorIs(f, err, streamhub.ErrNotFound)
	_, err = a.Chunk(f.ctx, f.space, "s", 1, 1)
	require.ErrorIs(f, err, streamhub.ErrNotFound)
	_, err = a.Window(f.ctx, f.space, streamhub.TimelineID{})
	require.ErrorIs(f, err, streamhub.ErrNotFound)
	f.claim(1)
	f.holds(newHistory(0))
}

func writeAndRead(f *fixture) {
	h := newHistory(1)
	w := f.claim(1)
	for range 12 {
		f.write(w, h, 20)
	}
	f.holds(h)
	w = f.claim(2)
	f.write(w, h, 3)
	f.holds(h)
	m, err := f.archive().Manifest(f.ctx, f.space)
	require.NoError(f, err)
	require.Equal(f, owner(2), m.Owner)
	require.EqualValues(f, 13, m.Commit.Window)
	entries := uint64(0)
	for _, last := range h.last {
		entries += last
	}
	require.Equal(f, entries, m.Commit.Entries)
	size := int64(0)
	for _, prefix := range []string{"s!", "t!"} {
		items, err := f.List(f.ctx, f.space, prefix, "", 10_000)
		require.NoError(f, err)
		for _, item := range items {
			size += item.Size
		}
	}
	require.EqualValues(f, size, m.Commit.Bytes)

	window, chunks := h.window(streamhub.TimelineID{MS: 1}, 1)
	require.ErrorIs(f, w.Write(f.ctx, window, chunks), streamhub.ErrInvalidArgument, "it does not begin where the last one ends")
	// Verify finds no problem.
	report, err := f.archive().Verify(f.ctx, f.space, nil)
	require.NoError(f, err)
	require.Empty(f, report.Problems)
	require.Equal(f, m.Commit.Entries, report.Entries)
}

func claimTokens(f *fixture) {
	a := f.archive()
	f.claim(5)
	f.claim(5) // the same owner again
	_, err := a.Claim(f.ctx, f.space, owner(4))
	require.ErrorIs(f, err, streamhub.ErrFenced)
	var fenced *streamhub.FencedError
	require.ErrorAs(f, err, &fenced)
	require.EqualValues(f, 5, fenced.Current)
	// After a failover two holders can have the same token.
	_, err = a.Claim(f.ctx, f.space, archive.Owner{Token: 5, Lineage: "reign", Holder: "somebody else"})
	require.ErrorIs(f, err, streamhub.ErrFenced)
	_, err = a.Claim(f.ctx, f.space, archive.Owner{Token: 5, Lineage: "another reign", Holder: owner(5).Holder})
	require.ErrorIs(f, err, streamhub.ErrFenced)
	f.claim(6)
}

func staleWriter(f *fixture) {
	h := newHistory(2)
	old := f.claim(1)
	f.write(old, h, 10)
	next := f.claim(2)
	lost, chunks := newHistory(3).window(old.Commit().Position, 10)
	lost.To.MS += 1 << 40 // beyond the position of the window
	require.ErrorIs(f, old.Write(f.ctx, lost, chunks), streamhub.ErrFenced)
	f.holds(h)
	f.write(next, h, 10)
	require.ErrorIs(f, old.Rewind(f.ctx, 1), streamhub.ErrFenced)
	f.holds(h)
}

func rewind(f *fixture) {
	h := newHistory(4)
	w := f.claim(1)
	f.write(w, h, 20)
	f.write(w, h, 20)
	fork := newHistory(4) // begins with the same window
	after := streamhub.TimelineID{}
	for range 2 {
		window, _ := fork.window(after, 20)
		after = window.To
	}
	for range 3 {
		f.write(w, h, 15)
	}
	f.holds(h)
	require.NoError(f, w.Rewind(f.ctx, 2))
	f.holds(fork)
	f.write(w, fork, 30)
	f.write(f.claim(2), fork, 5)
	f.holds(fork)
	require.ErrorIs(f, w.Rewind(f.ctx, 9), streamhub.ErrNotFound)
}

// rewindOfReaders replaces the end of a history under processes that have read it before, again and
// again, with windows of other sizes.
func rewindOfReaders(f *fixture) {
	h := newHistory(6)
	w := f.claim(1)
	sizes := []int{20, 10, 10, 10, 10, 10, 10}
	for _, size := range sizes {
		f.write(w, h, size)
	}
	readers := []*archive.Archive{f.archive(), f.archive(), archive.New(f.Backend, &archive.Options{CacheBytes: 1})}
	for round := range uint64(4) {
		for _, a := range readers {
			f.shows(a, h)
		}
		keep := len(sizes) - 2 - int(round)%3
		fork := newHistory(6)
		after := streamhub.TimelineID{}
		for _, size := range sizes[:keep] {
			window, _ := fork.window(after, size)
			after = window.To
		}
		w = f.claim(2 + round)
		require.NoError(f, w.Rewind(f.ctx, uint64(keep)))
		f.shows(readers[1], fork) // one reader has the fork in its cache, the other does not
		fork.random = rand.New(rand.NewPCG(round, 7))
		sizes = sizes[:keep:keep]
		for _, size := range []int{3, 25, 7, 1, 9} {
			f.write(w, fork, size)
			sizes = append(sizes, size)
		}
		for _, a := range readers {
			f.shows(a, fork)
		}
		// The next round starts again from the first window, whose history the seed reproduces.
		require.NoError(f, w.Rewind(f.ctx, 1))
		h, sizes = newHistory(6), []int{20, 10, 10, 10, 10, 10, 10}
		_, _ = h.window(streamhub.TimelineID{}, sizes[0])
		for _, size := range sizes[1:] {
			f.write(w, h, size)
		}
	}
}

func prune(f *fixture) {
	h := newHistory(5)
	w := f.claim(1)
	for range 8 {
		f.write(w, h, 20)
	}
	name := "segment 1"
	var lasts []uint64
	for from := uint64(1); from <= h.last[name]; {
		c, err := f.archive().Chunk(f.ctx, f.space, name, incarnation, from)
		require.NoError(f, err)
		lasts = append(lasts, c.Last())
		from = c.Last() + 1
	}
	require.Greater(f, len(lasts), 3)
	require.NoError(f, w.Prune(f.ctx, name, incarnation, lasts[1]))
	_, err := f.archive().Chunk(f.ctx, f.space, name, incarnation, 1)
	require.ErrorIs(f, err, streamhub.ErrNotFound)
	c, err := f.archive().Chunk(f.ctx, f.space, name, incarnation, lasts[1])
	require.NoError(f, err)
	require.Equal(f, lasts[1], c.Last(), "the sequence itself is kept")
	require.NoError(f, w.Prune(f.ctx, name, incarnation, h.last[name]+1))
	_, err = f.archive().Chunk(f.ctx, f.space, name, incarnation, h.last[name])
	require.ErrorIs(f, err, streamhub.ErrNotFound)
	_, err = f.archive().Chunk(f.ctx, f.space, "segment 2", incarnation, 1)
	require.NoError(f, err)
	require.NoError(f, w.Prune(f.ctx, name, incarnation, 1<<50))
}

// nothing requires that no trace of the space is left in the archive.
func (f *fixture) nothing() {
	f.Helper()
	require.Empty(f, f.keys("", 1000))
	_, _, err := f.Manifest(f.ctx, f.space)
	require.ErrorIs(f, err, streamhub.ErrNotFound)
	for after := (archive.SpaceID{}); ; {
		page, err := f.Spaces(f.ctx, after, 100)
		require.NoError(f, err)
		require.NotContains(f, page, f.space)
		if len(page) == 0 {
			return
		}
		after = page[len(page)-1]
	}
}

// erase removes a space that a reader has cached and an old writer still writes to, and then archives it again.
func erase(f *fixture) {
	h := newHistory(12)
	w := f.claim(5)
	for range 4 {
		f.write(w, h, 20)
	}
	reader := f.archive()
	f.shows(reader, h)
	other := f.space
	f.space.Space += " and another"
	kept := newHistory(13)
	f.write(f.claim(1), kept, 10)
	f.space = other

	require.ErrorIs(f, f.archive().Erase(f.ctx, f.space, owner(4), nil), streamhub.ErrFenced)
	f.holds(h)
	trusted := errors.New("no longer")
	require.ErrorIs(f, f.archive().Erase(f.ctx, f.space, owner(6), func(context.Context) error { return trusted }), trusted)
	require.NoError(f, f.archive().Erase(f.ctx, f.space, owner(7), nil))
	f.nothing()
	require.NoError(f, f.archive().Erase(f.ctx, f.space, owner(7), nil), "there is nothing")
	f.nothing()

	late, chunks := newHistory(14).window(w.Commit().Position, 10)
	late.To.MS += 1 << 40
	require.ErrorIs(f, w.Write(f.ctx, late, chunks), streamhub.ErrFenced)
	f.nothing()
	_, err := reader.Window(f.ctx, f.space, streamhub.TimelineID{})
	require.ErrorIs(f, err, streamhub.ErrNotFound)

	again := newHistory(15)
	next := f.claim(8)
	for _, size := range []int{3, 25, 7, 30} {
		f.write(next, again, size)
	}
	f.holds(again)
	f.shows(reader, again)
	require.ErrorIs(f, w.Write(f.ctx, late, chunks), streamhub.ErrFenced)
	f.holds(again)
	f.space.Space += " and another"
	f.holds(kept)
}
