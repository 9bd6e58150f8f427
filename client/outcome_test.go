package client_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/internal/faultproxy"
)

// answered are the calls that have one answer. Those that write may have been made when it is lost.
var answered = map[string]struct {
	writes bool
	call   func(ctx context.Context, s *client.Store) error
}{
	"append": {true, func(ctx context.Context, s *client.Store) error {
		_, err := s.Append(ctx, "space", "seg", one("x"), nil)
		return err
	}},
	"produce": {true, func(ctx context.Context, s *client.Store) error {
		return appendAs(ctx, s, &streamhub.AppendOptions{Producer: &streamhub.Producer{ID: "p"}})
	}},
	"check": {false, func(ctx context.Context, s *client.Store) error {
		return appendAs(ctx, s, &streamhub.AppendOptions{CheckOnly: true})
	}},
	"several": {true, func(ctx context.Context, s *client.Store) error {
		_, errs := s.AppendAll(ctx, []streamhub.Append{{Space: "space", Segment: "a", Records: one("x")}, {Space: "space", Segment: "b", Records: one("x")}})
		for _, err := range errs {
			if !errors.Is(err, streamhub.ErrUnknownOutcome) {
				return err
			}
		}
		return errs[0]
	}},
	"close": {true, func(ctx context.Context, s *client.Store) error {
		_, err := s.CloseSegment(ctx, "space", "seg", streamhub.Verdict{Kind: streamhub.VerdictDone}, nil)
		return err
	}},
	"create": {true, func(ctx context.Context, s *client.Store) error {
		_, _, err := s.Create(ctx, "space", "new", nil)
		return err
	}},
	"delete": {true, func(ctx context.Context, s *client.Store) error { return s.Delete(ctx, "space", "seg", "") }},
	"trim":   {true, func(ctx context.Context, s *client.Store) error { _, err := s.Trim(ctx, "space", "seg", 1); return err }},
	"touch":  {true, func(ctx context.Context, s *client.Store) error { _, err := s.Touch(ctx, "space", "seg"); return err }},
	"expire": {true, func(ctx context.Context, s *client.Store) error {
		_, err := s.Expire(ctx, "space", "seg", time.Hour)
		return err
	}},
	"acquire": {true, func(ctx context.Context, s *client.Store) error {
		_, err := s.AcquireLeaseAs(ctx, "key", "me", time.Minute)
		return err
	}},
	"renew": {true, func(ctx context.Context, s *client.Store) error {
		_, err := s.RenewLeaseAs(ctx, "key", "me", time.Minute)
		return err
	}},
	"release": {true, func(ctx context.Context, s *client.Store) error {
		_, err := s.ReleaseLeaseAs(ctx, "key", "me")
		return err
	}},
	"status": {false, func(ctx context.Context, s *client.Store) error { _, err := s.Status(ctx, "space", "seg"); return err }},
	"peek":   {false, func(ctx context.Context, s *client.Store) error { _, err := s.Peek(ctx, "space", "seg"); return err }},
	"end":    {false, func(ctx context.Context, s *client.Store) error { _, err := s.SpaceEnd(ctx, "space"); return err }},
	"start": {true, func(ctx context.Context, s *client.Store) error {
		_, _, err := s.Live("space").Start(ctx, "id", nil)
		return err
	}},
	"remove": {false, func(ctx context.Context, s *client.Store) error { return s.Live("space").Remove(ctx, "id") }}, // it asks which generation first
	"active": {false, func(ctx context.Context, s *client.Store) error {
		_, err := s.Live("space").Active(ctx, []string{"id"})
		return err
	}},
}

func appendAs(ctx context.Context, s *client.Store, o *streamhub.AppendOptions) error {
	_, err := s.Append(ctx, "space", "seg", one("x"), o)
	return err
}

// TestLostAnswers: the answer to a call does not come, and no gateway can be reached afterwards. A call that writes
// may have been made, and says so whatever its later attempts met; one that reads has not.
func TestLostAnswers(t *testing.T) {
	h := embedded(t)
	address := serve(t, h, nil)
	for name, c := range answered {
		for attempts := 1; attempts <= 3; attempts += 2 {
			t.Run(fmt.Sprint(name, " cut ", attempts), func(t *testing.T) {
				p, s := lossy(t, address, attempts)
				p.Set(faultproxy.Faults{Refuse: true})
				p.CutNext(1)
				err := c.call(t.Context(), s)
				require.Equal(t, c.writes, errors.Is(err, streamhub.ErrUnknownOutcome), err)
				require.Equal(t, !c.writes, errors.Is(err, streamhub.ErrUnavailable), err)
				require.True(t, streamhub.Retryable(err))
			})
		}
		t.Run(name+" context", func(t *testing.T) {
			p, s := lossy(t, address, 3)
			p.Set(faultproxy.Faults{ToClient: faultproxy.Flow{Blackhole: true}})
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			err := c.call(ctx, s)
			require.Equal(t, c.writes, errors.Is(err, streamhub.ErrUnknownOutcome), err)
			require.ErrorIs(t, err, context.DeadlineExceeded)
		})
	}
}

// lossy is a client with a connection of its own through a proxy.
func lossy(t *testing.T, address string, attempts int) (*faultproxy.Proxy, *client.Store) {
	p, through := proxied(t, address, 41)
	ws := dial(t, nil, through)
	require.NoError(t, ws.Connect(t.Context()))
	policy := client.RetryPolicy{Attempts: attempts, InitialDelay: time.Millisecond, MaxDelay: time.Millisecond, Multiplier: 1}
	s := connect(t, ws, &client.Options{Retry: &policy}).Store(uuid.New())
	_, err := s.Append(t.Context(), "space", "seg", one("1"), nil)
	require.NoError(t, err)
	return p, s
}

// TestEndedWhileAway: a call whose context ends between two attempts says so.
func TestEndedWhileAway(t *testing.T) {
	policy := client.RetryPolicy{Attempts: 1000, InitialDelay: time.Hour, MaxDelay: time.Hour, Multiplier: 1}
	s := connect(t, dial(t, nil, "ws://127.0.0.1:1"), &client.Options{Retry: &policy}).Store(uuid.New())
	for name, c := range answered {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		err := c.call(ctx, s)
		cancel()
		require.ErrorIs(t, err, context.DeadlineExceeded, name)
		require.NotErrorIs(t, err, streamhub.ErrUnknownOutcome, name)
	}
}
