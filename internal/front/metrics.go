package front

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

type metrics struct {
	ctx                context.Context // for metrics that belong to no request
	requests, refusals metric.Int64Counter
	bytes              metric.Int64Counter
	duration           metric.Float64Histogram
	open               metric.Int64UpDownCounter
	calls              sync.Map // metric.MeasurementOption by callKey
}

func newMetrics(ctx context.Context, provider metric.MeterProvider) (*metrics, error) {
	if provider == nil {
		provider = otel.GetMeterProvider()
	}
	meter := provider.Meter("github.com/seed-147127fe/streamhub")
	m := &metrics{ctx: ctx}
	var failed [5]error
	m.requests, failed[0] = meter.Int64Counter("streamhub.requests", metric.WithDescription("Requests that have ended, by transport, operation and status"))
	m.refusals, failed[1] = meter.Int64Counter("streamhub.refusals", metric.WithDescription("What was not let in, by transport and reason"))
	m.bytes, failed[2] = meter.Int64Counter("streamhub.response.bytes", metric.WithUnit("By"), metric.WithDescription("Bytes of the bodies of answers, by transport"))
	m.duration, failed[3] = meter.Float64Histogram("streamhub.request.duration", metric.WithUnit("s"), metric.WithDescription("How long requests took that were no event stream, by transport and operation"))
	m.open, failed[4] = meter.Int64UpDownCounter("streamhub.open_streams", metric.WithDescription("Requests and connections that are open, by transport"))
	return m, errors.Join(failed[:]...)
}

// reasons are the reasons for refusals, as an attribute.
var reasons = []string{"host", "limit", "origin", "permission", "quota", "token"}

// begin creates the series of a transport, so that they exist before the first request.
func (m *metrics) begin(transport string, more ...string) {
	ctx, at := m.ctx, attribute.String("transport", transport)
	for _, reason := range slices.Concat(reasons, more) {
		m.refusals.Add(ctx, 0, metric.WithAttributes(at, attribute.String("reason", reason)))
	}
	m.open.Add(ctx, 0, metric.WithAttributes(at))
}

// beginHTTP creates the series of an HTTP transport, so that they exist before the first request.
func (m *metrics) beginHTTP(transport string) {
	m.begin(transport)
	at := attribute.String("transport", transport)
	m.requests.Add(m.ctx, 0, metric.WithAttributes(at, attribute.String("op", "get"), attribute.String("code", "200")))
	m.bytes.Add(m.ctx, 0, metric.WithAttributes(at))
}

// A callKey names a series of calls. Their number is bounded by the operations and codes.
type callKey struct{ transport, op, code string }

// called counts a call of a connection that has ended. There are many calls per second, so the attributes are cached.
func (m *metrics) called(transport, op, code string, begun time.Time) {
	if op == "" {
		op = "none"
	}
	m.requests.Add(m.ctx, 1, m.attributes(callKey{transport, op, code}))
	if !begun.IsZero() {
		m.duration.Record(m.ctx, time.Since(begun).Seconds(), m.attributes(callKey{transport, op, ""}))
	}
}

func (m *metrics) attributes(key callKey) metric.MeasurementOption {
	if known, ok := m.calls.Load(key); ok {
		return known.(metric.MeasurementOption)
	}
	list := []attribute.KeyValue{attribute.String("transport", key.transport), attribute.String("op", strings.ReplaceAll(key.op, " ", "_"))}
	if key.code != "" {
		list = append(list, attribute.String("code", key.code))
	}
	option := metric.WithAttributeSet(attribute.NewSet(list...))
	m.calls.Store(key, option)
	return option
}

// opened counts a request as in flight until closed is called.
func (m *metrics) opened(ctx context.Context, transport string) (closed func()) {
	at := metric.WithAttributes(attribute.String("transport", transport))
	m.open.Add(ctx, 1, at)
	return func() { m.open.Add(ctx, -1, at) }
}

func (m *metrics) refused(ctx context.Context, transport, reason string) {
	m.refusals.Add(ctx, 1, metric.WithAttributes(attribute.String("transport", transport), attribute.String("reason", reason)))
}

// ops are the methods that appear in metrics. Clients can send any method, so the others share one name.
var ops = []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPost, http.MethodDelete, http.MethodOptions}

func (m *metrics) ended(ctx context.Context, transport, method string, w *writer, took time.Duration) {
	op := "other"
	if slices.Contains(ops, method) {
		op = lower[method]
	}
	if w.code() == http.StatusInsufficientStorage {
		m.refused(ctx, transport, "quota")
	}
	at, operation := attribute.String("transport", transport), attribute.String("op", op)
	m.requests.Add(ctx, 1, metric.WithAttributes(at, operation, attribute.String("code", strconv.Itoa(w.code()))))
	m.bytes.Add(ctx, w.bytes, metric.WithAttributes(at))
	// An event stream lasts as long as its client wants, and would distort the durations of all other requests.
	if w.Header().Get("Content-Type") != "text/event-stream" {
		m.duration.Record(ctx, took.Seconds(), metric.WithAttributes(at, operation))
	}
}

var lower = map[string]string{
	http.MethodGet: "get", http.MethodHead: "head", http.MethodPut: "put", http.MethodPost: "post",
	http.MethodDelete: "delete", http.MethodOptions: "options",
}
