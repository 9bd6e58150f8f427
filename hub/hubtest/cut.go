package hubtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
)

// A Target is the segment that a reader of [CutEverywhere] reads. It is the only one of its space.
type Target struct {
	// Provider is a client of the gateway whose connection is cut.
	Provider       streamhub.Provider
	Store          uuid.UUID
	Space, Segment string
}

// A Reader reads a segment from its start until it is closed, and calls saw with each entry after it has
// handled it. At the end it returns nil or a [streamhub.ClosedError]. It also returns soon after ctx has
// ended.
type Reader func(ctx context.Context, from Target, saw func(streamhub.Entry)) error

const (
	cutEntries = 8                // entries of the segment
	cutPatient = 20 * time.Second // how long a reader may take to reach the end
)

// CutEverywhere runs read once for each entry of a segment and cuts its connection right after that entry; in one more
// run it cuts before the first. It does so with a complete segment, and with one that is written during the run. It
// fails tb unless each run has seen every entry once, in order, and has ended as a [Reader] must.
func CutEverywhere(tb TB, read Reader) {
	tb.Helper()
	for _, live := range []bool{false, true} {
		for after := range cutEntries + 1 {
			if err := cutOnce(tb, read, live, after); err != nil {
				written := "a segment that was written before"
				if live {
					written = "a segment that is written meanwhile"
				}
				tb.Fatalf("hubtest: %s, cut after entry %d of %d: %v", written, after, cutEntries, err)
			}
		}
	}
}

// cutOnce runs read with one cut, which comes after the entry with sequence after; 0 is the start.
func cutOnce(tb TB, read Reader, live bool, after int) (err error) {
	env, err := Start(tb.Context(), &Options{Hub: hub.Options{RetryFor: cutPatient}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, env.Close()) }()
	ctx, cancel := context.WithTimeout(tb.Context(), cutPatient)
	defer cancel()
	from := Target{Provider: env.Client(), Store: env.ID, Space: "space", Segment: "segment"}

	// next receives the number of entries that may be written so far.
	next := make(chan int, cutEntries+1)
	written := make(chan error, 1)
	go func() { written <- write(ctx, env, from, next) }()
	first := 1
	if !live {
		first = cutEntries + 1
	}
	next <- first
	if !live {
		if err := <-written; err != nil {
			return err
		}
	}

	var seen []uint64
	if after == 0 {
		// Open the connection, so that there is one to cut.
		if _, err := from.Provider.Store(env.ID).Status(ctx, from.Space, from.Segment); err != nil && !errors.Is(err, streamhub.ErrNotFound) {
			return err
		}
		env.Cut()
	}
	err = read(ctx, from, func(e streamhub.Entry) {
		seen = append(seen, e.Sequence)
		if len(seen) == after {
			env.Cut()
		}
		select {
		case next <- len(seen) + 1: // the entry after the cut is written only now
		default:
		}
	})
	cancel()
	if live {
		if w := <-written; w != nil && !errors.Is(w, context.Canceled) && !errors.Is(w, context.DeadlineExceeded) {
			return w
		}
	}
	want := make([]uint64, cutEntries)
	for i := range want {
		want[i] = uint64(i + 1)
	}
	if !slices.Equal(seen, want) {
		return errors.Join(fmt.Errorf("the reader saw %v, want %v", seen, want), err)
	}
	if err != nil && !errors.Is(err, streamhub.ErrClosed) {
		return fmt.Errorf("the reader saw every entry and ended with: %w", err)
	}
	return nil
}

// write appends entries one by one, as far as next allows, and closes the segment after the last.
func write(ctx context.Context, env *Env, to Target, next <-chan int) error {
	s := env.Hub().Store(to.Store)
	for i := 1; i <= cutEntries+1; {
		var upTo int
		select {
		case upTo = <-next:
		case <-ctx.Done():
			return ctx.Err()
		}
		for ; i <= upTo; i++ {
			var err error
			if i <= cutEntries {
				record := streamhub.Record{Payload: fmt.Appendf(nil, "entry %d", i)}
				_, err = s.Append(ctx, to.Space, to.Segment, []streamhub.Record{record}, nil)
			} else {
				_, err = s.CloseSegment(ctx, to.Space, to.Segment, streamhub.Verdict{Kind: streamhub.VerdictDone}, nil)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}
