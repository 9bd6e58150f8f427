package archive

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed-147127fe/streamhub"
)

// A Report is the result of [Archive.Verify].
type Report struct {
	Windows, Chunks uint64
	Entries         uint64
	Bytes           uint64
	// Problems say what is damaged or missing.
	Problems []Problem
	// Orphans are keys that no window names. Archivers that died left them; they are harmless.
	Orphans []string
}

// A Problem is one damaged or missing object.
type Problem struct {
	Key string
	Err error
}

// Verify reads everything that is archived of a space. Chunks of trimmed and deleted entries may be
// absent: a segment may begin later, but not have a gap. Progress, if not nil, is called with the
// size of each object in bytes. An error means that the archive could not be read to the end.
func (a *Archive) Verify(ctx context.Context, space SpaceID, progress func(bytes int)) (Report, error) {
	var r Report
	known := map[string]bool{}
	next := map[string]uint64{} // by segment and incarnation: where its following chunk begins
	problem := func(key string, err error) { r.Problems = append(r.Problems, Problem{key, err}) }
	get := func(key string) ([]byte, error) {
		data, err := a.backend.Get(ctx, space, key)
		if progress != nil {
			progress(len(data))
		}
		r.Bytes += uint64(len(data))
		return data, err
	}
	m, err := a.Manifest(ctx, space)
	if err != nil {
		if errors.Is(err, streamhub.ErrCorrupt) {
			problem("manifest", err)
			err = nil
		}
		return r, err
	}
	position := streamhub.TimelineID{}
	for n := uint64(1); n <= m.Commit.Window; n++ {
		c := m.Commit
		if n < c.Window {
			if c, err = a.record(ctx, space, n); fatal(err) {
				return r, err
			}
			if err != nil {
				problem(commitPrefix(n), err)
				continue
			}
		}
		known[commitKey(n, c.Attempt)] = true
		key := windowKey(n, c.Attempt)
		known[key] = true
		data, err := get(key)
		var w *Window
		if err == nil {
			w, err = DecodeWindow(data)
		}
		if err == nil && (w.Space != space || w.Key() != key || w.To != c.Position || n > 1 && w.After != position) {
			err = fmt.Errorf("%w: it is another window", streamhub.ErrCorrupt)
		}
		if fatal(err) {
			return r, err
		}
		position = c.Position
		if err != nil {
			problem(key, err)
			continue
		}
		r.Windows++
		for _, key := range w.keys() {
			known[key] = true
			name, _ := parseChunkKey(key)
			of := segmentPrefix(name.segment, name.incarnation)
			data, err := get(key)
			if errors.Is(err, streamhub.ErrNotFound) && next[of] == 0 {
				continue // removed from the start
			}
			var chunk *Chunk
			if err == nil {
				chunk, err = DecodeChunk(data)
			}
			if err == nil && (chunk.Space != space || chunk.Key() != key) {
				err = fmt.Errorf("%w: it is another chunk", streamhub.ErrCorrupt)
			}
			if err == nil && next[of] != 0 && chunk.First() != next[of] {
				err = fmt.Errorf("%w: it begins at %d, the one before it ends at %d", streamhub.ErrCorrupt, chunk.First(), next[of]-1)
			}
			if fatal(err) {
				return r, err
			}
			next[of] = name.Last + 1
			if err != nil {
				problem(key, err)
				continue
			}
			r.Chunks++
			r.Entries += chunk.Last() - chunk.First() + 1
		}
	}
	for after := ""; ; {
		items, err := a.backend.List(ctx, space, "", after, listPage)
		if err != nil || len(items) == 0 {
			return r, err
		}
		for _, item := range items {
			if after = item.Key; !known[item.Key] {
				r.Orphans = append(r.Orphans, item.Key)
			}
		}
	}
}

// fatal reports whether err says nothing about the object that was to be read.
func fatal(err error) bool {
	return err != nil && !errors.Is(err, streamhub.ErrCorrupt) && !errors.Is(err, streamhub.ErrNotFound)
}
