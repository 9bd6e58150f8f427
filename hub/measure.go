package hub

import (
	"context"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// A measure records how long the commands of a client take. Pipelines count as one.
type measure struct {
	duration metric.Float64Histogram
	commands sync.Map // metric.MeasurementOption by command name
}

// measureClient makes a client record its commands with provider; with a nil provider it records nothing.
func measureClient(client redis.UniversalClient, provider metric.MeterProvider) (redis.UniversalClient, error) {
	if provider == nil {
		return client, nil
	}
	m := &measure{}
	var err error
	m.duration, err = provider.Meter(scope).Float64Histogram("streamhub.redis.command.duration", metric.WithUnit("s"),
		metric.WithDescription("Time of a command to Redis, or of a pipeline"))
	if err != nil {
		return nil, err
	}
	client.AddHook(m)
	return client, nil
}

func (m *measure) record(ctx context.Context, command string, since time.Time) {
	option, ok := m.commands.Load(command)
	if !ok {
		option = metric.WithAttributeSet(attribute.NewSet(attribute.String("command", command)))
		m.commands.Store(command, option)
	}
	m.duration.Record(ctx, time.Since(since).Seconds(), option.(metric.MeasurementOption))
}

// DialHook returns next: dials are not measured.
func (m *measure) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessHook measures one command.
func (m *measure) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		defer m.record(ctx, cmd.Name(), time.Now())
		return next(ctx, cmd)
	}
}

// ProcessPipelineHook measures a pipeline.
func (m *measure) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		defer m.record(ctx, "pipeline", time.Now())
		return next(ctx, cmds)
	}
}
