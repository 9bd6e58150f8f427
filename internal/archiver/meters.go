package archiver

import (
	"context"
	"sync"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive"
)

const scope = "github.com/seed-147127fe/streamhub/archive/tier"

// meters measure the spaces that this process archives. Their names are not attributes, for they are
// without number: the sums and the worst are what an alert needs.
type meters struct {
	failures metric.Int64Counter
	moved    metric.Int64Counter

	mu     sync.Mutex
	spaces map[archive.SpaceID]figures
}

// figures are those of one space.
type figures struct {
	hot, archived int64 // bytes
	lag           int64 // milliseconds by which the oldest entry is overdue
	failed        bool  // the last turn did
	full          bool
}

func newMeters(provider metric.MeterProvider) (*meters, error) {
	if provider == nil {
		provider = otel.GetMeterProvider()
	}
	m := &meters{spaces: map[archive.SpaceID]figures{}}
	meter := provider.Meter(scope)
	var errs [7]error
	m.failures, errs[0] = meter.Int64Counter("streamhub.archive.errors", metric.WithDescription("Turns of the archiver that failed, by code"))
	m.moved, errs[1] = meter.Int64Counter("streamhub.archive.entries", metric.WithDescription("Entries archived"))
	gauge := func(err *error, name, unit, description string, of func(f figures, sum int64) int64) {
		_, *err = meter.Int64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(description),
			metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error {
				m.mu.Lock()
				defer m.mu.Unlock()
				sum := int64(0)
				for _, f := range m.spaces {
					sum = of(f, sum)
				}
				o.Observe(sum)
				return nil
			}))
	}
	gauge(&errs[2], "streamhub.archive.hot_bytes", "By", "Bytes in Redis of the spaces that this instance archives", func(f figures, sum int64) int64 { return sum + f.hot })
	gauge(&errs[3], "streamhub.archive.archived_bytes", "By", "Bytes in the archive of the spaces that this instance archives", func(f figures, sum int64) int64 { return sum + f.archived })
	_, errs[4] = meter.Float64ObservableGauge("streamhub.archive.lag", metric.WithUnit("s"), metric.WithDescription("How long the entry that waits longest has been due"),
		metric.WithFloat64Callback(func(_ context.Context, o metric.Float64Observer) error {
			m.mu.Lock()
			defer m.mu.Unlock()
			longest := int64(0)
			for _, f := range m.spaces {
				longest = max(longest, f.lag)
			}
			o.Observe(float64(longest) / 1000)
			return nil
		}))
	gauge(&errs[5], "streamhub.archive.failing", "", "Spaces whose last turn failed", func(f figures, sum int64) int64 { return sum + one(f.failed) })
	gauge(&errs[6], "streamhub.archive.full", "", "Spaces that take no entries because their limit is reached", func(f figures, sum int64) int64 { return sum + one(f.full) })
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return m, nil
}

func one(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// turn notes what became of one turn.
func (m *meters) turn(ctx context.Context, space archive.SpaceID, f figures, err error) {
	if f.failed = err != nil; f.failed {
		m.failures.Add(ctx, 1, metric.WithAttributes(attribute.String("code", string(streamhub.CodeOf(err)))))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.spaces[space] = f
}

// forget drops a space that another instance archives now.
func (m *meters) forget(space archive.SpaceID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.spaces, space)
}
