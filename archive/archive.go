package archive

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/seed-147127fe/streamhub"
)

// Options configure an [Archive]; nil stands for the defaults.
type Options struct {
	// CacheBytes bounds what is kept unfolded for readers; the default is 64 MiB.
	CacheBytes int
}

// An Archive reads and writes what lies in a backend.
type Archive struct {
	backend Backend
	cache   *cache

	mu sync.Mutex
	// commits remembers windows that have another one behind them: they do not change any more.
	commits map[commitID]Commit
}

type commitID struct {
	space  SpaceID
	window uint64
}

// maxCommits bounds what is remembered of windows.
const maxCommits = 1 << 16

// New returns the archive in backend, which stays the caller's.
func New(backend Backend, options *Options) *Archive {
	size := 64 << 20
	if options != nil && options.CacheBytes > 0 {
		size = options.CacheBytes
	}
	return &Archive{backend: backend, cache: newCache(size), commits: map[commitID]Commit{}}
}

// Manifest says how far a space is archived; [streamhub.ErrNotFound] if nobody ever began.
func (a *Archive) Manifest(ctx context.Context, space SpaceID) (Manifest, error) {
	m, _, err := loadManifest(ctx, a.backend, space)
	return m, err
}

// Spaces lists up to limit archived spaces behind after; see [Backend.Spaces].
func (a *Archive) Spaces(ctx context.Context, after SpaceID, limit int) ([]SpaceID, error) {
	return a.backend.Spaces(ctx, after, limit)
}

// commit returns what is known of a committed window, or [streamhub.ErrNotFound]. Who has seen an
// attempt at it that is later than what is remembered gets what there is now.
func (a *Archive) commit(ctx context.Context, space SpaceID, window, seen uint64) (Commit, error) {
	id := commitID{space, window}
	a.mu.Lock()
	c, ok := a.commits[id]
	a.mu.Unlock()
	if ok && c.Attempt >= seen {
		return c, nil
	}
	c, err := a.record(ctx, space, window)
	if errors.Is(err, streamhub.ErrNotFound) {
		// The last one may be known by the manifest only, until another one follows.
		m, failed := a.Manifest(ctx, space)
		if failed != nil || m.Commit.Window == window {
			return m.Commit, failed
		}
		if m.Commit.Window > window {
			c, err = a.record(ctx, space, window)
		}
	}
	if err != nil {
		return c, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.commits) >= maxCommits {
		clear(a.commits)
	}
	a.commits[id] = c
	return c, nil
}

// record reads what was written down of a committed window. Of several, which a writer that came too
// late can leave, the last attempt counts.
func (a *Archive) record(ctx context.Context, space SpaceID, window uint64) (c Commit, err error) {
	items, err := a.backend.List(ctx, space, commitPrefix(window), "", listPage)
	if err == nil && len(items) == 0 {
		err = fmt.Errorf("%w: window %d", streamhub.ErrNotFound, window)
	}
	if err != nil {
		return c, err
	}
	key := items[len(items)-1].Key
	data, err := a.backend.Get(ctx, space, key)
	if err != nil {
		return c, err
	}
	if err := unseal(kindCommit, data, &c); err != nil {
		return c, err
	}
	if commitKey(c.Window, c.Attempt) != key {
		return c, fmt.Errorf("%w: the record under %q is another one", streamhub.ErrCorrupt, key)
	}
	return c, nil
}

// forget drops what is remembered of windows behind one.
func (a *Archive) forget(space SpaceID, window uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id := range a.commits {
		if id.space == space && id.window > window {
			delete(a.commits, id)
		}
	}
}

// Chunk returns the chunk that holds a sequence of a segment, or [streamhub.ErrNotFound]. It is
// shared and must not be changed.
func (a *Archive) Chunk(ctx context.Context, space SpaceID, segment string, incarnation, sequence uint64) (*Chunk, error) {
	name, err := a.find(ctx, space, segment, incarnation, sequence)
	if err != nil {
		return nil, err
	}
	return a.load(ctx, space, name)
}

// Locate tells what Chunk would return without reading it.
func (a *Archive) Locate(ctx context.Context, space SpaceID, segment string, incarnation, sequence uint64) (Range, error) {
	name, err := a.find(ctx, space, segment, incarnation, sequence)
	if err != nil {
		return Range{}, err
	}
	return name.Range, nil
}

// find returns the name of the committed chunk that holds a sequence.
func (a *Archive) find(ctx context.Context, space SpaceID, segment string, incarnation, sequence uint64) (*chunkName, error) {
	prefix := segmentPrefix(segment, incarnation)
	for after := prefix + hex16(max(sequence, 1)-1) + "~"; ; {
		items, err := a.backend.List(ctx, space, prefix, after, 4)
		if err != nil {
			return nil, err
		}
		for _, item := range items {
			name, ok := parseChunkKey(item.Key)
			if !ok {
				continue
			}
			c, err := a.commit(ctx, space, name.window, name.attempt)
			if errors.Is(err, streamhub.ErrNotFound) || err == nil && c.Attempt != name.attempt {
				continue // nobody committed it
			}
			if err == nil && name.First > sequence {
				err = fmt.Errorf("%w: entry %d in the archive", streamhub.ErrNotFound, sequence)
			}
			return &name, err
		}
		if len(items) < 4 {
			return nil, fmt.Errorf("%w: entry %d in the archive", streamhub.ErrNotFound, sequence)
		}
		after = items[len(items)-1].Key
	}
}

func (a *Archive) load(ctx context.Context, space SpaceID, name *chunkName) (*Chunk, error) {
	key := name.key()
	if v, ok := a.cache.get(space, key); ok {
		return v.(*Chunk), nil
	}
	data, err := a.backend.Get(ctx, space, key)
	if err != nil {
		return nil, err
	}
	c, err := DecodeChunk(data)
	if err != nil {
		return nil, err
	}
	if c.Space != space || c.Key() != key || c.Segment != name.segment {
		return nil, fmt.Errorf("%w: the chunk under %q is another one", streamhub.ErrCorrupt, key)
	}
	size := 0
	for i := range c.Frames {
		size += len(c.Frames[i].Data) + 64
	}
	a.cache.put(space, key, c, size)
	return c, nil
}

// Window returns the window that holds the first change at or behind from, or
// [streamhub.ErrNotFound] where the archive ends before it. It is shared and must not be changed.
func (a *Archive) Window(ctx context.Context, space SpaceID, from ID) (*Window, error) {
	w, err := a.search(ctx, space, from)
	if errors.Is(err, streamhub.ErrCorrupt) {
		a.forget(space, 0) // it may have been written anew
		w, err = a.search(ctx, space, from)
	}
	return w, err
}

func (a *Archive) search(ctx context.Context, space SpaceID, from ID) (*Window, error) {
	m, err := a.Manifest(ctx, space)
	if err != nil {
		return nil, err
	}
	if m.Commit.Window == 0 || m.Commit.Position.Before(from) {
		return nil, fmt.Errorf("%w: %s in the archive", streamhub.ErrNotFound, from)
	}
	last := m.Commit
	for low := uint64(1); low < last.Window; { // the answer is in [low, last]
		middle, err := a.commit(ctx, space, low+(last.Window-low)/2, 0)
		if err != nil {
			return nil, err
		}
		if middle.Position.Before(from) {
			low = middle.Window + 1
		} else {
			last = middle
		}
	}
	return a.window(ctx, space, last)
}

func (a *Archive) window(ctx context.Context, space SpaceID, c Commit) (*Window, error) {
	key := windowKey(c.Window, c.Attempt)
	if v, ok := a.cache.get(space, key); ok {
		return v.(*Window), nil
	}
	data, err := a.backend.Get(ctx, space, key)
	if errors.Is(err, streamhub.ErrNotFound) {
		err = fmt.Errorf("%w: window %d is missing from the archive", streamhub.ErrCorrupt, c.Window)
	}
	if err != nil {
		return nil, err
	}
	w, err := DecodeWindow(data)
	if err != nil {
		return nil, err
	}
	if w.Space != space || w.Number != c.Window || w.Attempt != c.Attempt || w.To != c.Position {
		return nil, fmt.Errorf("%w: the window under %q is another one", streamhub.ErrCorrupt, key)
	}
	size := 96 * len(w.Changes)
	for i := range w.Parts {
		size += len(w.Parts[i].Meta) + 128
	}
	a.cache.put(space, key, w, size)
	return w, nil
}

// Windows calls visit with each window in order, up to the one that the manifest names when the
// call begins.
func (a *Archive) Windows(ctx context.Context, space SpaceID, visit func(*Window) error) error {
	m, err := a.Manifest(ctx, space)
	if err != nil {
		return err
	}
	for n := uint64(1); n <= m.Commit.Window; n++ {
		w, err := a.Number(ctx, space, n)
		if err != nil {
			return err
		}
		if err := visit(w); err != nil {
			return err
		}
	}
	return nil
}

// Number returns a window by its number, or [streamhub.ErrNotFound].
func (a *Archive) Number(ctx context.Context, space SpaceID, number uint64) (*Window, error) {
	c, err := a.commit(ctx, space, number, 0)
	if err != nil {
		return nil, err
	}
	return a.window(ctx, space, c)
}
