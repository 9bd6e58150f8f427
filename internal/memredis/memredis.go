// Package memredis is an in-memory Redis for the model and for the test kit: its clock is moved by hand,
// it goes back to an earlier state, and it has a replication id, which miniredis has not, so that a hub
// notices another lineage. A [LossHook] between it and a hub loses what passes.
package memredis

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	mock "github.com/alicebob/miniredis/v2/server"
	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// A Server is an in-memory Redis. It is safe for concurrent use, but only one goroutine may move its
// clock, stop and rewind it.
type Server struct {
	mini *miniredis.Miniredis
	id   uuid.UUID

	mu      sync.Mutex
	now     time.Time             // guarded by mu
	replid  string                // guarded by mu
	told    map[*mock.Peer]string // the lineage that each connection was told last, guarded by mu
	reigns  int                   // guarded by mu
	deaf    bool                  // guarded by mu
	scripts map[string]string     // guarded by mu: the name that miniredis has for each script
}

// Start starts a server on the loopback, whose clock says now.
func Start(now time.Time) (*Server, error) {
	s := &Server{mini: miniredis.NewMiniRedis(), id: uuid.New(), now: now, scripts: map[string]string{}, told: map[*mock.Peer]string{}}
	if err := s.mini.Start(); err != nil {
		return nil, err
	}
	s.mini.SetTime(now)
	s.Promote()
	s.mini.Server().SetPreHook(s.play)
	return s, nil
}

// Close ends the server and all that it holds.
func (s *Server) Close() { s.mini.Close() }

// Stop lets it refuse connections, and Continue has it serve what it held again, in the same lineage.
func (s *Server) Stop() { s.mini.Close() }

// Continue: see Stop.
func (s *Server) Continue() error {
	if err := s.mini.Restart(); err != nil {
		return err
	}
	s.mini.Server().SetPreHook(s.play)
	return nil
}

// slow is how long an answer may take: it comes from the same process, so what is late is the machine.
const slow = 30 * time.Second

// Client is a connection to it, which the caller closes.
func (s *Server) Client(hooks ...redis.Hook) redis.UniversalClient {
	c := redis.NewClient(&redis.Options{
		Addr: s.mini.Addr(), Protocol: 2, MaxRetries: -1, ContextTimeoutEnabled: true, DisableIdentity: true,
		ReadTimeout: slow, WriteTimeout: slow,
	})
	for _, h := range hooks {
		c.AddHook(h)
	}
	return c
}

// Now is the time of the server's clock, which only Advance moves.
func (s *Server) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// Advance moves the clock, and removes the keys whose time to live is then over.
func (s *Server) Advance(d time.Duration) {
	s.mu.Lock()
	s.now = s.now.Add(d)
	now := s.now
	s.mu.Unlock()
	s.mini.SetTime(now)
	s.mini.FastForward(d)
}

// Promote begins another lineage and loses nothing but the scripts, which servers do not pass on. A connection that was
// told the former lineage leads to the former server: scripts that it loads from now on get to no other one.
func (s *Server) Promote() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reigns++
	s.replid = shaOf(fmt.Sprint(s.id, s.reigns))
	clear(s.scripts)
}

// Deafen loses what is published from now on, or no more.
func (s *Server) Deafen(deaf bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deaf = deaf
}

// play lets miniredis look like a Redis that has a replication id, so that a hub that lives on notices
// another lineage: it answers INFO, and takes the first line of scripts, which miniredis cannot read.
func (s *Server) play(c *mock.Peer, cmd string, args ...string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case cmd == "INFO":
		if _, known := s.told[c]; !known {
			c.OnDisconnect(func() {
				s.mu.Lock()
				defer s.mu.Unlock()
				delete(s.told, c)
			})
		}
		s.told[c] = s.replid
		c.WriteBulk("# Server\r\nredis_version:7.0.15\r\nmaxmemory_policy:noeviction\r\n# Replication\r\nrole:master\r\nmaster_replid:" + s.replid + "\r\n")
		return true
	case cmd == "PUBLISH" && s.deaf:
		c.WriteInt(0)
		return true
	case cmd == "EVAL" && len(args) > 0:
		args[0] = plain(args[0])
	case cmd == "SCRIPT" && len(args) == 2 && strings.EqualFold(args[0], "load"):
		known := shaOf(args[1])
		if told := s.told[c]; told != "" && told != s.replid {
			c.WriteBulk(known)
			return true
		}
		args[1] = plain(args[1])
		s.scripts[known] = shaOf(args[1])
	case cmd == "EVALSHA" && len(args) > 0 && s.scripts[args[0]] != "":
		args[0] = s.scripts[args[0]]
	}
	return false
}

// shaOf is the name of a script for EVALSHA.
func shaOf(script string) string {
	sum := sha1.Sum([]byte(script))
	return hex.EncodeToString(sum[:])
}

// plain is a script as miniredis understands it, and as it does not betray miniredis.
func plain(script string) string {
	if strings.HasPrefix(script, "#!") {
		_, script, _ = strings.Cut(script, "\n")
	}
	return strings.ReplaceAll(script, "rawget(_G, '_GOPHER_LUA_VERSION')", "nil")
}

// A value is what a key of miniredis held.
type value struct {
	kind   string
	text   string
	set    []string
	hash   []string
	scores map[string]float64
	stream []miniredis.StreamEntry
	until  time.Time // zero: it never expires
}

// Save returns what it holds, for Rewind.
func (s *Server) Save() any {
	now := s.Now()
	saved := map[string]value{}
	for _, key := range s.mini.Keys() {
		v := value{kind: s.mini.Type(key)}
		if ttl := s.mini.TTL(key); ttl > 0 {
			v.until = now.Add(ttl)
		}
		switch v.kind {
		case "string":
			v.text, _ = s.mini.Get(key)
		case "set":
			v.set, _ = s.mini.Members(key)
		case "hash":
			fields, _ := s.mini.HKeys(key)
			for _, f := range fields {
				v.hash = append(v.hash, f, s.mini.HGet(key, f))
			}
		case "zset":
			scores, _ := s.mini.SortedSet(key)
			v.scores = maps.Clone(scores)
		case "stream":
			entries, _ := s.mini.Stream(key)
			v.stream = slices.Clone(entries)
		}
		saved[key] = v
	}
	return saved
}

// Rewind brings back what it held, in another lineage. No command sees it half done.
func (s *Server) Rewind(saved any) {
	now := s.Now()
	other := s.mini.DB(1) // filled, and then taken for the first one
	for key, v := range saved.(map[string]value) {
		if !v.until.IsZero() && !v.until.After(now) {
			continue
		}
		switch v.kind {
		case "string":
			_ = other.Set(key, v.text)
		case "set":
			_, _ = other.SetAdd(key, v.set...)
		case "hash":
			other.HSet(key, v.hash...)
		case "zset":
			for member, score := range v.scores {
				_, _ = other.ZAdd(key, score, member)
			}
		case "stream":
			for _, e := range v.stream {
				_, _ = other.XAdd(key, e.ID, e.Values)
			}
		}
		if !v.until.IsZero() {
			other.SetTTL(key, v.until.Sub(now))
		}
	}
	s.mini.SwapDB(0, 1)
	s.mini.DB(1).FlushDB() // the former one
	s.Promote()
}

// A LossHook is a hook of a client that loses scripts or their replies.
type LossHook struct {
	mu      sync.Mutex
	passing int // batches that come before those that are lost
	left    int
	drop    bool
}

// Lose loses the replies to the next n batches with scripts, or what is sent if drop is set. With 0 it
// loses nothing any more.
func (l *LossHook) Lose(n int, drop bool) { l.LoseAfter(0, n, drop) }

// LoseAfter is Lose for the batches that come after so many others with scripts.
func (l *LossHook) LoseAfter(pass, n int, drop bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.passing, l.left, l.drop = pass, n, drop
}

// DialHook implements redis.Hook.
func (l *LossHook) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

// ProcessHook implements redis.Hook.
func (l *LossHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		return l.pass([]redis.Cmder{cmd}, func() error { return next(ctx, cmd) })
	}
}

// ProcessPipelineHook implements redis.Hook.
func (l *LossHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		return l.pass(cmds, func() error { return next(ctx, cmds) })
	}
}

func (l *LossHook) pass(cmds []redis.Cmder, send func() error) error {
	script := false
	for _, cmd := range cmds {
		script = script || cmd.Name() == "evalsha"
	}
	l.mu.Lock()
	lose, pass, drop := script && l.left > 0, l.passing > 0, l.drop
	l.mu.Unlock()
	if !lose {
		return send()
	}
	if pass {
		err := send()
		if !redis.HasErrorPrefix(err, "NOSCRIPT") { // else it comes again
			l.mu.Lock()
			l.passing--
			l.mu.Unlock()
		}
		return err
	}
	if drop {
		redisx.Sent(cmds)
	} else if err := send(); redis.HasErrorPrefix(err, "NOSCRIPT") {
		return err
	}
	l.mu.Lock()
	l.left--
	l.mu.Unlock()
	for _, cmd := range cmds {
		cmd.SetErr(io.EOF)
	}
	return io.EOF
}
