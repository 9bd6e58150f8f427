package hotlogtest

import (
	"context"
	"sync"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
)

var contextCases = []namedCase{
	{"ContextEndedBefore", contextEndedBefore},
	{"ContextEndsWaiting", contextEndsWaiting},
	{"ContextEndsInFlight", contextEndsInFlight},
	{"ContextEndsReads", contextEndsReads},
	{"DefiniteErrors", definiteErrors},
	{"CloseLog", closeLog},
	{"CloseLogInFlight", closeLogInFlight},
}

func contextEndedBefore(f *fixture) {
	s, wire := f.wired()
	ctx, cancel := context.WithCancel(f.ctx)
	cancel()
	_, err := s.Append(ctx, space, "seg", records("x"), nil)
	require.ErrorIs(f, err, context.Canceled)
	require.NotErrorIs(f, err, streamhub.ErrUnknownOutcome)
	_, errs := s.AppendAll(ctx, []streamhub.Append{{Space: space, Segment: "seg", Records: records("x")}})
	require.ErrorIs(f, errs[0], context.Canceled)
	require.NotErrorIs(f, errs[0], streamhub.ErrUnknownOutcome)
	_, _, err = s.Create(ctx, space, "seg", nil)
	require.ErrorIs(f, err, context.Canceled)
	require.Zero(f, wire.Scripts())
	_, err = f.Status(f.ctx, space, "seg")
	require.ErrorIs(f, err, streamhub.ErrNotFound)
}

// hold stops batches with scripts before they are sent, or their answers after that, and returns
// what tells that one is held and what lets them go.
func (f *fixture) hold(wire *Link, sent bool) (held chan struct{}, release func()) {
	held, gate := make(chan struct{}), make(chan struct{})
	var once, free sync.Once
	stop := func() {
		once.Do(func() { close(held) })
		<-gate
	}
	if sent {
		wire.Around(nil, stop)
	} else {
		wire.Around(stop, nil)
	}
	release = func() { free.Do(func() { close(gate) }) }
	f.Cleanup(release)
	return held, release
}

// contextEndsWaiting ends the context of an append that waits after another one.
func contextEndsWaiting(f *fixture) {
	s, wire := f.wired()
	f.appendTo(s, "seg", "1")
	held, release := f.hold(wire, false)
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := s.Append(f.ctx, space, "seg", records("2"), nil); err != nil {
			f.Error(err)
		}
	})
	<-held
	ctx, cancel := context.WithCancel(f.ctx)
	wg.Go(func() {
		_, err := s.Append(ctx, space, "seg", records("never"), nil)
		require.ErrorIs(f, err, context.Canceled)
		require.NotErrorIs(f, err, streamhub.ErrUnknownOutcome, "it was not sent")
		release()
	})
	cancel()
	wg.Wait()
	f.holds("seg", "1", "2")
	f.appendTo(s, "seg", "3")
}

func contextEndsInFlight(f *fixture) {
	for _, sent := range []bool{false, true} {
		for _, o := range []streamhub.AppendOptions{{}, {ExpectedSequence: 2}, {Producer: &streamhub.Producer{ID: "p"}}} {
			s, wire := f.wired()
			segment := "seg" + itoa(o.ExpectedSequence)
			if o.Producer != nil {
				segment = "named"
			}
			if sent {
				segment += " sent"
			}
			f.appendTo(s, segment, "1")
			held, release := f.hold(wire, sent)
			ctx, cancel := context.WithCancel(f.ctx)
			var wg sync.WaitGroup
			var err error
			wg.Go(func() { _, err = s.Append(ctx, space, segment, records("2"), &o) })
			<-held
			cancel()
			wg.Wait()
			var unknown *streamhub.UnknownOutcomeError
			require.ErrorAs(f, err, &unknown)
			require.ErrorIs(f, err, context.Canceled)
			// The first repeat comes while the append is still under way, the second later.
			o.TRX = unknown.TRX
			for range 2 {
				wg.Go(func() {
					r, err := s.Append(f.ctx, space, segment, records("2"), &o)
					if err != nil || r.First != 2 {
						f.Errorf("%+v, %v", r, err)
					}
				})
			}
			release()
			wg.Wait()
			r, err := s.Append(f.ctx, space, segment, records("2"), &o)
			require.NoError(f, err)
			require.True(f, r.Repeated)
			f.appendTo(s, segment, "3")
			f.holds(segment, "1", "2", "3")
		}
	}
}

func contextEndsReads(f *fixture) {
	f.append("seg", "1")
	ctx, cancel := context.WithCancel(f.ctx)
	cancel()
	for _, err := range f.ConsumeSegment(ctx, space, "seg", nil) {
		require.ErrorIs(f, err, context.Canceled)
	}
	for _, err := range f.ConsumeSpace(ctx, space, nil) {
		require.ErrorIs(f, err, context.Canceled)
	}
	_, err := f.Status(ctx, space, "seg")
	require.ErrorIs(f, err, context.Canceled)
	_, err = f.Peek(ctx, space, "seg")
	require.ErrorIs(f, err, context.Canceled)
}

func closeLog(f *fixture) {
	log, err := hotlog.Open(f.ctx, f.product, nil)
	require.NoError(f, err)
	s := log.Store(f.id)
	f.appendTo(s, "seg", "1")
	require.NoError(f, log.Close())
	require.NoError(f, log.Close())
	_, err = s.Append(f.ctx, space, "seg", records("2"), nil)
	require.ErrorIs(f, err, streamhub.ErrShutdown)
	_, errs := s.AppendAll(f.ctx, []streamhub.Append{{Space: space, Segment: "seg", Records: records("x")}, {Space: space, Segment: "seg2", Records: records("x")}})
	require.ErrorIs(f, errs[0], streamhub.ErrShutdown)
	require.ErrorIs(f, errs[1], streamhub.ErrShutdown)
	f.holds("seg", "1")
}

// closeLogInFlight closes a log with appends in every state.
func closeLogInFlight(f *fixture) {
	wire := &Link{}
	log, err := hotlog.Open(f.ctx, f.env.Connect(f.T, wire), nil)
	require.NoError(f, err)
	s := log.Store(f.id)
	for i := range 4 {
		f.appendTo(s, "seg"+itoa(uint64(i)), "1")
	}
	wire.Drop(1_000_000) // from now on they are tried again and again
	held, release := f.hold(wire, false)
	const callers = 40
	errs := make([]error, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() { _, errs[i] = s.Append(f.ctx, space, "seg"+itoa(uint64(i%4)), records("x"), nil) })
	}
	<-held
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		if err := log.Close(); err != nil {
			f.Error(err)
		}
	}()
	release()
	<-closed
	wg.Wait()
	for _, err := range errs {
		if !isAny(err, streamhub.ErrShutdown, streamhub.ErrUnknownOutcome) {
			f.Error(err)
		}
	}
}
