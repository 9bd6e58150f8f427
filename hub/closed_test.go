package hub_test

import (
	"iter"
	"reflect"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/port"
	"github.com/seed-147127fe/streamhub/live"
)

// TestClosedHub: every call of a hub that is closed says so, also where its client is open and Redis would answer. What every
// [streamhub.Store] has is tested in package client.
func TestClosedHub(t *testing.T) {
	other, err := hub.Open(t.Context(), nil, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, other.Close()) })
	client, err := hub.NewClient(other.RedisURL())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	h, err := hub.Open(t.Context(), client, nil)
	require.NoError(t, err)
	ctx := t.Context()
	s := h.Store(uuid.New())
	p := port.Of(s)
	streams := s.Live("space")
	remote, _, err := streams.Start(ctx, "chat", nil)
	require.NoError(t, err)
	stream, err := streams.Get(ctx, "chat")
	require.NoError(t, err)
	_, err = s.Append(ctx, "space", "seg", []streamhub.Record{{}}, nil)
	require.NoError(t, err)
	require.NoError(t, h.Close())

	all(t, h, []string{"Close", "CountConnections", "History", "Provider", "RedisURL", "Store", "Unfit"}, map[string]func() error{
		"ArchiveNow": func() error { return h.ArchiveNow(ctx) },
		"Instances":  func() error { _, err := h.Instances(ctx); return err },
		"Ping":       func() error { return h.Ping(ctx) },
		"Ready":      func() error { return h.Ready(ctx) },
		"RedisInfo":  func() error { _, err := h.RedisInfo(ctx); return err },
		"RestoreSpace": func() error {
			_, err := h.RestoreSpace(ctx, archive.SpaceID{Store: s.ID(), Space: "space"})
			return err
		},
		"Stores": func() error { _, err := h.Stores(ctx); return err },
	})
	common := []string{"Live"}
	for m := range reflect.TypeFor[streamhub.Store]().Methods() {
		common = append(common, m.Name)
	}
	all(t, s, common, map[string]func() error{
		"AcquireLease": func() error { _, err := s.AcquireLease(ctx, "key", time.Minute); return err },
		"Leases":       func() error { return first(s.Leases(ctx)) },
		"LiveStreams":  func() error { return first(s.LiveStreams(ctx, "space", true)) },
		"Purge":        func() error { _, err := s.Purge(ctx); return err },
		"WithLease":    func() error { return s.WithLease(ctx, "key", time.Minute, 0, nil) },
	})
	own := []string{"Redis", "MaxChunkBytes"}
	for m := range reflect.TypeOf(s).Methods() {
		if _, replaced := reflect.TypeFor[port.Store]().MethodByName(m.Name); !replaced {
			own = append(own, m.Name)
		}
	}
	all(t, p, own, map[string]func() error{
		"Submit": func() error {
			_, errs := p.Submit(ctx, []*port.Submission{{Append: streamhub.Append{Space: "space", Segment: "seg", Records: []streamhub.Record{{}}}}})()
			return errs[0]
		},
		"FollowSegment": func() error { return first(p.FollowSegment(ctx, "space", "seg", nil, nil)) },
		"FollowSpace":   func() error { return first(p.FollowSpace(ctx, "space", nil, nil)) },
		"ReadFrom":      func() error { _, err := p.ReadFrom(ctx, "space", "seg", 0); return err },
		"ReadAfter":     func() error { _, err := p.ReadAfter(ctx, "space", "seg", 1, 1); return err },
		"RemoveLive":    func() error { return p.RemoveLive(ctx, "space", "chat", stream.Generation()) },
		"Import":        func() error { _, err := p.Import(ctx, "space"); return err },
		"SpacesAfter":   func() error { _, err := p.SpacesAfter(ctx, "", 1); return err },
		"StatusesAfter": func() error { _, err := p.StatusesAfter(ctx, "space", "", 1); return err },
		"Sizes":         func() error { _, err := p.Sizes(ctx, "space", []string{"seg"}); return err },
		"Archived":      func() error { _, err := p.Archived(ctx, "", 1); return err },
		"VerifyArchive": func() error { _, err := p.VerifyArchive(ctx, "space", nil); return err },
	})
	all(t, streams, []string{"Generation", "RemoveGeneration", "ListStatus", "ID"}, map[string]func() error{
		"Register": func() error { _, _, err := streams.Register(ctx, "new", nil); return err },
		"Start":    func() error { _, _, err := streams.Start(ctx, "new", nil); return err },
		"Resume":   func() error { _, err := streams.Resume(ctx, "chat", remote.Token()); return err },
		"Get":      func() error { _, err := streams.Get(ctx, "chat"); return err },
		"Await":    func() error { _, err := streams.Await(ctx, "chat"); return err },
		"Follow":   func() error { return first(streams.Follow(ctx, []string{"chat"}, nil)) },
		"List":     func() error { return first(streams.List(ctx, nil)) },
		"Active":   func() error { _, err := streams.Active(ctx, []string{"chat"}); return err },
		"Remove":   func() error { return streams.Remove(ctx, "chat") },
	})
	ofStreams := []string{"ID", "Generation", "Token", "Silence"}
	for m := range reflect.TypeOf(streams).Methods() {
		ofStreams = append(ofStreams, m.Name)
	}
	all(t, stream, ofStreams, map[string]func() error{
		"Subscribe": func() error { return first(stream.Subscribe(ctx, nil)) },
		"Channel": func() error {
			for e := range stream.Channel(ctx, nil) {
				return e.Err
			}
			return streamhub.ErrShutdown // nothing is told over a channel that is closed
		},
		"Wait":     func() error { _, err := stream.Wait(ctx); return err },
		"Status":   func() error { _, err := stream.Status(ctx); return err },
		"Metadata": func() error { _, err := stream.Metadata(ctx, new(any)); return err },
		"Cancel":   func() error { _, err := stream.Cancel(ctx, &live.CancelOptions{NoWait: true}); return err },
		"Send":     func() error { _, err := stream.Send(ctx, []byte("x"), nil); return err },
	})
	for m := range reflect.TypeOf(stream).Methods() {
		ofStreams = append(ofStreams, m.Name)
	}
	all(t, remote, ofStreams, map[string]func() error{
		"Publish":     func() error { _, err := remote.Publish(ctx, 1, [][]byte{[]byte("x")}); return err },
		"Beat":        func() error { _, err := remote.Beat(ctx); return err },
		"SetMetadata": func() error { return remote.SetMetadata(ctx, []byte("{}")) },
		"Messages":    func() error { return first(remote.Messages(ctx, 0)) },
		"End":         func() error { _, err := remote.End(ctx, streamhub.Verdict{Kind: streamhub.VerdictDone}); return err },
	})
}

// all demands that each method of v but these has a call, and that each call is refused.
func all(t *testing.T, v any, but []string, calls map[string]func() error) {
	t.Helper()
	for m := range reflect.TypeOf(v).Methods() {
		if calls[m.Name] == nil {
			require.Contains(t, but, m.Name, "%T", v)
		}
	}
	for name, call := range calls {
		require.ErrorIs(t, call(), streamhub.ErrShutdown, "%T.%s", v, name)
	}
}

// first returns the error that items begin with.
func first[T any](items iter.Seq2[T, error]) error {
	for _, err := range items {
		return err
	}
	return nil
}
