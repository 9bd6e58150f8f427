package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"golang.org/x/time/rate"

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
	Rate      float64       `placeholder:"N" help:"Most appends a second, of all callers together; no limit if not given."`
	JSON      bool          `name:"json" help:"Write the result as one JSON object; times in microseconds."`
}

// A load is one run of benchCmd.
type load struct {
	*benchCmd
	store *client.Store
	space string
	pace  *rate.Limiter // of appends; nil for as fast as it goes
	bar   *progress
	made  int // segments that there may be

	mu                 sync.Mutex
	appends, delivered []time.Duration
	stored             uint64
	sums               map[string]uint64 // of what was appended, by segment; sums of what was read are taken off
}

// A benchReport is what a run found out, as --json writes it. Times are in microseconds.
type benchReport struct {
	Space      string       `json:"space"`
	Seconds    float64      `json:"seconds"`
	Callers    int          `json:"callers"`
	Segments   int          `json:"segments"`
	Batch      int          `json:"batch"`
	Size       int          `json:"size"`
	Followers  int          `json:"followers"`
	Rate       float64      `json:"rate,omitempty"`
	Appends    benchFigures `json:"appends"`
	Records    uint64       `json:"records"`
	Megabytes  float64      `json:"megabytes_per_second"`
	Deliveries benchFigures `json:"deliveries"`
	// Intact says that each follower of a segment got exactly what was appended to it, in order.
	Intact bool `json:"intact"`
}

// benchFigures are about many calls of one kind.
type benchFigures struct {
	Count     int     `json:"count"`
	PerSecond float64 `json:"per_second"`
	P50       int64   `json:"p50_us"`
	P90       int64   `json:"p90_us"`
	P99       int64   `json:"p99_us"`
	P999      int64   `json:"p999_us"`
	Max       int64   `json:"max_us"`
}

// Run appends for a while, follows what it appends, and says how long each took. What was not
// delivered, or not as it was appended, is an error.
func (c *benchCmd) Run(s *session) error {
	switch {
	case c.Callers < 1 || c.Segments < 1 || c.Followers < 0 || c.Duration <= 0:
		return usagef("--callers, --segments and --duration must be more than nothing, --followers not less")
	case c.Batch < 1 || c.Batch > streamhub.MaxFrameRecords:
		return usagef("--batch %d: want 1 to %d", c.Batch, streamhub.MaxFrameRecords)
	case c.Size < 8 || c.Size > streamhub.MaxRecordBytes:
		return usagef("--size %d: want 8 to %d", c.Size, streamhub.MaxRecordBytes)
	case c.Rate < 0:
		return usagef("--rate %v: want appends a second, or 0 for no limit", c.Rate)
	}
	store, done, err := c.open(s, hub.Options{}, client.DefaultRetryPolicy())
	if err != nil {
		return err
	}
	defer done()
	l := &load{benchCmd: c, store: store, space: "bench-" + rand.Text(), sums: map[string]uint64{}}
	pace := "as fast as it goes"
	if c.Rate > 0 {
		l.pace = rate.NewLimiter(rate.Limit(c.Rate), 1+int(c.Rate/100))
		pace = fmt.Sprintf("%v appends/s", c.Rate)
	}
	s.note("%v of appends through %s: %d callers, %d segments, %d followers each, %d records of %d bytes an append, %s",
		c.Duration, hidden("", firstOf(c.Redis, c.Server, defaultServer)), c.Callers, c.Segments, c.Followers, c.Batch, c.Size, pace)
	l.bar = s.progress(true, "appends", -1)
	took, err := l.run(s.ctx)
	l.bar.finish()
	if left := l.remove(s.ctx); left != nil {
		s.note("the space %s is left: streamhub delete %[1]s --yes removes it", l.space)
		err = firstError(err, left)
	}
	if err := interrupted(s.ctx, err); err != nil {
		return err
	}
	return c.report(s, l, took)
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// report writes what was found out.
func (c *benchCmd) report(s *session, l *load, took time.Duration) error {
	r := benchReport{
		Space: l.space, Seconds: took.Seconds(), Callers: c.Callers, Segments: c.Segments, Batch: c.Batch, Size: c.Size,
		Followers: c.Followers, Rate: c.Rate, Records: l.stored, Intact: true,
		Appends: figures(l.appends, took), Deliveries: figures(l.delivered, took),
		Megabytes: float64(l.stored) * float64(c.Size) / 1e6 / took.Seconds(),
	}
	if c.JSON {
		return json.NewEncoder(s.stdout).Encode(r)
	}
	t := newTable("", "count", "per second", "p50", "p90", "p99", "p99.9", "max")
	for _, row := range []struct {
		name string
		benchFigures
	}{{"appends", r.Appends}, {"deliveries", r.Deliveries}} {
		if row.Count == 0 {
			continue
		}
		cells := table.Row{row.name, row.Count, int64(row.PerSecond)}
		for _, us := range []int64{row.P50, row.P90, row.P99, row.P999, row.Max} {
			cells = append(cells, (time.Duration(us) * time.Microsecond).String())
		}
		t.AppendRow(cells)
	}
	if err := writeTable(s.stdout, t); err != nil {
		return err
	}
	_, err := fmt.Fprintf(s.stdout, "%d records, %.0f a second, %.2f MB/s\n", r.Records, float64(r.Records)/took.Seconds(), r.Megabytes)
	if err == nil && c.Followers > 0 {
		_, err = fmt.Fprintf(s.stdout, "intact: each follower got every record, in order, as it was appended\n")
	}
	return err
}

func figures(times []time.Duration, took time.Duration) benchFigures {
	if len(times) == 0 {
		return benchFigures{}
	}
	slices.Sort(times)
	at := func(p float64) int64 { return times[int(p*float64(len(times)-1))].Microseconds() }
	return benchFigures{len(times), float64(len(times)) / took.Seconds(), at(0.5), at(0.9), at(0.99), at(0.999), at(1)}
}

// run returns when everything that was appended is delivered: the segments are closed, which ends
// those who follow them.
func (l *load) run(ctx context.Context) (time.Duration, error) {
	for i := range l.Segments {
		_, _, err := l.store.Create(ctx, l.space, strconv.Itoa(i), nil)
		if err == nil || errors.Is(err, streamhub.ErrUnknownOutcome) {
			l.made++
		}
		if err != nil {
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
		return took, failedf("followers got %d entries of %d: raise --duration, or ask less of the hub", len(l.delivered), due)
	}
	for segment, sum := range l.sums {
		if l.Followers > 0 && sum != 0 {
			return took, failedf("%s/%s: what was delivered is not what was appended", l.space, segment)
		}
	}
	return took, nil
}

// checksum is of a payload. The sum over a segment does not depend on the order, which is looked at
// by itself.
func checksum(payload []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(payload)
	return h.Sum64()
}

func (l *load) append(ctx context.Context, segment string, until time.Time) error {
	records := make([]streamhub.Record, l.Batch)
	var times []time.Duration
	sum := uint64(0)
	for {
		if l.pace != nil && l.pace.Wait(ctx) != nil {
			return context.Cause(ctx)
		}
		for i := range records {
			records[i].Payload = make([]byte, l.Size)
			_, _ = rand.Read(records[i].Payload)
		}
		sent := time.Now()
		if sent.After(until) {
			break
		}
		for _, r := range records {
			binary.BigEndian.PutUint64(r.Payload, uint64(sent.UnixNano()))
			sum += checksum(r.Payload)
		}
		if _, err := l.store.Append(ctx, l.space, segment, records, nil); err != nil {
			return err
		}
		times = append(times, time.Since(sent))
		l.bar.add(1)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.appends = append(l.appends, times...)
	l.sums[segment] += sum * uint64(l.Followers)
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
	sum := uint64(0)
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.delivered = append(l.delivered, times...)
		l.sums[segment] -= sum
	}()
	for e, err := range l.store.FollowSegment(ctx, l.space, segment, nil) {
		switch {
		case errors.Is(err, streamhub.ErrClosed):
			return nil
		case err != nil:
			return err
		case e.Sequence != uint64(len(times))+1:
			return failedf("%s/%s: entry %d came after %d", l.space, segment, e.Sequence, len(times))
		case len(e.Payload) != l.Size:
			return failedf("%s/%s: entry %d has %d bytes", l.space, segment, e.Sequence, len(e.Payload))
		}
		times = append(times, time.Since(time.Unix(0, int64(binary.BigEndian.Uint64(e.Payload)))))
		sum += checksum(e.Payload)
	}
	return nil
}

// remove deletes what was made, also after an interrupt.
func (l *load) remove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	for i := range l.made {
		if err := l.store.Delete(ctx, l.space, strconv.Itoa(i), "bench"); err != nil && !errors.Is(err, streamhub.ErrNotFound) {
			return err
		}
	}
	return nil
}
