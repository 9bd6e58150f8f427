package archive

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/lru"
)

// Options configure an [Archive]; nil stands for the defaults.
type Options struct {
	// CacheBytes bounds the cache of decompressed windows and chunks; the default is 64 MiB.
	CacheBytes int
}

// An Archive reads and writes the archived entries in a backend.
type Archive struct {
	backend Backend
	cache   *lru.Cache[cacheKey, any] // of *Chunk and *Window

	// mu guards commits and rewinds.
	mu sync.Mutex
	// commits caches the commits of windows that have a successor. Such a commit changes only with the history of the
	// space, so the key includes the history.
	commits map[commitID]Commit
	// rewinds holds the latest known Manifest.Rewinds of each space. Cached windows with another value are stale.
	rewinds map[SpaceID]uint64
}

type commitID struct {
	space SpaceID
	// rewinds is Manifest.Rewinds at the time of the commit: it names the history that the window belongs to.
	rewinds, window uint64
}

// A cacheKey names an object of a space.
type cacheKey struct {
	space SpaceID
	key   string
}

// maxCommits bounds the cache of commits.
const maxCommits = 1 << 16

// New returns the archive in backend, which stays the caller's.
func New(backend Backend, options *Options) *Archive {
	size := 64 << 20
	if options != nil && options.CacheBytes > 0 {
		size = options.CacheBytes
	}
	return &Archive{backend: backend, cache: lru.New[cacheKey, any](size), commits: map[commitID]Commit{}, rewinds: map[SpaceID]uint64{}}
}

// Manifest returns the manifest of a space, which says how far it is archived, or
// [streamhub.ErrNotFound] if it was never archived.
func (a *Archive) Manifest(ctx context.Context, space SpaceID) (Manifest, error) {
	m, _, err := loadManifest(ctx, a.backend, space)
	if err == nil {
		a.saw(space, m.Rewinds)
	}
	return m, err
}

// saw records the current history of a space, and drops what was cached of earlier ones.
func (a *Archive) saw(space SpaceID, rewinds uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if rewinds <= a.rewinds[space] {
		return
	}
	a.rewinds[space] = rewinds
	for id := range a.commits {
		if id.space == space && id.rewinds < rewinds {
			delete(a.commits, id)
		}
	}
}

// latest returns the history of a space that was seen last.
func (a *Archive) latest(space SpaceID) uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.rewinds[space]
}

// Spaces lists up to limit archived spaces that follow after; see [Backend.Spaces].
func (a *Archive) Spaces(ctx context.Context, after SpaceID, limit int) ([]SpaceID, error) {
	return a.backend.Spaces(ctx, after, limit)
}

// SpacesOf lists up to limit archived spaces of one store that follow the name after, "" for the start; see
// [Backend.Spaces].
func (a *Archive) SpacesOf(ctx context.Context, store uuid.UUID, after string, limit int) ([]SpaceID, error) {
	ids, err := a.Spaces(ctx, SpaceID{Store: store, Space: after}, limit)
	if other := slices.IndexFunc(ids, func(id SpaceID) bool { return id.Store != store }); other >= 0 {
		ids = ids[:other]
	}
	return ids, err
}

// commit returns the commit of a window, or [streamhub.ErrNotFound]. It uses the cache unless seen, an attempt at the
// window that the caller knows of, is later than the cached one.
func (a *Archive) commit(ctx context.Context, space SpaceID, rewinds, window, seen uint64) (Commit, error) {
	id := commitID{space, rewinds, window}
	a.mu.Lock()
	c, ok := a.commits[id]
	a.mu.Unlock()
	if ok && c.Attempt >= seen {
		return c, nil
	}
	c, err := a.record(ctx, space, window)
	if errors.Is(err, streamhub.ErrNotFound) {
		// Only the manifest names the last window, until the next one is written.
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
	if a.rewinds[space] > rewinds {
		return c, nil // the caller will notice that the history has changed
	}
	if len(a.commits) >= maxCommits {
		clear(a.commits)
	}
	a.commits[id] = c
	return c, nil
}

// record reads the stored record of a committed window. A writer that was too late can leave a second one; the last
// attempt counts.
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

// forget drops the cached commits of the windows after one.
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

// Locate returns the range of the chunk that [Archive.Chunk] would return, without reading it.
func (a *Archive) Locate(ctx context.Context, space SpaceID, segment string, incarnation, sequence uint64) (Range, error) {
	name, err := a.find(ctx, space, segment, incarnation, sequence)
	if err != nil {
		return Range{}, err
	}
	return name.Range, nil
}

// find returns the name of the committed chunk that holds a sequence.
func (a *Archive) find(ctx context.Context, space SpaceID, segment string, incarnation, sequence uint64) (*chunkName, error) {
	prefix := segmentPrefix(segmentText(segment), incarnation)
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
			// The keys are listed each time, and the commit is read again if a key has a later attempt than the cached
			// one.
			c, err := a.commit(ctx, space, a.latest(space), name.window, name.attempt)
			if errors.Is(err, streamhub.ErrNotFound) || err == nil && c.Attempt != name.attempt {
				continue // this attempt was never committed
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
	if v, ok := a.cache.Get(cacheKey{space, key}); ok {
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
	if c.Space != space || c.Key() != key {
		return nil, fmt.Errorf("%w: the chunk under %q is another one", streamhub.ErrCorrupt, key)
	}
	size := 0
	for i := range c.Frames {
		size += len(c.Frames[i].Data) + 64
	}
	a.cache.Put(cacheKey{space, key}, c, size)
	return c, nil
}

// Window returns the window that holds the first change at or after from, or [streamhub.ErrNotFound] if the archive
// ends before it. Cached windows do not make the answer stale: the window was committed at some moment during the call.
// The window is shared and must not be changed.
func (a *Archive) Window(ctx context.Context, space SpaceID, from streamhub.TimelineID) (*Window, error) {
	for forgotten := false; ; {
		m, err := a.Manifest(ctx, space)
		if err != nil {
			return nil, err
		}
		w, err := a.search(ctx, space, &m, from)
		if err == nil || ctx.Err() != nil {
			return w, err
		}
		now, failed := a.Manifest(ctx, space)
		switch {
		case failed != nil:
			return nil, err
		case now.Rewinds != m.Rewinds: // the history changed during the search
		case errors.Is(err, streamhub.ErrCorrupt) && !forgotten:
			a.forget(space, 0)
			forgotten = true
		default:
			return nil, err
		}
	}
}

func (a *Archive) search(ctx context.Context, space SpaceID, m *Manifest, from streamhub.TimelineID) (*Window, error) {
	if m.Commit.Window == 0 || m.Commit.Position.Before(from) {
		return nil, fmt.Errorf("%w: %s in the archive", streamhub.ErrNotFound, from)
	}
	last := m.Commit
	for low := uint64(1); low < last.Window; { // the answer is in [low, last]
		middle, err := a.commit(ctx, space, m.Rewinds, low+(last.Window-low)/2, 0)
		if err != nil {
			return nil, err
		}
		if middle.Position.Before(from) {
			low = middle.Window + 1
		} else {
			last = middle
		}
	}
	w, err := a.window(ctx, space, last)
	if err == nil && w.Number > 1 && !w.After.Before(from) {
		err = fmt.Errorf("%w: window %d begins after %s, the one before it ends before", streamhub.ErrCorrupt, w.Number, from)
	}
	return w, err
}

func (a *Archive) window(ctx context.Context, space SpaceID, c Commit) (*Window, error) {
	key := windowKey(c.Window, c.Attempt)
	if v, ok := a.cache.Get(cacheKey{space, key}); ok {
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
	a.cache.Put(cacheKey{space, key}, w, size)
	return w, nil
}

// Windows calls visit with each window in order, up to the one that the manifest names when the
// call begins.
func (a *Archive) Windows(ctx context.Context, space SpaceID, visit func(*Window) error) error {
	m, err := a.Manifest(ctx, space)
	if err != nil {
		return err
	}
	position := streamhub.TimelineID{}
	for n := uint64(1); n <= m.Commit.Window; n++ {
		w, err := a.number(ctx, space, &m, n)
		if err == nil && n > 1 && w.After != position {
			err = fmt.Errorf("%w: window %d begins after %s, the one before it ends at %s", streamhub.ErrCorrupt, n, w.After, position)
		}
		if err != nil {
			return err
		}
		if err := visit(w); err != nil {
			return err
		}
		position = w.To
	}
	return nil
}

// Number returns a window by its number, or [streamhub.ErrNotFound].
func (a *Archive) Number(ctx context.Context, space SpaceID, number uint64) (*Window, error) {
	m, err := a.Manifest(ctx, space)
	if err != nil {
		return nil, err
	}
	return a.number(ctx, space, &m, number)
}

func (a *Archive) number(ctx context.Context, space SpaceID, m *Manifest, number uint64) (*Window, error) {
	if number == m.Commit.Window {
		return a.window(ctx, space, m.Commit)
	}
	c, err := a.commit(ctx, space, m.Rewinds, number, 0)
	if err != nil {
		return nil, err
	}
	return a.window(ctx, space, c)
}
