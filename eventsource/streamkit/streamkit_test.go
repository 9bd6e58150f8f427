package streamkit_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/eventsource"
	"github.com/seed-147127fe/streamhub/eventsource/streamkit"
	"github.com/seed-147127fe/streamhub/hub"
)

type event interface{ apply(state string) string }

type accepted struct {
	By string `json:"by"`
}

type shipped struct{}

type unknown struct{}

func (e *accepted) apply(string) string { return "accepted by " + e.By }
func (*shipped) apply(s string) string  { return s + ", shipped" }
func (*unknown) apply(s string) string  { return s }

func newCodec() *streamkit.Codec[event] {
	codec, err := streamkit.NewCodec(map[string]func() event{
		"order_accepted": func() event { return &accepted{} },
		"order_shipped":  func() event { return &shipped{} },
	})
	if err != nil {
		log.Fatal(err)
	}
	return codec
}

// Events that eskit has stored are read, and new ones are stored as eskit would.
func Example() {
	ctx := context.Background()
	h, err := hub.Open(ctx, nil, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer h.Close()
	s := h.Store(uuid.Nil)
	old := []streamhub.Record{{Payload: []byte(`{"$type":"order_accepted","content":{"by":"ada"}}`)}}
	if _, err := s.Append(ctx, "orders", "order-17", old, nil); err != nil {
		log.Fatal(err)
	}

	orders := eventsource.New(s, "orders", newCodec())
	version, err := orders.Save(ctx, "order-17", []event{&shipped{}}, 1, nil)
	if err != nil {
		log.Fatal(err)
	}
	state, _, err := eventsource.Fold(ctx, orders, "order-17", "", func(state string, e event) (string, error) { return e.apply(state), nil })
	fmt.Println(version, state, err)
	last, err := s.Peek(ctx, "orders", "order-17")
	fmt.Println(string(last.Payload), err)
	// Output:
	// 2 accepted by ada, shipped <nil>
	// {"$type":"order_shipped","content":{}} <nil>
}

// A discriminator names one type.
func ExampleNewCodec() {
	_, err := streamkit.NewCodec(map[string]func() any{
		"a": func() any { return &shipped{} },
		"b": func() any { return &shipped{} },
	})
	fmt.Println(errors.Is(err, streamhub.ErrInvalidArgument))
	// Output:
	// true
}

// An event of a type that the codec does not have is an error, on the way in and on the way out.
func ExampleCodec_Decode() {
	codec := newCodec()
	_, _, err := codec.Encode(&unknown{})
	fmt.Println(errors.Is(err, streamhub.ErrInvalidArgument))
	_, err = codec.Decode([]byte(`{"$type":"order_lost","content":{}}`), nil)
	fmt.Println(err)
	// Output:
	// true
	// type "order_lost" is not registered
}

func TestDecode(t *testing.T) {
	t.Parallel()
	codec := newCodec()
	for payload, want := range map[string]string{
		``:                           "the envelope of an event",
		`[]`:                         "the envelope of an event",
		`{"content":{}}`:             "missing $type field in envelope",
		`{"$type":"unknown"}`:        `type "unknown" is not registered`,
		`{"$type":"order_accepted"}`: `missing content for type: "order_accepted"`,
		`{"$type":"order_accepted","content":null}`:          `missing content for type: "order_accepted"`,
		`{"$type":"order_accepted","content":{"by":7}}`:      `failed to unmarshal content for "order_accepted"`,
		`{"$type":"order_accepted","content":{"by":"ada"}}x`: "the envelope of an event",
	} {
		_, err := codec.Decode([]byte(payload), nil)
		require.ErrorContains(t, err, want, payload)
	}
	e, err := codec.Decode([]byte(`{"content":{"by":"ada","more":1},"other":[],"$type":"order_accepted"}`), map[string]string{"a": "b"})
	require.NoError(t, err)
	require.Equal(t, &accepted{By: "ada"}, e)

	_, _, err = codec.Encode((*accepted)(nil))
	require.ErrorIs(t, err, streamhub.ErrInvalidArgument)
	_, _, err = codec.Encode(nil)
	require.ErrorIs(t, err, streamhub.ErrInvalidArgument)
}

func TestNewCodec(t *testing.T) {
	t.Parallel()
	for name, function := range map[string]func() any{
		"":        func() any { return &shipped{} },
		"nothing": nil,
		"nil":     func() any { return nil },
		"value":   func() any { return shipped{} },
	} {
		_, err := streamkit.NewCodec(map[string]func() any{name: function})
		require.ErrorIs(t, err, streamhub.ErrInvalidArgument, name)
	}
}
