package main

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/hub"
)

const (
	// These stand for flags that are not given; see [variable].
	redisVariable  = "STREAMHUB_REDIS_URL"
	serverVariable = "STREAMHUB_SERVER"
	authVariable   = "STREAMHUB_TOKEN"
	// serverCA is the flag of the authorities that sign certificates of gateways.
	serverCA = "server-tls-ca"
	// defaultServer is where serve listens by default.
	defaultServer = "ws://127.0.0.1:8080"
)

// A place is how the hub is reached that a command works on: through a gateway, or with a hub in this process on the
// Redis itself.
type place struct {
	Server gatewayURLs `xor:"place" placeholder:"URL" help:"Gateway to go through, or several with commas; $STREAMHUB_SERVER, or ws://127.0.0.1:8080 if neither this nor a Redis is given. http:// and https:// do as well."`
	Redis  redisURL    `xor:"place" placeholder:"URL" help:"Redis of the hub, without a gateway; $STREAMHUB_REDIS_URL if not given. redis://, rediss://, unix://, redis+cluster:// or redis+sentinel://."`
	Token  string      `placeholder:"JWT" help:"Token for the gateway; $STREAMHUB_TOKEN if not given."`

	ServerTLSCA string `name:"server-tls-ca" placeholder:"FILE" help:"Authorities to trust for the gateway in place of the system's, in PEM."`
	redisFlags
}

// transport makes a transport to the gateways.
func (p *place) transport(s *session) (*http.Transport, error) {
	if err := s.needs("redis", redisOnly...); err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(p.gateways(), func(address string) bool { return strings.HasPrefix(address, "wss:") }) && s.given(serverCA) {
		return nil, usagef("--%s goes with a --server that begins with wss:// or https://", serverCA)
	}
	authorities, err := authoritiesOf(serverCA, p.ServerTLSCA)
	if err != nil {
		return nil, err
	}
	return transportTo(authorities), nil
}

// storeFlag names the store that a command works on.
type storeFlag struct {
	Store uuid.UUID `default:"00000000-0000-0000-0000-000000000000" placeholder:"UUID" help:"Tenant to work on."`
}

// A target is a store, and where it is.
type target struct {
	place
	storeFlag
	archiveFlag
}

// gateways are the addresses of the gateways to go through.
func (p *place) gateways() []string {
	list := strings.Split(firstOf(string(p.Server), defaultServer), ",")
	for i, address := range list {
		// serve prints where it listens as a URL of HTTP.
		if rest, ok := strings.CutPrefix(address, "http"); ok && (strings.HasPrefix(rest, "://") || strings.HasPrefix(rest, "s://")) {
			list[i] = "ws" + rest
		}
	}
	return list
}

// open opens the store. The function it returns closes it again.
func (t *target) open(s *session, options hub.Options, retry client.RetryPolicy) (*client.Store, func(), error) {
	if t.Redis != "" { // it excludes Server, whatever both come from
		return t.openRedis(s, options, retry)
	}
	if s.given("archive") {
		return nil, nil, usagef("--archive goes with --redis: a gateway has an archive of its own")
	}
	transport, err := t.transport(s)
	if err != nil {
		return nil, nil, err
	}
	o := &client.WebSocketOptions{HTTPClient: &http.Client{Transport: transport}}
	if token := t.Token; token != "" {
		o.Token = func(context.Context) (string, error) { return token, nil }
	}
	gateways, err := client.NewWebSocketProvider(s.ctx, t.gateways(), o)
	if err != nil {
		return nil, nil, err
	}
	if err := gateways.Connect(s.ctx); err != nil {
		_ = gateways.Close()
		return nil, nil, interrupted(s.ctx, err)
	}
	c := client.New(gateways, &client.Options{Retry: &retry})
	return c.Store(t.Store), func() {
		_ = c.Close() // what was asked for is done or has failed by itself
		_ = gateways.Close()
		transport.CloseIdleConnections()
	}, nil
}

func (t *target) openRedis(s *session, options hub.Options, retry client.RetryPolicy) (*client.Store, func(), error) {
	h, done, err := t.openHub(s, options, &t.archiveFlag)
	if err != nil {
		return nil, nil, err
	}
	c := client.New(h.Provider(), &client.Options{Retry: &retry})
	return c.Store(t.Store), func() {
		_ = c.Close()
		done()
	}, nil
}

// openHub opens a hub for one command, with an archive if cold names one; cold may be nil. The function that it returns
// closes both.
func (p *place) openHub(s *session, options hub.Options, cold *archiveFlag) (*hub.Hub, func(), error) {
	if err := s.needs("server", serverCA); err != nil {
		return nil, nil, err
	}
	redis, err := p.client(s, string(p.Redis))
	if err != nil {
		return nil, nil, err
	}
	release := func() { _ = redis.Close() }
	if cold != nil {
		archive, err := cold.backend(s.ctx, s, true)
		if err != nil {
			release()
			return nil, nil, err
		}
		if archive != nil {
			options.Archive = archive
			release = func() {
				_ = redis.Close()
				_ = archive.Close()
			}
		}
	}
	options.SweepEvery = -1 // that is for instances that stay
	options.MaxRecordBytes = maxRecord
	h, err := hub.Open(s.ctx, redis, &options)
	if err != nil {
		release()
		if cause := context.Cause(s.ctx); cause != nil {
			return nil, nil, cause
		}
		return nil, nil, &statusError{exitFailed, err}
	}
	return h, func() {
		_ = h.Close()
		release()
	}, nil
}

// A segmentName is an argument SPACE/SEGMENT. The space ends at the first slash.
type segmentName struct{ space, segment string }

// UnmarshalText reads SPACE/SEGMENT or SPACE for the parser of flags.
func (n *segmentName) UnmarshalText(text []byte) error {
	var ok bool
	if n.space, n.segment, ok = strings.Cut(string(text), "/"); !ok {
		return usagef("%q names no segment: write SPACE/SEGMENT", text)
	}
	if err := streamhub.CheckName("space", n.space); err != nil {
		return err
	}
	return streamhub.CheckName("segment", n.segment)
}

func (n segmentName) String() string { return oneLine(n.space + "/" + n.segment) }

// A placeName is an argument SPACE[/SEGMENT].
type placeName struct{ space, segment string }

// UnmarshalText reads SPACE/SEGMENT or SPACE for the parser of flags.
func (n *placeName) UnmarshalText(text []byte) error {
	var ok bool
	if n.space, n.segment, ok = strings.Cut(string(text), "/"); ok {
		if err := streamhub.CheckName("segment", n.segment); err != nil {
			return err
		}
	}
	return streamhub.CheckName("space", n.space)
}
