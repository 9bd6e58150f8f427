package eskit_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/client/streamkit/client"
	"github.com/seed-147127fe/streamhub/client/streamkit/eskit"
	"github.com/seed-147127fe/streamhub/client/streamkit/inprockit"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

func TestMain(m *testing.M) { testredis.Main(m) }

type accepted struct {
	Sequence uint64 `json:"sequence"`
	Customer string `json:"customer"`
}

func (*accepted) GetDiscriminator() string { return "order_accepted" }
func (e *accepted) GetSequence() uint64    { return e.Sequence }

type shipped struct {
	Sequence uint64 `json:"sequence"`
}

func (*shipped) GetDiscriminator() string { return "order_shipped" }
func (e *shipped) GetSequence() uint64    { return e.Sequence }

func open(t *testing.T) client.Client {
	t.Helper()
	h, err := hub.Open(t.Context(), nil, nil)
	require.NoError(t, err)
	c := client.NewClient(inprockit.NewInProcBidiStreamProvider(t.Context(), h))
	t.Cleanup(func() {
		require.NoError(t, c.Close())
		require.NoError(t, h.Close())
	})
	return c
}

func stores(c client.Client) *eskit.StreamStore {
	return eskit.NewStreamStore(c, func() eskit.DomainEvent { return &accepted{} }, func() eskit.DomainEvent { return &shipped{} })
}

func TestStreamStore(t *testing.T) {
	c, ctx := open(t), t.Context()
	s, entity := stores(c), eskit.Entity{ID: uuid.New(), Area: "orders", TenantID: uuid.New()}
	none, err := s.LoadEvents(ctx, entity, 0)
	require.NoError(t, err)
	require.Empty(t, none)
	events := []eskit.DomainEvent{&accepted{1, "c-7"}, &shipped{2}}
	require.NoError(t, s.SaveEvents(ctx, entity, events, 0))
	require.NoError(t, s.SaveEvents(ctx, entity, nil, 2))
	require.NoError(t, s.SaveEvents(ctx, entity, []eskit.DomainEvent{&shipped{3}}, 2))
	have, err := s.LoadEvents(ctx, entity, 0)
	require.NoError(t, err)
	require.Equal(t, append(events, &shipped{3}), have)
	have, err = s.LoadEvents(ctx, entity, 3)
	require.NoError(t, err)
	require.Equal(t, []eskit.DomainEvent{&shipped{3}}, have)

	// The mapping and the envelope are streamkit's.
	head, err := c.Peek(ctx, entity.TenantID, "orders", entity.ID.String())
	require.NoError(t, err)
	require.JSONEq(t, `{"$type":"order_shipped","content":{"sequence":3}}`, string(head.Payload))

	// A save at another version stores nothing.
	require.ErrorIs(t, s.SaveEvents(ctx, entity, []eskit.DomainEvent{&shipped{2}}, 1), streamhub.ErrSequenceMismatch)
	require.ErrorIs(t, s.SaveEvents(ctx, entity, []eskit.DomainEvent{&shipped{9}}, 3), streamhub.ErrInvalidArgument)
	require.ErrorIs(t, s.SaveEvents(ctx, entity, []eskit.DomainEvent{&shipped{4}, &shipped{6}}, 3), streamhub.ErrInvalidArgument)
	have, err = s.LoadEvents(ctx, entity, 0)
	require.NoError(t, err)
	require.Len(t, have, 3)

	// A type that is not given is an error of both.
	few := eskit.NewStreamStore(c, func() eskit.DomainEvent { return &accepted{} })
	_, err = few.LoadEvents(ctx, entity, 0)
	require.ErrorContains(t, err, `type "order_shipped" is not registered`)
	require.Error(t, few.SaveEvents(ctx, entity, []eskit.DomainEvent{&shipped{4}}, 3))
}

// What another library has.
type theirEntity struct {
	ID, Tenant uuid.UUID
	Area       string
}

type theirEvent interface {
	GetSequence() uint64
	GetTenantID() uuid.UUID
}

type theirStore interface {
	SaveEvents(ctx context.Context, entity theirEntity, events []theirEvent, expectedSequence uint64) error
	LoadEvents(ctx context.Context, entity theirEntity, minSequence uint64) ([]theirEvent, error)
}

type theirs struct{ N uint64 }

func (e *theirs) GetSequence() uint64  { return e.N }
func (*theirs) GetTenantID() uuid.UUID { return uuid.Nil }

func TestForeignTypes(t *testing.T) {
	var s theirStore = eskit.New(open(t), eskit.Types[theirEntity, theirEvent]{
		Place:  func(e theirEntity) (uuid.UUID, string, string) { return e.Tenant, e.Area, e.ID.String() },
		Encode: func(e theirEvent) ([]byte, error) { return json.Marshal(e) },
		Decode: func(b []byte) (theirEvent, error) {
			e := &theirs{}
			return e, errors.Join(json.Unmarshal(b, e))
		},
	})
	entity := theirEntity{uuid.New(), uuid.New(), "area"}
	require.NoError(t, s.SaveEvents(t.Context(), entity, []theirEvent{&theirs{1}, &theirs{2}}, 0))
	have, err := s.LoadEvents(t.Context(), entity, 2)
	require.NoError(t, err)
	require.Equal(t, []theirEvent{&theirs{2}}, have)
}
