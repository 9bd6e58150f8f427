// Package pebble keeps an archive in a local directory, with the key-value store Pebble. Only one process at a time can
// open it; use package azure if several instances must read archived entries.
//
// Every write is synced before it is confirmed.
package pebble

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive"
)

// Keys are the text of a space, a zero byte, one letter and another zero byte, and then the key: 'm'
// for a manifest, 'n' for the size of an object, 'o' for the object.
const (
	kindManifest = 'm'
	kindSize     = 'n'
	kindObject   = 'o'
)

// Options configure a [Backend]; nil stands for the defaults.
type Options struct {
	// Reserve is how many bytes of the disk must stay free, because Pebble does not survive a full disk. A write that
	// would leave less is refused with [streamhub.ErrUnavailable]. The default is 256 MiB.
	Reserve uint64
	// MustExist makes Open return ErrNotFound for a directory that holds no archive. By default Open
	// creates one.
	MustExist bool
	// FS replaces the file system, for tests.
	FS vfs.FS
}

const defaultReserve = 256 << 20

// A Backend is an [archive.Backend] in a directory.
type Backend struct {
	db      *pebble.DB
	lock    *pebble.Lock
	fs      vfs.FS
	dir     string
	reserve uint64
	failed  atomic.Bool // a write failed, so the state on disk is unknown
	// mu orders the writes: to check that a key is free and to write it must be one step.
	mu sync.Mutex
}

var _ archive.Backend = (*Backend)(nil)

// Open opens the archive in dir, and creates it if it does not exist. A directory that every user can
// write to, or one without an archive but with other files, is refused with ErrInvalidArgument.
func Open(dir string, options *Options) (*Backend, error) {
	o := &pebble.Options{FormatMajorVersion: pebble.FormatNewest, Logger: silent{}}
	b := &Backend{dir: dir, reserve: defaultReserve}
	if options != nil {
		o.FS = options.FS
		if options.Reserve > 0 {
			b.reserve = options.Reserve
		}
	}
	if options != nil && options.MustExist {
		fs := o.FS
		if fs == nil {
			fs = vfs.Default
		}
		if found, err := pebble.Peek(dir, fs); err != nil || !found.Exists {
			if err == nil || errors.Is(err, os.ErrNotExist) {
				return nil, fmt.Errorf("%w: there is no archive in %s; check the path", streamhub.ErrNotFound, dir)
			}
			return nil, fmt.Errorf("%w: the archive in %s: %w", streamhub.ErrUnavailable, dir, err)
		}
	}
	if o.FS == nil {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("%w: %w", streamhub.ErrUnavailable, err)
		}
		info, err := os.Stat(dir)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", streamhub.ErrUnavailable, err)
		}
		if info.Mode().Perm()&0o002 != 0 {
			return nil, fmt.Errorf("%w: everybody may write to %s: chmod o-w it", streamhub.ErrInvalidArgument, dir)
		}
		if err := checkOurs(dir); err != nil {
			return nil, err
		}
		if err := makePrivate(dir); err != nil {
			return nil, fmt.Errorf("%w: %w", streamhub.ErrUnavailable, err)
		}
		o.FS = privateFS{vfs.Default}
	}
	// Objects are already compressed.
	o.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionNone })
	if b.fs = o.FS; b.fs == nil {
		b.fs = vfs.Default
	}
	unavailable := func(err error) (*Backend, error) {
		return nil, fmt.Errorf("%w: the archive in %s: %w", streamhub.ErrUnavailable, dir, err)
	}
	// The lock is taken here and not by pebble.Open, which leaks a goroutine if it fails.
	var err error
	if b.lock, err = pebble.LockDirectory(dir, b.fs); err != nil {
		return unavailable(fmt.Errorf("another process has it, or it cannot be locked: %w", err))
	}
	o.Lock = b.lock
	if b.db, err = pebble.Open(dir, o); err != nil {
		return unavailable(errors.Join(err, b.lock.Close()))
	}
	return b, nil
}

// write runs do, which writes about size bytes. Pebble ends the process if a write fails. Here that becomes an error,
// and the backend is unusable until it is opened again: only that finds out what is on disk.
func (b *Backend) write(size int, do func() error) (err error) {
	if b.failed.Load() {
		return errFailed
	}
	usage, err := b.fs.GetDiskUsage(b.dir)
	if err == nil && usage.AvailBytes < b.reserve+uint64(size) {
		return fmt.Errorf("%w: the disk of the archive in %s has %d bytes left", streamhub.ErrUnavailable, b.dir, usage.AvailBytes)
	}
	defer func() {
		if v := recover(); v != nil {
			b.failed.Store(true)
			err = fmt.Errorf("%w: %v", errFailed, v)
		}
	}()
	return outcome(do())
}

var errFailed = fmt.Errorf("%w: a write to the archive failed: it has to be opened again", streamhub.ErrUnavailable)

// silent drops the log messages of Pebble. Where Pebble would end the process it panics, which write recovers.
type silent struct{}

func (silent) Infof(string, ...any)  {}
func (silent) Errorf(string, ...any) {}
func (silent) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf("pebble: "+format, args...))
}

func prefixOf(space archive.SpaceID, kind byte) []byte {
	return append([]byte(space.Text()), 0, kind, 0)
}

func keyOf(space archive.SpaceID, kind byte, key string) []byte {
	return append(prefixOf(space, kind), key...)
}

// Put implements [archive.Backend]: all objects or none.
func (b *Backend) Put(ctx context.Context, space archive.SpaceID, objects ...archive.Object) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	batch := b.db.NewBatch()
	defer batch.Close()
	size := 0
	for _, o := range objects {
		size += len(o.Data)
		old, err := b.get(keyOf(space, kindObject, o.Key))
		if err == nil && !bytes.Equal(old, o.Data) {
			return fmt.Errorf("%w: %q holds other bytes", streamhub.ErrConflict, o.Key)
		}
		if err == nil {
			continue
		}
		if !errors.Is(err, streamhub.ErrNotFound) {
			return err
		}
		if err := errors.Join(
			batch.Set(keyOf(space, kindObject, o.Key), o.Data, nil),
			batch.Set(keyOf(space, kindSize, o.Key), binary.AppendUvarint(nil, uint64(len(o.Data))), nil),
		); err != nil {
			return outcome(err)
		}
	}
	if batch.Empty() {
		return nil
	}
	return b.write(size, func() error { return batch.Commit(pebble.Sync) })
}

// Get implements [archive.Backend].
func (b *Backend) Get(ctx context.Context, space archive.SpaceID, key string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return b.get(keyOf(space, kindObject, key))
}

func (b *Backend) get(key []byte) ([]byte, error) {
	if b.failed.Load() {
		return nil, errFailed
	}
	data, closer, err := b.db.Get(key)
	if err != nil {
		return nil, outcome(err)
	}
	data = bytes.Clone(data)
	return data, outcome(closer.Close())
}

// List implements [archive.Backend].
func (b *Backend) List(ctx context.Context, space archive.SpaceID, prefix, after string, limit int) ([]archive.Item, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	head := prefixOf(space, kindSize)
	from := string(head) + max(prefix, after)
	if after >= prefix {
		from += "\x00" // the first key after from
	}
	var items []archive.Item
	err := b.scan([]byte(from), above([]byte(string(head)+prefix)), func(key, value []byte) bool {
		size, _ := binary.Uvarint(value)
		items = append(items, archive.Item{Key: string(key[len(head):]), Size: int64(size)})
		return len(items) < limit
	})
	return items, err
}

// above is the exclusive upper bound of the keys that begin with prefix; nil if there is none.
func above(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}

// scan calls visit with the keys from from up to but excluding to, until it returns false.
func (b *Backend) scan(from, to []byte, visit func(key, value []byte) bool) error {
	if b.failed.Load() {
		return errFailed
	}
	it, err := b.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return outcome(err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			break // Close returns the error
		}
		if !visit(it.Key(), value) {
			break
		}
	}
	return outcome(it.Close())
}

// Delete implements [archive.Backend]: all keys or none.
func (b *Backend) Delete(ctx context.Context, space archive.SpaceID, keys ...string) error {
	if err := ctx.Err(); err != nil || len(keys) == 0 {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	batch := b.db.NewBatch()
	defer batch.Close()
	for _, key := range keys {
		if err := errors.Join(
			batch.Delete(keyOf(space, kindObject, key), nil), batch.Delete(keyOf(space, kindSize, key), nil),
		); err != nil {
			return outcome(err)
		}
	}
	return b.write(0, func() error { return batch.Commit(pebble.Sync) })
}

// Manifest implements [archive.Backend]. The version is a number that is stored before the data.
func (b *Backend) Manifest(ctx context.Context, space archive.SpaceID) (data []byte, version string, err error) {
	if err := ctx.Err(); err != nil {
		return nil, "", err
	}
	v, err := b.get(prefixOf(space, kindManifest))
	if err != nil {
		return nil, "", err
	}
	if len(v) < 8 {
		return nil, "", fmt.Errorf("%w: a manifest of %d bytes", streamhub.ErrCorrupt, len(v))
	}
	return v[8:], fmt.Sprint(binary.BigEndian.Uint64(v)), nil
}

// SetManifest implements [archive.Backend].
func (b *Backend) SetManifest(ctx context.Context, space archive.SpaceID, version string, data []byte) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, current, err := b.Manifest(ctx, space)
	if err != nil && !errors.Is(err, streamhub.ErrNotFound) {
		return "", err
	}
	if current != version {
		return "", fmt.Errorf("%w: the manifest of %q has changed", streamhub.ErrFenced, space.Space)
	}
	// The first version is random, so that it differs from every version of a manifest that was
	// removed.
	n := rand.Uint64N(1 << 62)
	_, _ = fmt.Sscan(current, &n) // "" leaves n random
	n++
	v := append(binary.BigEndian.AppendUint64(nil, n), data...)
	return fmt.Sprint(n), b.write(len(v), func() error { return b.db.Set(prefixOf(space, kindManifest), v, pebble.Sync) })
}

// RemoveManifest implements [archive.Backend].
func (b *Backend) RemoveManifest(ctx context.Context, space archive.SpaceID, version string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, current, err := b.Manifest(ctx, space)
	switch {
	case errors.Is(err, streamhub.ErrNotFound):
		return nil
	case err != nil:
		return err
	case current != version:
		return fmt.Errorf("%w: the manifest of %q has changed", streamhub.ErrFenced, space.Space)
	}
	return b.write(0, func() error { return b.db.Delete(prefixOf(space, kindManifest), pebble.Sync) })
}

// Spaces implements [archive.Backend].
func (b *Backend) Spaces(ctx context.Context, after archive.SpaceID, limit int) ([]archive.SpaceID, error) {
	var ids []archive.SpaceID
	var from []byte
	if after != (archive.SpaceID{}) {
		from = above(append([]byte(after.Text()), 0))
	}
	for len(ids) < limit {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		// Each step seeks the next manifest, so that the objects of a space are skipped.
		var text string
		found := false
		err := b.scan(from, nil, func(key, _ []byte) bool {
			text, _, _ = strings.Cut(string(key), "\x00")
			found = bytes.HasSuffix(key, []byte{0, kindManifest, 0})
			return false
		})
		if err != nil || text == "" {
			return ids, err
		}
		if id, ok := archive.ParseSpaceID(text); ok && found {
			ids = append(ids, id)
		}
		from = above([]byte(text + "\x00"))
	}
	return ids, nil
}

// Close implements [archive.Backend].
func (b *Backend) Close() error { return outcome(errors.Join(b.db.Close(), b.lock.Close())) }

// outcome wraps err in an error of package streamhub. Damaged files of Pebble are ErrCorrupt. Any other failure may be
// temporary, such as a full disk.
func outcome(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, pebble.ErrNotFound):
		return fmt.Errorf("%w: in the archive", streamhub.ErrNotFound)
	case pebble.IsCorruptionError(err):
		return fmt.Errorf("%w: the archive: %w", streamhub.ErrCorrupt, err)
	}
	return fmt.Errorf("%w: the archive: %w", streamhub.ErrUnavailable, err)
}
