// Package archive stores the entries that have left Redis. It defines the contract of a cold store,
// [Backend], the format of the objects in it, and how an [Archive] writes and reads them.
//
// Programs pass a [Backend] to package hub: see hub.Options.Archive, and package tier for what
// moves when. Packages pebble and azure implement backends; the tests of another one run package
// archivetest.
//
// # Windows and chunks
//
// A space is archived along its timeline, in windows without gaps between them. Each window is one
// object that holds its part of the timeline and names its parts of segments. Each part has one or
// more chunks with its frames, so that a segment is read without the rest of its space. Both are
// written once, compressed, and checked with SHA-256 when they are read: bytes that are not what
// was written are [streamhub.ErrCorrupt], never entries.
//
// # One writer
//
// The manifest of a space says which window is the last. It changes by compare-and-set only and
// carries the token, the lineage and the holder of the lease under which it was written. A lower
// token is refused, and so is the same token in other hands, which a failover of Redis can produce.
//
// A window counts once the manifest names it. Objects of an archiver that died before are never
// read, because keys carry the attempt that wrote them; the next archiver removes them.
//
// # Concurrency and errors
//
// Backends, and [Archive], are safe for concurrent use. Errors are those of package streamhub:
// ErrNotFound, ErrConflict for a key that holds other bytes, ErrFenced for a writer that is late,
// ErrCorrupt, and ErrUnavailable for every failure that may be temporary.
package archive
