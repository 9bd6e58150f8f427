package hub

import (
	"context"
	"errors"
	"iter"

	"go.opentelemetry.io/otel/metric"

	"github.com/seed-147127fe/streamhub/internal/livestream"
	"github.com/seed-147127fe/streamhub/live"
)

// Live returns the live streams of a space; see package live. It sends nothing and needs no
// closing.
func (s *Store) Live(space string) live.Streams { return s.hub.live.Streams(s.ID(), space) }

// LiveStreams lists the live streams of a space that have a producer, in no order; with ended it also
// lists those that have ended and are kept. Each stream costs two Redis commands.
func (s *Store) LiveStreams(ctx context.Context, space string, ended bool) iter.Seq2[live.Listed, error] {
	return s.hub.live.Streams(s.ID(), space).ListStatus(ctx, ended)
}

// openLive starts the live streams of the hub.
func (h *Hub) openLive(ctx context.Context) (err error) {
	o := live.Options{}
	if h.opt.Live != nil {
		o = *h.opt.Live
	}
	if o.MaxChunkBytes == 0 {
		o.MaxChunkBytes = h.opt.MaxRecordBytes
	}
	if o.Logger == nil {
		o.Logger = h.opt.Logger
	}
	if h.live, err = livestream.Open(ctx, h.conn, h.log, h.watcher, &o); err != nil {
		return err
	}
	h.counting, err = h.observer.countLive(h.live.Chunks, h.log.Calls)
	return err
}

func (h *Hub) closeLive() error {
	err := h.live.Close()
	if h.counting != nil {
		err = errors.Join(err, h.counting.Unregister())
	}
	return err
}

// countLive counts chunks and the calls to Redis of all appends, those of chunks included: the quotient is the cost of
// a chunk.
func (o *observer) countLive(chunks, calls func() int64) (metric.Registration, error) {
	published, err := o.meter.Int64ObservableCounter("streamhub.live.chunks", metric.WithDescription("Chunks of live streams stored"))
	if err != nil {
		return nil, err
	}
	sent, err := o.meter.Int64ObservableCounter("streamhub.append.calls", metric.WithDescription("Calls of the append script sent to Redis, each with what was appended at that moment"))
	if err != nil {
		return nil, err
	}
	return o.meter.RegisterCallback(func(_ context.Context, to metric.Observer) error {
		to.ObserveInt64(published, chunks())
		to.ObserveInt64(sent, calls())
		return nil
	}, published, sent)
}
