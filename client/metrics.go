package client

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/seed-147127fe/streamhub"
)

// ClientMetrics count the calls of clients. Their attributes are the operation, the code and the kind of failure.
// Stores and segments are not attributes: each would add a series.
type ClientMetrics struct {
	duration metric.Float64Histogram
	failures metric.Int64Counter
	retries  metric.Int64Counter
	handlers metric.Int64Counter
}

// NewOTelClientMetrics makes the instruments on an OpenTelemetry meter provider; nil is the global one.
func NewOTelClientMetrics(provider metric.MeterProvider) (*ClientMetrics, error) {
	if provider == nil {
		provider = otel.GetMeterProvider()
	}
	meter := provider.Meter("github.com/seed-147127fe/streamhub/client")
	m := &ClientMetrics{}
	var errs [4]error
	m.duration, errs[0] = meter.Float64Histogram("streamhub.client.call.duration", metric.WithUnit("s"), metric.WithDescription("Time of a call with all its attempts"))
	m.failures, errs[1] = meter.Int64Counter("streamhub.client.call.errors", metric.WithDescription("Calls that failed, by code"))
	m.retries, errs[2] = meter.Int64Counter("streamhub.client.retries", metric.WithDescription("Attempts after the first"))
	m.handlers, errs[3] = meter.Int64Counter("streamhub.client.handler.failures", metric.WithDescription("Handlers that panicked or took too long"))
	return m, errors.Join(errs[:]...)
}

// An observation is one call with all of its attempts: one span, one duration.
type observation struct {
	c     *Client
	ctx   context.Context
	op    string
	span  trace.Span // nil without tracing
	start time.Time
}

// observe begins an observation. The context that it returns carries the span, for the attempts.
func (c *Client) observe(ctx context.Context, op string) (context.Context, observation) {
	o := observation{c: c, op: op, start: time.Now()}
	if c.opt.tracer != nil {
		ctx, o.span = c.opt.tracer.Start(ctx, "streamhub client "+op, trace.WithSpanKind(trace.SpanKindClient))
	}
	o.ctx = ctx
	return ctx, o
}

// retried counts an attempt after the first.
func (o *observation) retried() {
	if m := o.c.opt.metrics; m != nil {
		m.retries.Add(o.ctx, 1, metric.WithAttributes(attribute.String("op", o.op)))
	}
}

func (o *observation) end(err error) {
	code := string(streamhub.CodeOf(err))
	if m := o.c.opt.metrics; m != nil {
		m.duration.Record(o.ctx, time.Since(o.start).Seconds(), metric.WithAttributes(attribute.String("op", o.op)))
		if err != nil {
			m.failures.Add(o.ctx, 1, metric.WithAttributes(attribute.String("op", o.op), attribute.String("code", code)))
		}
	}
	if o.span != nil {
		if err != nil {
			o.span.SetStatus(codes.Error, code)
		}
		o.span.End()
	}
}

// countHandler counts a handler of a subscription that panicked or took too long.
func (c *Client) countHandler(ctx context.Context, failure string) {
	if m := c.opt.metrics; m != nil {
		m.handlers.Add(ctx, 1, metric.WithAttributes(attribute.String("failure", failure)))
	}
}
