package redisx

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub"
)

// lineageKey holds the lineage of a server that has no replication id, one for all its clients.
const lineageKey = "sh:lineage"

// A Server holds the learned features of a Redis. On a cluster they are the features that all primaries share.
type Server struct {
	// Embedded says that it is miniredis.
	Embedded bool
	// Product is Redis, Valkey, Redict, KeyDB or Dragonfly, and Version is the version of that product; both are empty
	// for miniredis. Compatible is the version of Redis that the product claims to be compatible with.
	Product, Version, Compatible string
	// Eviction is the maxmemory-policy.
	Eviction string
	// AOF says that there is an append-only file, Fsync how often it is synced: always, everysec, no; it is empty if
	// the user may not read it.
	AOF   bool
	Fsync string

	lineage string // of miniredis only
	user    string
	lacks   []string // optional commands that the user may not run
	unknown []string // the commands among lacks that the server does not know
}

// A productField is a field of INFO that identifies a product.
type productField struct{ field, product string }

var productFields = []productField{
	{"valkey_version", "Valkey"}, {"redict_version", "Redict"}, {"dragonfly_version", "Dragonfly"}, {"keydb_version", "KeyDB"},
}

// ProductOf returns the product and version of a server from the fields of its INFO.
func ProductOf(info map[string]string) (product, version string) {
	for _, p := range productFields {
		if v := info[p.field]; v != "" {
			return p.product, strings.TrimPrefix(v, "df-v")
		}
	}
	if _, ok := info["mvcc_depth"]; ok || info["redis_version"] == "255.255.255" {
		return "KeyDB", info["redis_version"]
	}
	return "Redis", info["redis_version"]
}

// ParseInfo returns the fields of an answer to INFO.
func ParseInfo(text string) map[string]string {
	info := map[string]string{}
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[key] = value
		}
	}
	return info
}

// AtLeast reports whether version, such as "7.2.4", is major.minor or later.
func AtLeast(version string, major, minor int) bool {
	var ma, mi int
	if n, _ := fmt.Sscanf(version, "%d.%d", &ma, &mi); n < 2 {
		return false
	}
	return ma > major || ma == major && mi >= minor
}

// String returns the product and version, such as "Redis 7.0.15".
func (s *Server) String() string {
	if s.Embedded {
		return "the embedded Redis"
	}
	return s.Product + " " + s.Version
}

// learn inspects every primary. On a cluster it skips primaries that do not answer, as long as one does.
func (c *Conn) learn(ctx context.Context) (*Server, error) {
	if c.Cluster == nil {
		return c.learnOne(ctx, c.UniversalClient)
	}
	var (
		mu      sync.Mutex
		server  *Server
		failure error
	)
	err := c.each(ctx, func(ctx context.Context, node redis.UniversalClient) error {
		one, err := c.learnOne(ctx, node)
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err != nil:
			if failure == nil || Final(err) {
				failure = err
			}
		case server == nil:
			server = one
		default:
			server.weaken(one)
		}
		return nil
	})
	switch {
	case failure != nil && (server == nil || Final(failure)):
		return nil, failure
	case isCode(err, "NOPERM"): // the command to list the slots was refused, so no node can be found
		return nil, lacking(c.user, UserRuleCluster, "cluster|slots")
	case server != nil && !server.has("asking"):
		return nil, lacking(c.user, UserRuleCluster, "asking")
	case server == nil:
		if err != nil {
			return nil, opening(fmt.Errorf("the cluster has no primary: %w", err))
		}
		return nil, opening(errors.New("the cluster has no primary"))
	}
	return server, nil
}

// fsyncs are the policies that promise a sync, the weaker one first. All other policies, known or unknown, promise
// less.
var fsyncs = []string{"everysec", "always"}

// weaken removes the features from s that other does not have.
func (s *Server) weaken(other *Server) {
	s.AOF = s.AOF && other.AOF
	if slices.Index(fsyncs, other.Fsync) < slices.Index(fsyncs, s.Fsync) {
		s.Fsync = other.Fsync
	}
	if other.Eviction != noEviction {
		s.Eviction = other.Eviction
	}
	if trustsEverysec(s) && !trustsEverysec(other) || !AtLeast(other.Compatible, 7, 2) {
		s.Product, s.Version, s.Compatible = other.Product, other.Version, other.Compatible
	}
	s.lacks, s.unknown = append(s.lacks, other.lacks...), append(s.unknown, other.unknown...)
}

func (c *Conn) learnOne(ctx context.Context, node redis.UniversalClient) (*Server, error) {
	// A short command comes first, because an unauthenticated client may not even send a long one. If PING is refused
	// for another reason, the next command may still work.
	if err := node.Ping(ctx).Err(); err != nil && (!isReply(err) || isCode(err, "NOAUTH") || isCode(err, "WRONGPASS")) {
		return nil, opening(err)
	}
	args := make([]any, len(needs))
	for i := range needs {
		args[i] = needs[i].call
	}
	answer, err := node.Eval(ctx, lookLua, nil, args...).StringSlice()
	if err != nil {
		return nil, c.refused("EVAL", err)
	}
	if answer[0] != "" {
		return c.learnEmbedded(ctx, node)
	}
	s := &Server{user: c.user}
	if err := s.judge(answer[1:]); err != nil {
		return nil, err
	}
	text, err := node.Info(ctx).Result()
	if err != nil {
		return nil, c.refused("INFO", err)
	}
	info := ParseInfo(text)
	s.Compatible = info["redis_version"]
	s.Product, s.Version = ProductOf(info)
	s.Eviction, s.AOF = info["maxmemory_policy"], info["aof_enabled"] == "1"
	switch {
	case info["loading"] == "1":
		return nil, &streamhub.UnavailableError{Reason: streamhub.ReasonLoading, Err: errors.New("it reads its data")}
	case info["master_replid"] == "" || s.Compatible == "" || s.Eviction == "":
		return nil, fmt.Errorf("%w: INFO of %s does not name redis_version, master_replid and maxmemory_policy, and a hub relies on them", streamhub.ErrInvalidArgument, s)
	case !AtLeast(s.Compatible, 7, 0):
		return nil, fmt.Errorf("%w: this is %s, streamhub needs Redis 7.0 or later, or Valkey", streamhub.ErrInvalidArgument, s)
	}
	if s.has("config|get") {
		policy, err := node.ConfigGet(ctx, "appendfsync").Result()
		if err != nil && !isReply(err) {
			return nil, opening(err)
		}
		s.Fsync = policy["appendfsync"]
	}
	return s, nil
}

// learnEmbedded inspects miniredis, which has no replication id.
func (c *Conn) learnEmbedded(ctx context.Context, node redis.UniversalClient) (*Server, error) {
	id := make([]byte, 8)
	rand.Read(id)
	if err := node.SetNX(ctx, lineageKey, hex.EncodeToString(id), 0).Err(); err != nil {
		return nil, opening(err)
	}
	lineage, err := node.Get(ctx, lineageKey).Result()
	if err != nil {
		return nil, opening(err)
	}
	return &Server{Embedded: true, Eviction: noEviction, lineage: lineage, user: c.user}, nil
}

const noEviction = "noeviction"

// CheckEviction refuses a server that may drop keys by itself.
func (s *Server) CheckEviction() error {
	if s.Eviction == noEviction {
		return nil
	}
	return fmt.Errorf("%w: the server's maxmemory-policy is %s, which loses history; CONFIG SET maxmemory-policy noeviction, or name Options.AllowEviction",
		streamhub.ErrInvalidArgument, s.Eviction)
}

// opening converts an error of an inspection like ReadOutcome, because no write was sent.
func opening(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return &streamhub.UnavailableError{Reason: streamhub.ReasonDown, Err: err}
	}
	return ReadOutcome(err)
}

// refused makes the error for a refused command that the inspection needs.
func (c *Conn) refused(command string, err error) error {
	err = opening(err)
	var unavailable *streamhub.UnavailableError
	switch {
	case errors.As(err, &unavailable) && unavailable.Reason == streamhub.ReasonDenied && isCode(err, "NOPERM"):
		return lacking(c.user, UserRule, strings.ToLower(command))
	case !errors.Is(err, streamhub.ErrUnavailable):
		return fmt.Errorf("%w: %s fails (%w); a hub needs it under its own name: remove rename-command from the configuration of the server",
			streamhub.ErrInvalidArgument, command, err)
	}
	return err
}

// Final reports whether an error of [Open] is one that waiting does not cure.
func Final(err error) bool {
	var unavailable *streamhub.UnavailableError
	if errors.As(err, &unavailable) {
		return unavailable.Reason == streamhub.ReasonDenied || unavailable.Reason == streamhub.ReasonTLS
	}
	return err != nil && !errors.Is(err, streamhub.ErrUnavailable) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
}

// probeLua is refused by a server that accepts no writes, although it writes nothing: a script that begins with #!lua
// counts as a writing script unless it has the flag no-writes.
const probeLua = "#!lua\nreturn 1"

// Probe returns an error unless the server accepts writes at this moment. The reason of its
// [streamhub.UnavailableError] says why not.
func (c *Conn) Probe(ctx context.Context) error {
	if err := c.Fresh(ctx); err != nil {
		return err
	}
	s := c.server.Load()
	return c.each(ctx, func(ctx context.Context, node redis.UniversalClient) error {
		var err error
		if s.Embedded {
			err = node.Ping(ctx).Err()
		} else {
			err = node.Eval(ctx, probeLua, nil).Err()
		}
		c.Observe(err)
		return ReadOutcome(err)
	})
}

// Attend logs a line when Redis cannot serve and one when it can again, until ctx ends. It sends nothing while commands
// succeed. lost is called with each error that waiting does not cure.
func (c *Conn) Attend(ctx context.Context, lost func(error)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.trouble:
			c.outlast(ctx, lost)
		}
	}
}

// outlast waits until Redis can serve.
func (c *Conn) outlast(ctx context.Context, lost func(error)) {
	began, word := time.Now(), ""
	pause := time.NewTicker(watchPause)
	defer pause.Stop()
	for ctx.Err() == nil {
		within, cancel := context.WithTimeout(ctx, learnTime)
		err := c.Probe(within)
		cancel()
		switch {
		case err == nil && word == "":
			return
		case err == nil:
			c.opt.Logger.Info("Redis serves again", "state", word, "after", time.Since(began).Round(time.Millisecond))
			return
		case ctx.Err() != nil:
			return
		}
		if Final(err) {
			lost(err)
		}
		if now := Word(err); now != word {
			word = now
			c.opt.Logger.Warn("Redis cannot serve", "state", word, "error", err)
		}
		select {
		case <-ctx.Done():
		case <-pause.C:
		}
	}
}

// watchPause is the interval at which a Redis that cannot serve is probed.
const watchPause = 250 * time.Millisecond

var words = map[streamhub.UnavailableReason]string{
	streamhub.ReasonDown: "away", streamhub.ReasonReplicas: "replicas",
}

// Word returns one word for the reason why Redis cannot serve: away, loading, full, read-only, replicas, busy, denied,
// tls, or unfit.
func Word(err error) string {
	var unavailable *streamhub.UnavailableError
	switch {
	case errors.As(err, &unavailable):
		if word := words[unavailable.Reason]; word != "" {
			return word
		}
		return string(unavailable.Reason)
	case errors.Is(err, streamhub.ErrInvalidArgument):
		return "unfit"
	}
	return words[streamhub.ReasonDown]
}

// has reports whether the user may run an optional command.
func (s *Server) has(command string) bool { return !slices.Contains(s.lacks, command) }
