package archiver

import (
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive"
)

const scope = "github.com/seed-147127fe/streamhub/archive/tier"

// meters measure the spaces that this process archives. The names of spaces are not attributes: their number is
// unbounded, and an alert needs only sums and the worst case.
type meters struct {
	failures metric.Int64Counter
	moved    metric.Int64Counter

	// mu guards spaces. The callbacks of the gauges read it from goroutines of the meter.
	mu     sync.Mutex
	spaces map[archive.SpaceID]Figures
}

// Figures are those of a space that this process archives.
type Figures struct {
	Hot, Archived int64 // bytes; Hot is 0 where no policy asks for it
	// Lag is how long the oldest entry that is not archived has been due, in milliseconds.
	Lag int64
	// Full says that the space accepts no entries because its limit is reached.
	Full bool
	// Failure says why the last turn failed, at FailedAt in Unix milliseconds; "" if it did not.
	Failure  string
	FailedAt int64
}

func newMeters(ctx context.Context, provider metric.MeterProvider) (*meters, error) {
	if provider == nil {
		provider = otel.GetMeterProvider()
	}
	m := &meters{spaces: map[archive.SpaceID]Figures{}}
	meter := provider.Meter(scope)
	var errs [7]error
	m.failures, errs[0] = meter.Int64Counter("streamhub.archive.errors", metric.WithDescription("Turns of the archiver that failed, by code"))
	m.moved, errs[1] = meter.Int64Counter("streamhub.archive.entries", metric.WithDescription("Entries archived"))
	gauge := func(err *error, name, unit, description string, of func(f Figures, sum int64) int64) {
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
	gauge(&errs[2], "streamhub.archive.hot_bytes", "By", "Bytes in Redis of the spaces that this instance archives", func(f Figures, sum int64) int64 { return sum + f.Hot })
	gauge(&errs[3], "streamhub.archive.archived_bytes", "By", "Bytes in the archive of the spaces that this instance archives", func(f Figures, sum int64) int64 { return sum + f.Archived })
	_, errs[4] = meter.Float64ObservableGauge("streamhub.archive.lag", metric.WithUnit("s"), metric.WithDescription("How long the entry that waits longest has been due"),
		metric.WithFloat64Callback(func(_ context.Context, o metric.Float64Observer) error {
			m.mu.Lock()
			defer m.mu.Unlock()
			longest := int64(0)
			for _, f := range m.spaces {
				longest = max(longest, f.Lag)
			}
			o.Observe(float64(longest) / 1000)
			return nil
		}))
	gauge(&errs[5], "streamhub.archive.failing", "", "Spaces whose last turn failed", func(f Figures, sum int64) int64 { return sum + one(f.Failure != "") })
	gauge(&errs[6], "streamhub.archive.full", "", "Spaces that take no entries because their limit is reached", func(f Figures, sum int64) int64 { return sum + one(f.Full) })
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	// The series exist from the start, so that an alert can tell zero from a missing series.
	m.failures.Add(ctx, 0)
	m.moved.Add(ctx, 0)
	return m, nil
}

// one returns 1 for true, so that a gauge can count spaces.
func one(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// turn records the result of one turn of a space: its figures, and err if the turn failed. A
// successful turn clears the failure of the one before it.
func (m *meters) turn(ctx context.Context, space archive.SpaceID, f Figures, err error) {
	if f.Failure, f.FailedAt = "", 0; err != nil {
		f.Failure, f.FailedAt = err.Error(), time.Now().UnixMilli()
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

// of returns the figures of a space.
func (m *meters) of(space archive.SpaceID) (f Figures, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f, ok = m.spaces[space]
	return f, ok
}

// Figures returns those of a space; ok is false if this process does not archive it.
func (t *Tier) Figures(space archive.SpaceID) (f Figures, ok bool) { return t.meters.of(space) }
