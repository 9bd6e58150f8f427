package model

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/live"
)

// How long live streams wait in programs, by the clock of Redis: longer than any program runs by the clock of
// the machine. So a producer is lost where a program says so, and nowhere else.
const (
	heartbeat   = time.Hour
	cancelGrace = time.Hour
	endedTTL    = 5 * time.Minute
)

// streams are the live streams of a space, by id: each a list of its generations, the last one in force.
type streams map[string][]*generation

// A generation is one of a live stream.
type generation struct {
	id      uint64 // of the model
	number  uint64 // as the store has given it
	key     string
	by      string
	started int64
	chunks  []*chunk
	back    []message // what its producer was sent
	// metadata is JSON, empty for none.
	metadata string
	asked    *live.CancelError // to stop, by the first one that did
	askedAt  int64
	verdict  *streamhub.Verdict
	endedAt  int64
	kept     time.Duration // after its end
	next     uint64        // the number of the generation that took over
	removed  bool
}

// A chunk is never changed: two histories have the same chunk or not.
type chunk struct {
	data string
}

// A message is one to a producer. once is the name under which another one is refused.
type message struct {
	once, data, by string
	stop           bool
}

func (s streams) clone() streams {
	c := streams{}
	for id, list := range s {
		for _, g := range list {
			own := *g
			own.chunks, own.back = slices.Clone(g.chunks), slices.Clone(g.back)
			c[id] = append(c[id], &own)
		}
	}
	return c
}

// same reports whether nothing of g is different in other, which may be nil.
func (g *generation) same(other *generation) bool {
	return other != nil && slices.Equal(g.chunks, other.chunks) && slices.Equal(g.back, other.back) &&
		g.metadata == other.metadata && (g.verdict == nil) == (other.verdict == nil) && g.next == other.next
}

// generation returns the one with that id of the model, nil where this history has none.
func (m *Model) generation(stream string, id uint64) *generation {
	for _, g := range m.server.streams[stream] {
		if g.id == id {
			return g
		}
	}
	return nil
}

// over reports whether a generation is not kept any more.
func (m *Model) over(g *generation) bool {
	return g.removed || g.verdict != nil && m.Now >= g.endedAt+g.kept.Milliseconds()
}

// stream returns the generation in force, nil if there is none that is kept.
func (m *Model) stream(id string) *generation {
	list := m.server.streams[id]
	if len(list) == 0 || m.over(list[len(list)-1]) {
		return nil
	}
	return list[len(list)-1]
}

// register is the answer to the registration of a stream: a generation that it has begun, or found begun by the
// same key, or the one that stands in its way.
func (m *Model) register(id string, o *live.RegisterOptions) (begun, taken *generation, err error) {
	had := m.stream(id)
	switch {
	case had != nil && had.key == o.Key:
		if had.verdict != nil {
			had.endedAt = m.Now // it is ended once more
			return nil, nil, &streamhub.ClosedError{Verdict: *had.verdict, LastSequence: uint64(len(had.chunks))}
		}
		return had, nil, nil
	case had != nil && (o.Once || !o.Takeover && had.verdict == nil):
		return nil, had, nil
	}
	g := &generation{id: m.name(), key: o.Key, by: o.By, started: m.Now, kept: cmp.Or(o.EndedTTL, endedTTL)}
	if o.Metadata != nil {
		b, _ := json.Marshal(o.Metadata) // a map of strings
		g.metadata = string(b)
	}
	if m.server.streams == nil {
		m.server.streams = streams{}
	}
	m.server.streams[id] = append(m.server.streams[id], g)
	return g, nil, nil
}

// numbered is called with the number that the store has given a generation that has just begun.
func (m *Model) numbered(id string, g *generation, number uint64) error {
	list := m.server.streams[id]
	for _, other := range list[:len(list)-1] {
		if other.number >= number {
			return fmt.Errorf("the generation is %d after %d", number, other.number)
		}
	}
	if g.number != 0 {
		return same("generation", number, g.number)
	}
	g.number = number
	if len(list) > 1 && list[len(list)-2].verdict == nil {
		before := list[len(list)-2]
		output, _ := json.Marshal(map[string]uint64{"generation": number})
		m.endStream(before, streamhub.Verdict{
			Kind: streamhub.VerdictSuperseded, Reason: fmt.Sprintf("generation %d took over", number), Output: output,
		})
		before.next = number
	}
	return nil
}

func (m *Model) endStream(g *generation, v streamhub.Verdict) {
	g.verdict, g.endedAt = &v, m.Now
}

// producing is what a producer of a generation is told, nil if it may go on.
func (m *Model) producing(id string, generation uint64) error {
	g := m.generation(id, generation)
	switch {
	case g == nil:
		return &streamhub.HistoryLostError{FirstLost: 1}
	case g.verdict == nil:
		return nil
	case g.verdict.Kind == streamhub.VerdictSuperseded:
		return &streamhub.FencedError{Current: g.next, Got: g.number}
	}
	return &streamhub.ClosedError{Verdict: *g.verdict, LastSequence: uint64(len(g.chunks))}
}

// send is the answer to a message for the producer.
func (m *Model) send(g *generation, msg message) (sequence uint64, err error) {
	for i, was := range g.back {
		if was.once != msg.once {
			continue
		}
		if was != msg {
			return 0, streamhub.ErrConflict
		}
		return uint64(i) + 1, nil
	}
	if g.verdict != nil {
		return 0, &streamhub.ClosedError{Verdict: *g.verdict}
	}
	g.back = append(g.back, msg)
	return uint64(len(g.back)), nil
}

// cancel is the answer to a request to stop that does not wait.
func (m *Model) cancel(g *generation, by *live.CancelError) streamhub.Verdict {
	if g.verdict != nil {
		return *g.verdict
	}
	if g.asked == nil {
		g.asked, g.askedAt = by, m.Now
		g.back = append(g.back, message{once: "cancel", by: by.By, data: by.Reason, stop: true})
	}
	return streamhub.Verdict{}
}

// heard notes a heartbeat: with it ends a generation that was asked to stop and had its time.
func (m *Model) heard(g *generation) {
	if g != nil && g.verdict == nil && g.asked != nil && m.Now-g.askedAt > cancelGrace.Milliseconds() {
		m.endStream(g, g.asked.Verdict())
	}
}

// silent are the generations without a verdict but for those that are heard of.
func (m *Model) silent(heard map[uint64]bool) (list map[string]*generation) {
	list = map[string]*generation{}
	for id := range m.server.streams {
		if g := m.stream(id); g != nil && g.verdict == nil && !heard[g.id] {
			list[id] = g
		}
	}
	return list
}
