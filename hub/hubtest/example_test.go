package hubtest_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/hub/hubtest"
)

// standIn stands for the *testing.T of a test, which examples do not have.
type standIn struct{ cleanups []func() }

func (t *standIn) Helper()                        {}
func (t *standIn) Context() context.Context       { return context.Background() }
func (t *standIn) Cleanup(f func())               { t.cleanups = append(t.cleanups, f) }
func (t *standIn) Fatalf(format string, a ...any) { fmt.Printf(format+"\n", a...) }

func (t *standIn) end() {
	for i := len(t.cleanups) - 1; i >= 0; i-- {
		t.cleanups[i]()
	}
}

func record(text string) []streamhub.Record {
	return []streamhub.Record{{Payload: []byte(text)}}
}

// An append whose reply is lost for good has an unknown outcome. With the TRX id of the error it can be
// repeated, and is stored once.
func Example() {
	t := &standIn{} // in a test: its *testing.T
	defer t.end()

	env := hubtest.Open(t)
	s, ctx := env.Hub().Store(env.ID), t.Context()

	env.LoseReplies(1000)
	_, err := s.Append(ctx, "orders", "17", record("packed"), nil)
	var unknown *streamhub.UnknownOutcomeError
	fmt.Println(errors.As(err, &unknown))

	env.LoseReplies(0)
	r, err := s.Append(ctx, "orders", "17", record("packed"), &streamhub.AppendOptions{TRX: unknown.TRX})
	fmt.Println(r.Last, err)
	// Output:
	// true
	// 1 <nil>
}

// Time passes only when the test says so, and history that Redis has lost is reported.
func ExampleEnv_Advance() {
	t := &standIn{}
	defer t.end()
	env := hubtest.Open(t)
	s, ctx := env.Client().Store(env.ID), t.Context()

	_, _, err := s.Create(ctx, "orders", "17", &streamhub.CreateOptions{TTL: time.Hour})
	fmt.Println(err)
	mark := env.Mark()
	r, err := s.Append(ctx, "orders", "17", record("packed"), nil)
	fmt.Println(r.Last, err)

	env.LoseHistory(mark)
	for _, err := range s.ConsumeSegment(ctx, "orders", "17", &streamhub.ReadOptions{Cursor: r.Cursor()}) {
		fmt.Println(errors.Is(err, streamhub.ErrHistoryLost))
	}
	env.Advance(time.Hour)
	_, err = s.Status(ctx, "orders", "17")
	fmt.Println(errors.Is(err, streamhub.ErrNotFound))
	// Output:
	// <nil>
	// 1 <nil>
	// true
	// true
}

// A reader over a client goes on after each cut, and sees every entry once.
func ExampleCutEverywhere() {
	t := &standIn{}
	defer t.end()
	hubtest.CutEverywhere(t, func(ctx context.Context, from hubtest.Target, saw func(streamhub.Entry)) error {
		c := client.New(from.Provider, nil)
		defer c.Close()
		for e, err := range c.Store(from.Store).FollowSegment(ctx, from.Space, from.Segment, nil) {
			if err != nil {
				return err
			}
			saw(e)
		}
		return nil
	})
	fmt.Println("it saw every entry")
	// Output: it saw every entry
}
