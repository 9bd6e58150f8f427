//go:build faults && crowd

package integration

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	sdk "github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/pause"
	"github.com/seed-147127fe/streamhub/internal/testredis"
	"github.com/seed-147127fe/streamhub/live"
)

const (
	crowdSockets = 8000                // readers over WebSocket, each with a connection of its own
	crowdReaders = crowdSockets + 2000 // and event streams of live streams
	crowdSpaces  = 20
	// crowdTime is how long all of them may take to come back, crowdCommands what each may cost Redis.
	crowdTime, crowdCommands = 15 * time.Second, 3
)

// TestCrowd kills a gateway that 10,000 readers read through, each of them a segment of its own. All of
// them are back on the other gateway in 15 seconds, with at most 3 commands each, and none fails.
func TestCrowd(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	server := testredis.Start(t, nil)
	a, b := startGateway(t, server.URL()), startGateway(t, server.URL())
	id := uuid.New()
	// Producers that beat seldom: what they cost Redis is none of the readers'.
	writer := open(t, client(t, server.URL()), &hub.Options{Live: &live.Options{Heartbeat: 5 * time.Minute}}).Store(id)
	at := func(n int) (space, segment string) {
		return fmt.Sprint("space-", n%crowdSpaces), fmt.Sprint("segment-", n)
	}
	var producers []live.Producer
	for n := crowdSockets; n < crowdReaders; n++ {
		space, segment := at(n)
		p, _, err := writer.Live(space).Register(ctx, segment, nil)
		require.NoError(t, err)
		producers = append(producers, p)
	}
	write := func() {
		t.Helper()
		var all []streamhub.Append
		for n := range crowdSockets {
			space, segment := at(n)
			all = append(all, streamhub.Append{Space: space, Segment: segment, Records: []streamhub.Record{{Payload: []byte("some text")}}})
		}
		_, failed := writer.AppendAll(ctx, all)
		for _, err := range failed {
			require.NoError(t, err)
		}
		for _, p := range producers {
			require.NoError(t, p.Publish(ctx, []byte("some text")))
		}
	}
	write()

	var reading sync.WaitGroup
	var seen [2]atomic.Int64 // readers that have got the first and the second entry
	reads, leave := context.WithCancel(ctx)
	defer func() {
		leave()
		reading.Wait()
	}()
	begun := make(chan struct{}, 100) // bounds how many connect at once at the start
	for n := range crowdReaders {
		space, segment := at(n)
		begun <- struct{}{}
		started := sync.OnceFunc(func() { <-begun })
		got := 0
		next := func() {
			started()
			if got++; got <= len(seen) {
				seen[got-1].Add(1)
			}
		}
		reading.Go(func() {
			defer started()
			if err := read(reads, n, id, space, segment, []string{a.address, b.address}, next); err != nil && reads.Err() == nil {
				t.Errorf("reader %d: %v", n, err)
			}
		})
	}
	all := func(limit time.Duration, count func(ctx context.Context) (int, error)) {
		t.Helper()
		eventually(t, limit, func(ctx context.Context) error {
			n, err := count(ctx)
			if err == nil && n < crowdReaders {
				err = fmt.Errorf("%d of %d readers", n, crowdReaders)
			}
			return err
		})
	}
	all(time.Minute, func(context.Context) (int, error) { return int(seen[0].Load()), nil })
	followers := func(g *gatewayProcess) func(ctx context.Context) (int, error) {
		return func(ctx context.Context) (int, error) {
			followers, err := g.metric(ctx, "streamhub_followers")
			streams, failed := g.metric(ctx, "streamhub_open_streams", `transport="live"`)
			return int(followers + streams), errors.Join(err, failed)
		}
	}
	all(time.Minute, followers(a))
	require.True(t, pause.For(ctx, 3*time.Second)) // what the start set off comes to rest
	for n := range crowdSpaces {
		space, _ := at(n) // the spaces are alive
		_, err := writer.Append(ctx, space, "another", []streamhub.Record{{}}, nil)
		require.NoError(t, err)
	}

	before := calls(t, server)
	killed := time.Now()
	a.kill()
	all(time.Minute, followers(b))
	back := time.Since(killed)
	// Until they are at rest, and with what scripts do.
	require.True(t, pause.For(ctx, 3*time.Second))
	commands, sum := since(before, calls(t, server))
	t.Logf("%d readers are back after %v, with %.2f commands each: %v", crowdReaders, back.Round(time.Millisecond), float64(sum)/crowdReaders, commands)
	write()
	all(time.Minute, func(context.Context) (int, error) { return int(seen[1].Load()), nil })
	t.Logf("all have the next entry %v after the kill", time.Since(killed).Round(time.Millisecond))
	require.LessOrEqual(t, back, crowdTime)
	require.LessOrEqual(t, float64(sum)/crowdReaders, float64(crowdCommands))
}

// read is reader n of a crowd, which calls next for each entry.
func read(ctx context.Context, n int, id uuid.UUID, space, segment string, gateways []string, next func()) error {
	if n >= crowdSockets {
		return readEvents(ctx, gateways, "/stores/"+id.String()+"/v1/live/"+segment+"?space="+space, next)
	}
	p, err := sdk.NewWebSocketProvider(ctx, gateways, nil)
	if err != nil {
		return err
	}
	defer p.Close()
	c := sdk.New(p, nil)
	defer c.Close()
	for _, err := range c.Store(id).FollowSegment(ctx, space, segment, nil) {
		if err != nil {
			return err
		}
		next()
	}
	return nil
}

// readEvents reads an event stream as an EventSource does: after a lost connection it connects again with the
// id of the last event, and another status than 200 is the end.
func readEvents(ctx context.Context, gateways []string, path string, next func()) error {
	transport := &http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{}).DialContext}
	id, wait := "", 3*time.Second
	for attempt := 0; ; attempt++ {
		err := func() error {
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http"+strings.TrimPrefix(gateways[attempt%len(gateways)], "ws")+path, nil)
			if err != nil {
				return err
			}
			r.Header.Set("Accept", "text/event-stream")
			if id != "" {
				r.Header.Set("Last-Event-ID", id)
			}
			answer, err := transport.RoundTrip(r)
			if err != nil {
				return nil
			}
			defer answer.Body.Close()
			if answer.StatusCode != http.StatusOK {
				return fmt.Errorf("status %s", answer.Status)
			}
			data := false
			for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
				field, value, _ := strings.Cut(lines.Text(), ":")
				switch value = strings.TrimPrefix(value, " "); {
				case field == "id":
					id = value
				case field == "retry":
					if ms, err := time.ParseDuration(value + "ms"); err == nil {
						wait = ms
					}
				case field == "data":
					data = true
				case field == "" && data:
					data = false
					next()
				}
			}
			return nil
		}()
		if err != nil {
			return err
		}
		if !pause.For(ctx, wait) {
			return ctx.Err()
		}
	}
}
