package live_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/google/uuid"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/live"
)

// open gives the live streams of one space, on a hub with an embedded Redis.
func open(ctx context.Context) (live.Streams, func()) {
	h, err := hub.Open(ctx, nil, nil)
	if err != nil {
		log.Fatal(err)
	}
	return h.Store(uuid.Nil).Live("chats"), func() { _ = h.Close() }
}

// produce is a producer as a program has it: it stops when a reader asks for that.
func produce(ctx context.Context, store *hub.Store, tokens <-chan []byte, usage any, stopModel func()) error {
	streams := store.Live("chat")

	p, reader, err := streams.Register(ctx, "answer-17", &live.RegisterOptions{
		OnCancel: func(reason error) { stopModel() },
	})
	if err != nil {
		return err
	}
	if reader != nil {
		return nil // another process produces it: reader.Subscribe
	}
	defer p.Close(ctx)          // failed, unless it has ended
	for token := range tokens { // of type []byte
		if err := p.Publish(ctx, token); err != nil {
			return err // its verdict, or that another one took over
		}
	}
	return p.Done(ctx, usage)
}

// last is where the reader is; a program keeps it where a restart finds it.
var last live.Cursor

// read shows the rest of an answer after the cursor last.
func read(ctx context.Context, streams live.Streams, show func([]byte)) error {
	s, err := streams.Get(ctx, "answer-17") // anywhere; Await waits until it has begun
	if err != nil {
		return err
	}
	for chunk, err := range s.Subscribe(ctx, &live.SubscribeOptions{Cursor: last}) {
		var closed *streamhub.ClosedError
		if errors.As(err, &closed) {
			fmt.Println(closed.Verdict.Kind)
			return nil
		}
		if err != nil {
			return err
		}
		show(chunk.Data)
		last = chunk.Cursor() // of type live.Cursor
	}
	return ctx.Err()
}

// A producer and a reader, as programs have them.
func Example() {
	ctx := context.Background()
	h, err := hub.Open(ctx, nil, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer h.Close()
	tokens := make(chan []byte, 2)
	tokens <- []byte("forty")
	tokens <- []byte("two")
	close(tokens)
	if err := produce(ctx, h.Store(uuid.Nil), tokens, map[string]int{"tokens": 2}, func() {}); err != nil {
		log.Fatal(err)
	}
	err = read(ctx, h.Store(uuid.Nil).Live("chat"), func(data []byte) { fmt.Println(string(data)) })
	fmt.Println(err)
	// Output:
	// forty
	// two
	// done
	// <nil>
}

// One process produces, any other reads: what was missed, what comes, and the verdict.
func ExampleStreams_Register() {
	ctx := context.Background()
	streams, done := open(ctx)
	defer done()
	producer, reader, err := streams.Register(ctx, "answer-1", nil)
	if err != nil {
		log.Fatal(err)
	}
	if reader != nil {
		return // another process produces it: reader.Subscribe
	}
	for _, word := range []string{"forty", "two"} {
		if err := producer.Publish(ctx, []byte(word)); err != nil {
			log.Fatal(err)
		}
	}
	if err := producer.Done(ctx, map[string]int{"words": 2}); err != nil {
		log.Fatal(err)
	}

	stream, err := streams.Get(ctx, "answer-1")
	if err != nil {
		log.Fatal(err)
	}
	for chunk, err := range stream.Subscribe(ctx, nil) {
		var closed *streamhub.ClosedError
		if errors.As(err, &closed) {
			fmt.Println(closed.Verdict.Kind, string(closed.Verdict.Output))
			break
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(string(chunk.Data))
	}
	// Output:
	// forty
	// two
	// done {"words":2}
}

// A reader asks the producer to stop, wherever that is. The producer has time for a verdict of its own.
func ExampleStream_cancel() {
	ctx := context.Background()
	streams, done := open(ctx)
	defer done()
	producer, _, err := streams.Register(ctx, "answer-1", nil)
	if err != nil {
		log.Fatal(err)
	}
	ended := make(chan error)
	go func() {
		<-producer.Context().Done() // a model call gets this context
		ended <- producer.Fail(ctx, context.Cause(producer.Context()))
	}()

	stream, err := streams.Get(ctx, "answer-1")
	if err != nil {
		log.Fatal(err)
	}
	verdict, err := stream.Cancel(ctx, &live.CancelOptions{By: "ada", Reason: "enough"})
	fmt.Println(verdict.Kind, err, <-ended)
	// Output:
	// cancelled <nil> <nil>
}

// Readers send messages to the producer. They are kept in order.
func ExampleProducer_messages() {
	ctx := context.Background()
	streams, done := open(ctx)
	defer done()
	producer, _, err := streams.Register(ctx, "answer-1", nil)
	if err != nil {
		log.Fatal(err)
	}
	stream, err := streams.Get(ctx, "answer-1")
	if err != nil {
		log.Fatal(err)
	}
	if _, err := stream.Send(ctx, []byte("yes, delete it"), &live.SendOptions{By: "ada", Once: "delete?"}); err != nil {
		log.Fatal(err)
	}
	_, err = stream.Send(ctx, []byte("no!"), &live.SendOptions{By: "bob", Once: "delete?"})
	fmt.Println("a second answer:", errors.Is(err, streamhub.ErrConflict))

	for message, err := range producer.Messages(ctx, 0) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(message.By, "says", string(message.Data))
		break
	}
	fmt.Println(producer.Done(ctx, nil))
	// Output:
	// a second answer: true
	// ada says yes, delete it
	// <nil>
}

// A remote producer lives in no process: its token goes on through any instance. Chunks are numbered,
// so a call whose answer was lost is made again.
func ExampleStreams_Resume() {
	ctx := context.Background()
	streams, done := open(ctx)
	defer done()
	producer, _, err := streams.Start(ctx, "answer-1", nil)
	if err != nil {
		log.Fatal(err)
	}
	next, err := producer.Publish(ctx, 1, [][]byte{[]byte("forty")})
	if err != nil {
		log.Fatal(err)
	}

	resumed, err := streams.Resume(ctx, "answer-1", producer.Token()) // after a restart, or elsewhere
	if err != nil {
		log.Fatal(err)
	}
	for range 2 { // the second call stores nothing
		if next, err = resumed.Publish(ctx, 2, [][]byte{[]byte("two")}); err != nil {
			log.Fatal(err)
		}
	}
	verdict, err := resumed.End(ctx, streamhub.Verdict{Kind: streamhub.VerdictDone})
	fmt.Println(next, verdict.Kind, err)
	// Output:
	// 3 done <nil>
}

// A cursor is a text: a browser that was reloaded resumes with the one of the last chunk it showed.
func ExampleCursor() {
	ctx := context.Background()
	streams, done := open(ctx)
	defer done()
	producer, _, err := streams.Register(ctx, "answer-1", nil)
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
	stream, err := streams.Get(ctx, "answer-1")
	if err != nil {
		log.Fatal(err)
	}
	var cursor live.Cursor
	for chunk, err := range stream.Subscribe(ctx, nil) {
		if err != nil {
			log.Fatal(err)
		}
		cursor = chunk.Cursor()
		break // the tab is closed
	}
	for chunk, err := range stream.Subscribe(ctx, &live.SubscribeOptions{Cursor: cursor}) {
		if err != nil {
			break
		}
		fmt.Println(string(chunk.Data))
	}
	// Output:
	// two
}
