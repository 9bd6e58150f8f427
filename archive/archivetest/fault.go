package archivetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive"
)

var faultCases = []namedCase{
	{"DieAnywhere", dieAnywhere},
	{"EraseAnywhere", eraseAnywhere},
	{"LostReplies", lostReplies},
	{"BitFlips", bitFlips},
}

// A Faulty is a Backend that fails on command. Before is called before each write, and After once
// it has been made; a call returns their errors.
type Faulty struct {
	archive.Backend
	Before, After func(op string) error
}

func (b *Faulty) do(op string, call func() error) error {
	if b.Before != nil {
		if err := b.Before(op); err != nil {
			return err
		}
	}
	err := call()
	if err == nil && b.After != nil {
		err = b.After(op)
	}
	return err
}

// Put implements [archive.Backend]. Each object is a call of its own.
func (b *Faulty) Put(ctx context.Context, space archive.SpaceID, objects ...archive.Object) error {
	for _, o := range objects {
		if err := b.do("put "+o.Key, func() error { return b.Backend.Put(ctx, space, o) }); err != nil {
			return err
		}
	}
	return nil
}

// Delete implements [archive.Backend]. Each key is a call of its own.
func (b *Faulty) Delete(ctx context.Context, space archive.SpaceID, keys ...string) error {
	for _, key := range keys {
		if err := b.do("delete "+key, func() error { return b.Backend.Delete(ctx, space, key) }); err != nil {
			return err
		}
	}
	return nil
}

// SetManifest implements [archive.Backend].
func (b *Faulty) SetManifest(ctx context.Context, space archive.SpaceID, version string, data []byte) (string, error) {
	var next string
	err := b.do("set manifest", func() (err error) {
		next, err = b.Backend.SetManifest(ctx, space, version, data)
		return err
	})
	return next, err
}

// RemoveManifest implements [archive.Backend].
func (b *Faulty) RemoveManifest(ctx context.Context, space archive.SpaceID, version string) error {
	return b.do("remove manifest", func() error { return b.Backend.RemoveManifest(ctx, space, version) })
}

var errDead = errors.New("this process is dead")

// dieAnywhere lets a writer die before and after each of its writes; the next writer continues.
func dieAnywhere(f *fixture) {
	steps := 0
	for step := 1; ; step++ {
		for _, after := range []bool{false, true} {
			f.space.Space = fmt.Sprint("die ", step, after)
			h := newHistory(6)
			f.write(f.claim(1), h, 10)
			count, dead := 0, false
			die := func(string) error {
				if count++; count >= step {
					dead = true
				}
				if dead {
					return errDead
				}
				return nil
			}
			faulty := &Faulty{Backend: f.Backend, Before: die}
			if after {
				faulty.Before, faulty.After = func(string) error {
					if dead {
						return errDead
					}
					return nil
				}, die
			}
			mirror := newHistory(6)
			mirror.window(streamhub.TimelineID{}, 10)
			window, chunks := mirror.window(h.at, 10)
			w, err := archive.New(faulty, nil).Claim(f.ctx, f.space, owner(2))
			if err == nil {
				err = w.Write(f.ctx, window, chunks)
			}
			if !dead {
				require.NoError(f, err)
				steps = step
				break
			}
			require.ErrorIs(f, err, errDead)
			next := f.claim(3)
			if next.Commit().Window == 2 {
				h = mirror // the dead writer had committed its window
			} else {
				f.write(next, h, 10)
			}
			f.holds(h)
			f.write(next, h, 5)
			f.holds(h)
		}
		if steps > 0 {
			break
		}
	}
	require.Greater(f, steps, 8, "a claim and a write are so many steps")
}

// eraseAnywhere lets a process die before and after each write of an erasure; a later one completes it.
func eraseAnywhere(f *fixture) {
	for step, died := 1, true; died; step++ {
		for _, after := range []bool{false, true} {
			f.space.Space = fmt.Sprint("erase ", step, after)
			w, h := f.claim(1), newHistory(11)
			f.write(w, h, 10)
			f.write(w, h, 10)
			count := 0
			died = false
			die := func(string) error {
				if count++; count >= step {
					died = true
					return errDead
				}
				return nil
			}
			faulty := &Faulty{Backend: f.Backend, Before: die}
			if after {
				faulty.Before, faulty.After = nil, die
			}
			err := archive.New(faulty, nil).Erase(f.ctx, f.space, owner(2), nil)
			if died {
				require.ErrorIs(f, err, errDead)
			} else {
				require.NoError(f, err)
			}
			require.NoError(f, f.archive().Erase(f.ctx, f.space, owner(3), nil))
			f.nothing()
		}
	}
}

// lostReplies lets one call in five fail, half of them after they have taken effect.
func lostReplies(f *fixture) {
	random := rand.New(rand.NewPCG(7, 7))
	fail := func(string) error {
		if random.IntN(10) == 0 {
			return fmt.Errorf("%w: a reply was lost", streamhub.ErrUnavailable)
		}
		return nil
	}
	faulty := &Faulty{Backend: f.Backend, Before: fail, After: fail}
	h := newHistory(8)
	token, windows := uint64(0), 0
	for attempt := 0; windows < 12; attempt++ {
		require.Less(f, attempt, 2000)
		token++
		w, err := archive.New(faulty, nil).Claim(f.ctx, f.space, owner(token))
		for err == nil && windows < 12 {
			before := w.Commit()
			mirror := newHistory(8)
			after := streamhub.TimelineID{}
			for range windows {
				done, _ := mirror.window(after, 10)
				after = done.To
			}
			require.Equal(f, after, before.Position)
			window, chunks := mirror.window(after, 10)
			if err = w.Write(f.ctx, window, chunks); err == nil || f.committed(windows+1) {
				windows++
				h = mirror
			}
		}
	}
	f.claim(token + 1)
	f.holds(h)
}

func (f *fixture) committed(window int) bool {
	m, err := f.archive().Manifest(f.ctx, f.space)
	require.NoError(f, err)
	return m.Commit.Window == uint64(window)
}

// A photo is a backend that reads each object once and then answers from memory, as if there were no writers.
type photo struct {
	archive.Backend
	mu    sync.Mutex
	seen  map[string][]byte
	lists map[string][]archive.Item
}

func (p *photo) Get(ctx context.Context, space archive.SpaceID, key string) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if data, ok := p.seen[key]; ok {
		return bytes.Clone(data), nil
	}
	data, err := p.Backend.Get(ctx, space, key)
	if err == nil {
		p.seen[key] = bytes.Clone(data)
	}
	return data, err
}

func (p *photo) List(ctx context.Context, space archive.SpaceID, prefix, after string, limit int) ([]archive.Item, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	call := fmt.Sprint(prefix, "\n", after, "\n", limit)
	if items, ok := p.lists[call]; ok {
		return slices.Clone(items), nil
	}
	items, err := p.Backend.List(ctx, space, prefix, after, limit)
	if err == nil {
		p.lists[call] = slices.Clone(items)
	}
	return items, err
}

// A flipped is a backend in which one bit of one object is flipped.
type flipped struct {
	archive.Backend
	key string
	bit int
}

func (b *flipped) Get(ctx context.Context, space archive.SpaceID, key string) ([]byte, error) {
	data, err := b.Backend.Get(ctx, space, key)
	return b.flip(key, data), err
}

func (b *flipped) Manifest(ctx context.Context, space archive.SpaceID) ([]byte, string, error) {
	data, version, err := b.Backend.Manifest(ctx, space)
	return b.flip("manifest", data), version, err
}

func (b *flipped) flip(key string, data []byte) []byte {
	if key == b.key {
		data[b.bit/8] ^= 1 << (b.bit % 8)
	}
	return data
}

// bitFlips flips 1,000 bits, one at a time: every flip is noticed.
func bitFlips(f *fixture) {
	h := newHistory(9)
	w := f.claim(1)
	for range 3 {
		f.write(w, h, 30)
	}
	sizes := map[string]int{}
	keys := append(f.keys("", 1000), "manifest")
	for _, key := range keys {
		data, err := f.Get(f.ctx, f.space, key)
		if key == "manifest" {
			data, _, err = f.Manifest(f.ctx, f.space)
		}
		require.NoError(f, err)
		sizes[key] = 8 * len(data)
	}
	still := &photo{Backend: f.Backend, seen: map[string][]byte{}, lists: map[string][]archive.Item{}}
	random := rand.New(rand.NewPCG(10, 10))
	for range 1000 {
		key := keys[random.IntN(len(keys))]
		if key[0] == 'c' && key > "c!0000000000000003" {
			continue // the JSON of the manifest still has the same meaning
		}
		bit := random.IntN(sizes[key])
		a := archive.New(&flipped{still, key, bit}, nil)
		report, err := a.Verify(f.ctx, f.space, nil)
		require.NoError(f, err)
		require.NotEmpty(f, report.Problems, "bit %d of %s", bit, key)
		for _, p := range report.Problems {
			require.ErrorIs(f, p.Err, streamhub.ErrCorrupt)
		}
		if n := key[0]; n == 's' {
			wrong := 0
			for name, frames := range h.frames {
				for _, frame := range frames {
					if c, err := a.Chunk(f.ctx, f.space, name, incarnation, frame.Last); err != nil {
						require.ErrorIs(f, err, streamhub.ErrCorrupt)
						wrong++
					} else {
						require.Contains(f, c.Frames, frame)
					}
				}
			}
			require.NotZero(f, wrong)
		}
	}
}
