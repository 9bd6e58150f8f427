//go:build faults

package integration

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/integration/history"
	"github.com/seed-147127fe/streamhub/internal/faultproxy"
	"github.com/seed-147127fe/streamhub/internal/pause"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

// TestLateCopy lets the first copy of an append arrive long after the hub has sent it again. What
// the caller was told in between has to stay true.
func TestLateCopy(t *testing.T) {
	const late = 1600 * time.Millisecond // the hub gives up waiting for a reply after a second
	for name, options := range map[string]streamhub.AppendOptions{
		"plain":           {},
		"expecting":       {ExpectedSequence: 4},
		"expecting ahead": {ExpectedSequence: 5},
		"producer":        {Producer: &streamhub.Producer{ID: "p"}},
		"producer ahead":  {Producer: &streamhub.Producer{ID: "p", Seq: 1}},
		"must exist":      {MustExist: true, ExpectedSequence: 5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seed := seedOf(t)
			server := testredis.Start(t, nil)
			r := newRelay(t, seed, faultproxy.Faults{}, server)
			through := open(t, r.through(t, server.URL()), nil).Store(testStore)
			direct := open(t, client(t, server.URL()), nil).Store(testStore)
			rec := history.NewRecorder(clock)
			a, b := rec.Client("late", through), rec.Client("direct", direct)
			ctx := within(t, 30*time.Second)
			at := place{"space", "segment"}
			fill(t, a, at, 3)
			// The next request to arrive has to be the append.
			seen := calls(t, server)
			eventually(t, 10*time.Second, func(ctx context.Context) error {
				pause.For(ctx, 200*time.Millisecond)
				now := calls(t, server)
				if _, more := since(seen, now); more != 0 {
					seen = now
					return errors.New("the hub is not at rest")
				}
				return nil
			})

			r.set(faultproxy.Faults{ToServer: faultproxy.Flow{Delay: late}})
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				_, err := a.Append(ctx, at.space, at.segment, []streamhub.Record{{Payload: []byte("late")}}, &options)
				if errors.Is(err, streamhub.ErrUnknownOutcome) && streamhub.CodeOf(err) != "unknown_outcome" {
					t.Errorf("the outcome is unknown and the code of the error, %s, says that nothing happened: %v", streamhub.CodeOf(err), err)
				}
			}()
			// The first copy is in the proxy; the second one passes it.
			before := r.proxied()
			eventually(t, 5*time.Second, func(context.Context) error {
				if r.proxied() == before {
					return errors.New("not sent yet")
				}
				return nil
			})
			r.set(faultproxy.Faults{})
			<-sent
			fill(t, b, at, 1)
			// After this nothing is late any more.
			require.True(t, pause.For(ctx, late))
			fill(t, b, at, 2)
			check(t, rec.History(), direct, []place{at}, history.Options{Seed: seed})
		})
	}
}

// proxied counts the requests that have reached the proxies.
func (r *relay) proxied() (n int64) {
	for _, p := range r.proxies {
		n += p.Counters().Requests
	}
	return n
}

// TestRepeatUnknown sends an append again whose outcome is unknown, while others of the same hub
// append too. It is stored once.
func TestRepeatUnknown(t *testing.T) {
	for range pick(10, 200) {
		seed := seedOf(t)
		server := testredis.Start(t, nil)
		r := newRelay(t, seed, faultproxy.Faults{}, server)
		s := open(t, r.through(t, server.URL()), &hub.Options{RetryFor: time.Millisecond}).Store(testStore)
		rec := history.NewRecorder(clock)
		c := rec.Client("writer", s)
		random := random(seed, 0)
		at := place{"space", "segment"}
		fill(t, c, at, 1)
		for range 20 {
			// Three appends leave together or one after the other; the first reply is cut.
			for _, p := range r.all() {
				p.CutNext(1)
			}
			done := make(chan struct{})
			for range 3 {
				go func() {
					defer func() { done <- struct{}{} }()
					one := []streamhub.Record{{Payload: []byte(uuid.NewString())}}
					o := &streamhub.AppendOptions{TRX: uuid.New()}
					for range 5 {
						if _, err := c.Append(t.Context(), at.space, at.segment, one, o); !errors.Is(err, streamhub.ErrUnknownOutcome) {
							return
						}
					}
				}()
			}
			for range 3 {
				<-done
			}
			if random.IntN(2) == 0 {
				fill(t, c, at, 1)
			}
		}
		for _, p := range r.all() {
			p.CutNext(0)
		}
		check(t, rec.History(), open(t, client(t, server.URL()), nil).Store(testStore), []place{at}, history.Options{Seed: seed})
		server.Kill()
	}
}
