package hubtest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/hub/hubtest"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

func TestMain(m *testing.M) { testredis.Main(m) }

var _ hubtest.TB = testing.TB(nil)

// ways are the stores that a program may hold.
func ways(env *hubtest.Env) map[string]streamhub.Store {
	return map[string]streamhub.Store{"hub": env.Hub().Store(env.ID), "client": env.Client().Store(env.ID)}
}

func TestReplies(t *testing.T) {
	patient := hubtest.Open(t, &hubtest.Options{Hub: hub.Options{RetryFor: time.Minute}})
	for name, s := range ways(patient) {
		patient.LoseReplies(1)
		r, err := s.Append(t.Context(), "space", name, record("1"), nil)
		require.NoError(t, err, "a repeat is recognised")
		require.EqualValues(t, 1, r.Last)
	}
	env := hubtest.Open(t)
	for name, s := range ways(env) {
		_, err := s.Append(t.Context(), "space", name, record("1"), nil)
		require.NoError(t, err)
		env.LoseRequests(1000)
		_, err = s.Append(t.Context(), "space", name, record("never made"), nil)
		require.ErrorIs(t, err, streamhub.ErrUnknownOutcome)
		env.LoseRequests(0)
		status, err := s.Status(t.Context(), "space", name)
		require.NoError(t, err)
		require.EqualValues(t, 1, status.LastSequence)
	}
}

func TestRedisAway(t *testing.T) {
	env := hubtest.Open(t)
	for name, s := range ways(env) {
		_, err := s.Append(t.Context(), "space", name, record("1"), nil)
		require.NoError(t, err)
		env.StopRedis()
		_, err = s.Append(t.Context(), "space", name, record("2"), nil)
		require.Error(t, err)
		require.True(t, streamhub.Retryable(err), "%v", err)
		_, err = s.Status(t.Context(), "space", name)
		require.ErrorIs(t, err, streamhub.ErrUnavailable)
		require.NoError(t, env.StartRedis())
		require.Eventually(t, func() bool {
			_, err := s.Status(t.Context(), "space", name)
			return err == nil
		}, 20*time.Second, 5*time.Millisecond)
	}
}

// TestHistory loses entries that a follower has seen. One that has not been told goes on after a
// promotion that loses nothing.
func TestHistory(t *testing.T) {
	env := hubtest.Open(t)
	for name, s := range ways(env) {
		_, err := s.Append(t.Context(), "space", name, record("1"), nil)
		require.NoError(t, err)
		mark := env.Mark()
		_, err = s.Append(t.Context(), "space", name, record("2"), nil)
		require.NoError(t, err)
		env.Promote()
		n := 0
		for _, err := range s.FollowSegment(t.Context(), "space", name, nil) {
			if n++; n <= 2 {
				require.NoError(t, err)
			}
			if n == 2 {
				env.LoseHistory(mark)
			}
			if err != nil {
				var lost *streamhub.HistoryLostError
				require.ErrorAs(t, err, &lost)
				require.EqualValues(t, 2, lost.FirstLost)
			}
		}
		require.Equal(t, 3, n)
	}
}

func TestClock(t *testing.T) {
	start := time.Date(2031, 5, 6, 7, 8, 9, 0, time.UTC)
	env := hubtest.Open(t, &hubtest.Options{Now: start})
	for name, s := range ways(env) {
		now := env.Now()
		r, err := s.Append(t.Context(), "space", name, record("1"), nil)
		require.NoError(t, err)
		require.Equal(t, now, r.Timestamp.UTC())
		first, err := s.AcquireLeaseAs(t.Context(), "lease "+name, "one", time.Minute)
		require.NoError(t, err)
		_, err = s.AcquireLeaseAs(t.Context(), "lease "+name, "two", time.Minute)
		require.ErrorIs(t, err, streamhub.ErrLeaseNotAcquired)
		env.Advance(time.Hour)
		require.Equal(t, now.Add(time.Hour), env.Now())
		second, err := s.AcquireLeaseAs(t.Context(), "lease "+name, "two", time.Minute)
		require.NoError(t, err)
		require.Greater(t, second, first)
	}
	require.NoError(t, env.Sweep(t.Context()))
}

// TestSlowReader: what a client does not receive is there when it does.
func TestSlowReader(t *testing.T) {
	env := hubtest.Open(t)
	s, writer := env.Client().Store(env.ID), env.Hub().Store(env.ID)
	_, err := writer.Append(t.Context(), "space", "seg", record("0"), nil)
	require.NoError(t, err)
	n := 0
	for e, err := range s.FollowSegment(t.Context(), "space", "seg", &streamhub.FollowOptions{Limit: 101}) {
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint(n), string(e.Payload))
		if n == 0 {
			env.Stall()
			for i := range 100 {
				_, err := writer.Append(t.Context(), "space", "seg", record(fmt.Sprint(1+i)), nil)
				require.NoError(t, err)
			}
			env.Resume()
		}
		n++
	}
	require.Equal(t, 101, n)
}

// fails is a test that must fail.
type fails struct {
	testing.TB
	said string
}

func (f *fails) Fatalf(format string, args ...any) {
	f.said = fmt.Sprintf(format, args...)
	panic(f)
}

// judged returns what CutEverywhere says of a reader, and nothing if it passes.
func judged(t *testing.T, read hubtest.Reader) (said string) {
	t.Helper()
	f := &fails{TB: t}
	defer func() {
		if p := recover(); p != nil && p != f {
			panic(p)
		}
		said = f.said
	}()
	hubtest.CutEverywhere(f, read)
	return ""
}

func TestCutEverywhere(t *testing.T) {
	follow := func(ctx context.Context, from hubtest.Target, o *streamhub.FollowOptions, saw func(streamhub.Entry)) error {
		for e, err := range from.Provider.Store(from.Store).FollowSegment(ctx, from.Space, from.Segment, o) {
			if err != nil {
				return err
			}
			saw(e)
		}
		return nil
	}
	again := func(cursor func(streamhub.Entry) *streamhub.FollowOptions) hubtest.Reader {
		return func(ctx context.Context, from hubtest.Target, saw func(streamhub.Entry)) error {
			var o *streamhub.FollowOptions
			for {
				err := follow(ctx, from, o, func(e streamhub.Entry) {
					o = cursor(e)
					saw(e)
				})
				if !streamhub.Retryable(err) || ctx.Err() != nil {
					return err
				}
			}
		}
	}
	// A provider retries nothing by itself: a reader that resumes by hand does, from the right place.
	require.Empty(t, judged(t, again(func(e streamhub.Entry) *streamhub.FollowOptions {
		return &streamhub.FollowOptions{Cursor: e.Cursor()}
	})))
	require.Empty(t, judged(t, func(ctx context.Context, from hubtest.Target, saw func(streamhub.Entry)) error {
		c := client.New(from.Provider, nil)
		defer func() { require.NoError(t, c.Close()) }()
		last := errors.New("no end")
		for e, err := range c.Store(from.Store).FollowSegment(ctx, from.Space, from.Segment, nil) {
			if last = err; err == nil {
				saw(e)
			}
		}
		return last
	}))
	for name, bad := range map[string]hubtest.Reader{
		"gives up": func(ctx context.Context, from hubtest.Target, saw func(streamhub.Entry)) error {
			return follow(ctx, from, nil, saw)
		},
		"begins anew": again(func(streamhub.Entry) *streamhub.FollowOptions { return nil }),
	} {
		said := judged(t, bad)
		require.True(t, strings.Contains(said, "cut after entry"), "%s: %q", name, said)
	}
}
