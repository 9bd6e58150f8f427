package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"iter"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/live"
)

// A load is a space of benchCmd, with the sums of the appended payloads.
type load struct {
	*benchCmd
	store     *client.Store
	space     string
	prefix    string        // begins the names of the segments: another run may use the space at the same time
	pace      *rate.Limiter // of appends; nil for no limit
	followers int           // of each segment, while it is appended to
	streams   bool          // live streams and no segments
	bar       *progress
	made      int // how many segments may exist

	mu                sync.Mutex
	appends, delivers []time.Duration
	stored            uint64
	sums              map[string]uint64 // of the appended payloads, by segment
}

// name returns the name of segment i.
func (l *load) name(i int) string { return l.prefix + strconv.Itoa(i) }

// A tally counts and sums the payloads that were written to a segment or a live stream, or that one reader has read.
type tally struct{ entries, sum uint64 }

func (n *tally) add(payload []byte) {
	n.entries++
	n.sum += checksum(payload)
}

// checksum is of a payload. The sum over a segment does not depend on the order, which is looked at
// by itself.
func checksum(payload []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(payload)
	return h.Sum64()
}

// each calls do for n workers, the segments in turn, and returns the first error, which ends the others.
func (l *load) each(ctx context.Context, n int, do func(ctx context.Context, segment string) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			if err := do(ctx, l.name(i%l.Segments)); err != nil {
				stop(err)
			}
		})
	}
	group.Wait()
	return context.Cause(ctx)
}

// payload fills a record with the time and random bytes.
func (l *load) payload() []byte {
	p := make([]byte, l.Size)
	_, _ = rand.Read(p)
	binary.BigEndian.PutUint64(p, uint64(time.Now().UnixNano()))
	return p
}

// age is how long ago a payload was made.
func age(payload []byte) time.Duration {
	return time.Since(time.Unix(0, int64(binary.BigEndian.Uint64(payload))))
}

// append returns when all appended entries are delivered: it closes the segments, which ends their followers.
func (l *load) append(ctx context.Context) (r phaseReport, err error) {
	for i := range l.Segments {
		_, _, err := l.store.Create(ctx, l.space, l.name(i), nil)
		if err == nil || errors.Is(err, streamhub.ErrUnknownOutcome) {
			l.made++
		}
		if err != nil {
			return r, err
		}
	}
	if l.sums == nil {
		l.sums = map[string]uint64{}
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	followed := make(chan error, 1)
	go func() {
		err := l.each(ctx, l.followers*l.Segments, l.follow)
		if err != nil {
			stop(err)
		}
		followed <- err
	}()
	begin := time.Now()
	err = l.each(ctx, l.Callers, func(ctx context.Context, segment string) error {
		return l.appendTo(ctx, segment, begin.Add(l.Duration))
	})
	took := time.Since(begin)
	if err == nil {
		err = l.each(ctx, l.Segments, l.close)
	}
	if err != nil {
		stop(err)
	}
	if lost := <-followed; err == nil {
		err = lost
	}
	return l.written(took), err
}

// written reports what was written within took, and the deliveries meanwhile.
func (l *load) written(took time.Duration) phaseReport {
	r := l.report(took, l.stored)
	r.Appends, r.Deliveries = figures(l.appends, took), figures(l.delivers, took)
	return r
}

func (l *load) report(took time.Duration, records uint64) phaseReport {
	return phaseReport{Seconds: took.Seconds(), Records: records, Megabytes: float64(records) * float64(l.Size) / 1e6 / took.Seconds()}
}

// repeat calls write, at the pace of the load, until until, and records how long each call took.
func (l *load) repeat(ctx context.Context, until time.Time, write func() error) error {
	var times []time.Duration
	for {
		if l.pace != nil && l.pace.Wait(ctx) != nil {
			return context.Cause(ctx)
		}
		began := time.Now()
		if began.After(until) {
			break
		}
		if err := write(); err != nil {
			return err
		}
		times = append(times, time.Since(began))
		l.bar.add(1)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.appends = append(l.appends, times...)
	return nil
}

func (l *load) appendTo(ctx context.Context, segment string, until time.Time) error {
	records := make([]streamhub.Record, l.Batch)
	var sent tally
	err := l.repeat(ctx, until, func() error {
		for i := range records {
			records[i].Payload = l.payload()
			sent.add(records[i].Payload)
		}
		_, err := l.store.Append(ctx, l.space, segment, records, nil)
		return err
	})
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sums[segment] += sent.sum
	return nil
}

func (l *load) close(ctx context.Context, segment string) error {
	r, err := l.store.CloseSegment(ctx, l.space, segment, streamhub.Verdict{Kind: streamhub.VerdictDone}, nil)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stored += r.Last
	return err
}

// entries reads a segment to its end, checks the order and calls visit with each payload.
func (l *load) entries(segment string, all iter.Seq2[streamhub.Entry, error], visit func([]byte)) (read tally, err error) {
	for e, err := range all {
		switch {
		case errors.Is(err, streamhub.ErrClosed):
			return read, nil
		case err != nil:
			return read, err
		}
		if err := l.take(&read, "entry", segment, e.Sequence, e.Payload); err != nil {
			return read, err
		}
		visit(e.Payload)
	}
	return read, nil
}

// take adds a payload of a reader. It must be the next one, and have the length of all payloads.
func (l *load) take(read *tally, what, id string, sequence uint64, payload []byte) error {
	switch {
	case sequence != read.entries+1:
		return failedf("%s/%s: %s %d came after %d", l.space, id, what, sequence, read.entries)
	case len(payload) != l.Size:
		return failedf("%s/%s: %s %d has %d bytes", l.space, id, what, sequence, len(payload))
	}
	read.add(payload)
	return nil
}

// intact compares the tally of a reader with the appended payloads, when all are appended.
func (l *load) intact(segment string, read tally) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if read.sum != l.sums[segment] {
		return failedf("%s/%s: the %d entries that were delivered are not what was appended", l.space, segment, read.entries)
	}
	return nil
}

// follow reads a segment until it is closed.
func (l *load) follow(ctx context.Context, segment string) error {
	var times []time.Duration
	read, err := l.entries(segment, l.store.FollowSegment(ctx, l.space, segment, nil), func(p []byte) { times = append(times, age(p)) })
	if err != nil {
		return err
	}
	if err := l.intact(segment, read); err != nil {
		return err
	}
	l.deliver(times)
	return nil
}

// consume reads every segment once, and catchUp follows each from its first entry to its end.
func (l *load) consume(ctx context.Context) (phaseReport, error) {
	return l.readAll(ctx, 1, func(ctx context.Context, segment string) iter.Seq2[streamhub.Entry, error] {
		return l.store.ConsumeSegment(ctx, l.space, segment, nil)
	})
}

func (l *load) catchUp(ctx context.Context) (phaseReport, error) {
	return l.readAll(ctx, max(1, l.followers), func(ctx context.Context, segment string) iter.Seq2[streamhub.Entry, error] {
		return l.store.FollowSegment(ctx, l.space, segment, &streamhub.FollowOptions{FromSequence: 1})
	})
}

func (l *load) readAll(ctx context.Context, readers int, open func(context.Context, string) iter.Seq2[streamhub.Entry, error]) (r phaseReport, err error) {
	var times []time.Duration
	records := uint64(0)
	begin := time.Now()
	err = l.each(ctx, readers*l.Segments, func(ctx context.Context, segment string) error {
		began := time.Now()
		read, err := l.entries(segment, open(ctx, segment), func([]byte) { l.bar.add(1) })
		if err == nil {
			err = l.intact(segment, read)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		times = append(times, time.Since(began))
		records += read.entries
		return err
	})
	took := time.Since(begin)
	r = l.report(took, records)
	r.Reads = figures(times, took)
	return r, err
}

// live publishes to live streams while others read them.
func (l *load) live(ctx context.Context) (r phaseReport, err error) {
	l.made = l.Segments
	streams := l.store.Live(l.space)
	begin := time.Now()
	err = l.each(ctx, l.Segments, func(ctx context.Context, id string) error {
		p, _, err := streams.Register(ctx, id, nil)
		if err != nil {
			return err
		}
		if p == nil {
			return failedf("%w: the live stream %s/%s has a producer already", streamhub.ErrConflict, l.space, id)
		}
		return l.stream(ctx, p, begin.Add(l.Duration))
	})
	return l.written(time.Since(begin)), err
}

// stream publishes to one live stream, which it ends, and returns when its readers have its verdict.
func (l *load) stream(ctx context.Context, p live.Producer, until time.Time) (err error) {
	reading, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	read := make(chan tally, l.followers)
	var readers sync.WaitGroup
	for range l.followers {
		readers.Go(func() {
			got, err := l.chunks(reading, p)
			if err != nil {
				stop(err)
			}
			read <- got
		})
	}
	sent, err := l.publish(reading, p, until)
	bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	if err == nil {
		err = p.Done(bye, nil)
	} else {
		stop(err)
		_ = p.Close(bye)
	}
	readers.Wait()
	close(read)
	for got := range read {
		if cause := context.Cause(reading); err == nil && cause != nil {
			err = cause
		}
		if err == nil && got != sent {
			err = failedf("%s/%s: a reader got %d chunks, which are not the %d that were published", l.space, p.ID(), got.entries, sent.entries)
		}
	}
	return err
}

func (l *load) publish(ctx context.Context, p live.Producer, until time.Time) (sent tally, err error) {
	err = l.repeat(ctx, until, func() error {
		data := l.payload()
		sent.add(data)
		return p.Publish(ctx, data)
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stored += sent.entries
	return sent, err
}

// chunks reads a live stream to its verdict.
func (l *load) chunks(ctx context.Context, stream live.Stream) (read tally, err error) {
	var times []time.Duration
	for chunk, err := range stream.Subscribe(ctx, nil) {
		switch {
		case errors.Is(err, streamhub.ErrClosed):
			l.deliver(times)
			return read, nil
		case err != nil:
			return read, err
		}
		if err := l.take(&read, "chunk", stream.ID(), chunk.Sequence, chunk.Data); err != nil {
			return read, err
		}
		times = append(times, age(chunk.Data))
	}
	return read, nil
}

// deliver records how long the deliveries to a reader took.
func (l *load) deliver(times []time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.delivers = append(l.delivers, times...)
}

// remove deletes the segments and live streams of the run, also after an interrupt.
func (l *load) remove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	streams := l.store.Live(l.space)
	for i := range l.made {
		var err error
		if l.streams {
			err = streams.Remove(ctx, l.name(i))
		} else {
			err = l.store.Delete(ctx, l.space, l.name(i), "bench")
		}
		if err != nil && !errors.Is(err, streamhub.ErrNotFound) {
			return err
		}
	}
	return nil
}
