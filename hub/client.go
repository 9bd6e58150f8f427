package hub

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"go.opentelemetry.io/otel/metric"

	"github.com/seed-147127fe/streamhub"
)

// After a refused dial the driver does not look for a new primary of a cluster. So the client reloads the topology
// every half second. The driver does not retry a failed dial: the hub retries, because it knows which calls may be
// repeated.
const (
	dialTimeout   = 500 * time.Millisecond
	dialAttempts  = 1
	ioTimeout     = time.Second
	clusterReload = 500 * time.Millisecond
	poolSize      = 32
)

// NewClient makes a client with the settings that a hub needs from a URL:
//
//	redis://[user:password@]host:port[/db]         one server; rediss:// with TLS
//	unix://[user:password@]/path/to/socket[?db=n]
//	redis+cluster://[user:password@]host:port,host:port[?tls=true]
//	redis+sentinel://[user:password@]host:port,host:port/master[?db=n&tls=true]
//
// The query may carry any setting that redis.ParseURL knows, except those that read from replicas; it overrides the
// setting of the hub. A client that the program makes itself works as well if it honours the deadline of a context
// (ContextTimeoutEnabled) and reads from primaries.
func NewClient(address string) (redis.UniversalClient, error) {
	return new(ClientOptions).NewClient(address)
}

// ClientOptions add what an address does not carry; the zero value adds nothing.
type ClientOptions struct {
	// Password is used if the address has none, so that the address can be shown and logged.
	Password string
	// TLS changes the TLS configuration of a connection, for instance to add certificate authorities or a client
	// certificate. The minimum version and the server name are already set. If TLS is set, an address without TLS is an
	// error.
	TLS func(*tls.Config)
	// MeterProvider records how long commands take; the default is none.
	MeterProvider metric.MeterProvider
}

// NewClient is the function [NewClient] with these options.
func (c *ClientOptions) NewClient(address string) (redis.UniversalClient, error) {
	client, err := c.newClient(address)
	if err != nil {
		return nil, err
	}
	return measureClient(client, c.MeterProvider)
}

const wantURL = "want redis://HOST:PORT, or the same with rediss, redis+cluster or redis+sentinel, or unix:///PATH"

func (c *ClientOptions) newClient(address string) (redis.UniversalClient, error) {
	u, err := url.Parse(address)
	if err != nil {
		// The URL may hold a password, so the error does not quote it.
		return nil, fmt.Errorf("%w: the Redis URL cannot be parsed: %s", streamhub.ErrInvalidArgument, wantURL)
	}
	fail := func(err error) (redis.UniversalClient, error) {
		return nil, fmt.Errorf("%w: the Redis URL: %w", streamhub.ErrInvalidArgument, err)
	}
	hosts := strings.Split(u.Host, ",")
	if err := checkURL(u, len(hosts)); err != nil {
		return fail(err)
	}
	switch u.Scheme {
	case "redis+cluster":
		o, err := redis.ParseClusterURL(multiURL(u, hosts, ""))
		if err != nil {
			return fail(err)
		}
		defaults(&o.DialTimeout, &o.ReadTimeout, &o.WriteTimeout, &o.DialerRetries, &o.PoolSize)
		o.ContextTimeoutEnabled, o.DisableIdentity = true, true
		o.ClusterStateReloadInterval = clusterReload
		o.MaintNotificationsConfig = noNotifications()
		if err := c.apply(&o.Password, o.TLSConfig); err != nil {
			return fail(err)
		}
		return redis.NewClusterClient(o), nil
	case "redis+sentinel":
		master := strings.Trim(u.Path, "/")
		if master == "" {
			return fail(fmt.Errorf("no master name"))
		}
		o, err := redis.ParseFailoverURL(multiURL(u, hosts, master))
		if err != nil {
			return fail(err)
		}
		defaults(&o.DialTimeout, &o.ReadTimeout, &o.WriteTimeout, &o.DialerRetries, &o.PoolSize)
		o.ContextTimeoutEnabled, o.DisableIdentity = true, true
		if err := c.apply(&o.Password, o.TLSConfig); err != nil {
			return fail(err)
		}
		return redis.NewFailoverClient(o), nil
	}
	if !slices.Contains([]string{"redis", "rediss", "unix"}, u.Scheme) {
		return fail(errors.New(wantURL))
	}
	o, err := redis.ParseURL(address)
	if err != nil {
		return fail(err)
	}
	defaults(&o.DialTimeout, &o.ReadTimeout, &o.WriteTimeout, &o.DialerRetries, &o.PoolSize)
	o.ContextTimeoutEnabled, o.DisableIdentity = true, true
	o.MaintNotificationsConfig = noNotifications()
	if err := c.apply(&o.Password, o.TLSConfig); err != nil {
		return fail(err)
	}
	return redis.NewClient(o), nil
}

// replicaReads are parameters of the driver that send reads to replicas.
var replicaReads = []string{"read_only", "replica_only", "route_by_latency", "route_randomly"}

// checkURL refuses parts of a URL that the driver would ignore or misread.
func checkURL(u *url.URL, hosts int) error {
	query := u.Query()
	path := strings.Trim(u.Path, "/")
	many := u.Scheme == "redis+cluster" || u.Scheme == "redis+sentinel"
	switch {
	case !many && u.Scheme != "unix" && hosts > 1:
		return fmt.Errorf("%s:// names one server; redis+cluster:// and redis+sentinel:// name several", u.Scheme)
	case u.Scheme == "redis+cluster" && path != "" && path != "0":
		return fmt.Errorf("a cluster has no database %q, only 0", path)
	case u.Scheme == "redis+sentinel" && strings.Contains(path, "/"):
		return fmt.Errorf("%q is not the name of a master; the query names the database: ?db=n", path)
	}
	if many && query.Has("tls") && query.Get("tls") != "true" && query.Get("tls") != "false" {
		return fmt.Errorf("tls=%q: want true or false", query.Get("tls"))
	}
	for _, name := range replicaReads {
		if query.Has(name) {
			return fmt.Errorf("%s: a hub reads from primaries, since a replica may lag", name)
		}
	}
	db := query.Get("db")
	if db == "" && (u.Scheme == "redis" || u.Scheme == "rediss") {
		db = path
	}
	if strings.HasPrefix(db, "-") {
		return fmt.Errorf("invalid database number: %q", db)
	}
	return nil
}

// apply changes the password and the TLS configuration of a client; config is nil if the address does not use TLS.
func (c *ClientOptions) apply(password *string, config *tls.Config) error {
	if *password == "" {
		*password = c.Password
	}
	if c.TLS == nil {
		return nil
	}
	if config == nil {
		return errors.New("settings of TLS for an address without TLS: want rediss://, or tls=true in the query")
	}
	c.TLS(config)
	return nil
}

// multiURL rewrites u to the form in which the driver parses several addresses.
func multiURL(u *url.URL, hosts []string, master string) string {
	v := *u
	q := v.Query()
	v.Scheme = "redis"
	if q.Get("tls") == "true" {
		v.Scheme = "rediss"
	}
	q.Del("tls")
	v.Host, v.Path = hosts[0], ""
	for _, h := range hosts[1:] {
		q.Add("addr", h)
	}
	if master != "" {
		q.Set("master_name", master)
	}
	v.RawQuery = q.Encode()
	return v.String()
}

func defaults(dial, read, write *time.Duration, dials, pool *int) {
	set := func(d *time.Duration, to time.Duration) {
		if *d == 0 {
			*d = to
		}
	}
	set(dial, dialTimeout)
	set(read, ioTimeout)
	set(write, ioTimeout)
	if *dials == 0 {
		*dials = dialAttempts
	}
	if *pool == 0 {
		*pool = poolSize
	}
}

func noNotifications() *maintnotifications.Config {
	return &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
}
