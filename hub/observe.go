package hub

import (
	"cmp"
	"context"
	"errors"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/seed-147127fe/streamhub"
)

const scope = "github.com/seed-147127fe/streamhub/hub"

// An observer counts calls and traces them. Names of spaces and segments go into spans only: as attributes of a metric
// they would make an unbounded number of series.
type observer struct {
	tracer    trace.Tracer
	meter     metric.Meter
	duration  metric.Float64Histogram
	failures  counter
	appended  counter
	delivered counter
	followers counter
	delay     metric.Float64Histogram
	clock     redisClock
	observing metric.Registration // nil before the hub is open
}

// A counter is a metric that also counts for the report of the instance.
type counter struct {
	to interface {
		Add(ctx context.Context, n int64, options ...metric.AddOption)
	}
	n atomic.Int64
}

func (c *counter) Add(ctx context.Context, n int64, options ...metric.AddOption) {
	c.n.Add(n)
	c.to.Add(ctx, n, options...)
}

func newObserver(opt *Options) (*observer, error) {
	tracers, meters := opt.TracerProvider, opt.MeterProvider
	if tracers == nil {
		tracers = otel.GetTracerProvider()
	}
	if meters == nil {
		meters = otel.GetMeterProvider()
	}
	o := &observer{tracer: tracers.Tracer(scope)}
	m := meters.Meter(scope)
	o.meter = m
	var err error
	keep := func(e error) {
		if err == nil {
			err = e
		}
	}
	var e error
	o.duration, e = m.Float64Histogram("streamhub.call.duration", metric.WithUnit("s"), metric.WithDescription("Time of a call to the hub"))
	keep(e)
	o.failures.to, e = m.Int64Counter("streamhub.call.errors", metric.WithDescription("Calls that failed, by code"))
	keep(e)
	o.appended.to, e = m.Int64Counter("streamhub.records.appended", metric.WithDescription("Records stored"))
	keep(e)
	o.delivered.to, e = m.Int64Counter("streamhub.entries.delivered", metric.WithDescription("Entries handed to readers and followers"))
	keep(e)
	o.followers.to, e = m.Int64UpDownCounter("streamhub.followers", metric.WithDescription("Followers that are open"))
	keep(e)
	o.delay, e = m.Float64Histogram("streamhub.delivery.delay", metric.WithUnit("s"), metric.WithDescription("Time from an append, by the clock of Redis, until the followers of this process have the entry"))
	keep(e)
	return o, err
}

// A call is one call being observed.
type call struct {
	o     *observer
	ctx   context.Context
	span  trace.Span
	op    string
	start time.Time
}

func (o *observer) begin(ctx context.Context, op string, s *Store, space, segment string) (context.Context, call) {
	ctx, span := o.tracer.Start(ctx, "streamhub "+op, trace.WithSpanKind(trace.SpanKindClient))
	if span.IsRecording() {
		span.SetAttributes(attribute.String("streamhub.store", s.ID().String()),
			attribute.String("streamhub.space", space), attribute.String("streamhub.segment", segment))
	}
	return ctx, call{o, ctx, span, op, time.Now()}
}

// end is called once, with what the call returned.
func (c call) end(err error) {
	op := metric.WithAttributeSet(attribute.NewSet(attribute.String("op", c.op)))
	c.o.duration.Record(c.ctx, time.Since(c.start).Seconds(), op)
	if err != nil {
		code := string(streamhub.CodeOf(err))
		c.o.failures.Add(c.ctx, 1, metric.WithAttributes(attribute.String("op", c.op), attribute.String("code", code)))
		c.span.SetStatus(codes.Error, code)
		c.span.RecordError(err)
	}
	c.span.End()
}

// endAppends ends a call that has stored the given number of records.
func (c call) endAppends(records int, err error) {
	c.o.appended.Add(c.ctx, int64(records))
	c.end(err)
}

// endAll ends a call of several appends; its error is that of the first append that failed.
func (c call) endAll(results []streamhub.AppendResult, errs []error, made func(i int) *streamhub.Append) {
	records := 0
	var failed error
	for i, err := range errs {
		records += stored(made(i).Records, made(i).Options, &results[i], err)
		failed = cmp.Or(failed, err)
	}
	c.endAppends(records, failed)
}

// stored returns how many records an append has stored. A check (CheckOnly) stores none, and a repeat adds none. An
// append that ended with ErrNotConfirmed is stored.
func stored(records []streamhub.Record, o *streamhub.AppendOptions, r *streamhub.AppendResult, err error) int {
	if err != nil && !errors.Is(err, streamhub.ErrNotConfirmed) || r.Repeated || o != nil && o.CheckOnly {
		return 0
	}
	return len(records)
}
