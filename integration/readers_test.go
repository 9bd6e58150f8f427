//go:build faults

package integration

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/pause"
	"github.com/seed-147127fe/streamhub/server"
)

// TestReaders promotes a replica that lags, again and again; STREAMHUB_FAILOVERS says how often. There are readers by cursor, offset,
// long-poll and event stream, and writers with If-Match, over two gateways. Each whose entries were lost is told so, and no other is.
func TestReaders(t *testing.T) {
	rounds := rounds(t, "STREAMHUB_FAILOVERS", 3)
	seed := seedOf(t)
	p := startPair(t, seed)
	told, untold := 0, 0
	for round := range rounds {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			f := &failover{t: t, p: p, r: random(seed, uint64(round)), space: fmt.Sprint("space", round)}
			f.hubs[0], f.gateways[0] = gatewayOn(t, p)
			f.hubs[1], f.gateways[1] = gatewayOn(t, p)
			f.run(seed + uint64(round))
			told, untold = told+f.told, untold+f.untold
		})
	}
	require.True(t, told > rounds && untold > rounds, "nothing was lost, so nothing was shown")
	t.Logf("%d failovers: %d readers and writers were told of a loss, %d had none and were not", rounds, told, untold)
}

// gatewayOn returns a gateway on the master of a pair, which ends with the test.
func gatewayOn(t *testing.T, p *pair) (*hub.Hub, string) {
	t.Helper()
	h := open(t, p.client(t), &hub.Options{Recheck: time.Second})
	s, err := server.New(h, nil)
	require.NoError(t, err)
	listener := httptest.NewServer(s)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		require.NoError(t, s.Shutdown(ctx))
		listener.Close()
	})
	return h, listener.URL + "/stores/" + testStore.String() + "/v1/stream/"
}

// A failover is one round: what was written before it, and who looks on.
type failover struct {
	t        *testing.T
	p        *pair
	r        *rand.Rand
	space    string
	hubs     [2]*hub.Hub
	gateways [2]string

	mu           sync.Mutex
	told, untold int // readers and writers, guarded by mu
}

// A streamLoss is a stream of which the first kept messages survive.
type streamLoss struct {
	name    string
	kept    int
	offsets []string           // after so many messages
	cursors []streamhub.Cursor // likewise
}

func (s *streamLoss) end() string { return s.offsets[len(s.offsets)-1] }
func (s *streamLoss) lost() bool  { return len(s.offsets)-1 > s.kept }

func (f *failover) url(s *streamLoss) string { return f.gateways[f.r.IntN(2)] + f.space + "/" + s.name }

// post appends one message and notes the position after it.
func (f *failover) post(ctx context.Context, s *streamLoss) {
	n := len(s.offsets)
	a := f.ask(ctx, http.MethodPost, f.gateways[0]+f.space+"/"+s.name, fmt.Sprintf("%d;", n), nil)
	require.Equal(f.t, http.StatusNoContent, a.status)
	s.offsets = append(s.offsets, a.next)
	e, err := f.hubs[0].Store(testStore).Peek(ctx, f.space, s.name)
	require.NoError(f.t, err)
	s.cursors = append(s.cursors, e.Cursor())
}

func (f *failover) run(seed uint64) {
	ctx := within(f.t, time.Minute)
	streams := make([]*streamLoss, 4)
	for i := range streams {
		s := &streamLoss{name: fmt.Sprint("s", i), kept: 2 + f.r.IntN(4)}
		a := f.ask(ctx, http.MethodPut, f.gateways[0]+f.space+"/"+s.name, "", nil)
		require.Equal(f.t, http.StatusCreated, a.status)
		s.offsets, s.cursors = []string{a.next}, []streamhub.Cursor{""}
		for range s.kept {
			f.post(ctx, s)
		}
		streams[i] = s
	}
	inStep(f.t, f.p.master)
	before := f.spaceCursor(ctx)
	f.p.lag()
	for i, s := range streams {
		for range (1 - i%2) * (1 + f.r.IntN(4)) {
			f.post(ctx, s)
		}
	}
	after := f.spaceCursor(ctx)

	var watching sync.WaitGroup
	opened := make(chan struct{}, 2*len(streams))
	for _, s := range streams {
		polled, streamed := f.url(s), f.url(s)
		watching.Go(func() { f.poll(ctx, polled, s, opened) })
		watching.Go(func() { f.events(ctx, streamed, s, opened) })
	}
	for range cap(opened) {
		select {
		case <-opened:
		case <-ctx.Done():
			f.t.Fatal("the readers did not begin")
		}
	}
	f.p.promote(seed)

	// The writers come first, so that who lost nothing finds the end where it was.
	for _, s := range streams {
		a := f.ask(ctx, http.MethodPost, f.url(s), "new;", map[string]string{"If-Match": `"` + s.end() + `"`})
		f.judge("a writer with If-Match", s, s.lost(), a.status == http.StatusPreconditionFailed, a.status == http.StatusNoContent, a)
	}
	other := open(f.t, f.p.client(f.t), nil).Store(testStore)
	for _, s := range streams {
		if s.lost() {
			for range f.r.IntN(len(s.offsets) - s.kept + 2) {
				_, err := other.Append(ctx, f.space, s.name, []streamhub.Record{{Payload: []byte("new;")}}, nil)
				require.NoError(f.t, err)
			}
		}
		for n := range s.offsets {
			a := f.ask(ctx, http.MethodGet, f.url(s)+"?offset="+s.offsets[n], "", nil)
			whole := ""
			for i := n + 1; i <= s.kept; i++ {
				whole += fmt.Sprintf("%d;", i)
			}
			f.judge(fmt.Sprintf("a reader by offset after %d", n), s, n > s.kept, a.status == http.StatusGone,
				a.status == http.StatusOK && strings.ReplaceAll(a.body, "new;", "") == whole, a)
			err := readThrough(f.hubs[f.r.IntN(2)].Store(testStore).ConsumeSegment(ctx, f.space, s.name, &streamhub.ReadOptions{Cursor: s.cursors[n]}))
			f.judge(fmt.Sprintf("a reader by cursor after %d", n), s, n > s.kept, errors.Is(err, streamhub.ErrHistoryLost), err == nil, err)
		}
	}
	for _, c := range []struct {
		cursor streamhub.Cursor
		lost   bool
	}{{before, false}, {after, true}} {
		err := readThrough(f.hubs[f.r.IntN(2)].Store(testStore).ConsumeSpace(ctx, f.space, &streamhub.ReadOptions{Cursor: c.cursor}))
		f.judge("a reader of the space by cursor", streams[0], c.lost, errors.Is(err, streamhub.ErrHistoryLost), err == nil, err)
	}
	watching.Wait()
}

// readThrough reads entries to their end and returns the error that ended them.
func readThrough(entries iter.Seq2[streamhub.Entry, error]) error {
	for _, err := range entries {
		if err != nil {
			return err
		}
	}
	return nil
}

// spaceCursor is the end of the space.
func (f *failover) spaceCursor(ctx context.Context) (last streamhub.Cursor) {
	for e, err := range f.hubs[0].Store(testStore).ConsumeSpace(ctx, f.space, nil) {
		require.NoError(f.t, err)
		last = e.Cursor()
	}
	return last
}

// judge holds what one reader or writer got against what it lost.
func (f *failover) judge(who string, s *streamLoss, lost, told, went bool, got any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case lost && told:
		f.told++
	case !lost && went:
		f.untold++
	default:
		f.t.Errorf("%s of %s, %d kept of %d: lost %v, told %v, went on %v: %+v", who, s.name, s.kept, len(s.offsets)-1, lost, told, went, got)
	}
}

// poll waits at the end of a stream by long-poll, over the failover.
func (f *failover) poll(ctx context.Context, url string, s *streamLoss, opened chan<- struct{}) {
	opened <- struct{}{}
	a := answer{}
	for a.status == 0 || a.status == http.StatusNoContent { // nothing came in its time
		a = f.ask(ctx, http.MethodGet, url+"?live=long-poll&offset="+s.end(), "", nil)
	}
	f.judge("a reader by long-poll", s, s.lost(), a.status == http.StatusGone, a.status == http.StatusOK && strings.HasPrefix(a.body, "new;"), a)
}

// events follows from the end of a stream as an event stream, and resumes it after each end.
func (f *failover) events(ctx context.Context, url string, s *streamLoss, opened chan<- struct{}) {
	for first := true; ctx.Err() == nil; first = false {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"?live=sse&offset="+s.end(), nil)
		if err != nil {
			f.t.Error(err)
			return
		}
		response, err := http.DefaultClient.Do(request)
		if first {
			opened <- struct{}{}
		}
		if err != nil || response.StatusCode == http.StatusServiceUnavailable {
			if err == nil {
				_ = response.Body.Close()
			}
			pause.For(ctx, 50*time.Millisecond)
			continue
		}
		came := false
		for in := bufio.NewScanner(response.Body); response.StatusCode == http.StatusOK && !came && in.Scan(); {
			came = strings.Contains(in.Text(), "new;")
		}
		_ = response.Body.Close()
		if came || response.StatusCode != http.StatusOK {
			f.judge("a reader by event stream", s, s.lost(), response.StatusCode == http.StatusGone, came, response.Status)
			return
		}
	}
	f.t.Errorf("the event stream of %s neither ended nor went on", s.name)
}

type answer struct {
	status     int
	next, body string
}

// ask sends a request until it is answered by more than that Redis cannot serve. What was written nevertheless shows later.
func (f *failover) ask(ctx context.Context, method, url, body string, header map[string]string) (a answer) {
	for {
		request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
		if err != nil {
			f.t.Error(err)
			return a
		}
		request.Header.Set("Content-Type", "text/plain")
		for k, v := range header {
			request.Header.Set(k, v)
		}
		response, err := http.DefaultClient.Do(request)
		if err == nil {
			var text []byte
			text, err = io.ReadAll(response.Body)
			_ = response.Body.Close()
			a = answer{response.StatusCode, response.Header.Get("Stream-Next-Offset"), string(text)}
			if err == nil && a.status != http.StatusServiceUnavailable {
				return a
			}
		}
		if !pause.For(ctx, 50*time.Millisecond) {
			f.t.Errorf("%s %s: %+v, %v", method, url, a, err)
			return a
		}
	}
}
