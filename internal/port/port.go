// Package port is what a hub offers to the transports of this module alone: reading by
// pages, so that what many connections send alike is read and encoded once, and appends in order.
//
// Programs outside this module append records and read entries. The methods here are therefore not
// part of package hub, which sets [Of] when it is linked.
package port

import (
	"context"
	"iter"

	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive"
	"github.com/seed-147127fe/streamhub/internal/archiver"
	"github.com/seed-147127fe/streamhub/internal/follow"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
)

// A Page is what followers at the same position get together; see [follow.Page].
type Page = follow.Page

// An Offer takes a page without waiting, or refuses it; see [follow.Offer].
type Offer = follow.Offer

// A Snapshot is a part of a segment together with the status that the segment had then.
type Snapshot = hotlog.Page

// A Submission is an append that is given to a hub in order and waited for later.
type Submission = hotlog.Submission

// A Store is one store of a hub as transports use it. It is safe for concurrent use.
type Store interface {
	// Submit gives appends to the hub, which makes those of one segment in the order in which they were
	// submitted, also across calls. It does not wait for Redis. wait returns results and errors in the
	// order of submissions; call it once. When ctx ends, what was not sent is not made.
	Submit(ctx context.Context, submissions []*Submission) (wait func() ([]streamhub.AppendResult, []error))
	// FollowSegment and FollowSpace are those of the store, by pages: each page holds all that is due
	// at the moment. Followers at the same position share it, and what [follow.Page.Encode] made of it.
	// With an offer, which may be nil, some pages go there instead.
	FollowSegment(ctx context.Context, space, segment string, options *streamhub.FollowOptions, offer Offer) iter.Seq2[*Page, error]
	FollowSpace(ctx context.Context, space string, options *streamhub.FollowOptions, offer Offer) iter.Seq2[*Page, error]
	// ReadFrom reads about a megabyte from a sequence on, or from the first entry that is kept if from
	// is 0. After the end it reads nothing. It takes the sequence on trust, where a cursor would prove
	// the entry.
	ReadFrom(ctx context.Context, space, segment string, from uint64) (Snapshot, error)
	// ReadAfter is ReadFrom after the entry at sequence, if that entry has the proof of a
	// [streamhub.Position]. Otherwise it is not the entry that was seen, and the error is a
	// [streamhub.HistoryLostError]. Comparing the incarnation is up to the caller.
	ReadAfter(ctx context.Context, space, segment string, sequence, proof uint64) (Snapshot, error)
	// RemoveLive is [live.Streams.Remove] for one generation: a later one stays.
	RemoveLive(ctx context.Context, space, id string, generation uint64) error
	// MaxChunkBytes is the limit of a chunk of a live stream.
	MaxChunkBytes() int
	// Import stores entries of another system as they are there, for streamhub import; see
	// [hotlog.Importer].
	Import(ctx context.Context, space string) (*hotlog.Importer, error)
	// SpacesAfter lists up to limit spaces after a name, in byte order, with one command. StatusesAfter
	// lists segments likewise, with their statuses: one command, and one for each of them in one pipeline.
	SpacesAfter(ctx context.Context, after string, limit int) ([]string, error)
	StatusesAfter(ctx context.Context, space, after string, limit int) ([]streamhub.Status, error)
	// Sizes says what Redis holds of segments; see [hotlog.Store.Sizes].
	Sizes(ctx context.Context, space string, segments []string) ([]Size, error)
	// Redis is the client of the hub.
	Redis() redis.UniversalClient
	// Archived lists up to limit archived spaces of the store after a name, in an order of the archive;
	// none without an archive.
	Archived(ctx context.Context, after string, limit int) ([]Archived, error)
	// VerifyArchive reads all that is archived of a space and checks it; see [archive.Archive.Verify].
	VerifyArchive(ctx context.Context, space string, progress func(bytes int)) (archive.Report, error)
}

// A Size says what Redis holds of a segment.
type Size = hotlog.Size

// An Archived is a space in the archive, and how this process archives it.
type Archived struct {
	Space  string
	Commit archive.Commit
	// Here says that this process archives the space; what follows is known only then.
	Here bool
	archiver.Figures
}

// Of returns the port of a store, which must come from package hub.
var Of func(store streamhub.Store) Store
