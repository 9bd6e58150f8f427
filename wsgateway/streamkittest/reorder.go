package streamkittest

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

// shuffled returns the sequences 1 to n, each up to ahead places before its turn, in another order for each seed.
func shuffled(n, ahead int, seed uint64) []uint64 {
	random := rand.New(rand.NewPCG(seed, uint64(n)))
	type place struct {
		sequence uint64
		at       int
	}
	places := make([]place, n)
	for i := range places {
		places[i] = place{uint64(i + 1), i + random.IntN(ahead)}
	}
	slices.SortStableFunc(places, func(a, b place) int { return cmp.Compare(a.at, b.at) })
	order := make([]uint64, n)
	for i, p := range places {
		order[i] = p.sequence
	}
	return order
}

// testReordered sends records as a released client does whose queue has stalled.
func testReordered(t *testing.T, g Gateway) {
	const n, ahead = 20_000, 12_000
	c, store := Dial(t, g, "streamkit::*"), uuid.New()
	for _, test := range []struct {
		name string
		late int // records that come after the close
	}{{"in time", 0}, {"close first", 700}} {
		ch := c.Open(store, "produce", segment("sp", test.name, nil))
		seed := rand.Uint64()
		t.Logf("%s: seed %d", test.name, seed)
		order := shuffled(n, ahead, seed)
		for i, sequence := range order {
			if i == n-test.late {
				ch.Close("")
			}
			ch.Send(Record{Sequence: sequence, Payload: fmt.Appendf(nil, "p%d", sequence)})
		}
		if test.late == 0 {
			ch.Close("")
		}
		messages, problem := ch.Rest()
		require.Empty(t, problem, test.name)
		statuses := decode[Status](t, messages)
		require.Len(t, statuses, n/10_000)
		require.EqualValues(t, n, statuses[len(statuses)-1].LastSequence)
		entries := c.Consume(store, "consume_segment", segment("sp", test.name, nil))
		require.Len(t, entries, n)
		for i, e := range entries {
			require.EqualValues(t, i+1, e.Sequence)
			require.Equal(t, fmt.Sprintf("p%d", e.Sequence), string(*e.Payload))
		}
	}
	// Everything after the close, the last records of a segment that has some: nothing shows that they are missing.
	ch := c.Open(store, "produce", segment("sp", "in time", nil))
	for i := range uint64(9000) {
		ch.Send(Record{Sequence: n + 1 + i})
	}
	ch.Close("")
	ch.Send(Record{Sequence: n + 9001})
	_, problem := ch.Rest()
	require.Empty(t, problem)
	head, _ := c.Peek(store, "sp", "in time")
	require.EqualValues(t, n+9001, head.Sequence)
}

// testEnvelopeLate sends frames of a channel before its envelope, as a released client does while another channel has
// stalled its queue.
func testEnvelopeLate(t *testing.T, g Gateway) {
	c, store := Dial(t, g, "streamkit::*"), uuid.New()
	for _, order := range []string{"1ec", "1ce", "ce1", "c1e", "1ec23", "2c1e3", "312ce"} {
		ch, n := c.channel(store), uint64(0)
		for _, frame := range order {
			switch frame {
			case 'e':
				ch.envelope("produce", segment("sp", order, nil))
			case 'c':
				ch.Close("")
			default:
				n++
				ch.Send(Record{Sequence: uint64(frame - '0')})
			}
		}
		messages, problem := ch.Rest()
		require.Empty(t, problem, order)
		require.Equal(t, n, decode[Status](t, messages)[0].LastSequence, order)
	}
	// A channel whose close came first ends at once.
	ch := c.channel(store)
	ch.Close("context canceled")
	ch.envelope("subscribe_to_segment_status", segment("sp", "sg", nil))
	_, problem := ch.Rest()
	require.Equal(t, "context canceled", problem)
}

// testGaps misses records that do not come.
func testGaps(t *testing.T, g Gateway) {
	c, store := Dial(t, g, "streamkit::*"), uuid.New()
	for _, test := range []struct {
		name    string
		send    []uint64
		problem string
	}{
		{"gap", []uint64{1, 3, 4}, "sequence gap: expected 2, got 3"},
		{"start", []uint64{2, 3}, "sequence gap: expected 1, got 2"},
		{"twice", []uint64{1, 1}, "sequence gap: expected 2, got 1"},
		{"twice ahead", []uint64{1, 3, 3, 2}, "sequence gap: expected 2, got 3"},
		{"none", []uint64{0}, "sequence gap: expected 1, got 0"},
	} {
		ch := c.Open(store, "produce", segment("sp", test.name, nil))
		for _, sequence := range test.send {
			ch.Send(Record{Sequence: sequence})
		}
		ch.Close("")
		messages, problem := ch.Rest()
		require.Equal(t, test.problem, problem, test.name)
		require.Empty(t, messages)
		require.NotContains(t, c.Names(store, "sp"), test.name)
	}
	// A channel that stays open is told after a while, or as soon as too much waits.
	open, orphan := c.Open(store, "produce", segment("sp", "open", nil)), c.channel(store)
	start := time.Now()
	orphan.Send(Record{Sequence: 1})
	open.Send(Record{Sequence: 1})
	open.Send(Record{Sequence: 3})
	many := c.Open(store, "produce", segment("sp", "many", nil))
	for i := range uint64(16_385) {
		many.Send(Record{Sequence: i + 2})
	}
	_, problem := many.Rest()
	require.Equal(t, "sequence gap: expected 1, got 16386", problem)
	large := c.Open(store, "produce", segment("sp", "large", nil))
	for i := range uint64(6) {
		large.Send(Record{Sequence: i + 2, Payload: make([]byte, 4<<20)})
	}
	_, problem = large.Rest()
	require.Contains(t, problem, "sequence gap: expected 1, got ")
	_, problem = open.Rest()
	require.Equal(t, "sequence gap: expected 2, got 3", problem)
	require.GreaterOrEqual(t, time.Since(start), 9*time.Second)
	for range 3 { // as a released client does
		c.Ping()
		<-time.After(time.Second)
	}
	_, problem = orphan.Rest()
	require.Equal(t, "missing $type field in envelope", problem)
	require.EqualValues(t, 3, produce(c, store, "sp", "open", 1, 3)[0].LastSequence, "nothing was stored, and what was held is given back")
}

// testManyProducers has more records waiting than a connection may hold: they are stored early.
func testManyProducers(t *testing.T, g Gateway) {
	const channels, each = 30, 1
	c, store := Dial(t, g, "streamkit::*"), uuid.New()
	var open []*Channel
	for i := range channels {
		ch := c.Open(store, "produce", segment("sp", fmt.Sprint(i), nil))
		for n := range uint64(each) {
			ch.Send(Record{Sequence: n + 1, Payload: make([]byte, 1<<20)})
		}
		open = append(open, ch)
	}
	head, _ := c.Peek(store, "sp", "other")
	require.Zero(t, head.Sequence, "other calls go on")
	for i, ch := range open {
		ch.Close("")
		messages, problem := ch.Rest()
		require.Empty(t, problem)
		statuses := decode[Status](t, messages)
		require.EqualValues(t, each, statuses[len(statuses)-1].LastSequence, i)
	}
}

// testManyChannels opens as much on one connection as a process of a released client does.
func testManyChannels(t *testing.T, g Gateway) {
	const subscriptions, calls = 3000, 200
	c, store := Dial(t, g, "streamkit::*"), uuid.New()
	var subscribed []*Channel
	for i := range subscriptions {
		subscribed = append(subscribed, c.Open(store, "subscribe_to_segment_status", segment("sp", fmt.Sprint("s", i), map[string]any{"heartbeat_interval_seconds": 300})))
	}
	for _, ch := range subscribed {
		message, ok := ch.Next()
		require.True(t, ok)
		require.True(t, decode[Status](t, [][]byte{message})[0].Heartbeat)
	}
	var called []*Channel
	for i := range calls {
		called = append(called, c.Open(store, "peek", segment("sp", fmt.Sprint("none", i), nil)))
	}
	for _, ch := range called {
		messages, problem := ch.Rest()
		require.Empty(t, problem)
		require.Len(t, messages, 1)
	}
	for _, i := range []int{0, subscriptions / 2, subscriptions - 1} {
		produce(c, store, "sp", fmt.Sprint("s", i), 1, 2)
		for last := uint64(0); last < 2; {
			message, ok := subscribed[i].Next()
			require.True(t, ok)
			last = decode[Status](t, [][]byte{message})[0].LastSequence
		}
	}
	for _, ch := range subscribed {
		ch.Close("context canceled")
	}
	for _, ch := range subscribed {
		_, problem := ch.Rest()
		require.Equal(t, "context canceled", problem)
	}
}
