package client

import (
	"context"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// ClientMetrics measure calls. A client calls them from several goroutines. RecordSubscriptionReplay is not called: a
// subscription continues by itself after a lost connection, with the newest status.
type ClientMetrics interface {
	RecordProduceLatency(space, segment string, d time.Duration)
	RecordConsumeLatency(space, segment string, d time.Duration)
	RecordSubscriptionReplay(id string, success bool, d time.Duration)
	RecordHandlerTimeout(id string)
	RecordHandlerPanic(id string)
}

type otelMetrics struct {
	produce, consume, replay metric.Float64Histogram
	timeouts, panics         metric.Int64Counter
}

// NewOTelClientMetrics returns metrics on the global OpenTelemetry provider.
func NewOTelClientMetrics() ClientMetrics {
	meter := otel.Meter("github.com/seed-147127fe/streamhub/client/streamkit")
	m := &otelMetrics{}
	// No errors: the names are valid.
	m.produce, _ = meter.Float64Histogram("streamkit.client.produce.duration", metric.WithUnit("s"))
	m.consume, _ = meter.Float64Histogram("streamkit.client.consume.duration", metric.WithUnit("s"))
	m.replay, _ = meter.Float64Histogram("streamkit.client.replay.duration", metric.WithUnit("s"))
	m.timeouts, _ = meter.Int64Counter("streamkit.client.handler.timeouts")
	m.panics, _ = meter.Int64Counter("streamkit.client.handler.panics")
	return m
}

func (m *otelMetrics) RecordProduceLatency(space, _ string, d time.Duration) {
	m.produce.Record(context.Background(), d.Seconds(), metric.WithAttributes(attribute.String("space", space)))
}

func (m *otelMetrics) RecordConsumeLatency(space, _ string, d time.Duration) {
	m.consume.Record(context.Background(), d.Seconds(), metric.WithAttributes(attribute.String("space", space)))
}

func (m *otelMetrics) RecordSubscriptionReplay(_ string, success bool, d time.Duration) {
	m.replay.Record(context.Background(), d.Seconds(), metric.WithAttributes(attribute.Bool("success", success)))
}

func (m *otelMetrics) RecordHandlerTimeout(string) { m.timeouts.Add(context.Background(), 1) }

func (m *otelMetrics) RecordHandlerPanic(string) { m.panics.Add(context.Background(), 1) }
