package hotlogtest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
	"github.com/seed-147127fe/streamhub/internal/redisx"
)

// A change is a call that changes the segment "seg", with what has to be there before.
type change struct {
	before func(f *fixture)
	call   func(ctx context.Context, s *hotlog.Store) error
}

// definiteCalls are such calls by name.
func definiteCalls() map[string]change {
	at := uint64(1)
	fork := &streamhub.CreateOptions{ForkOf: "parent", ForkAt: &at}
	nothing := func(*fixture) {}
	three := func(f *fixture) {
		f.append("seg", "1")
		f.append("seg", "2", "3") // a trim to 2 removes the first append, and then finds nothing to remove
	}
	parent := func(f *fixture) { f.append("parent", "1"); f.append("parent", "2", "3") }
	appends := func(ctx context.Context, s *hotlog.Store) error {
		_, err := s.Append(ctx, space, "seg", records("x"), nil)
		return err
	}
	trims := func(upTo uint64) func(ctx context.Context, s *hotlog.Store) error {
		return func(ctx context.Context, s *hotlog.Store) error {
			_, err := s.Trim(ctx, space, "seg", upTo)
			return err
		}
	}
	deletes := func(ctx context.Context, s *hotlog.Store) error { return s.Delete(ctx, space, "seg", "") }
	return map[string]change{
		"append":            {three, appends},
		"append to nothing": {nothing, appends},
		"close": {three, func(ctx context.Context, s *hotlog.Store) error {
			_, err := s.CloseSegment(ctx, space, "seg", streamhub.Verdict{Kind: streamhub.VerdictDone}, nil)
			return err
		}},
		"create": {nothing, func(ctx context.Context, s *hotlog.Store) error {
			_, _, err := s.Create(ctx, space, "seg", &streamhub.CreateOptions{Records: records("x")})
			return err
		}},
		"fork": {parent, func(ctx context.Context, s *hotlog.Store) error {
			_, _, err := s.Create(ctx, space, "seg", fork)
			return err
		}},
		"trim":        {three, trims(2)},
		"trim a fork": {func(f *fixture) { parent(f); f.create("seg", fork); three(f) }, trims(3)},
		"touch": {func(f *fixture) { f.create("seg", &streamhub.CreateOptions{TTL: time.Hour}) }, func(ctx context.Context, s *hotlog.Store) error {
			_, err := s.Touch(ctx, space, "seg")
			return err
		}},
		"expire": {three, func(ctx context.Context, s *hotlog.Store) error {
			_, err := s.Expire(ctx, space, "seg", time.Hour)
			return err
		}},
		"delete":               {three, deletes},
		"delete the last fork": {func(f *fixture) { parent(f); f.create("seg", fork); f.delete("parent") }, deletes},
	}
}

// definiteErrors lets the server go after each command of each call, with the reply to that command or without it. A call
// whose error does not say that its outcome is unknown has done nothing.
func definiteErrors(f *fixture) {
	wire := &Link{}
	open := func(conn *redisx.Conn, o *hotlog.Options) *hotlog.Log {
		log, err := hotlog.Open(f.ctx, conn, o)
		require.NoError(f, err)
		f.Cleanup(func() { require.NoError(f, log.Close()) })
		return log
	}
	whole, wired := open(f.product, nil), open(f.env.Connect(f.T, wire), &hotlog.Options{RetryFor: time.Millisecond})
	// fresh is the fixture with a store of its own, in which the change can be made.
	fresh := func(c change) *fixture {
		g := *f
		g.id = uuid.New()
		g.Store = whole.Store(g.id)
		c.before(&g)
		return &g
	}
	state := func(g *fixture) map[string]string {
		all := g.everything()
		maps.DeleteFunc(all, func(key, _ string) bool { return strings.HasSuffix(key, ":spaces") }) // written later
		return all
	}
	for name, c := range definiteCalls() {
		require.NoError(f, c.call(f.ctx, wired.Store(fresh(c).id))) // the server has its scripts
		for n, refused := 0, true; refused; n++ {
			refused = false
			for _, unheard := range []bool{false, true} {
				what := fmt.Sprintf("%s, after %d commands, unheard %v", name, n, unheard)
				g := fresh(c)
				before := state(g)
				s := wired.Store(g.id)
				wire.Away(n, unheard)
				err := c.call(f.ctx, s)
				refused = wire.Back() > 0 || refused
				switch {
				case err == nil:
				case errors.Is(err, streamhub.ErrUnknownOutcome):
					require.NotErrorIs(f, err, streamhub.ErrUnavailable, what)
				default:
					require.ErrorIs(f, err, streamhub.ErrUnavailable, what)
					require.True(f, maps.Equal(before, state(g)), "%s: %v, and something was done", what, err)
				}
				_, err = s.Segments(f.ctx, space, "", 1) // it knows that the server is back
				require.NoError(f, err)
			}
			require.Less(f, n, 30, name)
		}
	}
}
