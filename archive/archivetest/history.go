package archivetest

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive"
)

// A history makes the windows of a space, each from the end of the one before it, and remembers what
// went into them. The same seed makes the same history.
type history struct {
	random *rand.Rand
	at     streamhub.TimelineID
	last   map[string]uint64
	frames map[string][]archive.Frame // by segment
	order  []string                   // "segment last" along the timeline
}

func newHistory(seed uint64) *history {
	return &history{
		random: rand.New(rand.NewPCG(seed, 1)), at: streamhub.TimelineID{MS: 1_700_000_000_000},
		last: map[string]uint64{}, frames: map[string][]archive.Frame{},
	}
}

// the incarnation of every segment
const incarnation = 0xfeed

// window makes a window that begins after after, with the given number of changes.
func (h *history) window(after streamhub.TimelineID, changes int) (*archive.Window, []*archive.Chunk) {
	w := &archive.Window{After: after}
	chunks := map[string]*archive.Chunk{}
	var names []string
	for range changes {
		h.at.N++
		if h.random.IntN(3) == 0 {
			h.at = streamhub.TimelineID{MS: h.at.MS + 1 + h.random.Uint64N(50)}
		}
		name := fmt.Sprint("segment ", h.random.IntN(5))
		records := 1 + h.random.Uint64N(4)
		h.last[name] += records
		data := binary.BigEndian.AppendUint64([]byte("some text, and then a number "), h.random.Uint64())
		frame := archive.Frame{Last: h.last[name], Records: records, Number: h.last[name], Timestamp: int64(h.at.MS), Data: data}
		h.frames[name] = append(h.frames[name], frame)
		h.order = append(h.order, fmt.Sprint(name, " ", frame.Last))
		w.Changes = append(w.Changes, archive.Change{ID: h.at, Segment: name, Kind: 'a', Last: frame.Last, Records: records})
		c := chunks[name]
		if c == nil {
			c = &archive.Chunk{Segment: name, Incarnation: incarnation, FirstTRX: trx(frame.First()), LastTRX: trx(frame.Last)}
			chunks[name] = c
			names = append(names, name)
		}
		c.Frames = append(c.Frames, frame)
	}
	w.To = h.at
	var all []*archive.Chunk
	for _, name := range names {
		c := chunks[name]
		all = append(all, c)
		w.Parts = append(w.Parts, archive.Part{
			Segment: name, Incarnation: incarnation, Chunks: []archive.Range{c.Range()}, Proof: c.Last(), Meta: []byte("meta"),
		})
	}
	return w, all
}

func trx(n uint64) (id uuid.UUID) {
	binary.BigEndian.PutUint64(id[8:], n)
	return id
}
