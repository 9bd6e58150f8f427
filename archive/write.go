package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/seed-147127fe/streamhub"
)

// A Writer writes the archive of one space for one owner. It is not safe for concurrent use.
// Several Writers of one space, in any number of processes, are safe: all but one fail.
type Writer struct {
	archive  *Archive
	space    SpaceID
	manifest Manifest
	version  string
	attempts uint64
}

// attemptBits is how many low bits of an attempt are random; the others are the token.
const attemptBits = 11

// attempt returns a new attempt number.
func (w *Writer) attempt() uint64 {
	w.attempts++
	return w.manifest.Owner.Token<<attemptBits | w.attempts&(1<<attemptBits-1)
}

// mine reports whether an attempt belongs to this writer, or to an earlier one, which can no longer commit. Attempts of
// later writers must not be touched: this writer may have been replaced.
func (w *Writer) mine(attempt uint64) bool { return attempt>>attemptBits <= w.manifest.Owner.Token }

const (
	putBytes   = 16 << 20 // about how many bytes are passed to the backend at once
	putObjects = 1000
	listPage   = 256
)

// Claim makes owner the only writer of a space. It removes the unfinished objects of earlier
// owners.
func (a *Archive) Claim(ctx context.Context, space SpaceID, owner Owner) (*Writer, error) {
	if owner.Token > streamhub.MaxInteger {
		return nil, fmt.Errorf("%w: token %d has to be below 2^53", streamhub.ErrInvalidArgument, owner.Token)
	}
	w := &Writer{archive: a, space: space, attempts: rand.Uint64()} // random, since another writer may have had the same token
	var err error
	w.manifest, w.version, err = loadManifest(ctx, a.backend, space)
	if err != nil && !errors.Is(err, streamhub.ErrNotFound) {
		return nil, err
	}
	if err := owner.mayFollow(&w.manifest.Owner); err != nil {
		return nil, err
	}
	if err != nil {
		w.manifest.Rewinds = owner.Token // greater than in any erased archive of the space
	}
	if err != nil || w.manifest.Owner != owner {
		if err := w.swap(ctx, Manifest{owner, w.manifest.Commit, w.manifest.Rewinds}); err != nil {
			return nil, err
		}
	}
	return w, w.tidy(ctx)
}

// Commit returns how far the space is archived.
func (w *Writer) Commit() Commit { return w.manifest.Commit }

// swap replaces the manifest. After an error it reads the manifest: if the new one is there, swap has succeeded.
func (w *Writer) swap(ctx context.Context, m Manifest) error {
	data := seal(kindManifest, m)
	version, err := w.archive.backend.SetManifest(ctx, w.space, w.version, data)
	if err != nil {
		found, at, readErr := w.archive.backend.Manifest(ctx, w.space)
		if readErr != nil && !errors.Is(readErr, streamhub.ErrNotFound) {
			return readErr
		}
		if !bytes.Equal(found, data) {
			return err
		}
		version = at
	}
	w.manifest, w.version = m, version
	w.archive.saw(w.space, m.Rewinds)
	return nil
}

// tidy writes the record of the last commit, and removes all windows after it.
func (w *Writer) tidy(ctx context.Context) error {
	c := w.manifest.Commit
	if err := w.confirm(ctx); err != nil {
		return err
	}
	w.archive.forget(w.space, c.Window)
	// The last window may have objects of several attempts: only the committed attempt is kept.
	if err := w.collect(ctx, "c!", commitPrefix(c.Window)); err != nil {
		return err
	}
	return w.collect(ctx, "t!", windowKey(c.Window, 0))
}

// confirm writes the record of the last commit, because the manifest will name only the next window.
func (w *Writer) confirm(ctx context.Context) error {
	c := w.manifest.Commit
	if c.Window == 0 {
		return nil
	}
	return w.archive.backend.Put(ctx, w.space, Object{commitKey(c.Window, c.Attempt), seal(kindCommit, c)})
}

// collect removes the uncommitted attempts whose keys begin with prefix and follow after, with their chunks.
func (w *Writer) collect(ctx context.Context, prefix, after string) error {
	for {
		found, err := w.archive.backend.List(ctx, w.space, prefix, after, listPage)
		if err != nil || len(found) == 0 {
			return err
		}
		for _, item := range found {
			n, attempt, ok := parseWindowKey(item.Key)
			if c := w.manifest.Commit; !ok || !w.mine(attempt) || n == c.Window && attempt == c.Attempt {
				continue
			}
			if err := w.remove(ctx, item.Key); err != nil {
				return err
			}
		}
		after = found[len(found)-1].Key
	}
}

// remove removes a record, or a window after the chunks that it names.
func (w *Writer) remove(ctx context.Context, key string) error {
	data, err := w.archive.backend.Get(ctx, w.space, key)
	if errors.Is(err, streamhub.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	// An unreadable window was cut off while it was written; chunks are written after their window, so there are none.
	if window, err := DecodeWindow(data); err == nil {
		if err := w.delete(ctx, window.keys()...); err != nil {
			return err
		}
	}
	return w.delete(ctx, key)
}

func (w *Writer) delete(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		w.archive.cache.Drop(cacheKey{w.space, key})
	}
	return w.archive.backend.Delete(ctx, w.space, keys...)
}

// Write appends a window after the last one and commits it. It sets Number and Attempt of the window, and Window and
// Attempt of its chunks. After an error the window is not committed, with one exception: after
// [streamhub.ErrUnavailable] or the error of ctx the outcome is unknown, and only another [Archive.Claim] may follow.
func (w *Writer) Write(ctx context.Context, window *Window, chunks []*Chunk) error {
	last := w.manifest.Commit
	if window.After != last.Position || !window.After.Before(window.To) {
		return fmt.Errorf("%w: a window from %s to %s after %s", streamhub.ErrInvalidArgument, window.After, window.To, last.Position)
	}
	window.Space, window.Number, window.Attempt = w.space, last.Window+1, w.attempt()
	next := Commit{
		Window: window.Number, Attempt: window.Attempt, Position: window.To,
		Entries: last.Entries, Chunks: last.Chunks + uint64(len(chunks)), RawBytes: last.RawBytes, Bytes: last.Bytes,
	}
	// The window is written first: a later writer that finds it knows which chunks to remove.
	data, err := window.Encode()
	if err != nil {
		return err
	}
	next.Bytes += uint64(len(data))
	if err := w.archive.backend.Put(ctx, w.space, Object{window.Key(), data}); err != nil {
		return err
	}
	var batch []Object
	size := 0
	for i, c := range chunks {
		c.Space, c.Window, c.Attempt = window.Space, window.Number, window.Attempt
		data, err := c.Encode()
		if err != nil {
			return err
		}
		batch = append(batch, Object{c.Key(), data})
		size += len(data)
		next.Bytes += uint64(len(data))
		next.Entries += c.Last() - c.First() + 1
		for j := range c.Frames {
			next.RawBytes += uint64(len(c.Frames[j].Data))
		}
		if size >= putBytes || len(batch) == putObjects || i == len(chunks)-1 {
			if err := w.archive.backend.Put(ctx, w.space, batch...); err != nil {
				return err
			}
			batch, size = nil, 0
		}
	}
	if err := w.swap(ctx, Manifest{w.manifest.Owner, next, w.manifest.Rewinds}); err != nil {
		return errors.Join(err, w.abandon(ctx, window, err))
	}
	if err := w.confirm(ctx); err != nil {
		return err
	}
	return w.collect(ctx, "t!"+hex16(window.Number)+"!", "")
}

// abandon removes a window that can no longer be committed, because another owner has replaced the manifest. It keeps
// the window if that owner found it committed.
func (w *Writer) abandon(ctx context.Context, window *Window, cause error) error {
	if !errors.Is(cause, streamhub.ErrFenced) {
		return nil
	}
	c, err := w.archive.commit(ctx, w.space, w.archive.latest(w.space), window.Number, window.Attempt)
	if err != nil && !errors.Is(err, streamhub.ErrNotFound) || err == nil && c.Attempt == window.Attempt {
		return nil
	}
	return w.delete(ctx, append(window.keys(), window.Key())...) // the other owner may have removed the window but not its chunks
}

// Rewind makes an earlier window the last one and removes the later ones. It is for a Redis that has lost the history
// after that window.
func (w *Writer) Rewind(ctx context.Context, window uint64) error {
	c, err := w.archive.commit(ctx, w.space, w.manifest.Rewinds, window, 0)
	if err != nil {
		return err
	}
	if err := w.swap(ctx, Manifest{w.manifest.Owner, c, w.manifest.Rewinds + 1}); err != nil {
		return err
	}
	return w.tidy(ctx)
}

// Prune removes chunks of a segment that was deleted or trimmed: all chunks of other incarnations, and the
// chunks of this one that end before the sequence before.
func (w *Writer) Prune(ctx context.Context, segment string, incarnation, before uint64) error {
	prefix := segmentsPrefix(segment)
	for after := ""; ; {
		items, err := w.archive.backend.List(ctx, w.space, prefix, after, listPage)
		if err != nil || len(items) == 0 {
			return err
		}
		var keys []string
		for _, item := range items {
			after = item.Key
			name, ok := parseChunkKey(item.Key)
			if !ok || !w.mine(name.attempt) {
				continue
			}
			if name.incarnation == incarnation && name.Last >= before {
				after = segmentPrefix(segmentText(segment), incarnation) + "~" // the later chunks of this incarnation stay
				break
			}
			keys = append(keys, item.Key)
		}
		if len(keys) == 0 {
			continue
		}
		if err := w.delete(ctx, keys...); err != nil {
			return err
		}
	}
}
