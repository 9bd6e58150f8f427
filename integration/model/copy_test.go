package model

import (
	"context"
	"errors"
	"iter"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
)

// copied is a model that plays the store.
type copied struct{ m *Model }

func (w *copied) Store(by int) streamhub.Store { return &copiedStore{m: w.m, by: by} }
func (w *copied) Process(by int) int           { return by }
func (w *copied) Remote() bool                 { return false }
func (w *copied) Sweep(context.Context) error  { w.m.Sweep(); return nil }
func (w *copied) Advance(d time.Duration)      { w.m.Now += d.Milliseconds() }
func (w *copied) Save() any                    { return w.m.Save() }
func (w *copied) Rewind(saved any)             { w.m.Rewind(saved) }
func (w *copied) Promote()                     { w.m.Promote() }
func (w *copied) Lose(int, bool)               {}
func (w *copied) Close() error                 { return nil }

// copiedStore has the calls that programs make; others panic.
type copiedStore struct {
	streamhub.Store
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
	r, err := s.m.Append(s.by, space, segment, records, o)
	return r, wrap(space, segment, err)
}

func (s *copiedStore) AppendAll(_ context.Context, appends []streamhub.Append) ([]streamhub.AppendResult, []error) {
	results, errs := s.m.AppendAll(s.by, appends)
	for i, err := range errs {
		errs[i] = wrap(appends[i].Space, appends[i].Segment, err)
	}
	return results, errs
}

func (s *copiedStore) CloseSegment(_ context.Context, space, segment string, v streamhub.Verdict, o *streamhub.AppendOptions) (streamhub.AppendResult, error) {
	r, err := s.m.CloseSegment(s.by, space, segment, v, o)
	return r, wrap(space, segment, err)
}

func (s *copiedStore) Create(_ context.Context, space, segment string, o *streamhub.CreateOptions) (streamhub.Status, bool, error) {
	status, created, err := s.m.Create(s.by, space, segment, o)
	return status, created, wrap(space, segment, err)
}

func (s *copiedStore) Delete(_ context.Context, space, segment, reason string) error {
	return wrap(space, segment, s.m.Delete(space, segment, reason))
}

func (s *copiedStore) Trim(_ context.Context, space, segment string, upTo uint64) (uint64, error) {
	first, err := s.m.Trim(space, segment, upTo)
	return first, wrap(space, segment, err)
}

func (s *copiedStore) Touch(_ context.Context, space, segment string) (time.Time, error) {
	deadline, err := s.m.Touch(space, segment)
	return deadline, wrap(space, segment, err)
}

func (s *copiedStore) Status(_ context.Context, space, segment string) (streamhub.Status, error) {
	status, err := s.m.Status(space, segment)
	return status, wrap(space, segment, err)
}

func (s *copiedStore) Peek(_ context.Context, space, segment string) (streamhub.Entry, error) {
	e, err := s.m.Peek(space, segment)
	return e, wrap(space, segment, err)
}

func (s *copiedStore) SpaceEnd(_ context.Context, space string) (streamhub.Cursor, error) {
	return s.m.SpaceEnd(space), nil
}

func (s *copiedStore) Segments(_ context.Context, space string) iter.Seq2[string, error] {
	names, _ := s.m.Segments(space)
	return items(names, nil)
}

func (s *copiedStore) ConsumeSegment(_ context.Context, space, segment string, o *streamhub.ReadOptions) iter.Seq2[streamhub.Entry, error] {
	entries, err := s.m.ConsumeSegment(space, segment, o)
	return items(entries, wrap(space, segment, err))
}

func (s *copiedStore) ConsumeSpace(_ context.Context, space string, o *streamhub.ReadOptions) iter.Seq2[streamhub.Entry, error] {
	entries, err := s.m.ConsumeSpace(space, o)
	if o != nil && o.Limit > 0 && uint64(len(entries)) >= o.Limit && err != nil {
		entries, err = entries[:o.Limit], nil
	}
	return items(entries, wrap(space, "", err))
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

// caught returns the first seed whose program tells a model without these rules from a whole one, 0
// if none of the seeds does.
func caught(t *testing.T, seeds int, off ...Rule) (int, error) {
	programs := Programs(stepsEach)
	for seed := 1; seed <= seeds; seed++ {
		m := New(off...)
		m.Now = Start
		if err := Run(t.Context(), &copied{m}, programs.Example(seed), nil); err != nil {
			return seed, err
		}
	}
	return 0, nil
}

// TestCopy compares the model with an unchanged copy of itself.
func TestCopy(t *testing.T) {
	seed, err := caught(t, 300)
	require.NoError(t, err, "seed %d", seed)
}

// TestRules takes one rule after the other from the copy, and demands that it is caught.
func TestRules(t *testing.T) {
	for _, rule := range Rules {
		seed, err := caught(t, 2000, rule)
		if err == nil {
			t.Errorf("%q is not caught", rule)
			continue
		}
		t.Logf("%5d  %s: %.160v", seed, rule, err)
	}
}
