package redisx

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub"
)

// A Script is one Lua script.
type Script struct {
	body  string
	flags string                // flags of the first line
	named atomic.Pointer[named] // for the server that was used last
}

// NewScript makes a script from the text of its file.
func NewScript(body string) *Script { return &Script{body: body} }

// AllowOOM lets the script run while Redis is out of memory: for those that free some.
func (s *Script) AllowOOM() *Script { s.flags = " flags=allow-oom"; return s }

// NoWrites lets the script run wherever a reading command would: on a server that is full, read-only or short of
// replicas. A real server refuses a write in such a script.
func (s *Script) NoWrites() *Script { s.flags = " flags=no-writes,allow-oom"; return s }

// The function reign, which every script can call, returns the lineage of the server: another one after every restart
// and promotion. A promoted server also reports the replication id of its former primary, which is ignored.
const (
	realReign = `local function reign()
  local info = redis.call('INFO', 'replication')
  local _, at = string.find(info, 'master_replid:', 1, true)
  return string.sub(info, at + 1, at + 16)
end
`
	mockReign = "local function reign() return '%' end\n"
)

// text returns the script as it is sent to the server. Until the server was inspected, that is the form for a real
// server.
func (s *Script) text(server *Server) string {
	if server != nil && server.Embedded {
		return strings.Replace(mockReign, "%", server.lineage, 1) + s.body
	}
	reign := ""
	if strings.Contains(s.body, "reign()") {
		reign = realReign
	}
	return "#!lua" + s.flags + "\n" + reign + s.body
}

// A named is the text of a script with its SHA-1, the name under which the server caches it. lineage is empty for a
// real server; for miniredis it is a part of the text, and so of the name.
type named struct {
	lineage, sha string
}

func (c *Conn) sha(s *Script) string {
	server := c.server.Load()
	lineage := ""
	if server != nil {
		lineage = server.lineage
	}
	if n := s.named.Load(); n != nil && n.lineage == lineage {
		return n.sha
	}
	sum := sha1.Sum([]byte(s.text(server)))
	n := &named{lineage, hex.EncodeToString(sum[:])}
	s.named.Store(n)
	return n.sha
}

// A Call is one call of a script: a [redis.Cmder] that the driver never re-sends.
type Call struct {
	*redis.Cmd
	keys *count
}

// A count is how many keys a script has. The driver calls MarshalBinary when it writes the command. If that was never
// called, the command was not sent.
type count struct {
	keys    int
	written atomic.Bool
}

// MarshalBinary implements [encoding.BinaryMarshaler].
func (c *count) MarshalBinary() ([]byte, error) {
	c.written.Store(true)
	return strconv.AppendInt(nil, int64(c.keys), 10), nil
}

// String returns the number, for hooks and for the driver, which needs it to find the keys.
func (c *count) String() string { return strconv.Itoa(c.keys) }

// Sent marks cmds as sent. A hook that drops commands calls it, so that their outcome is unknown as if the driver had
// written them.
func Sent(cmds []redis.Cmder) {
	for _, cmd := range cmds {
		if call, ok := cmd.(Call); ok {
			call.keys.written.Store(true)
		}
	}
}

func newCall(ctx context.Context, name, script string, keys int, args []any) Call {
	n := &count{keys: keys}
	all := make([]any, 0, 3+len(args))
	all = append(all, name, script, n)
	return Call{redis.NewCmd(ctx, append(all, args...)...), n}
}

// Outcome is like the function [Outcome], but knows whether the call was sent at all: its context may have ended while
// it waited for a connection.
func (c Call) Outcome(err error) error {
	err = Outcome(err)
	var unknown *streamhub.UnknownOutcomeError
	if !c.keys.written.Load() && errors.As(err, &unknown) {
		return &streamhub.UnavailableError{Reason: streamhub.ReasonDown, Err: unknown.Err}
	}
	return err
}

// NoRetry stops the driver from re-sending a script whose reply was lost.
func (Call) NoRetry() bool { return true }

// Call makes the command that runs s; put it into a pipeline with Process. keys come first in args.
func (c *Conn) Call(ctx context.Context, s *Script, keys int, args ...any) Call {
	return newCall(ctx, "evalsha", c.sha(s), keys, args)
}

// CallText is like Call, but sends the text of s. It is for a slot that moves: the server that already has the keys is
// not the one on which s was loaded.
func (c *Conn) CallText(ctx context.Context, s *Script, keys int, args ...any) Call {
	return newCall(ctx, "eval", s.text(c.server.Load()), keys, args)
}

// Load loads s for later calls of [Conn.Call]: on the server that has key, or on all servers.
func (c *Conn) Load(ctx context.Context, s *Script, key string) error {
	node, err := c.NodeFor(ctx, key)
	if err != nil {
		return err
	}
	return node.ScriptLoad(ctx, s.text(c.server.Load())).Err()
}

// Lineages reports whether servers name their lineage by INFO, and have another one after each promotion and restart.
func (c *Conn) Lineages() bool {
	server := c.server.Load()
	return server != nil && !server.Embedded
}

// LoadFor loads scripts on the server that has key if it is a primary with this lineage, and reports whether it is.
// Both commands use one connection, so that they reach the same server.
func (c *Conn) LoadFor(ctx context.Context, key, lineage string, scripts ...*Script) (bool, error) {
	node, err := c.NodeFor(ctx, key)
	if err != nil {
		return false, err
	}
	client, ok := node.(interface{ Conn() *redis.Conn })
	if !ok {
		return false, nil
	}
	conn := client.Conn()
	defer conn.Close()
	text, err := conn.Info(ctx, "replication").Result()
	if err != nil {
		return false, err
	}
	info := ParseInfo(text)
	if info["role"] != "master" || !strings.HasPrefix(info["master_replid"], lineage) {
		return false, nil
	}
	for _, s := range scripts {
		if err := conn.ScriptLoad(ctx, s.text(c.server.Load())).Err(); err != nil {
			return false, err
		}
	}
	return true, nil
}

// Run runs s, and loads it first if the server does not have it. The first of args are its keys. While their slot moves
// to another server of a cluster, Run waits; see [Moving]. An error is not yet one of package streamhub; see [Outcome].
func (c *Conn) Run(ctx context.Context, s *Script, keys int, args ...any) (any, error) {
	if err := c.Ready(ctx); err != nil {
		return nil, err
	}
	var v any
	err := Settled(ctx, func() (err error) {
		v, err = c.run(ctx, s, keys, args)
		return err
	})
	return v, err
}

func (c *Conn) run(ctx context.Context, s *Script, keys int, args []any) (any, error) {
	call := c.Call(ctx, s, keys, args...)
	err := c.Process(ctx, call)
	if IsNoScript(err) {
		if err = c.Load(ctx, s, args[0].(string)); err != nil {
			return nil, ReadOutcome(err) // the load failed, so s has not run
		}
		call = c.Call(ctx, s, keys, args...)
		err = c.Process(ctx, call)
	}
	if IsNoScript(err) {
		call = c.CallText(ctx, s, keys, args...)
		err = c.Process(ctx, call)
	}
	if err != nil {
		c.Observe(err)
		return nil, err
	}
	return call.Val(), nil
}

// IsNoScript reports whether the server does not have the script, so that it did not run.
func IsNoScript(err error) bool { return redis.HasErrorPrefix(err, "NOSCRIPT") }
