package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/hub/hubtest"
	"github.com/seed-147127fe/streamhub/live"
)

// TestHugeArguments makes calls that fit in no message. Each is refused for what it is, at once, and disturbs no other call of
// the connection.
func TestHugeArguments(t *testing.T) {
	t.Parallel()
	env := hubtest.Open(t)
	provider := env.Client()
	s := provider.Store(env.ID) // which connects once, and retries nothing
	retrying := client.New(provider, nil)
	defer retrying.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	record := []streamhub.Record{{Payload: []byte("1")}}
	add := func(o *streamhub.AppendOptions) error {
		_, err := s.Append(ctx, "space", "seg", record, o)
		return err
	}
	require.NoError(t, add(nil))
	followed := make(chan error)
	go func() {
		seen := 0
		for _, err := range s.FollowSegment(ctx, "space", "seg", nil) {
			if seen++; err != nil || seen <= 2 {
				followed <- err
			}
		}
		close(followed)
	}()
	require.NoError(t, <-followed)
	streams := retrying.Store(env.ID).Live("live")
	producer, _, err := streams.Start(ctx, "answer", nil)
	require.NoError(t, err)
	stream, err := streams.Get(ctx, "answer")
	require.NoError(t, err)

	huge := strings.Repeat("x", 21<<20)
	text := json.RawMessage(`"` + huge + `"`)
	done := streamhub.Verdict{Kind: streamhub.VerdictDone, Output: text}
	create := func(o *streamhub.CreateOptions) error {
		_, _, err := s.Create(ctx, "space", "new", o)
		return err
	}
	start := func(o *live.RegisterOptions) error {
		_, _, err := streams.Start(ctx, "other", o)
		return err
	}
	for name, call := range map[string]func() error{
		"records of a create": func() error {
			return create(&streamhub.CreateOptions{Records: []streamhub.Record{{Payload: []byte(huge)}}})
		},
		"origin":            func() error { return create(&streamhub.CreateOptions{Origin: huge}) },
		"type of a create":  func() error { return create(&streamhub.CreateOptions{ContentType: huge}) },
		"source of a fork":  func() error { return create(&streamhub.CreateOptions{ForkOf: huge}) },
		"type of an append": func() error { return add(&streamhub.AppendOptions{ContentType: huge}) },
		"stream sequence":   func() error { return add(&streamhub.AppendOptions{StreamSeq: huge}) },
		"producer":          func() error { return add(&streamhub.AppendOptions{Producer: &streamhub.Producer{ID: huge}}) },
		"verdict":           func() error { return add(&streamhub.AppendOptions{Close: &done}) },
		"close": func() error {
			_, err := s.CloseSegment(ctx, "space", "seg", done, nil)
			return err
		},
		"delete": func() error { return s.Delete(ctx, "space", "seg", huge) },
		"trim": func() error {
			_, err := s.Trim(ctx, "space", huge, 1)
			return err
		},
		"space": func() error {
			_, err := s.SpaceEnd(ctx, huge)
			return err
		},
		"lease": func() error {
			_, err := s.AcquireLeaseAs(ctx, huge, "holder", time.Minute)
			return err
		},
		"holder": func() error {
			_, err := s.ReleaseLeaseAs(ctx, "lease", huge)
			return err
		},
		"worker": func() error {
			_, err := s.JoinWorkers(ctx, streamhub.Worker{ID: uuid.New(), Metadata: map[string]string{"k": huge}}, time.Minute)
			return err
		},
		"cursor": func() error {
			for _, err := range s.ConsumeSegment(ctx, "space", "seg", &streamhub.ReadOptions{Cursor: streamhub.Cursor(huge)}) {
				return err
			}
			return nil
		},
		"spaces": func() error {
			for _, err := range s.Consume(ctx, map[string]streamhub.Cursor{huge: ""}, nil) {
				return err
			}
			return nil
		},
		"metadata of a stream": func() error { return start(&live.RegisterOptions{Metadata: text}) },
		"name of a producer":   func() error { return start(&live.RegisterOptions{By: huge}) },
		"new metadata":         func() error { return producer.SetMetadata(ctx, text) },
		"token": func() error {
			_, err := streams.Resume(ctx, "answer", huge)
			return err
		},
		"name of a message": func() error {
			_, err := stream.Send(ctx, nil, &live.SendOptions{Once: huge})
			return err
		},
		"cancel": func() error {
			_, err := stream.Cancel(ctx, &live.CancelOptions{Reason: huge, NoWait: true})
			return err
		},
		"ids": func() error {
			_, err := streams.Active(ctx, []string{huge})
			return err
		},
		"end": func() error {
			_, err := producer.End(ctx, done)
			return err
		},
	} {
		err := call()
		require.Error(t, err, name)
		require.False(t, streamhub.Retryable(err) || errors.Is(err, streamhub.ErrUnknownOutcome), "%s: %v", name, err)
	}

	// One of several is refused alone.
	_, errs := s.AppendAll(ctx, []streamhub.Append{
		{Space: "space", Segment: "seg", Records: record}, {Space: "space", Segment: "b", Records: record, Options: &streamhub.AppendOptions{ContentType: huge}},
		{Space: "space", Segment: "c", Records: record},
	})
	require.NoError(t, errs[0])
	require.ErrorIs(t, errs[1], streamhub.ErrTooLarge)
	require.NoError(t, errs[2])
	require.NoError(t, <-followed, "its connection is still there")
	_, err = producer.End(ctx, streamhub.Verdict{Kind: streamhub.VerdictDone})
	require.NoError(t, err)
	cancel()
	for range followed {
	}
}
