package wsgateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/millis"
	"github.com/seed-147127fe/streamhub/internal/wire"
)

// muxAPI is the prefix of the name of every message.
const muxAPI = "streamkit://api/v1/"

// The contents of envelopes, with the names of fields that released clients send. Times are Unix
// milliseconds.
type (
	muxSegment struct {
		Space   string `json:"space"`
		Segment string `json:"segment"`
	}
	muxSpace struct {
		Space string `json:"space"`
	}
	muxBounds struct {
		After int64  `json:"min_timestamp"`
		Until int64  `json:"max_timestamp"`
		Limit uint64 `json:"limit"`
	}
	muxConsume struct {
		Offsets map[string]streamhub.LexKey `json:"offsets"`
		muxBounds
	}
	muxConsumeSpace struct {
		Space  string           `json:"space"`
		Offset streamhub.LexKey `json:"offset"`
		muxBounds
	}
	muxConsumeSegment struct {
		muxSegment
		// Both sequences are inclusive; 0 is no bound.
		From uint64 `json:"min_sequence"`
		To   uint64 `json:"max_sequence"`
		muxBounds
	}
	muxSubscribe struct {
		muxSegment
		Heartbeat int64 `json:"heartbeat_interval_seconds"`
	}
	muxSubscribeWorkers struct {
		WorkerID  uuid.UUID         `json:"worker_id"`
		Metadata  map[string]string `json:"metadata"`
		Heartbeat int64             `json:"heartbeat_interval_seconds"`
	}
	muxPresence struct {
		WorkerID  uuid.UUID `json:"worker_id"`
		Heartbeat bool      `json:"heartbeat"`
		Timestamp int64     `json:"timestamp"`
	}
	muxLease struct {
		Key    string `json:"key"`
		Holder string `json:"holder"`
		TTL    int64  `json:"ttl_seconds"`
	}
)

// An envelope is the first message of a channel.
type envelope struct {
	Type    string          `json:"$type"`
	Content json.RawMessage `json:"content"`
}

// openEnvelope reads an envelope and returns the name of its type without muxAPI, and its content.
// The texts of its errors are those of streamkit.
func openEnvelope(payload []byte) (kind string, content json.RawMessage, err error) {
	var e envelope
	if !utf8.Valid(payload) {
		return "", nil, protocolError("the payload is not UTF-8, which JSON is")
	}
	if err := json.Unmarshal(payload, &e); err != nil {
		return "", nil, protocolError(err.Error())
	}
	if e.Type == "" {
		return "", nil, protocolError("missing $type field in envelope")
	}
	kind, ok := strings.CutPrefix(e.Type, muxAPI)
	if _, known := operations[kind]; !ok || !known && messages[kind] == "" {
		return "", nil, protocolError(fmt.Sprintf("type %q is not registered", e.Type))
	}
	if len(e.Content) == 0 || bytes.Equal(e.Content, []byte("null")) {
		return "", nil, protocolError(fmt.Sprintf("missing content for type: %q", e.Type))
	}
	return kind, e.Content, nil
}

// messages has the types of the protocol that are not requests, with their names in error texts.
var messages = map[string]string{
	"get_status": "GetStatus", "segment_status": "SegmentStatus", "segment_notification": "SegmentNotification",
	"worker_inventory": "WorkerInventory", "presence": "Presence", "lease_result": "LeaseResult",
	"worker_inventory_notification": "WorkerInventoryNotification",
}

// operations holds the operations of the protocol by the type name of their envelope. It is set by
// init, because openEnvelope reads it: a literal would be an initialization cycle.
var operations map[string]func(ch *muxChannel, content json.RawMessage) (func() error, error)

func init() {
	operations = map[string]func(*muxChannel, json.RawMessage) (func() error, error){
		"produce": decoded((*muxChannel).produce),
		"peek":    decoded((*muxChannel).peek),
		"consume": decoded((*muxChannel).consume),
		"consume_space": decoded(func(ch *muxChannel, r *muxConsumeSpace) error {
			return ch.consumeSpace(r)
		}),
		"consume_segment": decoded((*muxChannel).consumeSegment),
		"get_spaces": decoded(func(ch *muxChannel, _ *struct{}) error {
			_, err := ch.run(&wire.Spaces{}, reply{ch: ch})
			return err
		}),
		"get_segments": decoded(func(ch *muxChannel, r *muxSpace) error {
			if r.Space == "" {
				return nil
			}
			_, err := ch.run(&wire.Segments{Space: r.Space}, reply{ch: ch})
			return err
		}),
		"subscribe_to_segment_status": decoded((*muxChannel).subscribe),
		"subscribe_workers":           decoded((*muxChannel).workers),
		"lease_acquire":               decoded((*muxChannel).acquire),
		"lease_renew":                 decoded((*muxChannel).renewLease),
		"lease_release":               decoded((*muxChannel).release),
	}
}

// taking has the operations that read payloads after the envelope.
var taking = map[string]bool{"produce": true, "subscribe_workers": true}

// lasting has the operations that run until the client ends them. They count as subscriptions in the limits of a
// connection.
var lasting = map[string]bool{"subscribe_to_segment_status": true, "subscribe_workers": true}

// decoded makes an operation from a method: it decodes the content into the argument of the method.
func decoded[T any](run func(*muxChannel, *T) error) func(*muxChannel, json.RawMessage) (func() error, error) {
	return func(ch *muxChannel, content json.RawMessage) (func() error, error) {
		request := new(T)
		if err := json.Unmarshal(content, request); err != nil {
			return nil, err
		}
		return func() error { return run(ch, request) }, nil
	}
}

// operation decodes an envelope and returns a function that runs its operation.
func (ch *muxChannel) operation(payload []byte) (func() error, error) {
	kind, content, err := openEnvelope(payload)
	if err != nil {
		return nil, err
	}
	operation := operations[kind]
	if operation == nil {
		return nil, protocolError("invalid request msg type: *api." + messages[kind])
	}
	ch.kind, ch.taking, ch.lasting = kind, taking[kind], lasting[kind]
	run, err := operation(ch, content)
	if err != nil {
		return nil, protocolError(fmt.Sprintf("failed to unmarshal content for %q: %v", muxAPI+kind, err))
	}
	return run, nil
}

// enclose encodes a message in an envelope.
func enclose(kind string, content any) any {
	return struct {
		Type    string `json:"$type"`
		Content any    `json:"content"`
	}{muxAPI + kind, content}
}

// peek answers with the last entry, or with a zero entry if there is none.
func (ch *muxChannel) peek(r *muxSegment) error {
	entry := streamhub.Entry{Space: r.Space, Segment: r.Segment}
	if r.Space != "" && r.Segment != "" {
		result, err := ch.run(&wire.Peek{Space: r.Space, Segment: r.Segment}, nil)
		switch {
		case err == nil:
			entry = streamhub.Entry(*result.(*wire.PeekResult))
		case !errors.Is(err, streamhub.ErrNotFound): // for streamkit a missing segment has a zero entry
			return err
		}
	}
	if err := ch.send(muxEntryOf(&entry)); err != nil {
		return err
	}
	ch.wait()
	return nil
}

// bound converts a bound in Unix milliseconds; 0 or less is the zero Time, which means no bound.
func bound(ms int64) time.Time { return millis.Time(max(ms, 0)) }

// consumeSegment answers with entries. In this protocol a segment that does not exist is empty, not an error.
func (ch *muxChannel) consumeSegment(r *muxConsumeSegment) error {
	if r.Space == "" || r.Segment == "" || r.To > 0 && r.To < r.From {
		return nil
	}
	_, err := ch.run(&wire.ConsumeSegment{Space: r.Space, Segment: r.Segment, Options: streamhub.ReadOptions{
		FromSequence: r.From, ToSequence: r.To, After: bound(r.After), Until: bound(r.Until), Limit: r.limit(),
	}}, reply{ch: ch})
	if errors.Is(err, streamhub.ErrNotFound) {
		return nil
	}
	return err
}

// maxLimit is the largest limit; a higher one is reduced to it. The largest integer means no limit.
const maxLimit = 10_000_000

func (b *muxBounds) limit() uint64 {
	if b.Limit == 1<<64-1 {
		return 0
	}
	return min(b.Limit, maxLimit)
}

// subscribe sends the statuses of a segment, or of all segments of a space for the segment "*", and
// heartbeats in between.
func (ch *muxChannel) subscribe(r *muxSubscribe) error {
	var request wire.Request = &wire.SubscribeSegment{Space: r.Space, Segment: r.Segment}
	if r.Segment == "*" {
		request = &wire.SubscribeSpace{Space: r.Space}
	}
	if err := ch.allowed(request); err != nil {
		return err
	}
	if interval := heartbeat(r.Heartbeat); interval > 0 {
		stop := ch.every(interval, func() error {
			return ch.send(muxStatusOf(&streamhub.Status{Space: r.Space, Segment: r.Segment, Heartbeat: true}))
		})
		defer stop()
	}
	_, err := ch.run(request, reply{ch: ch})
	return err
}
