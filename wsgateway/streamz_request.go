package wsgateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/millis"
	"github.com/seed-147127fe/streamhub/internal/wire"
)

// muxAPI is what the name of every message begins with.
const muxAPI = "streamkit://api/v1/"

// The contents of envelopes.
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

// openEnvelope reads one; the texts of its errors are those of streamkit.
func openEnvelope(payload []byte) (kind string, content json.RawMessage, err error) {
	var e envelope
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

// messages are known and no request.
var messages = map[string]string{
	"get_status": "GetStatus", "segment_status": "SegmentStatus", "segment_notification": "SegmentNotification",
	"worker_inventory": "WorkerInventory", "presence": "Presence", "lease_result": "LeaseResult",
	"worker_inventory_notification": "WorkerInventoryNotification",
}

// operations are what an envelope may ask for.
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

// taking are the operations whose channel goes on after the envelope.
var taking = map[string]bool{"produce": true, "subscribe_workers": true}

// lasting are the operations that go on until the client ends them.
var lasting = map[string]bool{"subscribe_to_segment_status": true, "subscribe_workers": true}

// decoded makes an operation of a method and the content that it takes.
func decoded[T any](run func(*muxChannel, *T) error) func(*muxChannel, json.RawMessage) (func() error, error) {
	return func(ch *muxChannel, content json.RawMessage) (func() error, error) {
		request := new(T)
		if err := json.Unmarshal(content, request); err != nil {
			return nil, err
		}
		return func() error { return run(ch, request) }, nil
	}
}

// operation reads an envelope and returns what it asks for.
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

// enclose writes a message that travels in an envelope.
func enclose(kind string, content any) any {
	return struct {
		Type    string `json:"$type"`
		Content any    `json:"content"`
	}{muxAPI + kind, content}
}

func (ch *muxChannel) peek(r *muxSegment) error {
	entry := streamhub.Entry{Space: r.Space, Segment: r.Segment}
	if r.Space != "" && r.Segment != "" {
		result, err := ch.run(&wire.Peek{Space: r.Space, Segment: r.Segment}, nil)
		switch {
		case err == nil:
			entry = streamhub.Entry(*result.(*wire.PeekResult))
		case !errors.Is(err, streamhub.ErrNotFound): // to streamkit that is an entry of zeros
			return err
		}
	}
	if err := ch.send(muxEntryOf(&entry)); err != nil {
		return err
	}
	ch.wait()
	return nil
}

// bound is a bound in milliseconds; 0 and less is none.
func bound(ms int64) time.Time { return millis.Time(max(ms, 0)) }

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

// maxLimit is the highest limit that means one.
const maxLimit = 10_000_000

func (b *muxBounds) limit() uint64 {
	if b.Limit == 1<<64-1 {
		return 0
	}
	return min(b.Limit, maxLimit)
}

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
