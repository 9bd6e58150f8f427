// Package streamkit reads and writes events as streamkit's eskit stores them, so that a program that migrates from
// eskit keeps its events. Give its codec to [eventsource.New]:
//
//	codec, err := streamkit.NewCodec(map[string]func() Event{
//		"order_accepted": func() Event { return &Accepted{} },
//		"order_shipped":  func() Event { return &Shipped{} },
//	})
//	orders := eventsource.New(c.Store(tenant), "orders", codec)
//
// # Envelope
//
// The payload of an event is JSON of two fields: "$type" names the type of the event, and "content" is the event. Other
// fields are ignored. As in eskit, the tenant is the store, the area the space and the entity the segment.
package streamkit

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/eventsource"
)

// A Codec is an [eventsource.Codec] for events of several types with the common type E, which is an
// interface or any. It is immutable and safe for concurrent use.
type Codec[E any] struct {
	make  map[string]func() E     // by discriminator
	names map[reflect.Type]string // discriminators, by the type that make returns
}

var _ eventsource.Codec[any] = (*Codec[any])(nil)

// NewCodec returns a codec for several types of events. The keys of types are the discriminators; each function returns
// a pointer to a new, empty event of its type. [Codec.Decode] returns such pointers, and [Codec.Encode] takes them. The
// error is [streamhub.ErrInvalidArgument] if a type has two discriminators or a function does not return a pointer.
func NewCodec[E any](types map[string]func() E) (*Codec[E], error) {
	c := &Codec[E]{make: make(map[string]func() E, len(types)), names: make(map[reflect.Type]string, len(types))}
	for name, function := range types {
		if name == "" || function == nil {
			return nil, fmt.Errorf("%w: event type %q: it needs a name and a function", streamhub.ErrInvalidArgument, name)
		}
		t := reflect.TypeOf(function())
		if t == nil || t.Kind() != reflect.Pointer {
			return nil, fmt.Errorf("%w: event type %q: its function returns %v, not a pointer", streamhub.ErrInvalidArgument, name, t)
		}
		if other, taken := c.names[t]; taken {
			return nil, fmt.Errorf("%w: %v is both %q and %q", streamhub.ErrInvalidArgument, t, min(name, other), max(name, other))
		}
		c.make[name], c.names[t] = function, name
	}
	return c, nil
}

// The fields are in the order in which eskit writes them.
type envelope struct {
	Type    string          `json:"$type"`
	Content json.RawMessage `json:"content"`
}

// Encode encodes an event in its envelope. The error is [streamhub.ErrInvalidArgument] if the codec does not know the
// type of the event.
func (c *Codec[E]) Encode(event E) (payload []byte, metadata map[string]string, err error) {
	t := reflect.TypeOf(event)
	name, ok := c.names[t]
	if !ok {
		return nil, nil, fmt.Errorf("%w: an event of type %v: give its discriminator to NewCodec", streamhub.ErrInvalidArgument, t)
	}
	if reflect.ValueOf(event).IsNil() {
		return nil, nil, fmt.Errorf("%w: an event of type %v is nil", streamhub.ErrInvalidArgument, t)
	}
	content, err := json.Marshal(event)
	if err != nil {
		return nil, nil, fmt.Errorf("event %q: %w", name, err)
	}
	payload, err = json.Marshal(envelope{name, content})
	return payload, nil, err
}

// Decode is the inverse of Encode. If the payload is no envelope, or the codec does not know its type, the result is an
// error: skipping the event would give a wrong state.
func (c *Codec[E]) Decode(payload []byte, _ map[string]string) (event E, err error) {
	var e envelope
	if err := json.Unmarshal(payload, &e); err != nil {
		return event, fmt.Errorf("the envelope of an event: %w", err)
	}
	if e.Type == "" {
		return event, errors.New("missing $type field in envelope")
	}
	function, ok := c.make[e.Type]
	if !ok {
		return event, fmt.Errorf("type %q is not registered", e.Type)
	}
	if len(e.Content) == 0 || string(e.Content) == "null" {
		return event, fmt.Errorf("missing content for type: %q", e.Type)
	}
	made := function()
	if err := json.Unmarshal(e.Content, made); err != nil {
		return event, fmt.Errorf("failed to unmarshal content for %q: %w", e.Type, err)
	}
	return made, nil
}
