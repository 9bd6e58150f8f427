package hotlogtest

import (
	"context"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// A Link is a hook of a client that fails on command. The zero Link only counts.
type Link struct {
	mu      sync.Mutex
	scripts int
	lose    int
	drop    bool // before they are sent
	before  func()
	after   func()
	limited bool // no more than passing batches of any commands get through
	passing int
	unheard bool // the reply to the last of them is lost
	refused int
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

// Around calls before before each batch with scripts, and after after it; either may be nil. Like the
// driver, the batch waits for them until the deadline of its context and does not see that the
// context was cancelled. What is held before the server then never gets there.
func (l *Link) Around(before, after func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.before, l.after = before, after
}

// Away lets n more batches of any commands through, and refuses what comes after them, as where the server has gone. With
// unheard the reply to the last one is lost.
func (l *Link) Away(n int, unheard bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.limited, l.passing, l.unheard, l.refused = true, n, unheard, 0
}

// Back ends Away and returns how many batches it has refused.
func (l *Link) Back() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.limited = false
	return l.refused
}

// away reports whether the server has gone, and if not whether the reply to this batch is lost.
func (l *Link) away() (gone, unheard bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case !l.limited:
		return false, false
	case l.passing == 0:
		l.refused++
		return true, false
	}
	l.passing--
	return false, l.unheard && l.passing == 0
}

// DialHook implements redis.Hook.
func (l *Link) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

// ProcessHook implements redis.Hook.
func (l *Link) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		return l.pass(ctx, []redis.Cmder{cmd}, func() error { return next(ctx, cmd) })
	}
}

// ProcessPipelineHook implements redis.Hook.
func (l *Link) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		return l.pass(ctx, cmds, func() error { return next(ctx, cmds) })
	}
}

// within waits for do until the deadline of ctx and reports whether do is over.
func within(ctx context.Context, do func()) bool {
	if do == nil {
		return true
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		do()
		return true
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

// fail makes err the error of cmds.
func fail(cmds []redis.Cmder, err error) error {
	for _, cmd := range cmds {
		cmd.SetErr(err)
	}
	return err
}

func (l *Link) pass(ctx context.Context, cmds []redis.Cmder, send func() error) error {
	switch gone, unheard := l.away(); {
	case gone:
		return fail(cmds, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED})
	case unheard:
		_ = send()
		return fail(cmds, io.EOF)
	}
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
	if !within(ctx, before) {
		redisx.Sent(cmds)
		return fail(cmds, os.ErrDeadlineExceeded)
	}
	var err error
	if drop {
		redisx.Sent(cmds)
	} else {
		err = send()
	}
	if !within(ctx, after) {
		return fail(cmds, os.ErrDeadlineExceeded)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lose == 0 || redis.HasErrorPrefix(err, "NOSCRIPT") {
		return err
	}
	l.lose--
	return fail(cmds, io.EOF)
}
