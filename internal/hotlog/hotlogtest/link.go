package hotlogtest

import (
	"context"
	"io"
	"net"
	"sync"

	"github.com/redis/go-redis/v9"
)

// A Link is a hook of a client that fails on command. The zero Link only counts.
type Link struct {
	mu      sync.Mutex
	scripts int
	lose    int
	drop    bool // before they are sent
	before  func()
	after   func()
}

// Scripts returns how many batches with scripts have been sent.
func (l *Link) Scripts() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.scripts
}

// Lose loses the replies to the next n batches with scripts: they have run.
func (l *Link) Lose(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lose, l.drop = n, false
}

// Drop loses the next n batches with scripts on their way: they never run, and no error says so.
func (l *Link) Drop(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lose, l.drop = n, true
}

// Lost reports whether everything that was to be lost has been.
func (l *Link) Lost() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lose == 0
}

// Around calls before before each batch with scripts, and after after it; either may be nil.
func (l *Link) Around(before, after func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.before, l.after = before, after
}

// DialHook implements redis.Hook.
func (l *Link) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

// ProcessHook implements redis.Hook.
func (l *Link) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		return l.pass([]redis.Cmder{cmd}, func() error { return next(ctx, cmd) })
	}
}

// ProcessPipelineHook implements redis.Hook.
func (l *Link) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		return l.pass(cmds, func() error { return next(ctx, cmds) })
	}
}

func (l *Link) pass(cmds []redis.Cmder, send func() error) error {
	script := false
	for _, cmd := range cmds {
		script = script || cmd.Name() == "evalsha"
	}
	if !script {
		return send()
	}
	l.mu.Lock()
	l.scripts++
	before, after, drop := l.before, l.after, l.drop && l.lose > 0
	l.mu.Unlock()
	if before != nil {
		before()
	}
	var err error
	if !drop {
		err = send()
	}
	if after != nil {
		after()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lose == 0 || redis.HasErrorPrefix(err, "NOSCRIPT") {
		return err
	}
	l.lose--
	for _, cmd := range cmds {
		cmd.SetErr(io.EOF)
	}
	return io.EOF
}
