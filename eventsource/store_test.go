package eventsource_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/eventsource"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/testredis"
	"github.com/seed-147127fe/streamhub/wsgateway"
)

func TestMain(m *testing.M) { testredis.Main(m) }

// An event of an account.
type event struct {
	Paid int
	Note string
}

func apply(balance int, e event) (int, error) {
	if e.Note == "broken" {
		return balance, errors.New("broken")
	}
	return balance + e.Paid, nil
}

// tenant is a store over a gateway.
func tenant(t testing.TB) *client.Store {
	t.Helper()
	h, err := hub.Open(t.Context(), nil, nil)
	require.NoError(t, err)
	g, err := wsgateway.New(t.Context(), h, nil)
	require.NoError(t, err)
	server := httptest.NewServer(g)
	p, err := client.NewWebSocketProvider(t.Context(), []string{"ws" + strings.TrimPrefix(server.URL, "http")}, nil)
	require.NoError(t, err)
	c := client.New(p, nil)
	t.Cleanup(func() {
		require.NoError(t, c.Close())
		require.NoError(t, p.Close())
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		require.NoError(t, g.Shutdown(ctx))
		server.Close()
		require.NoError(t, h.Close())
	})
	return c.Store(uuid.New())
}

func TestSaveAndLoad(t *testing.T) {
	ctx := t.Context()
	s := eventsource.New[event](tenant(t), "accounts", nil)
	balance, version, err := eventsource.Fold(ctx, s, "a", 0, apply)
	require.NoError(t, err)
	require.Zero(t, version)
	require.Zero(t, balance)

	version, err = s.Save(ctx, "a", []event{{Paid: 1}, {Paid: 2}}, 0, nil)
	require.NoError(t, err)
	require.EqualValues(t, 2, version)
	version, err = s.Save(ctx, "a", nil, version, nil)
	require.NoError(t, err)
	require.EqualValues(t, 2, version)
	_, err = s.Save(ctx, "a", []event{{Paid: 4}}, 1, nil)
	var conflict *eventsource.ConflictError
	require.ErrorAs(t, err, &conflict)
	require.Equal(t, eventsource.ConflictError{Entity: "a", Expected: 1, Actual: 2}, *conflict)
	require.ErrorIs(t, err, streamhub.ErrSequenceMismatch)
	_, err = s.Save(ctx, "a", []event{{Paid: 4}}, 7, nil)
	require.ErrorAs(t, err, &conflict)

	balance, version, err = eventsource.Fold(ctx, s, "a", 0, apply)
	require.NoError(t, err)
	require.Equal(t, 3, balance)
	require.EqualValues(t, 2, version)
	n := 0
	for e, err := range s.Load(ctx, "a", 1) {
		require.NoError(t, err)
		require.EqualValues(t, 2, e.Version)
		require.Equal(t, 2, e.Data.Paid)
		require.NotZero(t, e.Timestamp)
		n++
	}
	require.Equal(t, 1, n)
	for _, from := range []uint64{2, streamhub.MaxInteger, math.MaxUint64} {
		for _, err := range s.Load(ctx, "a", from) {
			t.Fatalf("after %d: %v", from, err)
		}
	}
	_, err = s.Save(ctx, "b", []event{{Note: "broken"}}, 0, nil)
	require.NoError(t, err)
	_, _, err = eventsource.Fold(ctx, s, "b", 0, apply)
	require.EqualError(t, err, "broken")
	var entities []string
	for name, err := range s.Entities(ctx) {
		require.NoError(t, err)
		entities = append(entities, name)
	}
	require.Equal(t, []string{"a", "b"}, entities)
}

// badCodec cannot write one of the events.
type badCodec struct{ eventsource.JSON[event] }

func (c badCodec) Encode(e event) ([]byte, map[string]string, error) {
	if e.Note == "unwritable" {
		return nil, nil, errors.New("unwritable")
	}
	return c.JSON.Encode(e)
}

func TestNothingIsSentBeforeAllIsEncoded(t *testing.T) {
	s := eventsource.New(tenant(t), "accounts", eventsource.Codec[event](badCodec{}))
	_, err := s.Save(t.Context(), "a", []event{{Paid: 1}, {Note: "unwritable"}}, 0, nil)
	require.ErrorContains(t, err, "unwritable")
	version, err := s.Version(t.Context(), "a")
	require.NoError(t, err)
	require.Zero(t, version)
	_, err = s.Save(t.Context(), "a", []event{{Paid: 1}}, streamhub.MaxInteger, nil)
	require.ErrorIs(t, err, streamhub.ErrInvalidArgument)
}

// TestRepeat tells a repeat of the same save from a conflict.
func TestRepeat(t *testing.T) {
	ctx := t.Context()
	store := &forgetful{Store: tenant(t)}
	s := eventsource.New[event](store, "accounts", nil)
	o := &eventsource.SaveOptions{ID: uuid.New()}
	store.forget = true
	_, err := s.Save(ctx, "a", []event{{Paid: 1}}, 0, o)
	require.ErrorIs(t, err, streamhub.ErrUnknownOutcome)
	version, err := s.Save(ctx, "a", []event{{Paid: 1}}, 0, o)
	require.NoError(t, err, "the same save")
	require.EqualValues(t, 1, version)
	_, err = s.Save(ctx, "a", []event{{Paid: 1}}, 0, &eventsource.SaveOptions{ID: uuid.New()})
	require.ErrorIs(t, err, streamhub.ErrSequenceMismatch, "another one")
	balance, version, err := eventsource.Fold(ctx, s, "a", 0, apply)
	require.NoError(t, err)
	require.Equal(t, 1, balance)
	require.EqualValues(t, 1, version)
}

// forgetful loses the answer of one append, which Redis knows under its producer.
type forgetful struct {
	streamhub.Store
	forget bool
}

func (f *forgetful) Append(ctx context.Context, space, segment string, records []streamhub.Record, o *streamhub.AppendOptions) (streamhub.AppendResult, error) {
	named := *o
	named.Producer = &streamhub.Producer{ID: "p-" + o.TRX.String()}
	r, err := f.Store.Append(ctx, space, segment, records, &named)
	if f.forget && err == nil {
		f.forget = false
		return streamhub.AppendResult{}, &streamhub.UnknownOutcomeError{TRX: o.TRX, Err: errors.New("lost")}
	}
	return r, err
}

// TestConcurrentSaves has many savers of one entity: each retries on a conflict, and nothing is lost.
func TestConcurrentSaves(t *testing.T) {
	ctx := t.Context()
	s := eventsource.New[event](tenant(t), "accounts", nil)
	const savers, each = 6, 10
	var all sync.WaitGroup
	for range savers {
		all.Go(func() {
			for range each {
				for {
					_, version, err := eventsource.Fold(ctx, s, "a", 0, apply)
					if err == nil {
						_, err = s.Save(ctx, "a", []event{{Paid: 1}}, version, nil)
					}
					if err == nil {
						break
					}
					if !errors.Is(err, streamhub.ErrSequenceMismatch) {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	all.Wait()
	balance, version, err := eventsource.Fold(ctx, s, "a", 0, apply)
	require.NoError(t, err)
	require.Equal(t, savers*each, balance)
	require.EqualValues(t, savers*each, version)
}

func TestSnapshots(t *testing.T) {
	ctx := t.Context()
	store := tenant(t)
	s := eventsource.New[event](store, "accounts", nil)
	applied := 0
	snapshots := eventsource.NewSnapshots(s, func(balance int, e event) (int, error) {
		applied++
		return apply(balance, e)
	})
	version := uint64(0)
	for round := range 3 {
		var err error
		for range 10 {
			version, err = s.Save(ctx, "a", []event{{Paid: 1}}, version, nil)
			require.NoError(t, err)
		}
		applied = 0
		balance, at, err := snapshots.Load(ctx, "a")
		require.NoError(t, err)
		require.Equal(t, 10*(round+1), balance)
		require.Equal(t, version, at)
		require.Equal(t, 10, applied, "only what came after the snapshot")
		require.NoError(t, snapshots.Save(ctx, "a", balance, at))
	}
	// One that cannot be read is left out, and one of a former life too.
	_, err := store.Append(ctx, "accounts~snapshots", "a", []streamhub.Record{{Payload: []byte("?")}}, nil)
	require.NoError(t, err)
	balance, _, err := snapshots.Load(ctx, "a")
	require.NoError(t, err)
	require.Equal(t, 30, balance)
	require.NoError(t, snapshots.Save(ctx, "b", 99, 99))
	_, err = s.Save(ctx, "b", []event{{Paid: 5}}, 0, nil)
	require.NoError(t, err)
	balance, version, err = snapshots.Load(ctx, "b")
	require.NoError(t, err)
	require.Equal(t, 5, balance)
	require.EqualValues(t, 1, version)
}

func Example() {
	ctx := context.Background()
	h, _ := hub.Open(ctx, nil, nil) // or client.NewWebSocketProvider for a hub behind a gateway
	defer h.Close()
	c := client.New(h.Provider(), nil)
	defer c.Close()

	accounts := eventsource.New[event](c.Store(uuid.Nil), "accounts", nil)
	balance, version, _ := eventsource.Fold(ctx, accounts, "alice", 0, apply)
	version, _ = accounts.Save(ctx, "alice", []event{{Paid: balance + 7}}, version, nil)
	_, err := accounts.Save(ctx, "alice", []event{{Paid: 1}}, version-1, nil)
	fmt.Println(version, err)
	// Output: 1 "alice" is at version 1, not 0
}
