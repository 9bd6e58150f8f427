package streamkittest

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

// Run judges what open returns. Every test has a store of its own.
func Run(t *testing.T, open func(t *testing.T) Gateway) {
	tests := map[string]func(t *testing.T, g Gateway){
		"bounds": testBounds, "inventory": testInventory, "peek of nothing": testPeekNothing, "one status": testOneStatus,
		"conflict": testConflict, "large records": testLargeRecords, "volume": testVolume, "fresh store": testFresh,
		"leases": testLeases, "publish": testPublish, "cancel": testCancelConsume, "subscribe": testSubscribe,
		"transactions": testTransactions, "contiguous": testContiguous, "workers": testWorkers, "worker twice": testWorkerTwice, "rights": testRights,
		"stores": testStores, "chunks": testChunks, "abort": testAbort, "many small records": testManySmall,
		"four megabytes": testFourMegabytes, "prefixes": testPrefixes, "offsets": testOffsets, "times": testTimes,
		"late frames": testLate, "broken frames": testBroken, "two clients": testTwoClients, "idle producer": testIdleProducer,
		"handshake": testHandshake, "reordered": testReordered, "envelope late": testEnvelopeLate, "gaps": testGaps, "many producers": testManyProducers, "many channels": testManyChannels,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

func payloads(n int) [][]byte {
	list := make([][]byte, n)
	for i := range list {
		list[i] = fmt.Appendf(nil, "p%d", i+1)
	}
	return list
}

func produce(c *Client, store uuid.UUID, space, segment string, first uint64, n int) []Status {
	c.t.Helper()
	statuses, problem := c.Produce(store, space, segment, first, payloads(n)...)
	require.Empty(c.t, problem)
	return statuses
}

func segment(space, name string, more map[string]any) map[string]any {
	content := map[string]any{"space": space, "segment": name}
	for k, v := range more {
		content[k] = v
	}
	return content
}

func testBounds(t *testing.T, g Gateway) {
	c, store := Dial(t, g, "streamkit::*"), uuid.New()
	produce(c, store, "sp", "sg", 1, 10)
	for _, test := range []struct{ from, to, first, last uint64 }{{0, 0, 1, 10}, {3, 3, 3, 3}, {3, 5, 3, 5}, {11, 0, 0, 0}, {9, 15, 9, 10}, {5, 2, 0, 0}} {
		entries := c.Consume(store, "consume_segment", segment("sp", "sg", map[string]any{"min_sequence": test.from, "max_sequence": test.to}))
		if test.first == 0 {
			require.Empty(t, entries)
			continue
		}
		require.Len(t, entries, int(test.last-test.first+1))
		require.Equal(t, test.first, entries[0].Sequence)
		require.Equal(t, test.last, entries[len(entries)-1].Sequence)
	}
	for _, limit := range []any{uint64(4), uint64(0), uint64(1<<64 - 1)} {
		entries := c.Consume(store, "consume_segment", segment("sp", "sg", map[string]any{"limit": limit}))
		if limit == uint64(4) {
			require.Len(t, entries, 4)
		} else {
			require.Len(t, entries, 10)
		}
	}
}

func testInventory(t *testing.T, g Gateway) {
	c, store := Dial(t, g, "streamkit::*"), uuid.New()
	offsets := map[string]string{}
	for i := range 3 {
		for j := range 3 {
			produce(c, store, fmt.Sprint("space", i), fmt.Sprint("segment", j), 1, 53)
		}
		offsets[fmt.Sprint("space", i)] = ""
	}
	require.Equal(t, []string{"space0", "space1", "space2"}, c.Names(store, ""))
	require.Equal(t, []string{"segment0", "segment1", "segment2"}, c.Names(store, "space0"))
	head, _ := c.Peek(store, "space1", "segment1")
	require.EqualValues(t, 53, head.Sequence)
	require.Len(t, c.Consume(store, "consume_segment", segment("space0", "segment0", nil)), 53)
	require.Len(t, c.Consume(store, "consume_space", map[string]any{"space": "space0"}), 3*53)
	require.Len(t, c.Consume(store, "consume", map[string]any{"offsets": offsets}), 9*53)
	require.Len(t, c.Consume(store, "consume", map[string]any{"offsets": offsets, "limit": 7}), 7)
	require.Empty(t, c.Consume(store, "consume", map[string]any{}))
	require.Empty(t, c.Consume(store, "consume", map[string]any{"offsets": map[string]string{"*": ""}}))
}

func testPeekNothing(t *testing.T, g Gateway) {
	c, store := Dial(t, g, "streamkit::*"), uuid.New()
	var channels []*Channel
	for i := range 3 { // at the same time
		channels = append(channels, c.Open(store, "peek", segment("sp", fmt.Sprint("s", i), nil)))
	}
	for i, ch := range channels {
		message, ok := ch.Next()
		require.True(t, ok)
		require.JSONEq(t, fmt.Sprintf(`{"sequence":0,"trx":{"id":"%[1]s","node":"%[1]s","number":0},"payload":null,"space":"sp","segment":"s%d"}`, uuid.Nil, i), string(message))
		rest, problem := ch.Rest()
		require.Empty(t, rest)
		require.Empty(t, problem)
	}
	c.Ping()
}

func testOneStatus(t *testing.T, g Gateway) {
	c, store := Dial(t, g, "streamkit::*"), uuid.New()
	for i := range 3 {
		statuses := produce(c, store, "sp", fmt.Sprint("s", i), 1, 5)
		require.Len(t, statuses, 1)
		require.EqualValues(t, 1, statuses[0].FirstSequence)
		require.EqualValues(t, 5, statuses[0].LastSequence)
		require.NotZero(t, statuses[0].FirstTimestamp)
		require.False(t, statuses[0].Heartbeat)
	}
	require.Empty(t, produce(c, store, "sp", "none", 1, 0), "nothing was sent")
	for _, at := range [][2]string{{"", "x"}, {"x", ""}} {
		_, problem := c.Produce(store, at[0], at[1], 1, payloads(1)...)
		require.Equal(t, "invalid produce args", problem)
	}
}

// testConflict has producers race: exactly one of them stores each sequence.
func testConflict(t *testing.T, g Gateway) {
	store := uuid.New()
	for round := range 5 {
		name := fmt.Sprint("s", round)
		var both sync.WaitGroup
		acknowledged := make([]bool, 2)
		for i := range 2 {
			c := Dial(t, g, "streamkit::*")
			both.Go(func() {
				statuses, problem := c.Produce(store, "sp", name, 1, payloads(100)...)
				if problem != "" && !strings.HasPrefix(problem, "sequence gap: expected ") {
					t.Errorf("%q", problem)
				}
				acknowledged[i] = problem == "" && len(statuses) == 1
			})
		}
		both.Wait()
		require.NotEqual(t, acknowledged[0], acknowledged[1], "one of them is told that it has won")
		c := Dial(t, g, "streamkit::*")
		for _, entries := range [][]Entry{c.Consume(store, "consume_segment", segment("sp", name, nil))} {
			require.Len(t, entries, 100)
			for i, e := range entries {
				require.EqualValues(t, i+1, e.Sequence)
			}
		}
	}
	c := Dial(t, g, "streamkit::*")
	require.Len(t, c.Consume(store, "consume_space", map[string]any{"space": "sp"}), 500, "and nothing is there twice")
	_, problem := c.Produce(store, "sp", "s0", 1, payloads(1)...)
	require.Equal(t, "sequence gap: expected 101, got 1", problem)
}

func testLargeRecords(t *testing.T, g Gateway) {
	c, store := Dial(t, g, "streamkit::*"), uuid.New()
	var records [][]byte
	for i := range 50 {
		records = append(records, []byte(strings.Repeat(fmt.Sprint(i%10), 8<<10)))
	}
	_, problem := c.Produce(store, "sp", "sg", 1, records...)
	require.Empty(t, problem)
	for i, e := range c.Consume(store, "consume_segment", segment("sp", "sg", nil)) {
		require.Equal(t, records[i], *e.Payload)
	}
}

func testVolume(t *testing.T, g Gateway) {
	store := uuid.New()
	var all sync.WaitGroup
	for i := range 4 {
		c := Dial(t, g, "streamkit::*")
		all.Go(func() {
			for first := uint64(1); first <= 3000; first += 250 {
				produce(c, store, "sp", fmt.Sprint("s", i), first, 250)
			}
		})
	}
	all.Wait()
	c := Dial(t, g, "streamkit::*")
	seen := map[string]bool{}
	for _, e := range c.Consume(store, "consume", map[string]any{"offsets": map[string]string{"sp": ""}}) {
		seen[fmt.Sprint(e.Segment, e.Sequence)] = true
	}
	require.Len(t, seen, 12000)
}

func testFresh(t *testing.T, g Gateway) {
	c, store := Dial(t, g, "streamkit::*"), uuid.New()
	require.Empty(t, c.Names(store, ""))
	require.Empty(t, c.Names(store, "missing"))
	require.Empty(t, c.Consume(store, "consume_segment", segment("sp", "sg", nil)))
	require.Empty(t, c.Consume(store, "consume_segment", segment("", "", nil)))
	require.Empty(t, c.Consume(store, "consume_space", map[string]any{"space": "sp"}))
	require.Empty(t, c.Consume(store, "consume", map[string]any{"offsets": map[string]string{"sp": ""}}))
}

func testLeases(t *testing.T, g Gateway) {
	c, store := Dial(t, g, "streamkit::*"), uuid.New()
	for _, test := range []struct {
		kind, key, holder string
		ttl               int64
		want              LeaseResult
	}{
		{"lease_acquire", "", "h", 600, LeaseResult{false, "lease key must not be empty"}},
		{"lease_acquire", "k", "", 5, LeaseResult{false, "lease holder must not be empty"}},
		{"lease_acquire", "k", "h", 0, LeaseResult{false, "ttl_seconds must be positive"}},
		{"lease_acquire", "k", "h", -5, LeaseResult{false, "ttl_seconds must be positive"}},
		{"lease_acquire", "k", "h", 86401, LeaseResult{false, "ttl_seconds exceeds maximum of 86400"}},
		{"lease_renew", "k", "h", 600, LeaseResult{}},
		{"lease_release", "k", "h", 0, LeaseResult{}},
		{"lease_acquire", "k", "h", 600, LeaseResult{OK: true}},
		{"lease_acquire", "k", "other", 600, LeaseResult{}},
		{"lease_acquire", "k", "h", 600, LeaseResult{OK: true}},
		{"lease_renew", "k", "other", 600, LeaseResult{}},
		{"lease_renew", "k", "h", 600, LeaseResult{OK: true}},
		{"lease_release", "k", "other", 0, LeaseResult{}},
		{"lease_release", "k", "h", 0, LeaseResult{OK: true}},
		{"lease_acquire", "k", "other", 600, LeaseResult{OK: true}},
	} {
		require.Equal(t, test.want, c.Lease(store, test.kind, test.key, test.holder, test.ttl), "%+v", test)
	}
	require.Equal(t, LeaseResult{OK: true}, c.Lease(uuid.New(), "lease_acquire", "k", "h", 600), "in another store")
	second := Dial(t, g, "streamkit::*")
	require.Equal(t, LeaseResult{}, second.Lease(store, "lease_acquire", "k", "third", 600))
}

// testPublish does what the client does: peek, and produce one record after the head.
func testPublish(t *testing.T, g Gateway) {
	c, store := Dial(t, g, "streamkit::*"), uuid.New()
	head, _ := c.Peek(store, "sp", "sg")
	ch := c.Open(store, "produce", segment("sp", "sg", nil))
	ch.Send(Record{Sequence: head.Sequence + 1, Payload: []byte("x"), Metadata: map[string]string{"k": "v"}})
	ch.Close("")
	ch.Close("") // as it does
	messages, problem := ch.Rest()
	require.Empty(t, problem)
	require.Len(t, messages, 1)
	head, _ = c.Peek(store, "sp", "sg")
	require.EqualValues(t, 1, head.Sequence)
	require.Equal(t, "x", string(*head.Payload))
	require.Equal(t, map[string]string{"k": "v"}, head.Metadata)
}

func testCancelConsume(t *testing.T, g Gateway) {
	c, store := Dial(t, g, "streamkit::*"), uuid.New()
	record := make([]byte, 4<<10)
	var records [][]byte
	for range 5000 {
		records = append(records, record)
	}
	_, problem := c.Produce(store, "sp", "sg", 1, records...)
	require.Empty(t, problem)
	ch := c.Open(store, "consume_segment", segment("sp", "sg", nil))
	ch.Close("context canceled")
	messages, _ := ch.Rest()
	require.Less(t, len(messages), 4000, "the work is stopped")
	c.Ping()
}

func testSubscribe(t *testing.T, g Gateway) {
	c, store := Dial(t, g, "streamkit::*"), uuid.New()
	produce(c, store, "sp", "b", 1, 1)
	produce(c, store, "sp", "a", 1, 2)
	exact := c.Open(store, "subscribe_to_segment_status", segment("sp", "a", map[string]any{"heartbeat_interval_seconds": 0}))
	wild := c.Open(store, "subscribe_to_segment_status", segment("sp", "*", map[string]any{"heartbeat_interval_seconds": 0}))
	next := func(ch *Channel) Status {
		t.Helper()
		message, ok := ch.Next()
		require.True(t, ok)
		return decode[Status](t, [][]byte{message})[0]
	}
	require.Equal(t, "a", next(exact).Segment)
	require.Equal(t, "a", next(wild).Segment)
	require.Equal(t, "b", next(wild).Segment)
	produce(c, store, "sp", "a", 3, 3)
	for status := next(exact); status.LastSequence < 5; status = next(exact) {
	}
	for status := next(wild); status.Segment != "a" || status.LastSequence < 5; status = next(wild) {
	}
	produce(c, store, "sp", "new", 1, 2)
	for status := next(wild); status.Segment != "new" || status.LastSequence < 2; status = next(wild) {
	}
	exact.Close("context canceled")
	exact.Rest()
	beating := c.Open(store, "subscribe_to_segment_status", segment("none", "*", map[string]any{"heartbeat_interval_seconds": 1}))
	require.True(t, next(beating).Heartbeat, "at once")
	beat := next(beating)
	require.True(t, beat.Heartbeat)
	require.Equal(t, "*", beat.Segment)
}

func testTransactions(t *testing.T, g Gateway) {
	c, store := Dial(t, g, "streamkit::*"), uuid.New()
	for i := range 3 {
		produce(c, store, "sp", "sg", uint64(i*4+1), 4)
	}
	ids := map[uuid.UUID]bool{}
	for i, e := range c.Consume(store, "consume_segment", segment("sp", "sg", nil)) {
		require.EqualValues(t, i/4+1, e.TRX.Number)
		require.NotEqual(t, uuid.Nil, e.TRX.ID)
		require.Equal(t, uuid.Nil, e.TRX.Node)
		ids[e.TRX.ID] = true
	}
	require.Len(t, ids, 3)
}

func testContiguous(t *testing.T, g Gateway) {
	store := uuid.New()
	var all sync.WaitGroup
	for range 4 {
		c := Dial(t, g, "streamkit::*")
		all.Go(func() { c.Produce(store, "sp", "sg", 1, payloads(25)...) })
	}
	all.Wait()
	entries := Dial(t, g, "streamkit::*").Consume(store, "consume_segment", segment("sp", "sg", nil))
	require.Len(t, entries, 25)
	for i, e := range entries {
		require.EqualValues(t, i+1, e.Sequence)
	}
}

type inventory struct {
	Type    string `json:"$type"`
	Content struct {
		Workers []struct {
			ID       uuid.UUID         `json:"worker_id"`
			Metadata map[string]string `json:"metadata"`
			LastSeen int64             `json:"last_seen_at"`
		} `json:"workers"`
		Heartbeat bool  `json:"heartbeat"`
		Timestamp int64 `json:"timestamp"`
	} `json:"content"`
}

// until reads messages of a worker stream until one has n workers.
func until(ch *Channel, n int) inventory {
	ch.c.t.Helper()
	for {
		message, ok := ch.Next()
		require.True(ch.c.t, ok)
		i := decode[inventory](ch.c.t, [][]byte{message})[0]
		if i.Type == "streamkit://api/v1/worker_inventory" && len(i.Content.Workers) == n {
			return i
		}
	}
}

func workerOf(id uuid.UUID, seconds int) map[string]any {
	return map[string]any{"worker_id": id, "metadata": map[string]string{"role": "x"}, "heartbeat_interval_seconds": seconds}
}

func testWorkers(t *testing.T, g Gateway) {
	store, id := uuid.New(), uuid.New()
	watching := Dial(t, g, "streamkit::*")
	observer := watching.Open(store, "subscribe_workers", workerOf(uuid.Nil, 0))
	until(observer, 0)
	elsewhere := watching.Open(uuid.New(), "subscribe_workers", workerOf(uuid.Nil, 0))
	until(elsewhere, 0)
	c := Dial(t, g, "streamkit::*")
	worker := c.Open(store, "subscribe_workers", workerOf(id, 1))
	require.Equal(t, id, until(worker, 1).Content.Workers[0].ID, "it sees itself")
	seen := until(observer, 1).Content.Workers[0]
	require.Equal(t, id, seen.ID)
	require.Equal(t, map[string]string{"role": "x"}, seen.Metadata)
	require.NotZero(t, seen.LastSeen)
	for beats := 0; beats < 2; {
		message, ok := worker.Next()
		require.True(t, ok)
		if i := decode[inventory](t, [][]byte{message})[0]; i.Type == "streamkit://api/v1/presence" {
			require.True(t, i.Content.Heartbeat)
			beats++
		}
	}
	worker.Send(map[string]any{"$type": "streamkit://api/v1/presence", "content": map[string]any{"worker_id": id, "heartbeat": false, "timestamp": 1}})
	worker.Close("context canceled")
	until(observer, 0)
	lost := Dial(t, g, "streamkit::*")
	until(lost.Open(store, "subscribe_workers", workerOf(id, 0)), 1)
	until(observer, 1)
	lost.conn.Close()
	until(observer, 0)
	require.Empty(t, elsewhere.messages)
}

func testWorkerTwice(t *testing.T, g Gateway) {
	c, store, id := Dial(t, g, "streamkit::*"), uuid.New(), uuid.New()
	first := c.Open(store, "subscribe_workers", workerOf(id, 0))
	until(first, 1)
	large := workerOf(id, 0)
	large["metadata"] = map[string]string{"role": strings.Repeat("x", 20<<10)}
	_, problem := c.Open(store, "subscribe_workers", large).Rest()
	require.Contains(t, problem, "payload too large")
	other := c.Open(store, "subscribe_workers", workerOf(uuid.New(), 0))
	until(first, 2) // what was refused has not ended it
	other.Close("context canceled")
	until(first, 1)
	second := c.Open(store, "subscribe_workers", workerOf(id, 0))
	until(second, 1)
	_, problem = first.Rest()
	require.Equal(t, "worker_id registered by another stream", problem)
	second.Send(map[string]any{"$type": "streamkit://api/v1/presence", "content": map[string]any{"worker_id": uuid.New()}})
	_, problem = second.Rest()
	require.NotEmpty(t, problem, "it is told why it is no worker any more")
}

// testRights refuses operations for want of a right: nothing has happened, to no other connection either.
func testRights(t *testing.T, g Gateway) {
	if g.Token == nil {
		t.Log("without tokens everything is allowed")
		return
	}
	store, id := uuid.New(), uuid.New()
	owner := Dial(t, g, "streamkit::*")
	worker := owner.Open(store, "subscribe_workers", workerOf(id, 0))
	until(worker, 1)
	for _, right := range []string{"*::read", "*::write", "sp::*", "sp::read"} {
		c := Dial(t, g, "streamhub::"+store.String()+"::"+right)
		_, problem := c.Open(store, "subscribe_workers", workerOf(id, 1)).Rest()
		require.Equal(t, "access denied", problem, right)
		_, problem = c.Open(store, "subscribe_workers", workerOf(uuid.New(), 1)).Rest()
		require.Equal(t, "access denied", problem, right)
	}
	reader := Dial(t, g, "streamhub::"+store.String()+"::sp::read")
	_, problem := reader.Open(store, "produce", segment("sp", "sg", nil)).Rest()
	require.Equal(t, "access denied", problem, "before the first record")
	writer := Dial(t, g, "streamhub::"+store.String()+"::sp::write")
	messages, problem := writer.Open(store, "subscribe_to_segment_status", segment("sp", "sg", map[string]any{"heartbeat_interval_seconds": 1})).Rest()
	require.Equal(t, "access denied", problem)
	require.Empty(t, messages, "no heartbeat either")
	produce(writer, store, "sp", "sg", 1, 1)
	produce(writer, store, "sp", "sg", 2, 1) // to write is enough to produce, to a segment with entries as well
	require.Empty(t, worker.messages, "the worker and its list are as they were")
	worker.Close("context canceled")
	_, problem = worker.Rest()
	require.NotEqual(t, "worker_id registered by another stream", problem)
}

func testStores(t *testing.T, g Gateway) {
	if g.Token == nil {
		t.Log("without tokens every store is open")
		return
	}
	mine, theirs := uuid.New(), uuid.New()
	c := Dial(t, g, "streamkit::"+mine.String())
	produce(c, mine, "sp", "sg", 1, 1)
	statuses, problem := c.Produce(theirs, "sp", "sg", 1, payloads(1)...)
	require.Empty(t, statuses)
	require.Equal(t, "access denied", problem)
	messages, problem := c.Open(theirs, "get_spaces", map[string]any{}).Rest()
	require.Empty(t, messages)
	require.Equal(t, "access denied", problem)
	require.Equal(t, []string{"sp"}, c.Names(mine, ""), "the connection goes on")
}

func testChunks(t *testing.T, g Gateway) {
	c, store := Dial(t, g, "streamkit::*"), uuid.New()
	for n, chunks := range map[int]int{10_000: 1, 20_001: 3} {
		statuses := produce(c, store, "sp", fmt.Sprint("s", n), 1, n)
		require.Len(t, statuses, chunks)
		for i, s := range statuses {
			require.EqualValues(t, 1, s.FirstSequence)
			require.EqualValues(t, min((i+1)*10000, n), s.LastSequence)
		}
	}
	big := make([]byte, 3<<20)
	statuses, problem := c.Produce(store, "sp", "big", 1, big, big, big, big, big, big, big, big)
	require.Empty(t, problem)
	require.Greater(t, len(statuses), 1, "what does not fit in one frame is stored in several")
	require.EqualValues(t, 8, statuses[len(statuses)-1].LastSequence)
}

// testAbort: of a producer that gives up nothing is stored that it was not told of.
func testAbort(t *testing.T, g Gateway) {
	c, store := Dial(t, g, "streamkit::*"), uuid.New()
	ch := c.Open(store, "produce", segment("sp", "sg", nil))
	for i := range 3 {
		ch.Send(Record{Sequence: uint64(i + 1), Payload: []byte("x")})
	}
	ch.Close("the source failed")
	messages, problem := ch.Rest()
	require.Empty(t, messages)
	require.NotEmpty(t, problem)
	head, _ := c.Peek(store, "sp", "sg")
	require.Zero(t, head.Sequence)

	lost := Dial(t, g, "streamkit::*")
	ch = lost.Open(store, "produce", segment("sp", "sg", nil))
	ch.Send(Record{Sequence: 1, Payload: []byte("x")})
	lost.Ping() // it has arrived
	lost.conn.Close()
	produce(c, store, "sp", "sg", 1, 2)

	broken := c.Open(store, "produce", segment("sp", "sg", nil))
	broken.Send(Record{Sequence: 3, Payload: []byte("x")})
	broken.Send(Record{Sequence: 5, Payload: []byte("x")})
	broken.Close("")
	_, problem = broken.Rest()
	require.Equal(t, "sequence gap: expected 4, got 5", problem)
	none := c.Open(store, "produce", segment("sp", "sg", nil))
	none.Send(Record{Payload: []byte("x")})
	_, problem = none.Rest()
	require.Equal(t, "sequence gap: expected 3, got 0", problem)
	head, _ = c.Peek(store, "sp", "sg")
	require.EqualValues(t, 2, head.Sequence)
}

func testManySmall(t *testing.T, g Gateway) {
	c, store := Dial(t, g, "streamkit::*"), uuid.New()
	const n = 20_000
	statuses := produce(c, store, "sp", "sg", 1, n)
	require.Len(t, statuses, 2)
	require.EqualValues(t, n, statuses[1].LastSequence)
	entries := c.Consume(store, "consume_segment", segment("sp", "sg", nil))
	require.Len(t, entries, n)
	for i, e := range entries {
		if e.Sequence != uint64(i+1) || string(*e.Payload) != fmt.Sprint("p", i+1) {
			t.Fatalf("entry %d is %d, %q", i+1, e.Sequence, *e.Payload)
		}
	}
}

func testFourMegabytes(t *testing.T, g Gateway) {
	c, store := Dial(t, g, "streamkit::*"), uuid.New()
	record := make([]byte, 4_718_336) // the most that its own server returns
	record[0], record[len(record)-1] = 1, 2
	_, problem := c.Produce(store, "sp", "sg", 1, record)
	require.Empty(t, problem)
	require.Equal(t, record, *c.Consume(store, "consume_segment", segment("sp", "sg", nil))[0].Payload)
	_, problem = c.Produce(store, "sp", "sg", 2, make([]byte, len(record)+64))
	require.Contains(t, problem, "payload too large", "what could never be read is not stored")
	head, _ := c.Peek(store, "sp", "sg")
	require.EqualValues(t, 1, head.Sequence)
	require.NoError(t, c.writeFrame(1, make([]byte, maxFrame+1)))
	require.Equal(t, 1009, c.Code())
}

func testPrefixes(t *testing.T, g Gateway) {
	c, store := Dial(t, g, "streamkit::*"), uuid.New()
	produce(c, store, "sp", "seg1", 1, 3)
	produce(c, store, "spX", "z", 1, 1)
	head, _ := c.Peek(store, "sp", "seg")
	require.Zero(t, head.Sequence)
	produce(c, store, "sp", "seg", 1, 1)
	require.Len(t, c.Consume(store, "consume_segment", segment("sp", "seg", nil)), 1)
	require.Equal(t, []string{"seg", "seg1"}, c.Names(store, "sp"))
	require.Len(t, c.Consume(store, "consume_space", map[string]any{"space": "sp"}), 4)
	odd := `a b/"ü` + "\x00\n"
	produce(c, store, odd, odd, 1, 1)
	require.Len(t, c.Consume(store, "consume_segment", segment(odd, odd, nil)), 1)
	require.Contains(t, c.Names(store, ""), odd)
}

func offsetOf(e Entry) string {
	key := append([]byte("DAT\x00SPACES\x00"), e.Space...)
	key = binary.BigEndian.AppendUint64(append(key, 0), uint64(e.Timestamp)^1<<63)
	key = append(append(append(key, 0), e.Segment...), 0)
	return hex.EncodeToString(binary.BigEndian.AppendUint64(key, e.Sequence))
}

func testOffsets(t *testing.T, g Gateway) {
	c, store := Dial(t, g, "streamkit::*"), uuid.New()
	for i := range 5 {
		for _, name := range []string{"b", "a", "c"} {
			produce(c, store, "sp", name, uint64(i*2+1), 2)
		}
	}
	all := c.Consume(store, "consume_space", map[string]any{"space": "sp"})
	require.Len(t, all, 30)
	for i, e := range all {
		rest := c.Consume(store, "consume_space", map[string]any{"space": "sp", "offset": offsetOf(e)})
		require.Equal(t, all[i+1:], rest, "after entry %d", i)
		limited := c.Consume(store, "consume_space", map[string]any{"space": "sp", "offset": offsetOf(e), "limit": 3})
		require.Equal(t, all[i+1:min(i+4, len(all))], limited)
	}
	// Up to the timestamp: everything from then on, that moment included.
	prefix := offsetOf(all[10])[:2*(len("DAT\x00SPACES\x00sp\x00")+8)]
	from := c.Consume(store, "consume_space", map[string]any{"space": "sp", "offset": prefix})
	want := 0
	for _, e := range all {
		if e.Timestamp >= all[10].Timestamp {
			want++
		}
	}
	require.Len(t, from, want)
	// Foreign ones are compared as bytes.
	require.Len(t, c.Consume(store, "consume_space", map[string]any{"space": "sp", "offset": "00"}), 30)
	require.Empty(t, c.Consume(store, "consume_space", map[string]any{"space": "sp", "offset": "ff"}))
	gone := all[29]
	gone.Sequence = 999
	// The time of an offset is its proof: an entry that is not there, or is another one, was lost.
	another := all[20]
	another.Timestamp++
	for _, lost := range []Entry{gone, another} {
		messages, problem := c.Open(store, "consume_space", map[string]any{"space": "sp", "offset": offsetOf(lost)}).Rest()
		require.Empty(t, messages)
		require.Contains(t, problem, "history was lost")
	}
	both := c.Consume(store, "consume", map[string]any{"offsets": map[string]string{"sp": offsetOf(all[27]), "none": ""}})
	require.Equal(t, all[28:], both)
	foreign := c.Consume(store, "consume", map[string]any{"offsets": map[string]string{"sp": "00"}, "limit": 4})
	require.Equal(t, all[:4], foreign)
}

func testTimes(t *testing.T, g Gateway) {
	c, store := Dial(t, g, "streamkit::*"), uuid.New()
	for i := range 3 {
		produce(c, store, "sp", "sg", uint64(i*2+1), 2)
		for last := time.Now().UnixMilli(); time.Now().UnixMilli() < last+3; { // another millisecond
		}
	}
	all := c.Consume(store, "consume_segment", segment("sp", "sg", nil))
	for _, kind := range []string{"consume_segment", "consume_space"} {
		for _, test := range []struct {
			after, until int64
			first, last  int
		}{{all[0].Timestamp, 0, 2, 6}, {all[0].Timestamp - 1, 0, 0, 6}, {0, all[2].Timestamp, 0, 4}, {0, all[2].Timestamp - 1, 0, 2}, {all[0].Timestamp, all[2].Timestamp, 2, 4}, {0, 1 << 50, 0, 6}, {1 << 50, 0, 6, 6}} {
			got := c.Consume(store, kind, segment("sp", "sg", map[string]any{"min_timestamp": test.after, "max_timestamp": test.until}))
			if test.first == test.last {
				require.Empty(t, got)
			} else {
				require.Equal(t, all[test.first:test.last], got, "%s %+v", kind, test)
			}
		}
	}
}

func testLate(t *testing.T, g Gateway) {
	c, store := Dial(t, g, "streamkit::*"), uuid.New()
	for range 20 {
		ch := c.Open(store, "get_spaces", map[string]any{})
		ch.Rest()
		ch.Close("")
		ch.Send(map[string]any{"sequence": 1})
	}
	stray := &Channel{c: c, store: store, id: uuid.New()}
	stray.Close("")
	require.NoError(t, c.send(Frame{ControlType: "zzz"}))
	c.Ping()
}

func testBroken(t *testing.T, g Gateway) {
	c := Dial(t, g, "streamkit::*")
	for text, want := range map[string]string{
		`{"$type":"streamkit://api/v1/nope","content":{}}`: `type "streamkit://api/v1/nope" is not registered`,
		`{"content":{}}`:                                            "missing $type field in envelope",
		`{"$type":"streamkit://api/v1/peek"}`:                       `missing content for type: "streamkit://api/v1/peek"`,
		`{"$type":"streamkit://api/v1/get_status","content":{}}`:    "invalid request msg type: *api.GetStatus",
		`{"$type":"streamkit://api/v1/peek","content":{"space":5}}`: `failed to unmarshal content for "streamkit://api/v1/peek"`,
		`not json`: "invalid character",
		"{\"$type\":\"streamkit://api/v1/peek\",\"content\":{\"space\":\"\xff\"}}": "not UTF-8",
	} {
		ch := &Channel{c: c, id: uuid.New(), messages: make(chan []byte, 8), end: make(chan *Control, 1)}
		c.mu.Lock()
		c.channels[ch.id] = ch
		c.mu.Unlock()
		require.NoError(t, c.send(Frame{ControlType: "data", ChannelID: ch.id, Payload: []byte(text)}))
		_, problem := ch.Rest()
		require.Contains(t, problem, want)
	}
	require.NoError(t, c.writeFrame(2, []byte(`{"controltype":"ping","more":1}`)))
	select {
	case <-c.pongs:
	case <-time.After(deadline):
		t.Fatal("no pong")
	}
	for _, text := range []string{"{", `{"ControlType":"data","store_id":"x"}`, "\xff\xfe"} {
		c := Dial(t, g, "streamkit::*")
		require.NoError(t, c.writeFrame(1, []byte(text)))
		require.NotZero(t, c.Code())
	}
}

func testTwoClients(t *testing.T, g Gateway) {
	a, b, store := Dial(t, g, "streamkit::*"), Dial(t, g, "streamkit::*"), uuid.New()
	produce(a, store, "sp", "sg", 1, 5)
	head, raw := b.Peek(store, "sp", "sg")
	require.EqualValues(t, 5, head.Sequence, "what was acknowledged is there for everybody")
	require.True(t, json.Valid(raw))
}

// testIdleProducer has one producer do nothing: no other notices.
func testIdleProducer(t *testing.T, g Gateway) {
	c, store := Dial(t, g, "streamkit::*"), uuid.New()
	idle := c.Open(store, "produce", segment("sp", "idle", nil))
	idle.Send(Record{Sequence: 1, Payload: []byte("x")})
	produce(c, store, "sp", "busy", 1, 3)
	head, _ := c.Peek(store, "sp", "busy")
	require.EqualValues(t, 3, head.Sequence)
	require.Len(t, c.Consume(store, "consume_space", map[string]any{"space": "sp"}), 3)
	idle.Close("")
	messages, problem := idle.Rest()
	require.Empty(t, problem)
	require.Len(t, messages, 1)
}

func testHandshake(t *testing.T, g Gateway) {
	if g.Token == nil {
		t.Log("without tokens nothing is refused")
		return
	}
	for _, token := range []string{"", "Bearer x.y.z", "Bearer " + g.Token(t, "something"), "Bearer " + g.Token(t, "streamkit::malformed", "streamkit::*")} {
		conn, _, response := handshake(t, g, map[string]string{"Authorization": token})
		body := make([]byte, 64)
		n, _ := response.Body.Read(body)
		conn.Close()
		require.Equal(t, http.StatusUnauthorized, response.StatusCode)
		require.Equal(t, "Unauthorized\n", string(body[:n]))
		require.Equal(t, "text/plain; charset=utf-8", response.Header.Get("Content-Type"))
		require.Equal(t, "nosniff", response.Header.Get("X-Content-Type-Options"))
	}
	for _, origin := range []string{"", "https://anywhere.example.com"} {
		conn, _, response := handshake(t, g, map[string]string{"Origin": origin, "Authorization": "Bearer " + g.Token(t, "streamkit::*")})
		conn.Close()
		require.Equal(t, http.StatusSwitchingProtocols, response.StatusCode, "any origin with a token")
	}
}
