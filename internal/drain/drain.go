// Package drain lets what has goroutines or serves requests stop: nothing begins any more, what is under way
// hears of it, and is waited for.
package drain

import (
	"context"
	"sync"
)

// A Group is what is under way. It is safe for concurrent use.
type Group struct {
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex // orders Begin before the wait
	running sync.WaitGroup
}

// New returns an empty group. Its context carries the values of ctx and not its end.
func New(ctx context.Context) *Group {
	g := &Group{}
	g.ctx, g.cancel = context.WithCancel(context.WithoutCancel(ctx))
	return g
}

// Context ends when Stop begins.
func (g *Group) Context() context.Context { return g.ctx }

// Begin notes that something is under way, until Done. It is false once the group is stopped.
func (g *Group) Begin() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ctx.Err() != nil {
		return false
	}
	g.running.Add(1)
	return true
}

// Done notes that what was begun has ended.
func (g *Group) Done() { g.running.Done() }

// Go runs task in a goroutine that Stop and Close wait for. Once the group is stopped it does nothing and returns false.
func (g *Group) Go(task func()) bool {
	if !g.Begin() {
		return false
	}
	go func() {
		defer g.Done()
		task()
	}()
	return true
}

// Close ends the context of the group and waits for what is under way. It may be repeated.
func (g *Group) Close() {
	g.end()
	g.running.Wait()
}

// end lets nothing begin any more. The lock keeps a Begin that is under way from adding to what is waited for already.
func (g *Group) end() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.cancel()
}

// Stop ends the context of the group and waits for what is under way, and then for also, if that is
// not nil. When ctx ends first it returns its error. It may be repeated.
func (g *Group) Stop(ctx context.Context, also func()) error {
	g.end()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		g.running.Wait()
		if also != nil {
			also()
		}
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
