package wsgateway

import (
	"context"
	"errors"
	"strconv"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// metrics count connections, calls in flight, messages and their bytes in both directions, and closed connections by
// code. Subjects and stores are not attributes, because their number is unbounded.
type metrics struct {
	connections, calls metric.Int64UpDownCounter
	messages, bytes    metric.Int64Counter
	closes             metric.Int64Counter
	in, out            []metric.AddOption // made once, because each message uses two
}

func newMetrics(ctx context.Context, provider metric.MeterProvider) (*metrics, error) {
	if provider == nil {
		provider = otel.GetMeterProvider()
	}
	meter := provider.Meter("github.com/seed-147127fe/streamhub/wsgateway")
	m := &metrics{
		in:  []metric.AddOption{metric.WithAttributeSet(attribute.NewSet(attribute.String("direction", "in")))},
		out: []metric.AddOption{metric.WithAttributeSet(attribute.NewSet(attribute.String("direction", "out")))},
	}
	var failed error
	counter := func(name, description string) metric.Int64Counter {
		c, err := meter.Int64Counter("streamhub.gateway."+name, metric.WithDescription(description))
		failed = errors.Join(failed, err)
		return c
	}
	level := func(name, description string) metric.Int64UpDownCounter {
		c, err := meter.Int64UpDownCounter("streamhub.gateway."+name, metric.WithDescription(description))
		failed = errors.Join(failed, err)
		return c
	}
	m.connections = level("connections", "Connections that are open")
	m.calls = level("calls", "Calls that are under way")
	m.messages = counter("messages", "WebSocket messages, by direction")
	m.bytes = counter("bytes", "Bytes of WebSocket messages, by direction")
	m.closes = counter("closes", "Connections that the gateway closed, by close code")
	return m, failed
}

func (m *metrics) received(ctx context.Context, bytes int) {
	m.messages.Add(ctx, 1, m.in...)
	m.bytes.Add(ctx, int64(bytes), m.in...)
}

func (m *metrics) sent(ctx context.Context, messages, bytes int) {
	m.messages.Add(ctx, int64(messages), m.out...)
	m.bytes.Add(ctx, int64(bytes), m.out...)
}

func (m *metrics) closed(ctx context.Context, code int) {
	m.closes.Add(ctx, 1, metric.WithAttributes(attribute.String("code", strconv.Itoa(code))))
}
