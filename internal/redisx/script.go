package redisx

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"strings"

	"github.com/redis/go-redis/v9"
)

// A Script is one Lua script.
type Script struct {
	body     string
	allowOOM bool
}

// NewScript makes a script from the text of its file.
func NewScript(body string) *Script { return &Script{body: body} }

// AllowOOM lets the script run while Redis is out of memory: for those that free some.
func (s *Script) AllowOOM() *Script { s.allowOOM = true; return s }

const (
	realReign = "local function reign() return redis.call('INFO', 'replication') end\n"
	mockReign = "local function reign() return 'master_replid:%' end\n"
)

func (c *Conn) text(s *Script) string {
	header, reign := "", realReign
	if c.header {
		header = "#!lua\n"
		if s.allowOOM {
			header = "#!lua flags=allow-oom\n"
		}
	}
	if c.lineage != "" {
		reign = strings.Replace(mockReign, "%", c.lineage, 1)
	}
	return header + reign + s.body
}

func (c *Conn) sha(s *Script) string {
	if sha, ok := c.loaded.Load(s); ok {
		return sha.(string)
	}
	sum := sha1.Sum([]byte(c.text(s)))
	sha := hex.EncodeToString(sum[:])
	c.loaded.Store(s, sha)
	return sha
}

// A Call is a script on its way. It is a [redis.Cmder] that the driver never re-sends.
type Call struct {
	*redis.Cmd
}

// NoRetry stops the driver from sending a script again whose reply was lost.
func (Call) NoRetry() bool { return true }

// Call makes the command that runs s; put it into a pipeline with Process. keys come first in args.
func (c *Conn) Call(ctx context.Context, s *Script, keys int, args ...any) Call {
	all := make([]any, 0, 3+len(args))
	all = append(all, "evalsha", c.sha(s), keys)
	return Call{redis.NewCmd(ctx, append(all, args...)...)}
}

// Load puts s where the next [Conn.Call] finds it: on the server that has key, or everywhere.
func (c *Conn) Load(ctx context.Context, s *Script, key string) error {
	node, err := c.NodeFor(ctx, key)
	if err != nil {
		return err
	}
	return node.ScriptLoad(ctx, c.text(s)).Err()
}

// Run runs s, loading it where the server does not have it. The first of args are its keys.
// An error is not yet one of package streamhub; see [Outcome].
func (c *Conn) Run(ctx context.Context, s *Script, keys int, args ...any) (any, error) {
	call := c.Call(ctx, s, keys, args...)
	err := c.Process(ctx, call)
	if IsNoScript(err) {
		if err = c.Load(ctx, s, args[0].(string)); err != nil {
			return nil, err
		}
		call = c.Call(ctx, s, keys, args...)
		err = c.Process(ctx, call)
	}
	if err != nil {
		return nil, err
	}
	return call.Val(), nil
}

// IsNoScript reports whether the server does not have the script: it did not run.
func IsNoScript(err error) bool { return redis.HasErrorPrefix(err, "NOSCRIPT") }
