// Package livetest is the contract of package live in executable form. Each kind of Redis that live
// streams are to live in calls [Run] in a test of its own.
package livetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/follow"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
	"github.com/seed-147127fe/streamhub/internal/livestream"
	"github.com/seed-147127fe/streamhub/internal/redisx"
	"github.com/seed-147127fe/streamhub/live"
)

// Connect makes another client with these hooks, which ends with the test.
type Connect func(t *testing.T, hooks ...redis.Hook) *redisx.Conn

var groups = [][]namedCase{
	registerCases, publishCases, subscribeCases, endCases, cancelCases, messageCases, remoteCases, severalCases, lostCases, viewerCases, listCases,
	optionCases,
}

// Run runs the contract, each case as a subtest with a store of its own.
func Run(t *testing.T, connect Connect) {
	for _, group := range groups {
		for _, c := range group {
			t.Run(c.name, func(t *testing.T) { run(t, &fixture{connect: connect}, c) })
		}
	}
}

// An Outside gives access to live streams as from another process.
type Outside struct {
	live.Streams
	// Close ends what reaches them, and with it the producers that it keeps.
	Close func() error
}

// RunOutside runs the cases that need nothing but the interfaces. open reaches the live streams of a space
// in a hub of its own, which has these options and one Redis with all the others. skip names cases, and options
// that have no effect, as RegisterOptions.EndedTTL.
func RunOutside(t *testing.T, skip []string, open func(t *testing.T, store uuid.UUID, space string, o *live.Options) Outside) {
	for _, group := range groups {
		for _, c := range group {
			if !inside[c.name] && !slices.Contains(skip, c.name) {
				t.Run(c.name, func(t *testing.T) { run(t, &fixture{outside: open, skip: skip}, c) })
			}
		}
	}
}

// inside are the cases that let an instance die, look behind the interface, or set how an instance sends.
var inside = map[string]bool{
	"Await":                    true,
	"CancelWhileDead":          true,
	"Denied":                   true,
	"EndOverOutage":            true,
	"EndUnderWay":              true,
	"EndedTTL":                 true,
	"LateReader":               true,
	"ListStatus":               true,
	"Lost":                     true,
	"LostBeforeBegun":          true,
	"Outage":                   true,
	"Publish":                  true,
	"PublishConcurrently":      true,
	"PublishFull":              true,
	"PublishLimits":            true,
	"PublishOverOutage":        true,
	"PublishTogether":          true,
	"PublishWaits":             true,
	"RefusedOptions":           true,
	"RemoteForgotten":          true,
	"RemoteRepeats":            true,
	"SeveralUnreadable":        true,
	"SegmentDeleted":           true,
	"SpacesAndStoresDoNotMeet": true,
	"Sweep":                    true,
	"TakeoverUnheard":          true,
	"ViewersOfTheDead":         true,
}

func run(t *testing.T, f *fixture, c namedCase) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	f.T, f.ctx, f.store = t, ctx, uuid.New()
	c.test(f)
}

type namedCase struct {
	name string
	test func(*fixture)
}

// fast are options under which a silent producer is noticed soon, and a slow machine is not one.
var fast = live.Options{Heartbeat: 500 * time.Millisecond}

// A fixture is one case.
type fixture struct {
	*testing.T
	ctx     context.Context // ends when the case takes too long
	connect Connect
	outside func(t *testing.T, store uuid.UUID, space string, o *live.Options) Outside
	skip    []string // of RunOutside
	store   uuid.UUID
}

// An instance is one process, as far as Redis can tell.
type instance struct {
	live.Streams
	close   func() error
	manager *livestream.Manager // nil outside, as are those that follow
	log     *hotlog.Log
	store   *hotlog.Store
	fate    *fate
}

const space = "space"

// open starts an instance; nil stands for the default options.
func (f *fixture) open(o *live.Options) *instance {
	f.Helper()
	if f.outside != nil {
		reached := f.outside(f.T, f.store, space, o)
		return &instance{Streams: reached.Streams, close: reached.Close}
	}
	i := &instance{fate: &fate{}}
	conn := f.connect(f.T, i.fate)
	var err error
	i.log, err = hotlog.Open(f.ctx, conn, nil)
	require.NoError(f, err)
	watcher, err := follow.Open(f.ctx, conn, i.log, nil)
	require.NoError(f, err)
	i.manager, err = livestream.Open(f.ctx, conn, i.log, watcher, o)
	require.NoError(f, err)
	f.Cleanup(func() {
		require.NoError(f, i.close())
		require.NoError(f, watcher.Close())
		require.NoError(f, i.log.Close())
	})
	i.close = i.manager.Close
	i.store = i.log.Store(f.store)
	i.Streams = i.manager.Streams(f.store, space)
	return i
}

// A fate lets an instance die, as seen by Redis: nothing that it sends arrives any more.
type fate struct {
	dead   atomic.Bool
	denied atomic.Bool // the user of this process may run no scripts
	silent atomic.Bool // the answer to its next script is lost
}

// refuses says how a command fails.
func (d *fate) refuses(cmd redis.Cmder) error {
	switch {
	case d.dead.Load():
		return errDead
	case d.denied.Load() && strings.HasPrefix(cmd.Name(), "eval"):
		return denial{}
	}
	return nil
}

// A denial is what Redis answers to a user who lacks a right.
type denial struct{}

func (denial) Error() string {
	return "NOPERM this user has no permissions to run the 'evalsha' command"
}
func (denial) RedisError() {}

var errDead = fmt.Errorf("%w: this process has died", redis.ErrClosed)

func (d *fate) DialHook(next redis.DialHook) redis.DialHook { return next }
func (d *fate) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if err := d.refuses(cmd); err != nil {
			cmd.SetErr(err)
			return err
		}
		err := next(ctx, cmd)
		if err == nil && strings.HasPrefix(cmd.Name(), "eval") && d.silent.CompareAndSwap(true, false) {
			err = io.EOF
			cmd.SetErr(err)
		}
		return err
	}
}
func (d *fate) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, refused := range cmds {
			if err := d.refuses(refused); err != nil {
				for _, cmd := range cmds {
					cmd.SetErr(err)
				}
				return err
			}
		}
		return next(ctx, cmds)
	}
}

// register registers a stream that is free.
func (f *fixture) register(i *instance, id string, o *live.RegisterOptions) live.Producer {
	f.Helper()
	p, current, err := i.Register(f.ctx, id, o)
	require.NoError(f, err)
	require.Nil(f, current, "%q has a producer", id)
	require.NotNil(f, p)
	return p
}

// publish publishes texts and waits until they are stored.
func (f *fixture) publish(p live.Producer, texts ...string) {
	f.Helper()
	for _, text := range texts {
		require.NoError(f, p.Publish(f.ctx, []byte(text)))
	}
	require.NoError(f, p.Flush(f.ctx))
}

func (f *fixture) get(i *instance, id string) live.Stream {
	f.Helper()
	s, err := i.Get(f.ctx, id)
	require.NoError(f, err)
	return s
}

// read reads to the end: the chunks and the verdict.
func (f *fixture) read(s live.Stream, o *live.SubscribeOptions) ([]string, streamhub.Verdict) {
	f.Helper()
	var texts []string
	for c, err := range s.Subscribe(f.ctx, o) {
		var closed *streamhub.ClosedError
		if errors.As(err, &closed) {
			return texts, closed.Verdict
		}
		require.NoError(f, err)
		texts = append(texts, string(c.Data))
	}
	f.Fatal("the subscription ended without an error")
	return nil, streamhub.Verdict{}
}

// A reading is a reader in a goroutine of its own.
type reading struct {
	f       *fixture
	events  <-chan live.Event
	texts   []string
	verdict *streamhub.Verdict
}

func (f *fixture) reader(s live.Stream) *reading {
	return &reading{f: f, events: s.Channel(f.ctx, nil)}
}

// gets waits until the reader has got these chunks and no other.
func (r *reading) gets(texts ...string) {
	r.f.Helper()
	for len(r.texts) < len(texts) {
		e := <-r.events
		require.NoError(r.f, e.Err)
		r.texts = append(r.texts, string(e.Data))
	}
	require.Equal(r.f, texts, r.texts)
}

// ends waits for the verdict and returns all that the reader got.
func (r *reading) ends(kind streamhub.VerdictKind) []string {
	r.f.Helper()
	for e := range r.events {
		var closed *streamhub.ClosedError
		if errors.As(e.Err, &closed) {
			r.verdict = &closed.Verdict
			require.Equal(r.f, kind, closed.Verdict.Kind)
			continue
		}
		require.NoError(r.f, e.Err)
		r.texts = append(r.texts, string(e.Data))
	}
	require.NotNil(r.f, r.verdict, "the reader got no verdict")
	return r.texts
}

// verdict is that of a stream.
func (f *fixture) verdict(s live.Stream) streamhub.Verdict {
	f.Helper()
	v, err := s.Wait(f.ctx)
	require.NoError(f, err)
	return v
}

// eventually asks until check holds.
func (f *fixture) eventually(what string, check func() bool) {
	f.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !check() {
		select {
		case <-tick.C:
		case <-f.ctx.Done():
			f.Fatalf("never: %s", what)
		}
	}
}

// pass waits.
func (f *fixture) pass(d time.Duration) {
	f.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-f.ctx.Done():
		f.Fatal("the case took too long")
	}
}

func (f *fixture) fenced(err error, current, got uint64) {
	f.Helper()
	var fenced *streamhub.FencedError
	require.ErrorAs(f, err, &fenced)
	require.Equal(f, streamhub.FencedError{Current: current, Got: got}, *fenced)
}

func (f *fixture) closed(err error, kind streamhub.VerdictKind) {
	f.Helper()
	var closed *streamhub.ClosedError
	require.ErrorAs(f, err, &closed)
	require.Equal(f, kind, closed.Verdict.Kind)
}

// A call is what OnCancel was told.
type calls chan error

func onCancel() (calls, func(error)) {
	c := make(calls, 10)
	return c, func(err error) { c <- err }
}

func (f *fixture) called(c calls) error {
	f.Helper()
	select {
	case err := <-c:
		return err
	case <-f.ctx.Done():
		f.Fatal("OnCancel was not called")
		return nil
	}
}
