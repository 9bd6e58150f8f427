package hotlog

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/drain"
	"github.com/seed-147127fe/streamhub/internal/fault"
	"github.com/seed-147127fe/streamhub/internal/option"
	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// FrameOverhead is how many bytes of lengths and headers a frame may have in addition to [streamhub.MaxFrameBytes] of
// payloads and metadata.
const FrameOverhead = 64 << 10

// Options configure a [Log]; nil stands for the defaults.
type Options struct {
	// Node is written into every append as TRX.Node. The nil UUID, the default, costs no memory.
	Node uuid.UUID
	// MaxRecordBytes, MaxFrameBytes and MaxFrameRecords lower the limits of package streamhub.
	// MaxFrameBytes is that of a whole frame; up to [FrameOverhead] more lets an append carry all of
	// streamhub.MaxFrameBytes.
	MaxRecordBytes, MaxFrameBytes, MaxFrameRecords int
	// Durability is the level of appends that name none; the default is that the primary has run
	// the script.
	Durability streamhub.Durability
	// RetryFor is how long an append is tried again while Redis does not answer or cannot serve;
	// the default is 5 s. A context that ends earlier ends it earlier.
	RetryFor time.Duration
	// Quota is how many bytes a store may keep in Redis, by an estimate; 0 for any number. Every process
	// of the same Redis is given the same one. An append over it is [streamhub.ErrQuota].
	Quota int64
	// QuotaEvery is how often the estimate is compared with Redis; the default is 2 s.
	QuotaEvery time.Duration
	// Cold reads the entries that have left Redis. Without it archived entries cannot be read.
	Cold Cold
	// Logger receives background failures, which no call returns; the default discards them.
	Logger *slog.Logger
}

// A Log is the hot log of every store in one Redis. It is safe for concurrent use.
type Log struct {
	conn *redisx.Conn
	opt  Options
	append,
	remove, trim, touch, prune, sweep, trimTimeline, drop,
	claim, commit, move, restore, resume, imported,
	touchHead, usage *redisx.Script
	short      shortScripts
	spellShort func(lineage string) shortScripts // those that name the lineage; empty, those that ask
	appender   *appender
	full       sync.Map        // prefixes of full spaces
	quotas     *quotas         // nil without a quota
	tasks      *drain.Group    // goroutines, and callers that carry an append themselves
	ctx        context.Context // of tasks: ends when Close begins
}

// Open starts a log on conn, which stays the caller's. ctx bounds the opening only. A durability
// that the server cannot give is refused.
func Open(ctx context.Context, conn *redisx.Conn, options *Options) (*Log, error) {
	l := &Log{conn: conn}
	if options != nil {
		l.opt = *options
	}
	limit := func(value *int, most int) {
		if *value <= 0 || *value > most {
			*value = most
		}
	}
	limit(&l.opt.MaxRecordBytes, streamhub.MaxFrameBytes)
	if options == nil || options.MaxRecordBytes == 0 {
		l.opt.MaxRecordBytes = streamhub.MaxRecordBytes
	}
	limit(&l.opt.MaxFrameBytes, streamhub.MaxFrameBytes+FrameOverhead)
	if options == nil || options.MaxFrameBytes == 0 {
		l.opt.MaxFrameBytes = streamhub.MaxFrameBytes
	}
	limit(&l.opt.MaxFrameRecords, streamhub.MaxFrameRecords)
	if l.opt.RetryFor <= 0 {
		l.opt.RetryFor = 5 * time.Second
	}
	option.Logger(&l.opt.Logger)
	if err := l.checkLevel(l.opt.Durability); err != nil {
		return nil, err
	}
	l.loadScripts()
	l.tasks = drain.New(ctx)
	l.ctx = l.tasks.Context()
	l.appender = newAppender(l)
	if l.opt.Quota > 0 {
		l.quotas = newQuotas(&l.opt)
		l.tasks.Go(l.watchQuotas)
	}
	return l, nil
}

// Close ends the appends in flight; those that were sent end with an unknown outcome. It waits for the goroutines of
// the log, and for callers that carry an append themselves.
func (l *Log) Close() error {
	l.tasks.Close()
	return nil
}

// Store returns the log of one store, which is a tenant: nothing crosses it.
func (l *Log) Store(id uuid.UUID) *Store { return &Store{log: l, id: id} }

// A Store is one tenant's part of a [Log].
type Store struct {
	log    *Log
	id     uuid.UUID
	exempt bool // from the quota
}

// Exempt returns the same store without its quota, for appends that end something, such as a verdict.
func (s *Store) Exempt() *Store { return &Store{log: s.log, id: s.id, exempt: true} }

// ID returns the id of the store.
func (s *Store) ID() uuid.UUID { return s.id }

// A place is a segment as the store sees it: checked, escaped, with the keys of its space.
type place struct {
	spaceKeys
	name    string // of the segment, as the caller wrote it
	segment string // escaped
}

func (s *Store) place(space, segment string) (place, error) {
	if err := streamhub.CheckName("space", space); err != nil {
		return place{}, err
	}
	if err := streamhub.CheckName("segment", segment); err != nil {
		return place{}, err
	}
	return place{keysOf(s.id, space), segment, redisx.Escape(segment)}, nil
}

// fail makes the error of a method.
func (s *Store) fail(op, space, segment string, err error) error {
	return fault.At(streamhub.Error{Op: op, Store: s.id, Space: space, Segment: segment}, err)
}
