package store

import (
	"context"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/fault"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// Options configure a [Log]; nil stands for the defaults.
type Options struct {
	// Node is written into every append as TRX.Node; the default is the nil UUID.
	Node uuid.UUID
	// MaxRecordBytes limits a record, payload and metadata; the default is
	// [streamhub.MaxRecordBytes], the most is [streamhub.MaxFrameBytes].
	MaxRecordBytes int
	// Durability is the level of appends that name none; the default is that the primary has the
	// append in memory. Open refuses a level that the server cannot give.
	Durability streamhub.Durability
	// RetryFor is how long an append is retried while Redis does not answer or cannot serve; the default is 5 s. The
	// end of the context of the call ends the retries earlier.
	RetryFor time.Duration
	// Logger receives background failures, which no call returns; the default discards them.
	Logger *slog.Logger
}

// A Log reads and writes every store in one Redis. It does not see archived entries; use package hub
// where history is archived. It is safe for concurrent use.
type Log struct{ log *hotlog.Log }

// Open starts a log on client, which stays the caller's. ctx bounds the opening only. The client should honour the
// deadline of a context; in go-redis that is the option ContextTimeoutEnabled.
func Open(ctx context.Context, client redis.UniversalClient, options *Options) (*Log, error) {
	conn, err := redisx.Connect(ctx, client)
	if err != nil {
		return nil, fault.At(streamhub.Error{Op: "open"}, err)
	}
	o := hotlog.Options{}
	if options != nil {
		o = hotlog.Options{
			Node: options.Node, MaxRecordBytes: options.MaxRecordBytes, Durability: options.Durability,
			RetryFor: options.RetryFor, Logger: options.Logger,
		}
	}
	log, err := hotlog.Open(ctx, conn, &o)
	if err != nil {
		return nil, fault.At(streamhub.Error{Op: "open"}, err)
	}
	return &Log{log}, nil
}

// Close ends the appends in flight, with [streamhub.ErrUnknownOutcome] where they have been sent, and
// waits for the goroutines of the log. It may be called twice.
func (l *Log) Close() error { return l.log.Close() }

// Store returns the store of one tenant, which need not exist yet. It sends nothing and needs no
// closing.
func (l *Log) Store(id uuid.UUID) *Store { return &Store{l.log.Store(id)} }

// Stores returns the ids of all stores that were ever appended to, in no order.
func (l *Log) Stores(ctx context.Context) ([]uuid.UUID, error) { return l.log.Stores(ctx) }
