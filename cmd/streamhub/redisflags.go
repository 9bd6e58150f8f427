package main

import (
	"crypto/tls"
	"os"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
)

// passwordVariable keeps the password of Redis out of argument lists.
const passwordVariable = "STREAMHUB_REDIS_PASSWORD"

// redisFlags are the flags for a connection to Redis that its URL does not hold.
type redisFlags struct {
	RedisPasswordFile  string `placeholder:"FILE" help:"File with the password of Redis, for a URL without one; $STREAMHUB_REDIS_PASSWORD if not given."`
	RedisTLSCA         string `name:"redis-tls-ca" placeholder:"FILE" help:"Authorities to trust in place of the system's, in PEM."`
	RedisTLSCert       string `name:"redis-tls-cert" placeholder:"FILE" help:"Certificate to show to Redis, in PEM, with --redis-tls-key."`
	RedisTLSKey        string `name:"redis-tls-key" placeholder:"FILE" help:"Its key, in PEM."`
	RedisTLSServerName string `name:"redis-tls-server-name" placeholder:"NAME" help:"Name that the certificate of Redis must have, in place of the host of the URL."`
}

// redisOnly are the flags of a connection to Redis.
var redisOnly = []string{"redis-password-file", "redis-tls-ca", "redis-tls-cert", "redis-tls-key", "redis-tls-server-name"}

// client makes a client for address.
func (f *redisFlags) client(s *session, address string) (redis.UniversalClient, error) {
	o := &hub.ClientOptions{Password: s.getenv(passwordVariable), MeterProvider: s.meters}
	if f.RedisPasswordFile != "" {
		text, err := os.ReadFile(f.RedisPasswordFile)
		if err != nil {
			return nil, failedf("--redis-password-file: %w", err)
		}
		o.Password = strings.TrimRight(string(text), "\r\n")
	}
	authorities, err := authoritiesOf("redis-tls-ca", f.RedisTLSCA)
	if err != nil {
		return nil, err
	}
	var own []tls.Certificate
	if (f.RedisTLSCert == "") != (f.RedisTLSKey == "") {
		return nil, usagef("--redis-tls-cert and --redis-tls-key go together")
	}
	if f.RedisTLSCert != "" {
		pair, err := tls.LoadX509KeyPair(f.RedisTLSCert, f.RedisTLSKey)
		if err != nil {
			return nil, failedf("--redis-tls-cert, --redis-tls-key: %w", err)
		}
		own = append(own, pair)
	}
	if authorities != nil || own != nil || f.RedisTLSServerName != "" {
		o.TLS = func(c *tls.Config) {
			c.RootCAs, c.Certificates = authorities, own
			if f.RedisTLSServerName != "" {
				c.ServerName = f.RedisTLSServerName
			}
		}
	}
	return o.NewClient(address)
}

// durability is a flag that names a level.
type durability struct {
	level *streamhub.Durability // nil if the flag is not given
}

// UnmarshalText is called by the parser.
func (d *durability) UnmarshalText(text []byte) error {
	level, err := streamhub.ParseDurability(string(text))
	d.level = &level
	return err
}

func (d *durability) value() streamhub.Durability {
	if d.level == nil {
		return streamhub.Durability{}
	}
	return *d.level
}
