package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive/tier"
	"github.com/seed-147127fe/streamhub/cmd/streamhub/internal/localredis"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/server"
)

const (
	// startTime bounds the start, which is mostly a Redis reading its data.
	startTime = 5 * time.Minute
	// drainTime is how long requests may take to end, and stopTime how long the Redis of serve --data may take after
	// that.
	drainTime = 5 * time.Second
	stopTime  = 4 * time.Second
	// maxRecord is the largest record, in bytes, that streamkit clients may send and that append accepts.
	maxRecord = 9 << 19 // 4.5 MiB
)

// defaultListen is the default address of a gateway, for servers and clients.
const defaultListen = "127.0.0.1:8080"

type serveCmd struct {
	Listen      listenAddress `default:"127.0.0.1:8080" placeholder:"HOST:PORT" help:"Where clients connect; port 0 takes a free one."`
	AdminListen listenAddress `default:"127.0.0.1:9090" placeholder:"HOST:PORT" help:"Where the console, /metrics and /debug/pprof/ are."`
	AdminWrite  bool          `help:"Let the admin listener change things: without it, it only shows."`
	Redis       redisURL      `xor:"redis" placeholder:"URL" help:"Redis to use. Without --redis and --data an embedded one is started that keeps nothing."`
	Data        string        `xor:"redis" placeholder:"DIR" help:"Directory to keep everything in: redis-server or valkey-server is started on it, and ended with this process."`
	redisFlags
	Durability   durability `placeholder:"LEVEL" help:"When an append that names no level counts as done: replicas=N, fsync, timeout=D, separated by commas. The default is when the primary has it in memory."`
	StoreQuota   byteSize   `placeholder:"SIZE" help:"What a store may keep in Redis, 1GiB say, by an estimate that is up to 10 s late: appends over it are refused, deletes and trims go on. The same for every gateway of a Redis; no limit if not given."`
	RedisServer  string     `placeholder:"PROGRAM" help:"Server program for --data, a path or a name on PATH; redis-server, or else valkey-server, if not given."`
	WaitForRedis bool       `default:"true" negatable:"" help:"Serve while Redis is away, loading, full, read-only or short of replicas: requests get 503 until it is not."`
	OTLP         string     `name:"otlp-endpoint" placeholder:"URL" help:"Where traces go over OTLP/HTTP, http://HOST:4318 say; without it none are made."`
	AccessLog    bool       `help:"Log a line for each request and connection that has ended, without query, headers and body."`
	logFlags
	authFlags
	tlsFlags
	durableFlags
	archiveFlag
	policyFlags
}

// useless refuses flags that are given and have no effect.
func (c *serveCmd) useless(s *session) error {
	var failed error
	if c.Archive == "" {
		failed = cmp.Or(failed, s.needs("archive", "archive-age", "archive-idle", "archive-hot-bytes", "archive-keep"))
	}
	if c.Data == "" {
		failed = cmp.Or(failed, s.needs("data", "redis-server"))
	}
	if c.Redis == "" {
		failed = cmp.Or(failed, s.needs("redis", redisOnly...))
	}
	return failed
}

// A serving is the checked configuration of serve, with the contents of the files.
type serving struct {
	log        *slog.Logger
	policy     tier.Policy
	adminToken string
	ticketKey  []byte
	pairs      *certificates
	verifier   streamhub.Authenticator // its Close, if it has one, is the caller's to call
}

// prepare checks the flags and reads the files that they name. It starts nothing but the verifier.
func (c *serveCmd) prepare(s *session) (*serving, error) {
	if c.Data != "" && localredis.Unsupported != nil {
		return nil, usagef("--data: %w", localredis.Unsupported)
	}
	if err := c.check(string(c.Listen), string(c.AdminListen)); err != nil {
		return nil, err
	}
	if err := c.useless(s); err != nil {
		return nil, err
	}
	if c.StoreQuota < 0 {
		return nil, usagef("--store-quota is 0 or more")
	}
	if err := c.validate(); err != nil {
		return nil, err
	}
	p := &serving{log: c.logger(s.stderr)}
	var err error
	if p.policy, err = c.policy(); err != nil {
		return nil, err
	}
	if p.adminToken, err = c.adminToken(); err != nil {
		return nil, err
	}
	if p.ticketKey, err = c.ticketKey(); err != nil {
		return nil, err
	}
	if p.pairs, err = c.certificates(c.Host, p.log); err != nil {
		return nil, err
	}
	p.verifier, err = c.verifier()
	return p, err
}

// Run serves until a signal ends it.
func (c *serveCmd) Run(s *session) (err error) {
	p, err := c.prepare(s)
	if err != nil {
		return err
	}
	if keys, ok := p.verifier.(io.Closer); ok {
		defer keys.Close()
	}
	starting, cancel := context.WithTimeout(s.ctx, startTime)
	defer cancel()

	// The ports first: they tell a second serve from a first before anything else is started.
	listener, err := net.Listen("tcp", string(c.Listen))
	if err != nil {
		return failedf("--listen: %w", err)
	}
	defer listener.Close()
	adminListener, err := net.Listen("tcp", string(c.AdminListen))
	if err != nil {
		return failedf("--admin-listen: %w", err)
	}
	defer adminListener.Close()

	c.logStart(s, p.log, listener.Addr(), adminListener.Addr())

	metrics, err := newMetrics()
	if err != nil {
		return err
	}
	defer metrics.close()
	s.meters = metrics.provider
	tracing, err := newTracing(starting, c.OTLP)
	if err != nil {
		return usagef("--otlp-endpoint: %w", err)
	}
	defer tracing.close()
	cold, err := c.backend(starting, s, false)
	if err != nil {
		return err
	}
	if cold != nil {
		defer func() { err = errors.Join(err, cold.Close()) }()
	}
	b, err := c.open(starting, s, &hub.Options{
		Logger: p.log, MeterProvider: metrics.provider, TracerProvider: tracing.provider, MaxRecordBytes: maxRecord,
		WaitForRedis: c.WaitForRedis, Durability: c.Durability.value(), StoreQuota: int64(c.StoreQuota),
		Archive: cold, Archiving: tier.Options{Policy: p.policy},
		Instance: &hub.InstanceOptions{Version: versionText(), Address: c.address(listener.Addr())},
	})
	if err != nil {
		if s.ctx.Err() != nil {
			return nil // stopped before it began
		}
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()

	o := c.serverOptions(p, metrics, tracing)
	c.apply(o, listener.Addr())
	hubServer, err := server.New(b.hub, o)
	if err != nil {
		return usagef("%w; see --origin, --host and --public-url", err)
	}
	front, admin := newServer(hubServer, p.log), newServer(hubServer.Admin(), p.log)
	ended := make(chan error, 2)
	go func() { ended <- c.serve(front, listener, p.pairs) }()
	go func() { ended <- admin.Serve(adminListener) }()
	if err = c.greet(s, b, listener.Addr(), adminListener.Addr(), p.pairs); err == nil {
		err = b.wait(s.ctx, p.log, ended)
	}
	return errors.Join(err, c.drain(hubServer, front, admin, ended))
}

func (c *serveCmd) serverOptions(p *serving, m *metrics, t *tracing) *server.Options {
	return &server.Options{
		Auth: p.verifier, CloseExpiredStreamkit: c.StreamkitTokenExpiry == "close", Cookie: c.Cookie, TicketKey: p.ticketKey,
		Origins: c.Origin, Hosts: c.Host, PublicURL: c.PublicURL,
		AdminToken: p.adminToken, OpenAdmin: c.InsecureAdmin, AdminWrite: c.AdminWrite, Metrics: m.handler(),
		Logger: p.log, AccessLog: c.AccessLog, MeterProvider: m.provider, Propagator: t.propagator,
	}
}

// greet writes the address of the server: for programs to stdout, for people to stderr.
func (c *serveCmd) greet(s *session, b *backend, at, admin net.Addr, pairs *certificates) error {
	if _, err := fmt.Fprintf(s.stdout, "listening %s admin http://%s\n", c.address(at), admin); err != nil {
		return err
	}
	if c.LogFormat != "json" { // which a program reads, line by line
		c.hint(s, b, at.String(), pairs)
		fmt.Fprintf(s.stderr, "\nThe console: http://%s/\n", reachable(admin.String()))
	}
	return nil
}

// address returns the address at which clients probably reach the gateway.
func (c *serveCmd) address(listening net.Addr) string {
	scheme := "http"
	if c.TLSCert != "" || c.TLSSelfSigned {
		scheme = "https"
	}
	return scheme + "://" + listening.String()
}

// drain sends clients away and ends both servers, and waits for them. /readyz says so meanwhile.
func (c *serveCmd) drain(hubServer *server.Server, front, admin *http.Server, ended <-chan error) error {
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	var failed error
	_ = hubServer.Shutdown(ctx) // connections that take longer are cut off
	for _, s := range []*http.Server{front, admin} {
		if s.Shutdown(ctx) != nil {
			_ = s.Close() // what did not end in time
		}
	}
	for range 2 {
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			failed = errors.Join(failed, err)
		}
	}
	return failed
}

// hint tells people what to try next.
func (c *serveCmd) hint(s *session, b *backend, address string, pairs *certificates) {
	if s.getenv(redisVariable) != "" && c.Redis == "" {
		s.note("%s is set, but --data wins", redisVariable)
	}
	at := ""
	switch {
	case c.TLSCert != "":
		at = " --server wss://" + reachable(address)
		if !pairs.trusted() {
			at += " --" + serverCA + " " + shellQuote(c.TLSCert)
		}
	case c.Listen != defaultListen:
		at = " --server ws://" + reachable(address)
	}
	if c.Auth == "jwt" {
		at += " --token TOKEN"
	}
	if c.TLSSelfSigned {
		c.hintCurl(s, reachable(address))
	} else {
		fmt.Fprintf(s.stderr, `
Try, in another terminal:
  echo hello | %[1]s append demo/log%[2]s
  %[1]s read demo/log --follow%[2]s
`, programName(), at)
	}
	if b.url != "" {
		fmt.Fprintf(s.stderr, `
The Redis itself, for programs that open a hub of their own:
  export %s='%s'
`, redisVariable, b.url)
	}
	if b.url != "" && b.local == nil {
		fmt.Fprintf(s.stderr, "\nThis Redis is embedded and keeps nothing: everything is gone when serve ends.\n"+
			"%[1]s serve --data DIR keeps it, with a redis-server of its own.\n"+
			"%[1]s demo shows in a browser how an answer survives whatever is killed.\n", programName())
	}
}

// hintCurl is the hint for a certificate that no other program trusts: curl can be told to take it.
func (c *serveCmd) hintCurl(s *session, address string) {
	as := ""
	if c.Auth == "jwt" {
		as = " -H 'Authorization: Bearer TOKEN'"
	}
	fmt.Fprintf(s.stderr, `
Try, in another terminal; -k takes the certificate, which no other program trusts:
  echo hello | curl -k%[2]s --data-binary @- https://%[1]s/v1/live/demo
  curl -kN%[2]s https://%[1]s/v1/live/demo
`, address, as)
}

// reachable returns an address that a client on this machine can connect to: a listener on all
// addresses names none.
func reachable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1" // also where it is [::], which takes both
	}
	return net.JoinHostPort(host, port)
}

// A backend is a hub with the Redis and the archive that serve has opened for it.
type backend struct {
	hub    *hub.Hub
	client redis.UniversalClient
	local  *localredis.Server // with --data
	url    string             // of a Redis that belongs to this process
}

func (c *serveCmd) open(ctx context.Context, s *session, options *hub.Options) (_ *backend, err error) {
	b := &backend{}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	address := string(c.Redis)
	if c.Data != "" {
		if b.local, err = localredis.Start(ctx, c.Data, c.RedisServer); err != nil {
			return b, &statusError{exitFailed, fmt.Errorf("--data: %w", err)}
		}
		b.url = b.local.URL()
		address = b.url
	}
	if address != "" {
		if b.client, err = c.client(s, address); err != nil {
			return b, err
		}
	}
	if b.hub, err = hub.Open(ctx, b.client, options); err != nil {
		b.hub = nil // it has closed itself
		return b, &statusError{exitFailed, err}
	}
	if b.client == nil {
		b.url = b.hub.RedisURL()
		b.client, err = hub.NewClient(b.url)
	}
	return b, err
}

// wait returns when the process must stop: ctx has ended, or a server or the Redis of serve --data has ended. An error
// of a server stays in ended.
func (b *backend) wait(ctx context.Context, log *slog.Logger, ended chan error) error {
	select {
	case <-ctx.Done():
		log.Info("stopping", "cause", context.Cause(ctx))
		return nil
	case err := <-ended:
		ended <- err
		return err
	case unfit := <-b.hub.Unfit():
		return &statusError{exitFailed, unfit}
	case <-b.died():
		return failedf("%w", b.local.Err())
	}
}

// died is closed when a Redis of our own ends by itself.
func (b *backend) died() <-chan struct{} {
	if b.local == nil {
		return nil
	}
	return b.local.Done()
}

func (b *backend) close() error {
	var err error
	if b.hub != nil {
		err = b.hub.Close()
	}
	if b.client != nil {
		err = errors.Join(err, b.client.Close())
	}
	if b.local != nil {
		b.local.Stop(stopTime)
	}
	return err
}

// onLoopback refuses an address that others reach.
func onLoopback(flag, address, why string) error {
	tcp, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return usagef("%s: %w", flag, err)
	}
	if tcp.IP.IsLoopback() {
		return nil
	}
	return usagef("%s %s can be reached from other machines, %s", flag, address, why)
}
