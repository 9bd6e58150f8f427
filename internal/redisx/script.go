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
	flags string                // of its first line
	named atomic.Pointer[named] // of the server that was asked last
}

// NewScript makes a script from the text of its file.
func NewScript(body string) *Script { return &Script{body: body} }

// AllowOOM lets the script run while Redis is out of memory: for those that free some.
func (s *Script) AllowOOM() *Script { s.flags = " flags=allow-oom"; return s }

// NoWrites lets the script run wherever a command that reads would: in a server that is full, read-only or short of replicas.
// A real server refuses a write of it.
func (s *Script) NoWrites() *Script { s.flags = " flags=no-writes,allow-oom"; return s }

// The function reign, which every script can call, returns the lineage of the server: another one after every restart
// and promotion. A promoted server also names the one that it came from, which does not count.
const (
	realReign = `local function reign()
  local info = redis.call('INFO', 'replication')
  local _, at = string.find(info, 'master_replid:', 1, true)
  return string.sub(info, at + 1, at + 16)
end
`
	mockReign = "local function reign() return '%' end\n"
)

// text is the script as the server gets it. Before anything was learned it is that for a real one.
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

// A named is a script with the name under which a server has it. lineage is empty for a real server. Only for
// miniredis is it a part of the text, and so of the name.
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

// A Call is a script on its way. It is a [redis.Cmder] that the driver never re-sends.
type Call struct {
	*redis.Cmd
	keys *count
}

// A count is how many keys a script has. The driver asks it for its bytes when it writes the command: one that was
// not asked shows that nothing was sent.
type count struct {
	keys    int
	written atomic.Bool
}

// MarshalBinary implements [encoding.BinaryMarshaler].
func (c *count) MarshalBinary() ([]byte, error) {
	c.written.Store(true)
	return strconv.AppendInt(nil, int64(c.keys), 10), nil
}

// String is for hooks, and for the driver where it looks for the keys.
func (c *count) String() string { return strconv.Itoa(c.keys) }

// Sent is for a hook that loses cmds on their way: their outcome is as unknown as if the driver had written them.
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

// Outcome is [Outcome] of err, which the call ended with, and knows whether the call was sent: the context of one that
// waits for a connection may end.
func (c Call) Outcome(err error) error {
	err = Outcome(err)
	var unknown *streamhub.UnknownOutcomeError
	if !c.keys.written.Load() && errors.As(err, &unknown) {
		return &streamhub.UnavailableError{Reason: streamhub.ReasonDown, Err: unknown.Err}
	}
	return err
}

// NoRetry stops the driver from sending a script again whose reply was lost.
func (Call) NoRetry() bool { return true }

// Call makes the command that runs s; put it into a pipeline with Process. keys come first in args.
func (c *Conn) Call(ctx context.Context, s *Script, keys int, args ...any) Call {
	return newCall(ctx, "evalsha", c.sha(s), keys, args)
}

// CallText is Call for a server that does not have s though it was loaded: while a slot moves, the server that has the
// keys already is not the one that has the slot.
func (c *Conn) CallText(ctx context.Context, s *Script, keys int, args ...any) Call {
	return newCall(ctx, "eval", s.text(c.server.Load()), keys, args)
}

// Load puts s where the next [Conn.Call] finds it: on the server that has key, or everywhere.
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

// LoadFor puts scripts on the server that has key if that is a primary with this lineage, and reports whether it is. Both
// are done over one connection, which leads to one server.
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

// Run runs s, loading it where the server does not have it. The first of args are its keys. While their slot moves to
// another server of a cluster, Run waits; see [Moving]. An error is not yet one of package streamhub; see [Outcome].
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
			return nil, ReadOutcome(err) // it has not run
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

// IsNoScript reports whether the server does not have the script: it did not run.
func IsNoScript(err error) bool { return redis.HasErrorPrefix(err, "NOSCRIPT") }
