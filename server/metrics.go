package server

import (
	"context"
	"errors"
	"runtime/debug"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// observe registers the metrics that are computed when they are collected: running requests and connections, and
// whether Redis answers.
func (s *Server) observe() error {
	provider := s.opt.MeterProvider
	if provider == nil {
		provider = otel.GetMeterProvider()
	}
	meter := provider.Meter("github.com/seed-147127fe/streamhub")
	build, err := meter.Int64ObservableGauge("streamhub.build.info", metric.WithDescription("What runs; the value is 1"))
	up, failed := meter.Int64ObservableGauge("streamhub.redis.up", metric.WithDescription("Whether Redis answers within a second"))
	if err = errors.Join(err, failed); err != nil {
		return err
	}
	version, goVersion := "unknown", "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		version, goVersion = info.Main.Version, info.GoVersion
	}
	built := metric.WithAttributes(attribute.String("version", version), attribute.String("go_version", goVersion))
	s.observing, err = meter.RegisterCallback(func(ctx context.Context, o metric.Observer) error {
		ctx, cancel := context.WithTimeout(ctx, readyTime)
		defer cancel()
		n := int64(0)
		if s.hub.Ping(ctx) == nil {
			n = 1
		}
		o.ObserveInt64(up, n)
		o.ObserveInt64(build, 1, built)
		return nil
	}, build, up)
	return err
}
