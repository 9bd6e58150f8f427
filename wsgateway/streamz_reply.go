package wsgateway

import (
	"errors"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/millis"
	"github.com/seed-147127fe/streamhub/internal/port"
	"github.com/seed-147127fe/streamhub/internal/wire"
)

// A muxEntry is an entry in the form of streamkit. Only an entry that does not exist has no payload.
type muxEntry struct {
	Sequence  uint64            `json:"sequence"`
	Timestamp int64             `json:"timestamp,omitempty"`
	TRX       streamhub.TRX     `json:"trx"`
	Payload   []byte            `json:"payload"`
	Metadata  map[string]string `json:"metadata,omitempty"`
	Space     string            `json:"space"`
	Segment   string            `json:"segment"`
}

func muxEntryOf(e *streamhub.Entry) *muxEntry {
	return &muxEntry{e.Sequence, millis.Of(e.Timestamp), e.TRX, e.Payload, e.Metadata, e.Space, e.Segment}
}

// A muxStatus is the status of a segment. Timestamps are Unix milliseconds. Heartbeat marks a status that only shows
// that the subscription is alive; it has nothing but the names.
type muxStatus struct {
	Space          string `json:"space"`
	Segment        string `json:"segment"`
	FirstSequence  uint64 `json:"first_sequence"`
	FirstTimestamp int64  `json:"first_timestamp"`
	LastSequence   uint64 `json:"last_sequence"`
	LastTimestamp  int64  `json:"last_timestamp"`
	Heartbeat      bool   `json:"heartbeat"`
}

func muxStatusOf(s *streamhub.Status) *muxStatus {
	return &muxStatus{s.Space, s.Segment, s.FirstSequence, millis.Of(s.FirstTimestamp), s.LastSequence, millis.Of(s.LastTimestamp), s.Heartbeat}
}

// A muxInventory is the list of workers. Timestamp is when it was sent, in Unix milliseconds.
type muxInventory struct {
	Workers   []muxWorker `json:"workers"`
	Timestamp int64       `json:"timestamp"`
}

// A muxWorker is a worker of the list; LastSeen is in Unix milliseconds.
type muxWorker struct {
	WorkerID uuid.UUID         `json:"worker_id"`
	Metadata map[string]string `json:"metadata,omitempty"`
	LastSeen int64             `json:"last_seen_at"`
}

// errEnough ends a read that has reached its limit.
var errEnough = errors.New("enough")

// A reply sends what a call reads, each item in a frame of its own.
type reply struct {
	ch   *muxChannel
	pick func(e *streamhub.Entry) (bool, error) // whether an entry is passed on; nil passes all
	// joined is closed when the worker is on the list.
	joined chan struct{}
	// listed is called after each list of workers, if set.
	listed func()
}

func (r reply) Page(p *port.Page) error {
	for i := range p.Entries {
		if r.pick != nil {
			if ok, err := r.pick(&p.Entries[i]); err != nil {
				return err
			} else if !ok {
				continue
			}
		}
		if err := r.ch.send(muxEntryOf(&p.Entries[i])); err != nil {
			return err
		}
	}
	return nil
}

func (r reply) Name(name string) error { return r.ch.send(name) }

// Item refuses items of operations that this protocol does not have.
func (r reply) Item(wire.Result) error { return streamhub.ErrInvalidArgument }

// Status leaves out segments that have never had an entry: streamkit does not know such segments.
func (r reply) Status(s *streamhub.Status) error {
	if s.LastSequence == 0 {
		return nil
	}
	return r.ch.send(muxStatusOf(s))
}

func (r reply) Workers(workers []streamhub.Worker) error {
	inventory := muxInventory{Workers: make([]muxWorker, len(workers)), Timestamp: time.Now().UnixMilli()}
	for i, w := range workers {
		inventory.Workers[i] = muxWorker{w.ID, w.Metadata, millis.Of(w.LastSeen)}
	}
	if r.listed != nil {
		defer r.listed()
	}
	return r.ch.send(enclose("worker_inventory", inventory))
}

func (r reply) Joined() error {
	close(r.joined)
	return nil
}

// heartbeat is the interval that a client asked for: 1 to 300 s, or none.
func heartbeat(seconds int64) time.Duration {
	if seconds <= 0 {
		return 0
	}
	return time.Duration(min(seconds, 300)) * time.Second
}

// every calls beat at once and then at every interval, until stop is called. If beat fails, the operation ends.
// Released clients give up a subscription after three intervals without a frame.
func (ch *muxChannel) every(interval time.Duration, beat func() error) (stop func()) {
	done := make(chan struct{})
	var waiting sync.WaitGroup
	waiting.Go(func() {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			if err := beat(); err != nil {
				ch.cancel(err)
				return
			}
			select {
			case <-ticker.C:
			case <-done:
				return
			case <-ch.ctx.Done():
				return
			}
		}
	})
	return func() {
		close(done)
		waiting.Wait()
	}
}
