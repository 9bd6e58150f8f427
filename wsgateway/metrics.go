package wsgateway

import (
	"context"
	"errors"
	"strconv"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/seed-147127fe/streamhub"
)

type metrics struct {
	connections, calls     metric.Int64UpDownCounter
	messages, bytes        metric.Int64Counter
	ends, closes, refusals metric.Int64Counter
	open                   metric.Int64UpDownCounter
	in, out                metric.MeasurementOption
}

func newMetrics(ctx context.Context, provider metric.MeterProvider) (*metrics, error) {
	if provider == nil {
		provider = otel.GetMeterProvider()
	}
	meter := provider.Meter("github.com/seed-147127fe/streamhub/wsgateway")
	m := &metrics{
		in:  metric.WithAttributeSet(attribute.NewSet(attribute.String("direction", "in"))),
		out: metric.WithAttributeSet(attribute.NewSet(attribute.String("direction", "out"))),
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
	m.ends = counter("ends", "Calls that ended, by code; ok if none")
	m.closes = counter("closes", "Connections that the gateway closed, by close code")
	// These have one name for all transports; see package front.
	var err error
	m.refusals, err = meter.Int64Counter("streamhub.refusals", metric.WithDescription("What was not let in, by transport and reason"))
	failed = errors.Join(failed, err)
	m.open, err = meter.Int64UpDownCounter("streamhub.open_streams", metric.WithDescription("Requests and connections that are open, by transport"))
	failed = errors.Join(failed, err)
	for _, transport := range []string{oursTransport, streamkitTransport} {
		at := attribute.String("transport", transport)
		m.open.Add(ctx, 0, metric.WithAttributes(at))
		for _, reason := range []string{"limit", "origin", "protocol", "token"} {
			m.refusals.Add(ctx, 0, metric.WithAttributes(at, attribute.String("reason", reason)))
		}
	}
	return m, failed
}

// The transports in metrics.
const (
	oursTransport      = "websocket"
	streamkitTransport = "streamkit"
)

func transportOf(ours bool) string {
	if ours {
		return oursTransport
	}
	return streamkitTransport
}

func (m *metrics) received(ctx context.Context, bytes int) {
	m.messages.Add(ctx, 1, m.in)
	m.bytes.Add(ctx, int64(bytes), m.in)
}

func (m *metrics) sent(ctx context.Context, messages, bytes int) {
	m.messages.Add(ctx, int64(messages), m.out)
	m.bytes.Add(ctx, int64(bytes), m.out)
}

func (m *metrics) ended(ctx context.Context, err error) {
	code := "ok"
	if err != nil {
		code = string(streamhub.CodeOf(err))
	}
	m.ends.Add(ctx, 1, metric.WithAttributes(attribute.String("code", code)))
}

func (m *metrics) closed(ctx context.Context, code int) {
	m.closes.Add(ctx, 1, metric.WithAttributes(attribute.String("code", strconv.Itoa(code))))
}

func (m *metrics) refused(ctx context.Context, ours bool, reason string) {
	m.refusals.Add(ctx, 1, metric.WithAttributes(attribute.String("transport", transportOf(ours)), attribute.String("reason", reason)))
}

// opened counts connections of a dialect.
func (m *metrics) opened(ctx context.Context, ours bool, n int64) {
	m.open.Add(ctx, n, metric.WithAttributes(attribute.String("transport", transportOf(ours))))
}
