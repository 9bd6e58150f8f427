package wsgateway

import (
	"cmp"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/option"
	"github.com/seed-147127fe/streamhub/internal/wire"
)

// Options configure a Gateway; nil stands for the defaults.
type Options struct {
	// Auth checks tokens. Without it every client has every right: omit it only on a loopback address, or behind a
	// proxy that authenticates.
	Auth streamhub.Authenticator
	// Origins are the web origins that browsers may connect from, as scheme://host[:port], besides
	// the gateway's own.
	Origins []string
	// Cookie names a cookie that may hold the token of a page of the gateway's own origin; the default
	// is none.
	Cookie string
	// CloseExpiredStreamkit closes a connection of a streamkit client when its token expires. By default
	// the token counts at the handshake only, as in streamkit, whose clients never renew a token.
	CloseExpiredStreamkit bool
	// Limits bound connections; nil stands for the defaults.
	Limits *Limits
	// MaxReaders is how many readers, followers and subscriptions one connection may have open; the default is 128. A
	// further one is refused with [streamhub.ErrLimitExceeded].
	MaxReaders int
	// MaxMessageBytes bounds one WebSocket message of a client, and so one append; the default fits the largest append.
	// A larger one closes the connection with code 1009.
	MaxMessageBytes int64
	// PingInterval is how long a connection may be silent before it is pinged; the default is 25 s.
	PingInterval time.Duration
	// PongTimeout is how long the answer to a ping may take; the default is 10 s.
	PongTimeout time.Duration
	// WriteTimeout is how long a write to a client may block, once all buffers are full; the
	// default is 90 s.
	WriteTimeout time.Duration
	// Logger receives the failures that no client sees; the default discards them. Payloads and
	// tokens are never logged.
	Logger *slog.Logger
	// MeterProvider defaults to the global one of OpenTelemetry, and so does Propagator.
	MeterProvider metric.MeterProvider
	Propagator    propagation.TextMapPropagator
}

const (
	defaultReaders      = 128
	defaultPing         = 25 * time.Second
	defaultPong         = 10 * time.Second
	defaultWriteTimeout = 90 * time.Second
)

func (o *Options) withDefaults() Options {
	var opt Options
	if o != nil {
		opt = *o
	}
	opt.MaxReaders = cmp.Or(opt.MaxReaders, defaultReaders)
	opt.MaxMessageBytes = cmp.Or(opt.MaxMessageBytes, wire.MaxMessage)
	opt.PingInterval = cmp.Or(opt.PingInterval, defaultPing)
	opt.PongTimeout = cmp.Or(opt.PongTimeout, defaultPong)
	opt.WriteTimeout = cmp.Or(opt.WriteTimeout, defaultWriteTimeout)
	option.Logger(&opt.Logger)
	return opt
}
