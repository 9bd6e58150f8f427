package hub_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
)

func Example() {
	ctx := context.Background()
	h, err := hub.Open(ctx, nil, nil) // nil: an embedded Redis; else any redis.UniversalClient
	if err != nil {
		log.Fatal(err)
	}
	defer h.Close()
	s := h.Store(uuid.Nil) // one store per tenant

	for _, text := range []string{"accepted", "packed", "shipped"} {
		records := []streamhub.Record{{Payload: []byte(text)}}
		if _, err := s.Append(ctx, "orders", "order-17", records, nil); err != nil {
			log.Fatal(err)
		}
	}
	if _, err := s.CloseSegment(ctx, "orders", "order-17", streamhub.Verdict{Kind: streamhub.VerdictDone}, nil); err != nil {
		log.Fatal(err)
	}

	for entry, err := range s.FollowSegment(ctx, "orders", "order-17", nil) { // replay, then live
		if errors.Is(err, streamhub.ErrClosed) {
			fmt.Println(err) // the end has a reason
			break
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(entry.Sequence, string(entry.Payload)) // entry.Cursor() resumes here, anywhere
	}
	// Output:
	// 1 accepted
	// 2 packed
	// 3 shipped
	// follow "orders"/"order-17": closed as done after sequence 3
}

// openStore opens a hub on an embedded Redis and returns one store of it.
func openStore(ctx context.Context) (*hub.Store, func()) {
	h, err := hub.Open(ctx, nil, nil)
	if err != nil {
		log.Fatal(err)
	}
	return h.Store(uuid.Nil), func() { _ = h.Close() }
}

// text is a record of some text.
func text(s string) []streamhub.Record { return []streamhub.Record{{Payload: []byte(s)}} }

// Appends to several segments travel together. Each has its own result.
func ExampleStore_AppendAll() {
	ctx := context.Background()
	s, done := openStore(ctx)
	defer done()
	results, errs := s.AppendAll(ctx, []streamhub.Append{
		{Space: "orders", Segment: "order-1", Records: text("accepted")},
		{Space: "orders", Segment: "order-2", Records: text("accepted")},
		{Space: "orders", Segment: "order-2", Records: text("packed"), Options: &streamhub.AppendOptions{ExpectedSequence: 9}},
	})
	for i := range results {
		fmt.Println(results[i].First, errs[i] == nil, errors.Is(errs[i], streamhub.ErrSequenceMismatch))
	}
	// Output:
	// 1 true false
	// 1 true false
	// 0 false true
}

// A follower of a space gets the entries of all its segments, in the order in which Redis took them.
func ExampleStore_FollowSpace() {
	ctx := context.Background()
	s, done := openStore(ctx)
	defer done()
	for _, order := range []string{"order-1", "order-2", "order-1"} {
		if _, err := s.Append(ctx, "orders", order, text("changed"), nil); err != nil {
			log.Fatal(err)
		}
	}
	for entry, err := range s.FollowSpace(ctx, "orders", &streamhub.FollowOptions{Limit: 3}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(entry.Segment, entry.Sequence)
	}
	// Output:
	// order-1 1
	// order-2 1
	// order-1 2
}

// results is what a worker keeps outside this Redis: what it made of each entry, and how far it came.
type results struct {
	of     map[uuid.UUID]string // by the TRX id of the entry
	cursor streamhub.Cursor
	stop   func() // ends this example
}

// handle makes something of an entry, once, and remembers the place in the same transaction.
func (r *results) handle(e streamhub.Entry) {
	if _, done := r.of[e.TRX.ID]; !done {
		r.of[e.TRX.ID] = e.Segment + " " + string(e.Payload)
		fmt.Println(r.of[e.TRX.ID])
	}
	r.cursor = e.Cursor()
	if string(e.Payload) == "paid" {
		r.stop()
	}
}

// skipped goes on after entries that were removed before the worker read them.
func (r *results) skipped(err *streamhub.TrimmedError) {
	fmt.Println("some are missing")
	r.cursor = err.Cursor
}

// rewind has everything read again. A result whose entry does not come again belongs to a lost one.
func (r *results) rewind() { r.cursor = "" }

// A worker resumes a space where it was, and copes with entries that were trimmed or lost meanwhile.
func ExampleStore_FollowSpace_worker() {
	ctx, cancel := context.WithCancel(context.Background())
	s, done := openStore(ctx)
	defer done()
	for _, what := range []string{"accepted", "packed", "shipped", "paid"} {
		if _, err := s.Append(ctx, "orders", "order-17", text(what), nil); err != nil {
			log.Fatal(err)
		}
	}
	results := &results{of: map[uuid.UUID]string{}, stop: cancel}
	for entry, err := range s.FollowSpace(ctx, "orders", &streamhub.FollowOptions{Limit: 1}) {
		if err != nil {
			log.Fatal(err)
		}
		results.handle(entry)
	}
	if _, err := s.Trim(ctx, "orders", "order-17", 3); err != nil {
		log.Fatal(err)
	}

	err := func() error {
		for ctx.Err() == nil {
			var trimmed *streamhub.TrimmedError
			for entry, err := range s.FollowSpace(ctx, "orders", &streamhub.FollowOptions{Cursor: results.cursor}) {
				switch {
				case errors.As(err, &trimmed): // entries were removed unread: go on with what is left
					results.skipped(trimmed)
				case errors.Is(err, streamhub.ErrHistoryLost): // Redis came back with less: read all again
					results.rewind()
				case err != nil:
					return err
				default:
					results.handle(entry) // the result and entry.Cursor(), in one transaction
				}
			}
		}
		return ctx.Err()
	}()
	fmt.Println(errors.Is(err, context.Canceled))
	// Output:
	// order-17 accepted
	// some are missing
	// order-17 paid
	// true
}

// A lease elects one writer. Its token fences the appends of a writer that lost it.
func ExampleStore_WithLease() {
	ctx := context.Background()
	s, done := openStore(ctx)
	defer done()
	err := s.WithLease(ctx, "nightly-report", 15*time.Second, time.Second, func(ctx context.Context, token uint64) error {
		_, err := s.Append(ctx, "reports", "today", text("begun"), &streamhub.AppendOptions{Generation: token})
		return err
	})
	fmt.Println(err)

	_, err = s.Append(ctx, "reports", "today", text("late"), nil) // without a token
	fmt.Println(errors.Is(err, streamhub.ErrFenced))
	// Output:
	// <nil>
	// true
}

// A subscription gives the status of a segment as it is, and again after changes. It carries no entries.
func ExampleStore_SubscribeSegment() {
	ctx := context.Background()
	s, done := openStore(ctx)
	defer done()
	if _, err := s.Append(ctx, "orders", "order-17", text("accepted"), nil); err != nil {
		log.Fatal(err)
	}
	for status, err := range s.SubscribeSegment(ctx, "orders", "order-17") {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(status.State, status.LastSequence)
		if status.State == streamhub.StateClosed {
			break
		}
		if _, err := s.CloseSegment(ctx, "orders", "order-17", streamhub.Verdict{Kind: streamhub.VerdictDone}, nil); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// open 1
	// closed 1
}

// Every instance sees which workers are there.
func ExampleStore_JoinWorkers() {
	ctx := context.Background()
	s, done := openStore(ctx)
	defer done()
	membership, err := s.JoinWorkers(ctx, streamhub.Worker{
		ID: uuid.New(), Metadata: map[string]string{"zone": "b"},
	}, time.Minute)
	if err != nil {
		log.Fatal(err)
	}
	for workers, err := range s.Workers(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(len(workers), workers[0].Metadata["zone"])
		break // else it goes on with every change
	}
	fmt.Println(membership.Leave(ctx))
	// Output:
	// 1 b
	// <nil>
}

// The output of a job, with a verdict at its end. See package live.
func ExampleStore_Live() {
	ctx := context.Background()
	s, done := openStore(ctx)
	defer done()
	producer, _, err := s.Live("chats").Register(ctx, "answer-1", nil)
	if err != nil {
		log.Fatal(err)
	}
	for _, word := range []string{"forty", "two"} {
		if err := producer.Publish(ctx, []byte(word)); err != nil {
			log.Fatal(err)
		}
	}
	if err := producer.Done(ctx, nil); err != nil {
		log.Fatal(err)
	}

	stream, err := s.Live("chats").Get(ctx, "answer-1") // in another process
	if err != nil {
		log.Fatal(err)
	}
	for chunk, err := range stream.Subscribe(ctx, nil) {
		if err != nil {
			fmt.Println(errors.Is(err, streamhub.ErrClosed))
			break
		}
		fmt.Println(string(chunk.Data))
	}
	// Output:
	// forty
	// two
	// true
}

// An address names one server, a cluster, or a master that Sentinel watches.
func ExampleNewClient() {
	client, err := hub.NewClient("redis://127.0.0.1:6379/2")
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	_, err = hub.NewClient("http://127.0.0.1")
	fmt.Println(err != nil)
	// Output:
	// true
}
