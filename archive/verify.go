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
	// Orphans are keys that no window names. Archivers that died have left them; they are harmless.
	Orphans []string
}

// A Problem is one damaged or missing object.
type Problem struct {
	Key string
	Err error
}

// Verify reads everything that is archived of a space. Chunks of trimmed and deleted entries may be absent: a segment
// may begin later, but not have a gap. progress, if not nil, is called with the size of each object in bytes. An error
// means that the archive could not be read to the end.
func (a *Archive) Verify(ctx context.Context, space SpaceID, progress func(bytes int)) (Report, error) {
	v := verification{a: a, space: space, progress: progress, known: map[string]bool{}, next: map[string]uint64{}}
	m, err := a.Manifest(ctx, space)
	if errors.Is(err, streamhub.ErrCorrupt) {
		err = v.problem("manifest", err)
		return v.report, err
	}
	if err != nil {
		return v.report, err
	}
	for n := uint64(1); n <= m.Commit.Window; n++ {
		c := m.Commit
		if n < c.Window {
			if c, err = a.record(ctx, space, n); err != nil {
				if err := v.problem(commitPrefix(n), err); err != nil {
					return v.report, err
				}
				continue
			}
		}
		if err := v.window(ctx, n, c); err != nil {
			return v.report, err
		}
	}
	err = v.orphans(ctx)
	return v.report, err
}

// A verification is one run of [Archive.Verify]. Its methods return an error only if the archive cannot be read to the
// end; a damaged object becomes a problem in the report.
type verification struct {
	a        *Archive
	space    SpaceID
	progress func(bytes int)
	report   Report
	known    map[string]bool      // keys that the windows name
	next     map[string]uint64    // the sequence at which the next chunk must begin, by segment and incarnation
	position streamhub.TimelineID // where the previous window ends
}

// problem adds a damaged object to the report. It returns an error that does not concern the object.
func (v *verification) problem(key string, err error) error {
	if fatal(err) {
		return err
	}
	v.report.Problems = append(v.report.Problems, Problem{key, err})
	return nil
}

// get reads an object and counts it.
func (v *verification) get(ctx context.Context, key string) ([]byte, error) {
	data, err := v.a.backend.Get(ctx, v.space, key)
	if v.progress != nil {
		v.progress(len(data))
	}
	v.report.Bytes += uint64(len(data))
	return data, err
}

// window reads a committed window and its chunks.
func (v *verification) window(ctx context.Context, n uint64, c Commit) error {
	key := windowKey(n, c.Attempt)
	v.known[commitKey(n, c.Attempt)], v.known[key] = true, true
	after := v.position
	v.position = c.Position
	data, err := v.get(ctx, key)
	var w *Window
	if err == nil {
		w, err = DecodeWindow(data)
	}
	if err == nil && (w.Space != v.space || w.Key() != key || w.To != c.Position || n > 1 && w.After != after) {
		err = fmt.Errorf("%w: it is another window", streamhub.ErrCorrupt)
	}
	if err != nil {
		return v.problem(key, err)
	}
	v.report.Windows++
	for _, key := range w.keys() {
		v.known[key] = true
		if err := v.chunk(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

// chunk reads a chunk and checks that it continues the previous one of its segment.
func (v *verification) chunk(ctx context.Context, key string) error {
	name, _ := parseChunkKey(key)
	of := segmentPrefix(name.segment, name.incarnation)
	next := v.next[of]
	data, err := v.get(ctx, key)
	if errors.Is(err, streamhub.ErrNotFound) && next == 0 {
		return nil // allowed: trimmed chunks are removed from the start of a segment
	}
	v.next[of] = name.Last + 1
	var chunk *Chunk
	if err == nil {
		chunk, err = DecodeChunk(data)
	}
	if err == nil && (chunk.Space != v.space || chunk.Key() != key) {
		err = fmt.Errorf("%w: it is another chunk", streamhub.ErrCorrupt)
	}
	if err == nil && next != 0 && chunk.First() != next {
		err = fmt.Errorf("%w: it begins at %d, the one before it ends at %d", streamhub.ErrCorrupt, chunk.First(), next-1)
	}
	if err != nil {
		return v.problem(key, err)
	}
	v.report.Chunks++
	v.report.Entries += chunk.Last() - chunk.First() + 1
	return nil
}

// orphans lists the keys that no window names.
func (v *verification) orphans(ctx context.Context) error {
	for after := ""; ; {
		items, err := v.a.backend.List(ctx, v.space, "", after, listPage)
		if err != nil || len(items) == 0 {
			return err
		}
		for _, item := range items {
			if after = item.Key; !v.known[item.Key] {
				v.report.Orphans = append(v.report.Orphans, item.Key)
			}
		}
	}
}

// fatal reports whether err does not concern the object itself: the backend could not be read.
func fatal(err error) bool {
	return err != nil && !errors.Is(err, streamhub.ErrCorrupt) && !errors.Is(err, streamhub.ErrNotFound)
}
