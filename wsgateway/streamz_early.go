package wsgateway

import (
	"bytes"
	"encoding/json"
	"time"
)

// Once the queue of a released client stalls, the client sends new frames before queued ones, whatever their channels.
// So the records of a Produce, and its close, may come before its envelope. They wait for it for maxAheadTime. The
// goroutine that reads the connection keeps them, and gets a frame every second: the ping of the client.

// maxEarly is how many channels of a connection may wait for their envelope.
const maxEarly = 1024

// earlyFrames are the frames of a channel that came before its envelope.
type earlyFrames struct {
	records [][]byte
	control *muxControl // the close, or nil
	cost    int         // bytes that they count against the connection
	since   time.Time
}

// keepEarly keeps a record or a control of a channel without an envelope, and reports whether it did.
func (m *muxer) keepEarly(key muxKey, payload []byte, control *muxControl) bool {
	if control == nil && !isRecord(payload) {
		return false
	}
	e, cost := m.early[key], channelCost+len(payload)
	if e == nil && len(m.early) == maxEarly {
		return false
	}
	if m.held.Add(int64(cost)) > maxHeldRecords {
		m.held.Add(-int64(cost))
		return false
	}
	if e == nil {
		e = &earlyFrames{since: time.Now()}
		m.early[key] = e
	}
	e.cost += cost
	if control == nil {
		e.records = append(e.records, payload)
	} else if e.control == nil {
		e.control = control
	}
	return true
}

// isRecord reports whether a payload is a record, which no envelope is. An envelope, which may be large, shows at its
// start.
func isRecord(payload []byte) bool {
	if bytes.HasPrefix(payload, []byte(`{"$type"`)) {
		return false
	}
	var r struct {
		Type     *string `json:"$type"`
		Sequence *uint64 `json:"sequence"`
	}
	return json.Unmarshal(payload, &r) == nil && r.Type == nil && r.Sequence != nil
}

// takeEarly returns what waits for an envelope, or nil.
func (m *muxer) takeEarly(key muxKey) *earlyFrames {
	e := m.early[key]
	if e != nil {
		delete(m.early, key)
		m.held.Add(-int64(e.cost))
	}
	return e
}

// openLate opens a channel, and passes to it what came before its envelope.
func (m *muxer) openLate(key muxKey, f *muxFrame) {
	e := m.takeEarly(key)
	if e != nil {
		m.overtaken.Store(time.Now().UnixNano())
	}
	m.open(key, f)
	if e == nil {
		return
	}
	m.mu.Lock()
	ch := m.channels[key]
	m.mu.Unlock()
	if ch == nil { // it has ended already
		return
	}
	for _, record := range e.records {
		ch.receive(record, nil)
	}
	if e.control != nil {
		ch.receive(nil, e.control)
	}
}

// expireEarly ends the channels whose envelope did not come.
func (m *muxer) expireEarly() {
	if len(m.early) == 0 || time.Since(m.swept) < time.Second {
		return
	}
	m.swept = time.Now()
	for key, e := range m.early {
		if time.Since(e.since) < maxAheadTime {
			continue
		}
		m.takeEarly(key)
		if len(e.records) > 0 { // a close without an envelope needs no answer
			m.open(key, &muxFrame{Payload: e.records[0]}) // ends at once, as a record is no envelope
		}
	}
}

// stalled reports whether the queue of the client has stalled a moment ago.
func (m *muxer) stalled() bool {
	return time.Since(time.Unix(0, m.overtaken.Load())) < stallTime
}
