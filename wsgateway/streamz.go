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

// The protocol of streamkit: a muxer over text frames, each a JSON object with a payload in base64.
// A channel begins with an envelope that names the operation; the server ends it, always.

const (
	// A frame has 8 MiB at most, and 6 MiB of payload: released clients drop the connection
	// otherwise.
	maxFrame   = 8 << 20
	maxPayload = 6 << 20
	// maxAnswer is the longest payload whose frame is not too long.
	maxAnswer = (maxFrame - frameOverhead) / 4 * 3

	// frameOverhead is the JSON around the payload of a data frame.
	frameOverhead = 137

	// A connection has as many channels as a process of a released client opens: it has one
	// connection for everything. Room is left for calls, so that a client with too many subscriptions
	// can still do everything else.
	maxMuxChannels      = 16_384
	maxMuxSubscriptions = maxMuxChannels - 1024
	// A connection holds so many bytes at most for its channels: what they are about, and records that
	// are not stored yet. Subscriptions leave room for records, and both leave room for calls.
	maxHeldMux           = 24 << 20
	maxHeldRecords       = 20 << 20
	maxHeldSubscriptions = 12 << 20
	channelCost          = 512 // besides the envelope
	// maxQueued bounds what waits to be looked at and what is looked at; then the connection is not read.
	maxQueued = 8 << 20
	// Late frames of a channel that has ended are ignored for a while.
	maxTombstones = 1024

	// A connection that was silent for muxSilence is pinged: released clients and servers do so after 25 to 30 s.
	// After muxDead both sides take it for dead.
	muxSilence = 27 * time.Second
	muxDead    = 90 * time.Second
)

// A muxFrame is what travels. Names of fields are matched whatever their case, as in streamkit.
type muxFrame struct {
	ControlType string
	StoreID     uuid.UUID `json:"store_id"`
	ChannelID   uuid.UUID `json:"channel_id"`
	Payload     []byte    `json:"payload"`
	// TraceContext is that of OpenTelemetry, an object of strings.
	TraceContext json.RawMessage `json:"trace_context"`
}

// maxTrace bounds a trace that is looked at: as a map it takes several times as much memory as it has bytes.
const maxTrace = 16 << 10

// trace returns what the trace of a frame carries, nil if it is none.
func (f *muxFrame) trace() (carried map[string]string) {
	if len(f.TraceContext) == 0 || len(f.TraceContext) > maxTrace || json.Unmarshal(f.TraceContext, &carried) != nil {
		return nil
	}
	return carried
}

// A muxControl is a payload that ends something.
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

	// Both are counted by the goroutines of channels as well, without mu.
	held   atomic.Int64  // bytes; see maxHeldMux
	queued atomic.Int64  // bytes; see maxQueued
	taken  chan struct{} // something was taken from a queue, for the goroutine that reads

	// mu guards the fields below.
	mu         sync.Mutex
	channels   map[muxKey]*muxChannel
	lasting    int // channels that are subscriptions
	tombstones map[muxKey]struct{}
	buried     []muxKey // in the order of their end
	ending     int      // channels that are closed and whose end is not sent yet
	draining   bool
	idle       sync.Cond // something ended while draining
}

func newMuxer(l *baseConn) *muxer {
	m := &muxer{baseConn: l, taken: make(chan struct{}, 1), channels: map[muxKey]*muxChannel{}, tombstones: map[muxKey]struct{}{}}
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
	defer m.over()
	defer m.handled()
	for {
		_, data, err := m.read()
		if err != nil {
			return
		}
		runtime.Gosched() // a client that sends without end takes turns with the others
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

// over ends every channel and waits for it.
func (m *muxer) over() {
	m.mu.Lock()
	for _, ch := range m.channels {
		ch.cancel(context.Canceled)
	}
	m.mu.Unlock()
	m.end()
}

// control sends a frame that is about the connection.
func (m *muxer) control(kind string) {
	_ = m.out.put([]byte(`{"ControlType":"` + kind + `","store_id":"00000000-0000-0000-0000-000000000000",` +
		`"channel_id":"00000000-0000-0000-0000-000000000000","payload":null}`))
}

// probe pings a connection that was silent, and cuts one that was silent for longer. Any frame of the
// client ends the silence.
func (m *muxer) probe(silence time.Duration) {
	switch {
	case silence > muxDead:
		m.closeNow()
	case silence > muxSilence:
		if m.pinging.CompareAndSwap(false, true) {
			m.start(func() {
				m.control("ping")
				// The next one is due when this one had time to be answered.
				select {
				case <-time.After(muxSilence - rand.N(2*time.Second)):
				case <-m.ctx.Done():
				}
				m.pinging.Store(false)
			})
		}
	}
}

// data takes a payload for a channel. A payload for a channel that is not there opens it, unless it
// is late or ends something.
func (m *muxer) data(f *muxFrame) {
	key := muxKey{f.StoreID, f.ChannelID}
	m.mu.Lock()
	ch := m.channels[key]
	_, late := m.tombstones[key]
	// Only this goroutine opens channels: one that is not there now is not there below either.
	open := len(m.channels)
	draining := m.draining
	m.mu.Unlock()
	control := controlOf(f)
	switch {
	case ch != nil:
		ch.receive(f.Payload, control)
	case !m.allowsStore(f.StoreID):
		m.refuse(key, "access denied")
	case late || control != nil:
	case open >= maxMuxChannels:
		m.refuse(key, tooMany)
	case draining:
		m.refuse(key, stopping)
	default:
		m.open(key, f)
	}
}

// stopping is a text that clients try again after.
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

// release takes back what hold counted.
func (m *muxer) release(ch *muxChannel, n int) {
	m.held.Add(-int64(n))
	ch.cost -= n
}

func (m *muxer) allowsStore(store uuid.UUID) bool {
	m.baseConn.mu.Lock()
	defer m.baseConn.mu.Unlock()
	return !auth.Reserved(store) && (m.principal == nil || m.principal.AllowsStore(store))
}

// controlOf returns what a payload ends, nil if it is none of the muxer's own. Those all hold the text mux::, and
// hardly any other payload does, so a record is not decoded twice.
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
	payload, _ := json.Marshal(muxControl{muxError, text}) // strings
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

// finish notes that the end of a channel that was closed is sent.
func (m *muxer) finish() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ending--
	m.idle.Broadcast()
}

// drainChannels ends every channel and waits until all ends are sent. Producers store first what has
// come.
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
