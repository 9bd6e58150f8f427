package store_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/redisx"
	"github.com/seed-147127fe/streamhub/store"
	"os"
)

func TestSmoke(t *testing.T) {
	ctx := t.Context()
	addr := os.Getenv("SMOKE")
	if addr == "" {
		addr = miniredis.RunT(t).Addr()
	}
	rdb := redis.NewClient(&redis.Options{Addr: addr})
	defer rdb.Close()
	conn, err := redisx.Connect(ctx, rdb)
	require.NoError(t, err)
	l, err := store.Open(ctx, conn, nil)
	require.NoError(t, err)
	defer l.Close()
	s := l.Store(uuid.New())
	for i := range 10 {
		r, err := s.Append(ctx, "logs", "a/b", []streamhub.Record{{Payload: []byte(fmt.Sprint("hello", i)), Metadata: map[string]string{"k": "v"}}}, nil)
		require.NoError(t, err)
		fmt.Printf("%+v %s\n", r, r.Cursor())
		_, err = s.Append(ctx, "logs", "x", []streamhub.Record{{Payload: []byte("1")}, {Payload: []byte("2")}}, nil)
		require.NoError(t, err)
	}
	var cur streamhub.Cursor
	for e, err := range s.ConsumeSegment(ctx, "logs", "a/b", nil) {
		require.NoError(t, err)
		fmt.Println(e.Sequence, string(e.Payload), e.Metadata, e.TRX.Number)
		if e.Sequence == 5 {
			cur = e.Cursor()
		}
	}
	for e, err := range s.ConsumeSegment(ctx, "logs", "a/b", &streamhub.ReadOptions{Cursor: cur}) {
		require.NoError(t, err)
		fmt.Println(e.Sequence, string(e.Payload))
	}
	for e, err := range s.ConsumeSpace(ctx, "logs", nil) {
		require.NoError(t, err)
		fmt.Print(e.Segment, e.Sequence, " ")
		if e.Segment == "x" && e.Sequence == 9 {
			cur = e.Cursor()
		}
	}
	fmt.Println()
	for e, err := range s.ConsumeSpace(ctx, "logs", &streamhub.ReadOptions{Cursor: cur}) {
		require.NoError(t, err)
		fmt.Print(e.Segment, e.Sequence, " ")
	}
	_, err = s.CloseSegment(ctx, "logs", "x", streamhub.Verdict{Kind: "done"}, nil)
	require.NoError(t, err)
	_, err = s.CloseSegment(ctx, "logs", "x", streamhub.Verdict{Kind: "done"}, nil)
	fmt.Println(err)
	st, created, err := s.Create(ctx, "logs", "f", &streamhub.CreateOptions{ForkOf: "a/b"})
	fmt.Printf("%+v %v %v\n", st, created, err)
	k, err := s.Trim(ctx, "logs", "x", 7)
	fmt.Println(k, err)
	fmt.Println(s.Statuses(ctx, "logs", "", 100))
	fmt.Println(s.Delete(ctx, "logs", "x", "bye"), s.Sweep(ctx))
	_ = context.Background
}
