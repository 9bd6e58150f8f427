//go:build faults

package integration

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/live"
)

// liveConfig is that of a worker that does what the lines of its input say, "<verb> <id>" each:
//
//	register   becomes the producer of a stream, or fails to, and publishes a chunk either way
//	publish    publishes numbers, one after the other, for as long as it lives
//	read       reads to the end
//	done       ends a stream
type liveConfig struct {
	base
	Space string
}

type liveLine struct {
	ID string
	// Created and Generation tell of a registration: whether this worker is the producer, and which
	// generation is in force.
	Created    bool   `json:",omitempty"`
	Generation uint64 `json:",omitempty"`
	// Stored is how many numbers are stored.
	Stored int `json:",omitempty"`
	// Told and Verdict are when, by clock, the producer was told to stop, and a reader the verdict;
	// Read is how many numbers the reader got by then.
	Told    int64                 `json:",omitempty"`
	Verdict streamhub.VerdictKind `json:",omitempty"`
	At      int64                 `json:",omitempty"`
	Read    int                   `json:",omitempty"`
	Error   string                `json:",omitempty"`
}

func liveRole(ctx context.Context, config []byte, lines *bufio.Scanner) error {
	var c liveConfig
	if err := json.Unmarshal(config, &c); err != nil {
		return err
	}
	s, done, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer done()
	w := &liveWorker{ctx: ctx, streams: s.Live(c.Space), out: json.NewEncoder(os.Stdout), producers: map[string]live.Producer{}}
	defer w.tasks.Wait()
	fmt.Fprintln(os.Stderr, "ready")
	for lines.Scan() {
		verb, id, _ := strings.Cut(lines.Text(), " ")
		switch verb {
		case "register":
			w.register(id)
		case "publish":
			w.tasks.Go(func() { w.publish(id) })
		case "read":
			w.tasks.Go(func() { w.read(id) })
		case "done":
			if err := w.producers[id].Done(ctx, nil); err != nil {
				w.say(liveLine{ID: id, Error: err.Error()})
			}
		}
	}
	return nil
}

type liveWorker struct {
	ctx       context.Context
	streams   live.Streams
	producers map[string]live.Producer
	tasks     sync.WaitGroup

	mu  sync.Mutex
	out *json.Encoder
}

func (w *liveWorker) say(l liveLine) {
	w.mu.Lock()
	defer w.mu.Unlock()
	_ = w.out.Encode(l) // who does not hear it is gone
}

func (w *liveWorker) register(id string) {
	line := liveLine{ID: id}
	p, current, err := w.streams.Register(w.ctx, id, &live.RegisterOptions{OnCancel: func(error) {
		w.say(liveLine{ID: id, Told: clock()})
	}})
	if err != nil {
		line.Error = err.Error()
		w.say(line)
		return
	}
	if p == nil {
		line.Generation = current.Generation()
		w.say(line)
		return
	}
	line.Created, line.Generation = true, p.Generation()
	w.producers[id] = p
	if err := p.Publish(w.ctx, []byte("0")); err != nil {
		line.Error = err.Error()
	}
	w.say(line)
}

func (w *liveWorker) publish(id string) {
	p := w.producers[id]
	for n := 1; ; n++ {
		err := p.Publish(w.ctx, fmt.Append(nil, n))
		if err == nil {
			err = p.Flush(w.ctx)
		}
		if err != nil {
			return
		}
		w.say(liveLine{ID: id, Stored: n + 1})
	}
}

func (w *liveWorker) read(id string) {
	line := liveLine{ID: id}
	s, err := w.streams.Get(w.ctx, id)
	if err != nil {
		line.Error = err.Error()
		w.say(line)
		return
	}
	line.Read, line.Verdict, err = readNumbers(w.ctx, s, "")
	line.At = clock()
	if err != nil {
		line.Error = err.Error()
	}
	w.say(line)
}

// readNumbers reads a stream of the numbers from 0 on to its end and returns how many there were.
func readNumbers(ctx context.Context, s live.Stream, cursor live.Cursor) (n int, v streamhub.VerdictKind, err error) {
	for c, err := range s.Subscribe(ctx, &live.SubscribeOptions{Cursor: cursor}) {
		var closed *streamhub.ClosedError
		switch {
		case errors.As(err, &closed):
			return n, closed.Verdict.Kind, nil
		case err != nil:
			return n, "", err
		case string(c.Data) != fmt.Sprint(n):
			return n, "", fmt.Errorf("chunk %d is %q", n, c.Data)
		}
		n++
	}
	return n, "", errors.New("the subscription ended without a verdict")
}
