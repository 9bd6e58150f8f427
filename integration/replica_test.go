//go:build faults

package integration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	sdk "github.com/seed-147127fe/streamhub/client"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

// TestReplicaStopped appends at the level of one replica, with everything else at its default, while the only replica
// stands still or is dead. Every append is reported as written and not confirmed. So is every repeat, by the same caller,
// by another hub or gateway, and over a new connection.
func TestReplicaStopped(t *testing.T) {
	for name, stop := range map[string]func(*testredis.Server){"paused": (*testredis.Server).Pause, "killed": (*testredis.Server).Kill} {
		t.Run(name, func(t *testing.T) {
			p := startPair(t, seedOf(t))
			one, two := startGateway(t, p.master.URL()), startGateway(t, p.master.URL())
			hubs := []appender{open(t, p.client(t), nil).Store(testStore), open(t, p.client(t), nil).Store(testStore)}
			client := defaultClient(t, one.address)
			chains := [][]appender{
				{hubs[0], hubs[0], hubs[1], open(t, p.client(t), nil).Store(testStore)},
				{client, client, defaultClient(t, one.address), defaultClient(t, two.address)},
				{httpAppender{one}, httpAppender{one}, httpAppender{two}},
			}
			append := func(a appender, segment string, timeout time.Duration) (streamhub.AppendResult, error) {
				return a.Append(t.Context(), "space", segment, []streamhub.Record{{Payload: []byte("x")}}, &streamhub.AppendOptions{
					Producer: &streamhub.Producer{ID: "p"}, Durability: &streamhub.Durability{Replicas: 1, Timeout: timeout},
				})
			}
			for i, chain := range chains {
				for _, a := range chain {
					_, err := append(a, fmt.Sprint("warm-", i), time.Minute)
					require.NoError(t, err)
				}
			}
			stop(p.replica)

			n := rounds(t, "STREAMHUB_STOPS", 1) // STOPS of make test-replica
			var told, slowest atomic.Int64
			var group sync.WaitGroup
			for round := range n {
				for i, chain := range chains {
					group.Go(func() {
						segment := fmt.Sprintf("%d-%d", i, round)
						for k, a := range chain {
							begin := time.Now()
							r, err := append(a, segment, 0)
							if !errors.Is(err, streamhub.ErrNotConfirmed) || r.First != 1 {
								t.Errorf("chain %d, append %d of round %d: at %d, %v; want it at 1 and not confirmed", i, k, round, r.First, err)
								continue
							}
							told.Add(1)
							for took := int64(time.Since(begin)); ; {
								if had := slowest.Load(); took <= had || slowest.CompareAndSwap(had, took) {
									break
								}
							}
						}
					})
				}
			}
			group.Wait()
			t.Logf("%d rounds: %d of %d appends and repeats are written and not confirmed; the slowest call took %v",
				n, told.Load(), n*11, time.Duration(slowest.Load()).Round(time.Millisecond))
		})
	}
}

// An appender is a store in process, over a gateway, or over HTTP.
type appender interface {
	Append(ctx context.Context, space, segment string, records []streamhub.Record, o *streamhub.AppendOptions) (streamhub.AppendResult, error)
}

// defaultClient connects to a gateway with everything at its default.
func defaultClient(t *testing.T, gateway string) *sdk.Store {
	t.Helper()
	p, err := sdk.NewWebSocketProvider(t.Context(), []string{gateway}, nil)
	require.NoError(t, err)
	c := sdk.New(p, nil)
	t.Cleanup(func() {
		require.NoError(t, c.Close())
		require.NoError(t, p.Close())
	})
	return c.Store(testStore)
}

// An httpAppender appends one record by Durable Streams, on a connection of its own.
type httpAppender struct{ *gatewayProcess }

func (a httpAppender) Append(ctx context.Context, space, segment string, records []streamhub.Record, o *streamhub.AppendOptions) (r streamhub.AppendResult, err error) {
	url := fmt.Sprintf("http%s/stores/%s/v1/stream/%s/%s", strings.TrimPrefix(a.address, "ws"), testStore, space, segment)
	send := func(method, body string, header map[string]string) (int, string, error) {
		request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
		if err != nil {
			return 0, "", err
		}
		request.Close = true
		for name, value := range header {
			request.Header.Set(name, value)
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			return 0, "", err
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		return answer.StatusCode, string(text), err
	}
	status, text, err := send(http.MethodPut, "", map[string]string{"Content-Type": "text/plain"})
	if err != nil {
		return r, err
	}
	if status/100 != 2 {
		return r, fmt.Errorf("create: %d %s", status, text)
	}
	header := map[string]string{
		"Content-Type": "text/plain", "Producer-Id": o.Producer.ID, "Producer-Epoch": "0", "Producer-Seq": "0", "Streamhub-Durability": "replicas=1",
	}
	if o.Durability.Timeout != 0 {
		header["Streamhub-Durability"] += ", timeout=" + o.Durability.Timeout.String()
	}
	status, text, err = send(http.MethodPost, string(records[0].Payload), header)
	switch {
	case err != nil:
		return r, err
	case status == http.StatusServiceUnavailable && strings.Contains(text, `"not_confirmed"`):
		// It is there once, after all repeats too.
		_, all, err := send(http.MethodGet, "", nil)
		if err != nil {
			return r, err
		}
		if all != string(records[0].Payload) {
			return r, fmt.Errorf("it holds %q", all)
		}
		r.First = 1
		return r, streamhub.ErrNotConfirmed
	case status/100 != 2:
		return r, fmt.Errorf("%d %s", status, text)
	}
	r.First = 1
	return r, nil
}
