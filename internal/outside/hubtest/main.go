// Command hubtest shows that a counter of a program survives what package hubtest can do to it.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/hub/hubtest"
)

// A bench is what hubtest needs of a test.
type bench struct{ cleanups []func() }

func (*bench) Helper()                        {}
func (*bench) Context() context.Context       { return context.Background() }
func (b *bench) Cleanup(f func())             { b.cleanups = append(b.cleanups, f) }
func (*bench) Fatalf(format string, a ...any) { log.Fatalf(format, a...) }

// count reads a segment to its end.
func count(ctx context.Context, from hubtest.Target, saw func(streamhub.Entry)) error {
	c := client.New(from.Provider, nil)
	defer c.Close()
	for entry, err := range c.Store(from.Store).FollowSegment(ctx, from.Space, from.Segment, nil) {
		if err != nil {
			return err
		}
		saw(entry)
	}
	return nil
}

func main() {
	b := &bench{}
	hubtest.CutEverywhere(b, count)

	env := hubtest.Open(b)
	s := env.Client().Store(env.ID)
	mark := env.Mark()
	r, err := s.Append(b.Context(), "orders", "17", []streamhub.Record{{Payload: []byte("packed")}}, nil)
	if err != nil {
		log.Fatal(err)
	}
	env.LoseHistory(mark)
	for _, err := range s.ConsumeSegment(b.Context(), "orders", "17", &streamhub.ReadOptions{Cursor: r.Cursor()}) {
		fmt.Println(errors.Is(err, streamhub.ErrHistoryLost))
	}
	for _, f := range b.cleanups {
		f()
	}
	fmt.Println("ok")
}
