package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/hub"
)

// benchCmd puts load on a hub that is there, in a space of its own.
type benchCmd struct {
	target
	Callers   int           `default:"64" help:"Appends under way at the same time."`
	Segments  int           `default:"64" help:"Segments that they go to."`
	Batch     int           `default:"1" help:"Records of an append."`
	Size      int           `default:"100" help:"Bytes of a record; 8 or more, which say when it was sent."`
	Followers int           `default:"1" help:"Followers of each segment, in this process."`
	Duration  time.Duration `default:"10s" help:"How long."`
}

// A load is one run of benchCmd.
type load struct {
	*benchCmd
	store *client.Store
	space string

	mu                 sync.Mutex
	appends, delivered []time.Duration
	stored             uint64
}

// Run appends for a while, follows what it appends, and says how long each took. What was not
// delivered is an error.
func (c *benchCmd) Run(s *session) error {
	switch {
	case c.Callers < 1 || c.Segments < 1 || c.Followers < 0 || c.Duration <= 0:
		return usagef("--callers, --segments and --duration must be more than nothing, --followers not less")
	case c.Batch < 1 || c.Batch > streamhub.MaxFrameRecords:
		return usagef("--batch %d: want 1 to %d", c.Batch, streamhub.MaxFrameRecords)
	case c.Size < 8 || c.Size > streamhub.MaxRecordBytes:
		return usagef("--size %d: want 8 to %d", c.Size, streamhub.MaxRecordBytes)
	}
	store, done, err := c.open(s, hub.Options{}, client.DefaultRetryPolicy())
	if err != nil {
		return err
	}
	defer done()
	l := &load{benchCmd: c, store: store, space: "bench-" + rand.Text()}
	took, err := l.run(s.ctx)
	err = errors.Join(err, l.remove(s.ctx))
	if err := interrupted(s.ctx, err); err != nil {
		return err
	}
	appends := float64(len(l.appends))
	fmt.Fprintf(s.stdout, "appends     %8d  %10.0f /s  %10.0f records/s  %8.2f MB/s  %s\n", len(l.appends), appends/took.Seconds(),
		appends*float64(c.Batch)/took.Seconds(), appends*float64(c.Batch*c.Size)/1e6/took.Seconds(), quantiles(l.appends))
	if c.Followers > 0 {
		fmt.Fprintf(s.stdout, "deliveries  %8d  %10.0f /s  each entry to %d, in order  %s\n", len(l.delivered), float64(len(l.delivered))/took.Seconds(),
			c.Followers, quantiles(l.delivered))
	}
	return nil
}

func quantiles(times []time.Duration) string {
	if len(times) == 0 {
		return ""
	}
	slices.Sort(times)
	at := func(p float64) time.Duration { return times[int(p*float64(len(times)-1))].Round(time.Microsecond) }
	return fmt.Sprintf("p50 %v  p99 %v  max %v", at(0.5), at(0.99), at(1))
}

// run returns when everything that was appended is delivered: the segments are closed, which ends
// those who follow them.
func (l *load) run(ctx context.Context) (time.Duration, error) {
	for i := range l.Segments {
		if _, _, err := l.store.Create(ctx, l.space, strconv.Itoa(i), nil); err != nil {
			return 0, err
		}
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	each := func(group *sync.WaitGroup, n int, do func(ctx context.Context, segment string) error) {
		for i := range n {
			group.Go(func() {
				if err := do(ctx, strconv.Itoa(i%l.Segments)); err != nil {
					stop(err)
				}
			})
		}
	}
	var followers, appenders, closers sync.WaitGroup
	begin := time.Now()
	each(&followers, l.Followers*l.Segments, l.follow)
	each(&appenders, l.Callers, func(ctx context.Context, segment string) error {
		return l.append(ctx, segment, begin.Add(l.Duration))
	})
	appenders.Wait()
	took := time.Since(begin)
	each(&closers, l.Segments, l.close)
	closers.Wait()
	followers.Wait()
	if err := context.Cause(ctx); err != nil {
		return took, err
	}
	if due := l.stored * uint64(l.Followers); uint64(len(l.delivered)) != due {
		return took, failedf("%d entries were delivered of %d", len(l.delivered), due)
	}
	return took, nil
}

func (l *load) append(ctx context.Context, segment string, until time.Time) error {
	records := make([]streamhub.Record, l.Batch)
	var times []time.Duration
	for {
		sent := time.Now()
		if sent.After(until) {
			break
		}
		payload := binary.BigEndian.AppendUint64(make([]byte, 0, l.Size), uint64(sent.UnixNano()))[:l.Size]
		for i := range records {
			records[i].Payload = payload
		}
		if _, err := l.store.Append(ctx, l.space, segment, records, nil); err != nil {
			return err
		}
		times = append(times, time.Since(sent))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.appends = append(l.appends, times...)
	return nil
}

func (l *load) close(ctx context.Context, segment string) error {
	r, err := l.store.CloseSegment(ctx, l.space, segment, streamhub.Verdict{Kind: streamhub.VerdictDone}, nil)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stored += r.Last
	return err
}

// follow reads a segment until it is closed.
func (l *load) follow(ctx context.Context, segment string) error {
	var times []time.Duration
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.delivered = append(l.delivered, times...)
	}()
	for e, err := range l.store.FollowSegment(ctx, l.space, segment, nil) {
		switch {
		case errors.Is(err, streamhub.ErrClosed):
			return nil
		case err != nil:
			return err
		case e.Sequence != uint64(len(times))+1:
			return failedf("%s/%s: entry %d came behind %d", l.space, segment, e.Sequence, len(times))
		}
		times = append(times, time.Since(time.Unix(0, int64(binary.BigEndian.Uint64(e.Payload)))))
	}
	return nil
}

// remove deletes what was made, also after an interrupt.
func (l *load) remove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	var errs []error
	for i := range l.Segments {
		if err := l.store.Delete(ctx, l.space, strconv.Itoa(i), "bench"); !errors.Is(err, streamhub.ErrNotFound) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
