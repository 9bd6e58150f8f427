package follow

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

// TestFollowReplayToLive starts followers at random moments and places while a writer is running.
func TestFollowReplayToLive(t *testing.T) {
	backends(t, func(t *testing.T, w *world) {
		runs := 40
		if testing.Short() {
			runs = 5
		}
		watchers := []*Watcher{w.watch(nil), w.watch(&Options{BufferBytes: 2000})}
		for run := range runs {
			segment := fmt.Sprint("run ", run)
			const total = 200
			var progress sync.Map // sequence -> closed when it was appended
			for i := uint64(0); i <= total; i++ {
				progress.Store(i, make(chan struct{}))
			}
			var all sync.WaitGroup
			cursors := make(chan streamhub.Cursor, 1000)
			for i := range 8 {
				by := watchers[i%len(watchers)]
				r := rand.New(rand.NewPCG(uint64(run), uint64(i)))
				all.Go(func() {
					begin, _ := progress.Load(uint64(r.IntN(total)))
					<-begin.(chan struct{})
					o := &streamhub.FollowOptions{}
					switch r.IntN(4) {
					case 1:
						o.FromSequence = uint64(r.IntN(total)) + 1
					case 2:
						o.Live = true
					case 3:
						select {
						case o.Cursor = <-cursors:
						default:
						}
					}
					next := max(1, o.FromSequence)
					if p, _ := o.Cursor.Position(); !p.IsZero() {
						next = p.Sequence + 1
					}
					ends := 0
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					defer cancel()
					for e, err := range w.followSegment(ctx, by, "random", segment, o) {
						if ends > 0 {
							t.Errorf("run %d: entry %d after the end", run, e.Sequence)
						}
						if err != nil {
							ends++
							var closed *streamhub.ClosedError
							if !errors.As(err, &closed) || closed.LastSequence != total || closed.Verdict.Kind != done.Kind {
								t.Errorf("run %d: %v", run, err)
							}
							continue
						}
						if o.Live {
							next, o.Live = e.Sequence, false
						}
						if e.Sequence != next || string(e.Payload) != fmt.Sprint(segment, e.Sequence) {
							t.Errorf("run %d %+v: entry %d %q, want %d", run, *o, e.Sequence, e.Payload, next)
						}
						next++
						if r.IntN(10) == 0 {
							select {
							case cursors <- e.Cursor():
							default:
							}
						}
					}
					if ends != 1 || next != total+1 && !o.Live {
						t.Errorf("run %d %+v: %d ends, at %d", run, *o, ends, next)
					}
				})
			}
			r := rand.New(rand.NewPCG(uint64(run), 100))
			note := func(i uint64) {
				ch, _ := progress.Load(i)
				close(ch.(chan struct{}))
			}
			note(0)
			for at := uint64(0); at < total; {
				n := min(uint64(r.IntN(9))+1, total-at)
				var records []streamhub.Record
				for i := range n {
					records = append(records, streamhub.Record{Payload: []byte(fmt.Sprint(segment, at+i+1))})
				}
				_, err := w.store.Append(t.Context(), "random", segment, records, nil)
				require.NoError(t, err)
				for range n {
					at++
					note(at)
				}
			}
			w.close("random", segment)
			all.Wait()
			if t.Failed() {
				return
			}
		}
	})
}

// TestFollowSpaceReplayToLive: all followers of a space see one order, and each segment without
// gap.
func TestFollowSpaceReplayToLive(t *testing.T) {
	backends(t, func(t *testing.T, w *world) {
		watchers := []*Watcher{w.watch(nil), w.watch(&Options{BufferBytes: 2000})}
		const segments, each = 5, 150
		var writers, readers sync.WaitGroup
		sequences := make([][]string, 8)
		started := make(chan struct{}, segments*each)
		for i := range sequences {
			readers.Go(func() {
				for range i * 20 {
					<-started
				}
				o := &streamhub.FollowOptions{Limit: segments * each}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				for e, err := range w.followSpace(ctx, watchers[i%2], "wide", o) {
					if err != nil {
						t.Error(err)
						return
					}
					sequences[i] = append(sequences[i], fmt.Sprint(e.Segment, e.Sequence))
					// Half of them come back by cursor now and then.
					if i >= 4 && len(sequences[i]) == 300 {
						o.Cursor = e.Cursor()
						o.Limit -= 300
						break
					}
				}
				if o.Cursor == "" {
					return
				}
				for e, err := range w.followSpace(ctx, watchers[(i+1)%2], "wide", o) {
					if err != nil {
						t.Error(err)
						return
					}
					sequences[i] = append(sequences[i], fmt.Sprint(e.Segment, e.Sequence))
				}
			})
		}
		for s := range segments {
			writers.Go(func() {
				r := rand.New(rand.NewPCG(1, uint64(s)))
				for at := 0; at < each; {
					n := min(r.IntN(4)+1, each-at)
					records := make([]streamhub.Record, n)
					if _, err := w.store.Append(t.Context(), "wide", fmt.Sprint("s", s, "/"), records, nil); err != nil {
						t.Error(err)
						return
					}
					if r.IntN(10) == 0 { // something without entries
						if _, _, err := w.store.Create(t.Context(), "wide", fmt.Sprint("empty", s, at), nil); err != nil {
							t.Error(err)
						}
					}
					at += n
					for range n {
						started <- struct{}{}
					}
				}
			})
		}
		writers.Wait()
		readers.Wait()
		require.Len(t, sequences[0], segments*each)
		next := map[string]int{}
		for _, e := range sequences[0] {
			segment := e[:len("s0/")]
			next[segment]++
			require.Equal(t, fmt.Sprint(segment, next[segment]), e)
		}
		for i := range sequences {
			require.Equal(t, sequences[0], sequences[i])
		}
	})
}

func TestFollowNotYet(t *testing.T) {
	backends(t, func(t *testing.T, w *world) {
		by := w.watch(&Options{Recheck: never})
		plain := w.follower(by, "a", "b", nil)
		live := w.follower(by, "a", "b", &streamhub.FollowOptions{Live: true})
		from := w.follower(by, "a", "b", &streamhub.FollowOptions{FromSequence: 3, Limit: 1})
		space := w.spaceFollower(by, "a", &streamhub.FollowOptions{Live: true})
		for _, p := range []*puller[streamhub.Entry]{plain, live, from, space} {
			p.ask()
		}
		idle(t, by, w.key("a", "b"), 3)
		idle(t, by, w.key("a", ""), 1)
		w.append("a", "b", 3)
		for _, p := range []*puller[streamhub.Entry]{plain, live, space} {
			require.EqualValues(t, 1, p.take(soon).value.Sequence)
			expect(p, 2, 3)
		}
		require.EqualValues(t, 3, from.take(soon).value.Sequence)
		from.ask()
		require.False(t, from.take(soon).ok, "after the limit")
	})
}

func TestFollowLive(t *testing.T) {
	backends(t, func(t *testing.T, w *world) {
		by := w.watch(&Options{Recheck: never})
		w.append("a", "b", 5)
		w.append("a", "c", 2)
		one := w.follower(by, "a", "b", &streamhub.FollowOptions{Live: true})
		space := w.spaceFollower(by, "a", &streamhub.FollowOptions{Live: true})
		one.ask()
		space.ask()
		idle(t, by, w.key("a", "b"), 1)
		idle(t, by, w.key("a", ""), 1)
		w.append("a", "b", 1)
		require.EqualValues(t, 6, one.take(soon).value.Sequence)
		require.EqualValues(t, 6, space.take(soon).value.Sequence)
		// A second one begins with what comes after it, also if the first is slower.
		w.append("a", "b", 4)
		two := w.follower(by, "a", "b", &streamhub.FollowOptions{Live: true})
		two.ask()
		placed(t, by, w.key("a", "b"), 2)
		w.append("a", "b", 1)
		require.EqualValues(t, 11, two.take(soon).value.Sequence)
		expect(one, 7, 11)
		expect(space, 7, 11)
	})
}

func TestFollowRefuses(t *testing.T) {
	w := newWorld(t, onRedis(t).addrs...)
	by := w.watch(nil)
	w.append("a", "b", 1)
	segment := cursorOf(w.follower(by, "a", "b", nil).next(soon))
	space := cursorOf(w.spaceFollower(by, "a", nil).next(soon))
	for name, c := range map[string]struct {
		space, segment string
		o              streamhub.FollowOptions
		want           error
	}{
		"space":           {"", "b", streamhub.FollowOptions{}, streamhub.ErrInvalidName},
		"segment":         {"a", "", streamhub.FollowOptions{}, streamhub.ErrInvalidName},
		"cursor":          {"a", "b", streamhub.FollowOptions{Cursor: "nonsense"}, streamhub.ErrInvalidCursor},
		"cursor of space": {"a", "b", streamhub.FollowOptions{Cursor: space}, streamhub.ErrInvalidCursor},
		"cursor and live": {"a", "b", streamhub.FollowOptions{Cursor: segment, Live: true}, streamhub.ErrInvalidArgument},
		"cursor and from": {"a", "b", streamhub.FollowOptions{Cursor: segment, FromSequence: 1}, streamhub.ErrInvalidArgument},
		"live and from":   {"a", "b", streamhub.FollowOptions{Live: true, FromSequence: 1}, streamhub.ErrInvalidArgument},
		"vanished":        {"a", "other", streamhub.FollowOptions{Cursor: segment}, streamhub.ErrHistoryLost},
	} {
		err := w.follower(by, c.space, c.segment, &c.o).end(soon)
		require.ErrorIs(t, err, c.want, name)
		var e *streamhub.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, streamhub.Error{Op: "follow", Store: w.store.ID(), Space: c.space, Segment: c.segment, Err: e.Err}, *e)
	}
	require.ErrorIs(t, w.spaceFollower(by, "a", &streamhub.FollowOptions{Cursor: segment}).end(soon), streamhub.ErrInvalidCursor)
	require.ErrorIs(t, w.spaceFollower(by, "a", &streamhub.FollowOptions{FromSequence: 1}).end(soon), streamhub.ErrInvalidArgument)
}

// TestFollowClosed: every follower gets the verdict once and last, whenever it comes.
func TestFollowClosed(t *testing.T) {
	backends(t, func(t *testing.T, w *world) {
		by := w.watch(&Options{Recheck: never})
		w.append("a", "b", 3)
		var early []*puller[streamhub.Entry]
		for range 5 {
			p := w.follower(by, "a", "b", nil)
			expect(p, 1, 3)
			p.ask()
			early = append(early, p)
		}
		slow := w.follower(by, "a", "b", nil)
		expect(slow, 1, 1)
		live := w.follower(by, "a", "b", &streamhub.FollowOptions{Live: true})
		live.ask()
		waiting := 6 // slow is busy
		if w.offers {
			waiting = 7 // with offers it was given everything beforehand
		}
		idle(t, by, w.key("a", "b"), waiting)
		w.close("a", "b")
		for _, p := range append(early, live) {
			closedAt(t, p.ended(soon), 3)
		}
		expect(slow, 2, 3)
		closedAt(t, slow.end(soon), 3)
		late := w.follower(by, "a", "b", nil)
		last := expect(late, 1, 3)
		closedAt(t, late.end(soon), 3)
		closedAt(t, w.follower(by, "a", "b", &streamhub.FollowOptions{Cursor: last.Cursor()}).end(soon), 3)
		closedAt(t, w.follower(by, "a", "b", &streamhub.FollowOptions{Live: true}).end(soon), 3)
		closedAt(t, w.follower(by, "a", "b", &streamhub.FollowOptions{FromSequence: 9}).end(soon), 3)
		// Together with the last entry, and with no entry at all.
		both := w.follower(by, "a", "c", nil)
		both.ask()
		_, err := w.store.CloseSegment(t.Context(), "a", "c", done, &streamhub.AppendOptions{})
		if errors.Is(err, streamhub.ErrNotFound) { // it may have to exist
			_, _, err = w.store.Create(t.Context(), "a", "c", &streamhub.CreateOptions{Closed: &done})
		}
		require.NoError(t, err)
		closedAt(t, both.ended(soon), 0)
	})
}

func TestFollowDeleted(t *testing.T) {
	backends(t, func(t *testing.T, w *world) {
		by := w.watch(&Options{Recheck: never})
		w.append("a", "b", 3)
		w.append("a", "keeps", 1)
		p := w.follower(by, "a", "b", nil)
		space := w.spaceFollower(by, "a", nil)
		expect(p, 1, 3)
		expect(space, 1, 3)
		expect(space, 1, 1)
		p.ask()
		space.ask()
		idle(t, by, w.key("a", "b"), 1)
		require.NoError(t, w.store.Delete(t.Context(), "a", "b", ""))
		require.ErrorIs(t, p.ended(soon), streamhub.ErrNotFound)
		w.append("a", "keeps", 1)
		require.Equal(t, "keeps", space.take(soon).value.Segment)
		// An empty one is followed too.
		_, _, err := w.store.Create(t.Context(), "a", "empty", nil)
		require.NoError(t, err)
		p = w.follower(by, "a", "empty", nil)
		p.ask()
		idle(t, by, w.key("a", "empty"), 1)
		require.NoError(t, w.store.Delete(t.Context(), "a", "empty", ""))
		require.ErrorIs(t, p.ended(soon), streamhub.ErrNotFound)
		// Another life of the name is waited for.
		p = w.follower(by, "a", "empty", nil)
		p.ask()
		idle(t, by, w.key("a", "empty"), 1)
		_, _, err = w.store.Create(t.Context(), "a", "empty", nil)
		require.NoError(t, err)
		w.append("a", "empty", 2)
		require.EqualValues(t, 1, p.take(soon).value.Sequence)
		expect(p, 2, 2)
	})
}

func TestFollowTrimmed(t *testing.T) {
	backends(t, func(t *testing.T, w *world) {
		w.offers = false // what is taken beforehand is not missed
		by := w.watch(&Options{Recheck: never, BufferBytes: 1})
		w.append("a", "b", 10)
		slow, at := w.follower(by, "a", "b", &streamhub.FollowOptions{FromSequence: 9}), w.follower(by, "a", "b", nil)
		expect(slow, 9, 10) // its page is used up
		expect(at, 1, 10)
		w.append("a", "b", 5)
		expect(at, 11, 15)
		w.append("a", "b", 1) // alone in the window
		last := expect(at, 16, 16)
		_, err := w.store.Trim(t.Context(), "a", "b", 12)
		require.NoError(t, err)
		err = slow.end(soon)
		var trimmed *streamhub.TrimmedError
		require.ErrorAs(t, err, &trimmed)
		require.EqualValues(t, 13, trimmed.FirstKept)
		_, err = w.store.Trim(t.Context(), "a", "b", 16)
		require.NoError(t, err)
		again := w.follower(by, "a", "b", &streamhub.FollowOptions{Cursor: last.Cursor()})
		plain := w.follower(by, "a", "b", nil)
		again.ask()
		plain.ask()
		idle(t, by, w.key("a", "b"), 2)
		w.append("a", "b", 1)
		expect(at, 17, 17)
		require.EqualValues(t, 17, again.take(soon).value.Sequence)
		require.EqualValues(t, 17, plain.take(soon).value.Sequence)
		require.ErrorIs(t, w.follower(by, "a", "b", &streamhub.FollowOptions{FromSequence: 1}).end(soon), streamhub.ErrTrimmed)
	})
}

func TestFollowEnds(t *testing.T) {
	w := onRedis(t)
	by := w.watch(nil)
	w.append("a", "b", 1)
	ctx, cancel := context.WithCancel(t.Context())
	p := pull(t, t.Context(), func(context.Context) iter.Seq2[streamhub.Entry, error] {
		return w.followSegment(ctx, by, "a", "b", nil)
	})
	expect(p, 1, 1)
	p.ask()
	other := w.follower(by, "a", "b", nil)
	other.next(soon)
	other.ask()
	space := w.spaceFollower(by, "none", nil)
	space.ask()
	status := pull(t, t.Context(), func(ctx context.Context) iter.Seq2[streamhub.Status, error] {
		return by.SubscribeSegment(ctx, w.store, "a", "b")
	})
	status.next(soon)
	status.ask()
	idle(t, by, w.key("a", "b"), 2)
	cancel()
	require.Equal(t, context.Canceled, p.ended(soon))
	other.silent()
	require.NoError(t, by.Close())
	require.ErrorIs(t, other.ended(soon), streamhub.ErrShutdown)
	require.ErrorIs(t, space.ended(soon), streamhub.ErrShutdown)
	require.ErrorIs(t, status.ended(soon), streamhub.ErrShutdown)
	require.ErrorIs(t, w.follower(by, "a", "b", nil).end(soon), streamhub.ErrShutdown)
	require.NoError(t, by.Close())
}

func cursorOf(e streamhub.Entry) streamhub.Cursor { return e.Cursor() }

// TestFollowAhead: a follower has read further than its topic, and just that is lost. The topic
// finds nothing wrong, so the follower has to look for itself.
func TestFollowAhead(t *testing.T) {
	w := onRedis(t)
	by := w.watch(&Options{Recheck: 100 * time.Millisecond})
	w.append("a", "b", 3)
	p := w.follower(by, "a", "b", nil)
	last := expect(p, 1, 3)
	p.ask()
	idle(t, by, w.key("a", "b"), 1)
	topic := by.acquire(w.key("a", "b"), &follower{})
	defer topic.release(nil)
	f := &follower{w: by, t: topic, at: last.Position, epoch: 1, opened: true}
	f.at.Sequence++
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	require.ErrorIs(t, f.run(ctx), streamhub.ErrHistoryLost)
	p.silent()
}

// TestFollowSpaceSwept follows slowly while segments come and go: a follower out of its window reads beyond
// places that a sweep has removed.
func TestFollowSpaceSwept(t *testing.T) {
	backends(t, func(t *testing.T, w *world) {
		by := w.watch(&Options{BufferBytes: 500})
		w.append("space", "stays", 1)
		p := w.spaceFollower(by, "space", nil)
		require.Equal(t, "stays", p.next(soon).Segment)
		seen := map[string]uint64{}
		const rounds, each = 12, 20
		for i := range rounds {
			segment := fmt.Sprint("job ", i)
			w.append("space", segment, each)
			// It stands in the middle of what is deleted, or at the end of it.
			for range each / (1 + i%2) {
				e := p.next(soon)
				seen[e.Segment]++
			}
			require.NoError(t, w.store.Delete(t.Context(), "space", segment, "done"))
			w.append("space", "stays", 1)
			require.NoError(t, w.store.Sweep(t.Context()))
		}
		w.append("space", "last", 1)
		for {
			e := p.next(soon)
			seen[e.Segment]++
			if e.Segment == "last" {
				break
			}
		}
		require.EqualValues(t, rounds, seen["stays"])
	})
}

// TestResume has followers come back to segments of their own, each with a cursor. What there is after it costs
// one read of the segment, and they go on live or hear how it ended.
func TestResume(t *testing.T) {
	const segments = 20
	server := testredis.Start(t, nil)
	w := newWorld(t, server.Addr())
	name := func(i int) string { return fmt.Sprint("segment ", i) }
	cursors := make([]streamhub.Cursor, segments)
	for i := range segments {
		p := w.follower(w.watch(nil), "a", name(i), nil)
		w.append("a", name(i), 2)
		cursors[i] = cursorOf(p.next(soon))
		p.next(soon)
	}
	w.later("a", "other")
	client := server.Client()
	reads := func() (n int) {
		t.Helper()
		info, err := client.Info(t.Context(), "commandstats").Result()
		require.NoError(t, err)
		for _, m := range regexp.MustCompile(`cmdstat_(?:hmget|xrange):calls=(\d+)`).FindAllStringSubmatch(info, -1) {
			calls, err := strconv.Atoi(m[1])
			require.NoError(t, err)
			n += calls
		}
		return n
	}
	before := reads()
	by := w.watch(&Options{Recheck: never})
	var followers []*puller[streamhub.Entry]
	for i := range segments {
		p := w.follower(by, "a", name(i), &streamhub.FollowOptions{Cursor: cursors[i]})
		require.EqualValues(t, 2, p.next(soon).Sequence)
		p.ask()
		idle(t, by, w.key("a", name(i)), 1)
		followers = append(followers, p)
	}
	require.Equal(t, 2*segments, reads()-before, "the meta and the log, once each")
	before = reads()
	by.mu.Lock()
	space := by.spaces[w.key("a", "")]
	by.mu.Unlock()
	require.NoError(t, space.check(t.Context()))
	for i := range segments {
		idle(t, by, w.key("a", name(i)), 1)
	}
	require.Less(t, reads()-before, segments, "what is older than the timeline's end is not read again")
	for i, p := range followers {
		w.append("a", name(i), 1)
		require.EqualValues(t, 3, p.take(soon).value.Sequence)
	}
}

// TestResumeLost loses what a follower came back to, together with its place in the timeline. The next re-check finds
// out, whether it begins before that place or after it.
func TestResumeLost(t *testing.T) {
	for name, based := range map[string]bool{"before": true, "after": false} {
		t.Run(name, func(t *testing.T) {
			server := testredis.Start(t, nil)
			w := newWorld(t, server.Addr())
			w.append("a", "b", 10)
			w.append("a", "c", 1)
			by := w.watch(&Options{Recheck: never})
			if based {
				other := w.follower(by, "a", "c", nil)
				other.next(soon)
				other.ask()
				idle(t, by, w.key("a", "c"), 1)
			}
			restore := saved(t, server.Client())
			w.append("a", "b", 1)
			p := w.follower(w.watch(nil), "a", "b", &streamhub.FollowOptions{FromSequence: 11})
			cursor := cursorOf(p.next(soon))
			p.stop()
			if !based {
				w.later("a", "c")
			}
			p = w.follower(by, "a", "b", &streamhub.FollowOptions{Cursor: cursor})
			p.ask()
			idle(t, by, w.key("a", "b"), 1)
			restore()
			by.mu.Lock()
			space := by.spaces[w.key("a", "")]
			by.mu.Unlock()
			require.NoError(t, space.check(t.Context()))
			var lost *streamhub.HistoryLostError
			require.ErrorAs(t, p.ended(soon), &lost)
			require.EqualValues(t, 11, lost.FirstLost)
		})
	}
}

// TestFollowSpaceTrimmedBefore trims what lies after the first page that a follower reads, before it begins.
func TestFollowSpaceTrimmedBefore(t *testing.T) {
	w := onRedis(t)
	by := w.watch(&Options{Recheck: never})
	const n = 100
	for range n {
		w.append("a", "stays", 1)
		w.append("a", "cut", 1)
	}
	_, err := w.store.Trim(t.Context(), "a", "cut", n)
	require.NoError(t, err)
	p := w.spaceFollower(by, "a", nil)
	first := expect(p, 1, n)
	last := w.append("a", "cut", 1)
	require.Equal(t, last, p.next(soon).Sequence)
	require.ErrorIs(t, w.spaceFollower(by, "a", &streamhub.FollowOptions{Cursor: first.Cursor()}).end(soon), streamhub.ErrTrimmed)
}
