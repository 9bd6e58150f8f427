package wsgateway

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub/internal/auth"
)

// The protocol of streamkit: a muxer over text frames, each a JSON object with a payload in base64. A channel begins
// with an envelope that names the operation. It is always the server that ends a channel.

const (
	// A frame may have 8 MiB, and its payload 6 MiB: released clients drop the connection after a longer one.
	maxFrame   = 8 << 20
	maxPayload = 6 << 20
	// maxAnswer is the longest payload that fits into a frame after base64.
	maxAnswer = (maxFrame - frameOverhead) / 4 * 3

	// frameOverhead is the JSON around the payload of a data frame.
	frameOverhead = 137

	// A connection allows many channels, because a process of a released client has one connection for everything.
	// Subscriptions may not use all of them, so that a client with too many subscriptions can still make calls.
	maxMuxChannels      = 16_384
	maxMuxSubscriptions = maxMuxChannels - 1024
	// The limits, in bytes, of what a connection holds for its channels: their envelopes, and records that are not
	// stored yet. Subscriptions leave room for records, and both leave room for calls.
	maxHeldMux           = 24 << 20
	maxHeldRecords       = 20 << 20
	maxHeldSubscriptions = 12 << 20
	channelCost          = 512 // in addition to the envelope
	// maxQueued is how many bytes may be queued or in processing before the connection is no longer read.
	maxQueued = 8 << 20
	// Frames that arrive late, for a channel that has ended, are ignored as long as its tombstone is among the last
	// maxTombstones.
	maxTombstones = 1024

	// A connection that was silent for muxSilence is pinged: released clients and servers do so after 25 to 30 s. After
	// muxDead of silence both sides take the connection for dead.
	muxSilence = 27 * time.Second
	muxDead    = 90 * time.Second
)

// A muxFrame is one frame of the protocol. Names of fields match in any case, as in streamkit.
type muxFrame struct {
	ControlType string
	StoreID     uuid.UUID `json:"store_id"`
	ChannelID   uuid.UUID `json:"channel_id"`
	Payload     []byte    `json:"payload"`
	// TraceContext is the propagated trace of OpenTelemetry, a JSON object of strings.
	TraceContext json.RawMessage `json:"trace_context"`
}

// maxTrace is the largest trace, in bytes, that is decoded: as a map it takes several times as much memory.
const maxTrace = 16 << 10

// trace returns the decoded trace of a frame, or nil if there is none.
func (f *muxFrame) trace() (carried map[string]string) {
	if len(f.TraceContext) == 0 || len(f.TraceContext) > maxTrace || json.Unmarshal(f.TraceContext, &carried) != nil {
		return nil
	}
	return carried
}

// A muxControl is a payload of the muxer itself: it ends a channel or says that the sender ends its part.
type muxControl struct {
	Type string `json:"type"`
	Err  string `json:"err,omitempty"`
}

const (
	muxClose = "mux::close"
	muxError = "mux::error"
)

// A muxKey names a channel. Clients choose the ids of channels, which are unique within a store.
type muxKey struct{ store, channel uuid.UUID }

// A muxer is a connection that speaks streamkit. One goroutine reads frames; each channel has a
// goroutine of its own.
type muxer struct {
	*baseConn

	// The goroutines of channels change both counters too, without mu.
	held   atomic.Int64  // bytes that the channels hold; see maxHeldMux
	queued atomic.Int64  // bytes that are queued or in processing; see maxQueued
	taken  chan struct{} // notifies the reader goroutine that a queue has shrunk

	early     map[muxKey]*earlyFrames // used by the reader goroutine only, as is swept
	swept     time.Time               // when expireEarly last looked
	overtaken atomic.Int64            // when a frame was last seen to have overtaken others, in Unix nanoseconds

	// mu guards the fields below.
	mu         sync.Mutex
	channels   map[muxKey]*muxChannel
	lasting    int // channels that are subscriptions
	tombstones map[muxKey]struct{}
	buried     []muxKey // tombstones, in the order in which the channels ended
	ending     int      // channels that are closed and whose end is not sent yet
	draining   bool
	idle       sync.Cond // signals that a channel ended while the gateway drains
}

func newMuxer(l *baseConn) *muxer {
	m := &muxer{baseConn: l, taken: make(chan struct{}, 1), early: map[muxKey]*earlyFrames{}, channels: map[muxKey]*muxChannel{}, tombstones: map[muxKey]struct{}{}}
	m.idle.L = &m.mu
	l.out.typ = websocket.MessageText
	l.ws.SetReadLimit(maxFrame)
	l.drained = m.drainChannels
	l.probe = m.probe
	context.AfterFunc(l.ctx, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.idle.Broadcast()
	})
	return m
}

// serve reads until the connection ends.
func (m *muxer) serve() {
	defer m.endCalls()
	defer m.handled()
	for {
		_, data, err := m.read()
		if err != nil {
			return
		}
		m.expireEarly()
		runtime.Gosched() // a client that sends without pause takes turns with the others
		var f muxFrame
		if err := json.Unmarshal(data, &f); err != nil {
			m.control("close")
			m.fail(websocket.StatusInvalidFramePayloadData, "a frame is no JSON object with UUIDs")
			return
		}
		switch f.ControlType {
		case "ping":
			m.control("pong")
		case "close":
			m.control("close")
			m.fail(websocket.StatusNormalClosure, "")
			return
		case "data", "error":
			if len(f.Payload) > maxPayload {
				m.control("close")
				m.fail(websocket.StatusMessageTooBig, "a payload has more than 6 MiB")
				return
			}
			m.data(&f)
		}
	}
}

// endCalls ends every channel and waits for it.
func (m *muxer) endCalls() {
	m.mu.Lock()
	for _, ch := range m.channels {
		ch.cancel(context.Canceled)
	}
	m.mu.Unlock()
	m.end()
}

// control sends a frame that concerns the connection, such as a ping.
func (m *muxer) control(kind string) {
	_ = m.out.put([]byte(`{"ControlType":"` + kind + `","store_id":"00000000-0000-0000-0000-000000000000",` +
		`"channel_id":"00000000-0000-0000-0000-000000000000","payload":null}`))
}

// probe pings a connection after muxSilence, and closes it after muxDead. Any frame of the client ends the silence.
func (m *muxer) probe(silence time.Duration) {
	switch {
	case silence > muxDead:
		m.closeNow()
	case silence > muxSilence:
		if m.pinging.CompareAndSwap(false, true) {
			m.start(func() {
				m.control("ping")
				// The next ping is due only after this one could have been answered.
				select {
				case <-time.After(muxSilence - rand.N(2*time.Second)):
				case <-m.ctx.Done():
				}
				m.pinging.Store(false)
			})
		}
	}
}

// data takes a payload for a channel. A payload for an unknown channel opens that channel, unless the channel has a
// tombstone or the payload came before its envelope.
func (m *muxer) data(f *muxFrame) {
	key := muxKey{f.StoreID, f.ChannelID}
	m.mu.Lock()
	ch := m.channels[key]
	_, late := m.tombstones[key]
	// Only this goroutine opens channels, so a channel that does not exist here does not exist below either.
	open := len(m.channels)
	draining := m.draining
	m.mu.Unlock()
	control := controlOf(f)
	switch {
	case ch != nil:
		ch.receive(f.Payload, control)
	case !m.allowsStore(f.StoreID):
		m.refuse(key, "access denied")
	case late || m.keepEarly(key, f.Payload, control) || control != nil:
	case open >= maxMuxChannels:
		m.refuse(key, tooMany)
	case draining:
		m.refuse(key, stopping)
	default:
		m.openLate(key, f)
	}
}

// stopping is an error text after which released clients retry.
const stopping = "the gateway is stopping"

const tooMany = "too many active streams"

// hold counts n bytes for a channel. It is false, and nothing is counted, if the connection would hold
// more than limit.
func (m *muxer) hold(ch *muxChannel, n int, limit int64) bool {
	if m.held.Add(int64(n)) > limit {
		m.held.Add(-int64(n))
		return false
	}
	ch.cost += n
	return true
}

// release undoes hold for n bytes.
func (m *muxer) release(ch *muxChannel, n int) {
	m.held.Add(-int64(n))
	ch.cost -= n
}

func (m *muxer) allowsStore(store uuid.UUID) bool {
	m.baseConn.mu.Lock()
	defer m.baseConn.mu.Unlock()
	return !auth.Reserved(store) && (m.principal == nil || m.principal.AllowsStore(store))
}

// controlOf decodes a control payload, and returns nil for any other payload. Every control contains the text mux::,
// and hardly any other payload does. So it looks for that text first, to decode records only once.
func controlOf(f *muxFrame) *muxControl {
	if !bytes.Contains(f.Payload, []byte(`mux::`)) {
		return nil
	}
	var c muxControl
	if json.Unmarshal(f.Payload, &c) != nil || c.Type != muxClose && c.Type != muxError {
		return nil
	}
	return &c
}

// refuse answers a frame that belongs to no channel with an error.
func (m *muxer) refuse(key muxKey, text string) {
	payload, _ := json.Marshal(muxControl{muxError, text}) // cannot fail: the fields are strings
	_ = m.out.put(appendMuxFrame("error", key, payload))
}

// appendMuxFrame writes a frame.
func appendMuxFrame(kind string, key muxKey, payload []byte) []byte {
	b := make([]byte, 0, frameOverhead+base64.StdEncoding.EncodedLen(len(payload)))
	b = fmt.Appendf(b, `{"ControlType":"%s","store_id":"%s","channel_id":"%s","payload":"`, kind, key.store, key.channel)
	b = base64.StdEncoding.AppendEncode(b, payload)
	return append(b, `"}`...)
}

// close forgets a channel and leaves a tombstone: a frame that the client sent before it received the
// end must not open the channel again.
func (m *muxer) close(ch *muxChannel) {
	ch.stop()
	m.release(ch, ch.cost)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ending++
	delete(m.channels, ch.key)
	if ch.lasting {
		m.lasting--
	}
	m.tombstones[ch.key] = struct{}{}
	if m.buried = append(m.buried, ch.key); len(m.buried) > maxTombstones {
		delete(m.tombstones, m.buried[0])
		m.buried = m.buried[1:]
	}
	m.g.metrics.calls.Add(m.ctx, -1)
}

// finish records that the end of a closed channel was sent.
func (m *muxer) finish() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ending--
	m.idle.Broadcast()
}

// drainChannels ends every channel and waits until all ends are sent. Producers first store the records that have
// arrived.
func (m *muxer) drainChannels() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.draining = true
	for _, ch := range m.channels {
		ch.cancel(errStopping)
	}
	for len(m.channels)+m.ending > 0 && m.ctx.Err() == nil {
		m.idle.Wait()
	}
}
