// Package archive stores the entries that have left Redis. It defines the contract of a cold store, [Backend], the
// format of the objects in it, and how an [Archive] writes and reads them.
//
// Programs pass a [Backend] to package hub: see hub.Options.Archive, and package tier for which entries move and when.
// Packages pebble and azure implement backends. Test a backend of your own with package archivetest.
//
// # Windows and chunks
//
// A space is archived along its timeline, in windows without gaps between them. A window is one object that holds a
// part of the timeline and names the segments that changed in it. The frames of these segments are in chunks of their
// own, so that a segment is read without the rest of its space. Both are written once, compressed, and checked with
// SHA-256 when they are read: changed bytes give [streamhub.ErrCorrupt], never entries.
//
// # One writer
//
// The manifest of a space says which window is the last. It changes by compare-and-set only and carries the token, the
// lineage and the holder of the lease under which it was written. A lower token is refused. So is the same token with
// another holder, which a failover of Redis can produce.
//
// A window counts once the manifest names it. The objects of an archiver that died before that are never read, because
// keys contain the attempt that wrote them. The next archiver removes them.
//
// # Concurrency and errors
//
// Backends, and [Archive], are safe for concurrent use. Errors are those of package streamhub: ErrNotFound, ErrConflict
// for a key that holds other bytes, ErrFenced for a writer that another one has replaced, ErrCorrupt, and
// ErrUnavailable for every failure that may be temporary.
package archive
