package main

import (
	"context"
	golog "log"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"go.opentelemetry.io/otel/attribute"
	otelprom "go.opentelemetry.io/otel/exporters/prometheus"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"

	"github.com/seed-147127fe/streamhub/internal/front"
)

const (
	readHeaderTimeout = 5 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 16 << 10
	// maxUnread is how many bytes of request bodies an HTTP/2 connection may send before they are read. Each of its
	// requests can hold that much while its token is checked.
	maxUnread = 128 << 10
)

func newServer(handler http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: handler, ReadHeaderTimeout: readHeaderTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeaderBytes, ErrorLog: golog.New(front.NewSparse(log), "", 0),
		HTTP2: &http.HTTP2Config{MaxReceiveBufferPerConnection: maxUnread, MaxReceiveBufferPerStream: maxUnread},
	}
}

// metrics serves the metrics of the hub and the process to Prometheus.
type metrics struct {
	registry *prometheus.Registry
	provider *sdkmetric.MeterProvider
}

func newMetrics() (*metrics, error) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	exporter, err := otelprom.New(otelprom.WithRegisterer(registry), otelprom.WithoutScopeInfo())
	if err != nil {
		return nil, err
	}
	name := resource.NewSchemaless(attribute.String("service.name", "streamhub"))
	if named, err := resource.Merge(name, resource.Environment()); err == nil {
		name = named // OTEL_SERVICE_NAME may say otherwise
	}
	return &metrics{registry, sdkmetric.NewMeterProvider(sdkmetric.WithReader(exporter), sdkmetric.WithResource(name))}, nil
}

func (m *metrics) close() { _ = m.provider.Shutdown(context.Background()) }

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(prometheus.GathererFunc(m.gather), promhttp.HandlerOpts{})
}

// present has the metrics that have no series before their first event. They are shown as zero until then, because an
// alert cannot use a missing metric.
var present = map[string]absent{
	"streamhub_archive_lag_seconds":            {dto.MetricType_GAUGE, "How long the entry that waits longest has been due"},
	"streamhub_call_duration_seconds":          {dto.MetricType_HISTOGRAM, "Time of a call to the hub"},
	"streamhub_call_errors_total":              {dto.MetricType_COUNTER, "Calls that failed, by code"},
	"streamhub_delivery_delay_seconds":         {dto.MetricType_HISTOGRAM, "Time from an append, by the clock of Redis, until the followers of this process have the entry"},
	"streamhub_entries_delivered_total":        {dto.MetricType_COUNTER, "Entries handed to readers and followers"},
	"streamhub_followers":                      {dto.MetricType_GAUGE, "Followers that are open"},
	"streamhub_gateway_bytes_total":            {dto.MetricType_COUNTER, "Bytes of WebSocket messages, by direction"},
	"streamhub_gateway_calls":                  {dto.MetricType_GAUGE, "Calls that are under way"},
	"streamhub_gateway_closes_total":           {dto.MetricType_COUNTER, "Connections that the gateway closed, by close code"},
	"streamhub_gateway_connections":            {dto.MetricType_GAUGE, "Connections that are open"},
	"streamhub_gateway_messages_total":         {dto.MetricType_COUNTER, "WebSocket messages, by direction"},
	"streamhub_records_appended_total":         {dto.MetricType_COUNTER, "Records stored"},
	"streamhub_redis_command_duration_seconds": {dto.MetricType_HISTOGRAM, "Time of a command to Redis, or of a pipeline"},
	"streamhub_request_duration_seconds":       {dto.MetricType_HISTOGRAM, "How long requests took that were no event stream, by transport and operation"},
}

// An absent metric is one without a series, with the help that it has when there is one.
type absent struct {
	kind dto.MetricType
	help string
}

// gather reads all metrics, and adds those that are present without a series.
func (m *metrics) gather() ([]*dto.MetricFamily, error) {
	families, err := m.registry.Gather()
	missing := maps.Clone(present)
	for _, family := range families {
		delete(missing, family.GetName())
	}
	for name, m := range missing {
		one := &dto.Metric{}
		switch m.kind {
		case dto.MetricType_GAUGE:
			one.Gauge = &dto.Gauge{Value: new(float64)}
		case dto.MetricType_COUNTER:
			one.Counter = &dto.Counter{Value: new(float64)}
		default:
			one.Histogram = &dto.Histogram{SampleCount: new(uint64), SampleSum: new(float64)}
		}
		families = append(families, &dto.MetricFamily{Name: &name, Help: &m.help, Type: &m.kind, Metric: []*dto.Metric{one}})
	}
	slices.SortFunc(families, func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) })
	return families, err
}
