package streamhub_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
)

// openStore opens a hub on an embedded Redis, as a unit test would, and returns one store of it.
func openStore(ctx context.Context) (*hub.Store, func()) {
	h, err := hub.Open(ctx, nil, nil)
	if err != nil {
		log.Fatal(err)
	}
	return h.Store(uuid.Nil), func() { _ = h.Close() }
}

// record is a record of some text.
func record(text string) []streamhub.Record { return []streamhub.Record{{Payload: []byte(text)}} }

// A reader keeps the cursor of the last entry that it handled. Any instance resumes there.
func ExampleCursor() {
	ctx := context.Background()
	s, done := openStore(ctx)
	defer done()
	for _, text := range []string{"accepted", "packed", "shipped"} {
		if _, err := s.Append(ctx, "orders", "order-17", record(text), nil); err != nil {
			log.Fatal(err)
		}
	}

	var cursor streamhub.Cursor // the zero Cursor is the start
	for entry, err := range s.ConsumeSegment(ctx, "orders", "order-17", &streamhub.ReadOptions{Limit: 1}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("before:", string(entry.Payload))
		cursor = entry.Cursor() // a text: keep it in a database, or send it to a browser
	}
	for entry, err := range s.ConsumeSegment(ctx, "orders", "order-17", &streamhub.ReadOptions{Cursor: cursor}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("after:", string(entry.Payload))
	}
	// Output:
	// before: accepted
	// after: packed
	// after: shipped
}

// An append that names the sequence it must get is refused if another writer was faster.
func ExampleSequenceError() {
	ctx := context.Background()
	s, done := openStore(ctx)
	defer done()
	expect := func(text string, sequence uint64) error {
		_, err := s.Append(ctx, "accounts", "a-1", record(text), &streamhub.AppendOptions{ExpectedSequence: sequence})
		return err
	}
	fmt.Println(expect("opened", 1))

	err := expect("opened as well", 1)
	var mismatch *streamhub.SequenceError
	if errors.As(err, &mismatch) {
		fmt.Println("read again and decide: the next one is", mismatch.Expected)
	}
	// Output:
	// <nil>
	// read again and decide: the next one is 2
}

// A named producer makes appends idempotent over restarts: the same epoch and sequence are stored once.
func ExampleProducer() {
	ctx := context.Background()
	s, done := openStore(ctx)
	defer done()
	for range 2 { // the second call is a repeat, as after a crash of the producer
		r, err := s.Append(ctx, "orders", "order-17", record("accepted"), &streamhub.AppendOptions{
			Producer: &streamhub.Producer{ID: "importer", Epoch: 1, Seq: 0},
		})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(r.First, r.Repeated)
	}
	// Output:
	// 1 false
	// 1 true
}

// A lease gives a generation. Once a higher one was seen, an append under a lower one is refused, so a
// writer that was replaced cannot disturb its successor.
func ExampleFencedError() {
	ctx := context.Background()
	s, done := openStore(ctx)
	defer done()
	for _, generation := range []uint64{7, 8, 7} {
		_, err := s.Append(ctx, "jobs", "job-1", record("step"), &streamhub.AppendOptions{Generation: generation})
		var fenced *streamhub.FencedError
		if errors.As(err, &fenced) {
			fmt.Println("stop: generation", fenced.Current, "has taken over")
			continue
		}
		fmt.Println(generation, err)
	}
	// Output:
	// 7 <nil>
	// 8 <nil>
	// stop: generation 8 has taken over
}

// A reader that was away while entries were trimmed is told so, and gets the place to go on from.
func ExampleTrimmedError() {
	ctx := context.Background()
	s, done := openStore(ctx)
	defer done()
	var cursor streamhub.Cursor
	for i := range 4 {
		r, err := s.Append(ctx, "logs", "web-1", record(fmt.Sprintf("line %d", i+1)), nil)
		if err != nil {
			log.Fatal(err)
		}
		if i == 0 {
			cursor = r.Cursor()
		}
	}
	if _, err := s.Trim(ctx, "logs", "web-1", 3); err != nil {
		log.Fatal(err)
	}

	for {
		var trimmed *streamhub.TrimmedError
		for entry, err := range s.ConsumeSegment(ctx, "logs", "web-1", &streamhub.ReadOptions{Cursor: cursor}) {
			if errors.As(err, &trimmed) {
				fmt.Println("entries before", trimmed.FirstKept, "are gone")
				break
			}
			if err != nil {
				log.Fatal(err)
			}
			fmt.Println(string(entry.Payload))
		}
		if trimmed == nil {
			break
		}
		cursor = trimmed.Cursor
	}
	// Output:
	// entries before 4 are gone
	// line 4
}

// A fork shares the entries of its source up to a place, and goes its own way from there.
func ExampleCreateOptions_fork() {
	ctx := context.Background()
	s, done := openStore(ctx)
	defer done()
	for _, text := range []string{"question", "first answer"} {
		if _, err := s.Append(ctx, "chats", "main", record(text), nil); err != nil {
			log.Fatal(err)
		}
	}
	at := uint64(1)
	if _, _, err := s.Create(ctx, "chats", "retry", &streamhub.CreateOptions{ForkOf: "main", ForkAt: &at}); err != nil {
		log.Fatal(err)
	}
	if _, err := s.Append(ctx, "chats", "retry", record("second answer"), nil); err != nil {
		log.Fatal(err)
	}
	for entry, err := range s.ConsumeSegment(ctx, "chats", "retry", nil) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(entry.Sequence, string(entry.Payload))
	}
	// Output:
	// 1 question
	// 2 second answer
}

// Retryable says whether the same call can succeed later. Repeat an append whose outcome is unknown
// with the id that its error carries: it is stored once.
func ExampleRetryable() {
	ctx := context.Background()
	attempts := 0
	send := func(_ context.Context, options *streamhub.AppendOptions) error { // stands for Store.Append
		if attempts++; attempts == 1 {
			return &streamhub.UnknownOutcomeError{TRX: uuid.MustParse("5d3cbd5c-3bb5-4a5c-9c36-0f1f0bd1a3a4")}
		}
		fmt.Println("sent again as", options.TRX)
		return nil
	}

	var options streamhub.AppendOptions
	for { // a program waits between its attempts
		err := send(ctx, &options)
		if err == nil || !streamhub.Retryable(err) {
			fmt.Println(err)
			return
		}
		var unknown *streamhub.UnknownOutcomeError
		if errors.As(err, &unknown) {
			options.TRX = unknown.TRX
		}
	}
	// Output:
	// sent again as 5d3cbd5c-3bb5-4a5c-9c36-0f1f0bd1a3a4
	// <nil>
}

// A level of durability is written the same way in Go, on the command line and in an HTTP header.
func ExampleParseDurability() {
	level, err := streamhub.ParseDurability("fsync, replicas=1, timeout=2s")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(level.Replicas, level.Fsync, level.Timeout)
	fmt.Println(level)

	_, err = streamhub.ParseDurability("replicas=-1")
	fmt.Println(errors.Is(err, streamhub.ErrInvalidArgument))
	// Output:
	// 1 true 2s
	// replicas=1,fsync,timeout=2s
	// true
}

// A code stands for an error where the error itself cannot go, such as the label of a metric.
func ExampleCodeOf() {
	err := fmt.Errorf("saving: %w", &streamhub.ClosedError{Verdict: streamhub.Verdict{Kind: streamhub.VerdictDone}})
	code := streamhub.CodeOf(err)
	fmt.Println(code, errors.Is(err, code.Err()))
	// Output:
	// closed true
}
