package main

import (
	"context"
	"strings"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/hub"
)

const (
	// These stand for flags that are not given; see [variable].
	redisVariable  = "STREAMHUB_REDIS_URL"
	serverVariable = "STREAMHUB_SERVER"
	authVariable   = "STREAMHUB_TOKEN"
	// defaultServer is where serve listens by default.
	defaultServer = "ws://127.0.0.1:8080"
)

// A target names the store and the hub that a command works on, and how it is reached: through a
// gateway, or with a hub in this process on the Redis itself.
type target struct {
	Server gatewayURLs `xor:"place" placeholder:"URL" help:"Gateway to go through, or several with commas; $STREAMHUB_SERVER, or ws://127.0.0.1:8080 if neither this nor a Redis is given. http:// and https:// do as well."`
	Redis  redisURL    `xor:"place" placeholder:"URL" help:"Redis of the hub, without a gateway; $STREAMHUB_REDIS_URL if not given. redis://, rediss://, unix://, redis+cluster:// or redis+sentinel://."`
	Store  uuid.UUID   `default:"00000000-0000-0000-0000-000000000000" placeholder:"UUID" help:"Tenant to work on."`
	Token  string      `placeholder:"JWT" help:"Token for the gateway; $STREAMHUB_TOKEN if not given."`
	redisFlags
	archiveFlag
}

// gateways are the addresses of the gateways to go through.
func (t *target) gateways() []string {
	list := strings.Split(firstOf(string(t.Server), defaultServer), ",")
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
	if err := s.needs("redis", redisOnly...); err != nil {
		return nil, nil, err
	}
	o := &client.WebSocketOptions{}
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
	}, nil
}

func (t *target) openRedis(s *session, options hub.Options, retry client.RetryPolicy) (*client.Store, func(), error) {
	h, done, err := t.openHub(s, options, true)
	if err != nil {
		return nil, nil, err
	}
	c := client.New(h.Provider(), &client.Options{Retry: &retry})
	return c.Store(t.Store), func() {
		_ = c.Close()
		done()
	}, nil
}

// openHub opens a hub for one command, with the archive of the target if that names one and archived says so. The
// function that it returns closes both.
func (t *target) openHub(s *session, options hub.Options, archived bool) (*hub.Hub, func(), error) {
	redis, err := t.redisFlags.client(s, string(t.Redis))
	if err != nil {
		return nil, nil, err
	}
	release := func() { _ = redis.Close() }
	if archived {
		cold, err := t.backend(s.ctx, s, true)
		if err != nil {
			release()
			return nil, nil, err
		}
		if cold != nil {
			options.Archive = cold
			release = func() {
				_ = redis.Close()
				_ = cold.Close()
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

// client makes a client for the Redis of the target, for a command that looks at that itself.
func (t *target) client(s *session) (redis.UniversalClient, string, error) {
	address := string(t.Redis)
	if address == "" && !s.given("server") {
		address = s.getenv(redisVariable) // a variable that names a gateway is not for this command
	}
	if address == "" {
		return nil, "", usagef("this command looks at Redis itself: name it with --redis, or set %s", redisVariable)
	}
	c, err := t.redisFlags.client(s, address)
	return c, address, err
}

// A segmentName is an argument SPACE/SEGMENT. The space ends at the first slash.
type segmentName struct{ space, segment string }

// UnmarshalText is called by the parser.
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

// UnmarshalText is called by the parser.
func (n *placeName) UnmarshalText(text []byte) error {
	var ok bool
	if n.space, n.segment, ok = strings.Cut(string(text), "/"); ok {
		if err := streamhub.CheckName("segment", n.segment); err != nil {
			return err
		}
	}
	return streamhub.CheckName("space", n.space)
}
