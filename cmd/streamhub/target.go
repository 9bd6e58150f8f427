package main

import (
	"context"
	"strings"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
)

// redisVariable names the Redis where no flag does.
const redisVariable = "STREAMHUB_REDIS_URL"

// A target says which store of which hub a command works on.
type target struct {
	Redis string    `placeholder:"URL" help:"Redis of the hub; $STREAMHUB_REDIS_URL if not given. redis://, rediss://, unix://, redis+cluster:// or redis+sentinel://."`
	Store uuid.UUID `default:"00000000-0000-0000-0000-000000000000" placeholder:"UUID" help:"Tenant to work on; the nil UUID if not given."`
}

// url is the Redis to use, or an error that tells how to get one.
func (t *target) url(s *session) (string, error) {
	if t.Redis != "" {
		return t.Redis, nil
	}
	if u := s.getenv(redisVariable); u != "" {
		return u, nil
	}
	return "", usagef("no Redis is named: start `streamhub serve` and pass the URL that it prints with --redis, or set %s", redisVariable)
}

// client makes a client for the Redis of the target.
func (t *target) client(s *session) (redis.UniversalClient, error) {
	u, err := t.url(s)
	if err != nil {
		return nil, err
	}
	return hub.NewClient(u)
}

// open opens the store. The function it returns closes it again.
func (t *target) open(s *session, options hub.Options) (*hub.Store, func(), error) {
	client, err := t.client(s)
	if err != nil {
		return nil, nil, err
	}
	options.SweepEvery = -1 // that is for instances that stay
	h, err := hub.Open(s.ctx, client, &options)
	if err != nil {
		_ = client.Close()
		if cause := context.Cause(s.ctx); cause != nil {
			return nil, nil, cause
		}
		return nil, nil, &statusError{exitFailed, err}
	}
	return h.Store(t.Store), func() {
		_ = h.Close() // what was asked for is done or has failed by itself
		_ = client.Close()
	}, nil
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
