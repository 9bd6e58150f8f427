package archive

import (
	"context"

	"github.com/google/uuid"
)

// A SpaceID names a space of a store.
type SpaceID struct {
	Store uuid.UUID
	Space string
}

// An Object is a key and the bytes under it.
type Object struct {
	Key  string
	Data []byte
}

// An Item is a key and the size of its object in bytes.
type Item struct {
	Key  string
	Size int64
}

// A Backend stores objects that are written once, by space and key, and one manifest for each space. Keys have 1 to 512
// bytes, which are letters, digits and '!'. A Backend is safe for concurrent use by many processes, or refuses a second
// process. A confirmed write is on disk.
type Backend interface {
	// Put writes objects, in any order and not atomically: after an error some may be stored. If a key already holds
	// the same bytes, that is no error; if it holds other bytes, the error is [streamhub.ErrConflict].
	Put(ctx context.Context, space SpaceID, objects ...Object) error
	// Get returns the object under key, or [streamhub.ErrNotFound]. The caller owns the bytes.
	Get(ctx context.Context, space SpaceID, key string) ([]byte, error)
	// List returns up to limit items whose keys begin with prefix and are greater than after, in the byte order of the
	// keys.
	List(ctx context.Context, space SpaceID, prefix, after string, limit int) ([]Item, error)
	// Delete removes keys. A missing key is no error.
	Delete(ctx context.Context, space SpaceID, keys ...string) error
	// Manifest returns the manifest of a space and its version, or [streamhub.ErrNotFound].
	Manifest(ctx context.Context, space SpaceID) (data []byte, version string, err error)
	// SetManifest replaces the manifest that has this version, "" for none, and returns the new version. If the
	// manifest has another version, the error is [streamhub.ErrFenced]. No two manifests of a space ever have the same
	// version.
	SetManifest(ctx context.Context, space SpaceID, version string, data []byte) (string, error)
	// RemoveManifest removes the manifest that has this version. If the manifest has another version, the error is
	// [streamhub.ErrFenced]. A missing manifest is no error.
	RemoveManifest(ctx context.Context, space SpaceID, version string) error
	// Spaces lists up to limit spaces that have a manifest and follow after; the zero SpaceID is the start. The backend
	// chooses the order, but the spaces of a store are adjacent, and a SpaceID with the store and an empty name comes
	// before them.
	Spaces(ctx context.Context, after SpaceID, limit int) ([]SpaceID, error)
	// Close releases the resources of the backend. No method may be called after it.
	Close() error
}
