package model

import (
	"context"
	"errors"
	"iter"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive/tier"
	"github.com/seed-147127fe/streamhub/live"
)

// copied is a model that plays the store.
type copied struct {
	m *Model

	mu      sync.Mutex    // guards m: followers ask it too
	changed chan struct{} // guarded by mu: closed after the next call
	ends    map[string]streamhub.TimelineID
}

// lock guards the model during a call, after which followers look again.
func (w *copied) lock() func() {
	w.mu.Lock()
	return func() {
		if w.changed != nil {
			close(w.changed)
			w.changed = nil
		}
		w.m.saw = nil
		w.mu.Unlock()
	}
}

// wait is closed after the next call. The caller holds the lock.
func (w *copied) wait() <-chan struct{} {
	if w.changed == nil {
		w.changed = make(chan struct{})
	}
	return w.changed
}

func (w *copied) Store(by int) streamhub.Store                 { return &copiedStore{w: w, m: w.m, by: by} }
func (w *copied) Reader(by int) streamhub.Store                { return w.Store(by) }
func (w *copied) Process(by int) int                           { return by }
func (w *copied) Streams(int) string                           { return "" }
func (w *copied) Remote() bool                                 { return false }
func (w *copied) Sweep(context.Context) error                  { defer w.lock()(); w.m.Sweep(); return nil }
func (w *copied) Advance(d time.Duration)                      { defer w.lock()(); w.m.Now += d.Milliseconds() }
func (w *copied) Save() any                                    { defer w.lock()(); return w.m.Save() }
func (w *copied) Rewind(saved any)                             { defer w.lock()(); w.m.Rewind(saved) }
func (w *copied) Promote()                                     { defer w.lock()(); w.m.Promote() }
func (w *copied) Lose(int, int, bool)                          {}
func (w *copied) Cut(context.Context) error                    { return nil }
func (w *copied) Deafen(bool)                                  {}
func (w *copied) Live(int, string) live.Streams                { return nil }
func (w *copied) Beat(context.Context, string, []string) error { return nil }
func (w *copied) Close() error                                 { return nil }

// Archive archives all that there is of each space.
func (w *copied) Archive(context.Context, int, tier.Policy) error {
	defer w.lock()()
	for name, sp := range w.m.server.spaces {
		if end := w.last(name); sp.end != end {
			w.m.Archived(name, end)
			w.ends[name] = end
		}
	}
	return nil
}

// last is where the timeline of a space ends, which no other history has.
func (w *copied) last(space string) streamhub.TimelineID {
	line := w.m.space(space).line
	if len(line) == 0 {
		return streamhub.TimelineID{}
	}
	return streamhub.TimelineID{MS: 1, N: line[len(line)-1].id}
}

func (w *copied) EndLeases(context.Context) error { return nil }

func (w *copied) Ends(context.Context) (map[string]streamhub.TimelineID, error) {
	defer w.lock()()
	return maps.Clone(w.ends), nil
}

func (w *copied) Last(_ context.Context, space string) (streamhub.TimelineID, error) {
	defer w.lock()()
	return w.last(space), nil
}

func (w *copied) Restore(context.Context) error {
	defer w.lock()()
	w.m.Restore(w.ends)
	return nil
}

// copiedStore has the calls that programs make; others panic.
type copiedStore struct {
	streamhub.Store
	w  *copied
	m  *Model
	by int
}

// wrap makes of the error of a model what a store returns.
func wrap(space, segment string, err error) error {
	if err == nil {
		return nil
	}
	var from *lostFrom
	if errors.As(err, &from) {
		err = &streamhub.HistoryLostError{FirstLost: from.first}
	}
	return &streamhub.Error{Space: space, Segment: segment, Err: err}
}

func (s *copiedStore) Append(_ context.Context, space, segment string, records []streamhub.Record, o *streamhub.AppendOptions) (streamhub.AppendResult, error) {
	defer s.w.lock()()
	r, err := s.m.Append(s.by, space, segment, records, o)
	return r, wrap(space, segment, err)
}

func (s *copiedStore) AppendAll(_ context.Context, appends []streamhub.Append) ([]streamhub.AppendResult, []error) {
	defer s.w.lock()()
	results, errs := s.m.AppendAll(s.by, appends)
	for i, err := range errs {
		errs[i] = wrap(appends[i].Space, appends[i].Segment, err)
	}
	return results, errs
}

func (s *copiedStore) CloseSegment(_ context.Context, space, segment string, v streamhub.Verdict, o *streamhub.AppendOptions) (streamhub.AppendResult, error) {
	defer s.w.lock()()
	r, err := s.m.CloseSegment(s.by, space, segment, v, o)
	return r, wrap(space, segment, err)
}

func (s *copiedStore) Create(_ context.Context, space, segment string, o *streamhub.CreateOptions) (streamhub.Status, bool, error) {
	defer s.w.lock()()
	status, created, err := s.m.Create(s.by, space, segment, o)
	return status, created, wrap(space, segment, err)
}

func (s *copiedStore) Delete(_ context.Context, space, segment, reason string) error {
	defer s.w.lock()()
	return wrap(space, segment, s.m.Delete(space, segment, reason))
}

func (s *copiedStore) Trim(_ context.Context, space, segment string, upTo uint64) (uint64, error) {
	defer s.w.lock()()
	first, err := s.m.Trim(space, segment, upTo)
	return first, wrap(space, segment, err)
}

func (s *copiedStore) Touch(_ context.Context, space, segment string) (time.Time, error) {
	defer s.w.lock()()
	deadline, err := s.m.Touch(space, segment)
	return deadline, wrap(space, segment, err)
}

func (s *copiedStore) Status(_ context.Context, space, segment string) (streamhub.Status, error) {
	defer s.w.lock()()
	status, err := s.m.Status(space, segment)
	return status, wrap(space, segment, err)
}

func (s *copiedStore) Peek(_ context.Context, space, segment string) (streamhub.Entry, error) {
	defer s.w.lock()()
	e, err := s.m.Peek(space, segment)
	return e, wrap(space, segment, err)
}

func (s *copiedStore) SpaceEnd(_ context.Context, space string) (streamhub.Cursor, error) {
	defer s.w.lock()()
	return s.m.SpaceEnd(space), nil
}

func (s *copiedStore) Segments(_ context.Context, space string) iter.Seq2[string, error] {
	defer s.w.lock()()
	names, _ := s.m.Segments(space)
	return items(names, nil)
}

func (s *copiedStore) ConsumeSegment(_ context.Context, space, segment string, o *streamhub.ReadOptions) iter.Seq2[streamhub.Entry, error] {
	defer s.w.lock()()
	entries, err := s.m.ConsumeSegment(space, segment, o)
	return items(entries, wrap(space, segment, err))
}

func (s *copiedStore) ConsumeSpace(_ context.Context, space string, o *streamhub.ReadOptions) iter.Seq2[streamhub.Entry, error] {
	defer s.w.lock()()
	entries, err := s.m.ConsumeSpace(space, o)
	if o != nil && o.Limit > 0 && uint64(len(entries)) >= o.Limit && err != nil {
		entries, err = entries[:o.Limit], nil
	}
	return items(entries, wrap(space, "", err))
}

func (s *copiedStore) AcquireLeaseAs(_ context.Context, key, holder string, ttl time.Duration) (uint64, error) {
	defer s.w.lock()()
	return s.m.AcquireLease(key, holder, ttl)
}

func (s *copiedStore) RenewLeaseAs(_ context.Context, key, holder string, ttl time.Duration) (uint64, error) {
	defer s.w.lock()()
	return s.m.RenewLease(key, holder, ttl)
}

func (s *copiedStore) ReleaseLeaseAs(_ context.Context, key, holder string) (bool, error) {
	defer s.w.lock()()
	return s.m.ReleaseLease(key, holder), nil
}

func (s *copiedStore) FollowSegment(ctx context.Context, space, segment string, o *streamhub.FollowOptions) iter.Seq2[streamhub.Entry, error] {
	return s.follow(ctx, space, segment, o)
}

func (s *copiedStore) FollowSpace(ctx context.Context, space string, o *streamhub.FollowOptions) iter.Seq2[streamhub.Entry, error] {
	return s.follow(ctx, space, "", o)
}

// follow begins at once, so that a follower of what comes misses nothing.
func (s *copiedStore) follow(ctx context.Context, space, segment string, o *streamhub.FollowOptions) iter.Seq2[streamhub.Entry, error] {
	s.w.mu.Lock()
	cursor, left := o.Cursor, o.Limit
	if o.Live {
		r := &run{model: s.m}
		cursor = r.end(Step{Space: space, Seg: segment})
	}
	s.w.mu.Unlock()
	return func(yield func(streamhub.Entry, error) bool) {
		for {
			s.w.mu.Lock()
			saw := s.m.saw
			s.m.saw = nil
			entries, err := s.m.Due(space, segment, o.FromSequence, cursor)
			s.m.saw = saw
			changed := s.w.wait()
			s.w.mu.Unlock()
			for _, e := range entries {
				if !yield(e, nil) {
					return
				}
				if left--; left == 0 {
					return
				}
				cursor = e.Position.Cursor()
			}
			if err != nil {
				yield(streamhub.Entry{}, wrap(space, segment, err))
				return
			}
			if len(entries) > 0 {
				continue
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}
}

func items[T any](list []T, err error) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, item := range list {
			if !yield(item, nil) {
				return
			}
		}
		if err != nil {
			var none T
			yield(none, err)
		}
	}
}

// caught returns the first seed whose program for a way tells a model without these rules from a whole one, 0
// if none of the seeds does.
func caught(t *testing.T, kind Kind, seeds int, off ...Rule) (int, error) {
	programs := kind.Programs(stepsEach)
	for seed := 1; seed <= seeds; seed++ {
		m := New(off...)
		m.Now = Start
		if err := Run(t.Context(), &copied{m: m, ends: map[string]streamhub.TimelineID{}}, programs.Example(seed), nil); err != nil {
			return seed, err
		}
	}
	return 0, nil
}

// TestCopy compares the model with an unchanged copy of itself.
func TestCopy(t *testing.T) {
	for _, kind := range []Kind{InProcess, Archived} {
		seed, err := caught(t, kind, 300)
		require.NoError(t, err, "seed %d, %s", seed, kind)
	}
}

// TestRules takes one rule after the other from the copy, and demands that it is caught.
func TestRules(t *testing.T) {
	for _, rule := range Rules {
		kind := InProcess
		if rule == RuleRestored || rule == RuleArchivedOnly {
			kind = Archived
		}
		// In a bubble, because a follower that misses something is waited for.
		synctest.Test(t, func(t *testing.T) {
			seed, err := caught(t, kind, 2000, rule)
			if err == nil {
				t.Errorf("%q is not caught", rule)
				return
			}
			t.Logf("%5d  %s: %.160v", seed, rule, err)
		})
	}
}
