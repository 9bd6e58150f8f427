package hotlog_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/hotlog"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

// TestDifferential makes the same random calls on miniredis and on Redis, which must answer the
// same.
func TestDifferential(t *testing.T) {
	t.Parallel()
	server := testredis.Start(t, nil)
	const seeds, calls = 12, 400
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			mock := newActor(t, redis.NewClient(&redis.Options{Addr: miniredis.RunT(t).Addr()}))
			real := newActor(t, redis.NewClient(&redis.Options{Addr: server.Addr()}))
			one, other := rand.New(rand.NewPCG(seed, 1)), rand.New(rand.NewPCG(seed, 1))
			for call := range calls {
				want, got := real.act(t.Context(), one), mock.act(t.Context(), other)
				require.Equal(t, want, got, "call %d", call)
			}
			require.Equal(t, real.everything(t.Context()), mock.everything(t.Context()))
		})
	}
}

// An actor makes random calls through two logs on one Redis.
type actor struct {
	logs  []*hotlog.Store
	trxs  []uuid.UUID
	names []string
}

func newActor(t *testing.T, client *redis.Client) *actor {
	t.Helper()
	conn := connect(t, client, nil)
	a := &actor{names: []string{"a", "b", "c%{}", "d"}}
	id := uuid.New()
	for range 2 {
		log, err := hotlog.Open(t.Context(), conn, nil)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, log.Close()) })
		a.logs = append(a.logs, log.Store(id))
	}
	for i := range byte(4) {
		a.trxs = append(a.trxs, uuid.UUID{15: i + 1})
	}
	return a
}

// act makes one call and tells its outcome, without what differs between any two runs.
func (a *actor) act(ctx context.Context, random *rand.Rand) string {
	s := a.logs[random.IntN(2)]
	name := a.names[random.IntN(len(a.names))]
	switch random.IntN(20) {
	case 0:
		return told("delete", s.Delete(ctx, "space", name, "random"))
	case 1:
		_, created, err := s.Create(ctx, "space", name, a.creation(random, name))
		return told("create", err, created)
	case 2:
		first, err := s.Trim(ctx, "space", name, random.Uint64N(30))
		return told("trim", err, first)
	case 3:
		r, err := s.CloseSegment(ctx, "space", name, streamhub.Verdict{Kind: streamhub.VerdictDone}, nil)
		return told("close", err, answered(r))
	case 4:
		return told("sweep", s.Sweep(ctx))
	case 5:
		var appends []streamhub.Append
		for range 1 + random.IntN(5) {
			appends = append(appends, streamhub.Append{
				Space: "space", Segment: a.names[random.IntN(len(a.names))], Records: batch(random), Options: a.options(random),
			})
		}
		results, errs := s.AppendAll(ctx, appends)
		text := "all"
		for i, r := range results {
			text += told("", errs[i], appends[i].Segment, answered(r)) + "; "
		}
		return text
	case 6:
		return a.everything(ctx)
	}
	r, err := s.Append(ctx, "space", name, batch(random), a.options(random))
	return told("append", err, name, answered(r))
}

func batch(random *rand.Rand) []streamhub.Record {
	records := make([]streamhub.Record, 1+random.IntN(3))
	for i := range records {
		records[i].Payload = []byte(fmt.Sprint(random.IntN(4)))
	}
	return records
}

func (a *actor) options(random *rand.Rand) *streamhub.AppendOptions {
	o := &streamhub.AppendOptions{}
	maybe := func(odds int, set func()) {
		if random.IntN(odds) == 0 {
			set()
		}
	}
	maybe(4, func() { o.ExpectedSequence = 1 + random.Uint64N(20) })
	maybe(6, func() { o.Generation = random.Uint64N(3) })
	maybe(5, func() {
		o.Producer = &streamhub.Producer{ID: []string{"p", "~p"}[random.IntN(2)], Epoch: random.Uint64N(2), Seq: random.Uint64N(4)}
	})
	maybe(8, func() { o.TRX = a.trxs[random.IntN(len(a.trxs))] })
	maybe(60, func() { o.Close = &streamhub.Verdict{Kind: streamhub.VerdictFailed, Reason: "random"} })
	maybe(10, func() { o.ContentType = []string{"text/plain", "text/html"}[random.IntN(2)] })
	maybe(10, func() { o.StreamSeq = fmt.Sprint(random.IntN(50)) })
	maybe(6, func() { o.MustExist = true })
	maybe(8, func() { o.CheckOnly = true })
	return o
}

func (a *actor) creation(random *rand.Rand, name string) *streamhub.CreateOptions {
	o := &streamhub.CreateOptions{}
	switch random.IntN(4) {
	case 0:
		o.ContentType = "text/plain"
	case 1:
		o.Records = batch(random)
	case 2:
		if o.ForkOf = a.names[random.IntN(len(a.names))]; random.IntN(2) == 0 {
			at := random.Uint64N(8)
			o.ForkAt = &at
		}
		if o.ForkOf == name {
			o = nil
		}
	}
	return o
}

func answered(r streamhub.AppendResult) string {
	return fmt.Sprint(r.First, r.Last, r.TRX.Number, r.Repeated, r.Created, r.Closed, r.Generation)
}

// told is an outcome as text: of an error its sentinel and its facts.
func told(call string, err error, values ...any) string {
	text := fmt.Sprint(call, " ", values)
	var e *streamhub.Error
	if errors.As(err, &e) {
		return fmt.Sprintf("%s: %T %v", text, e.Err, e.Err)
	}
	return fmt.Sprint(text, " ", err)
}

// everything is all that can be read.
func (a *actor) everything(ctx context.Context) string {
	text := ""
	statuses, err := a.logs[0].Statuses(ctx, "space", "", 100)
	for _, s := range statuses {
		text += fmt.Sprintln(s.Segment, s.FirstSequence, s.LastSequence, s.State, s.Verdict, s.Generation, s.ContentType, s.Parent, s.ForkedAt)
		for e, err := range a.logs[1].ConsumeSegment(ctx, "space", s.Segment, nil) {
			text += told("", err, e.Sequence, string(e.Payload), e.TRX.Number)
		}
	}
	text += told("", err)
	for e, err := range a.logs[0].ConsumeSpace(ctx, "space", nil) {
		text += told("", err, e.Segment, e.Sequence, string(e.Payload))
	}
	return text
}
