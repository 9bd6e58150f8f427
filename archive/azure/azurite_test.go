//go:build azurite

package azure_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive"
	"github.com/seed-147127fe/streamhub/archive/archivetest"
	"github.com/seed-147127fe/streamhub/archive/azure"
	"github.com/seed-147127fe/streamhub/internal/testazurite"
)

var prefixes atomic.Int64

func open(t *testing.T, connection string, client azcore.ClientOptions) *azure.Backend {
	t.Helper()
	b, err := azure.Open(t.Context(), testazurite.Account, fmt.Sprint("archive", prefixes.Add(1)), &azure.Options{ConnectionString: connection, Client: client})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

func TestContract(t *testing.T) {
	connection := testazurite.Start(t)
	archivetest.Run(t, func(t *testing.T) archive.Backend { return open(t, connection, azcore.ClientOptions{}) })
}

// A flaky transport breaks a fifth of all calls: before they reach the service, with the answers of
// one that is overloaded, or by losing the reply to what was done.
type flaky struct {
	mu     sync.Mutex
	random *rand.Rand
	broken map[string]int
}

func (f *flaky) Do(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	fault := []string{"", "refused", "429", "500", "503", "lost"}[max(0, f.random.IntN(25)-19)]
	f.broken[fault]++
	f.mu.Unlock()
	switch fault {
	case "refused":
		return nil, fmt.Errorf("connection refused by the test")
	case "429", "500", "503":
		var code int
		_, _ = fmt.Sscan(fault, &code)
		return &http.Response{
			StatusCode: code, Status: fault, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
			Header: http.Header{"Retry-After-Ms": {"1"}}, Body: http.NoBody,
		}, nil
	}
	response, err := http.DefaultClient.Do(r)
	if fault == "lost" && err == nil {
		response.Body.Close()
		return nil, fmt.Errorf("connection reset by the test")
	}
	return response, err
}

// TestFaults uploads a thousand objects while a fifth of the calls break. What is confirmed is
// there; what is not can be sent again.
func TestFaults(t *testing.T) {
	connection := testazurite.Start(t)
	f := &flaky{random: rand.New(rand.NewPCG(1, 2)), broken: map[string]int{}}
	client := azcore.ClientOptions{Transport: f}
	client.Retry.MaxRetries, client.Retry.RetryDelay, client.Retry.MaxRetryDelay = 2, 1e6, 1e7
	var b *azure.Backend
	prefix := fmt.Sprint("archive", prefixes.Add(1))
	for b == nil {
		b, _ = azure.Open(t.Context(), testazurite.Account, prefix, &azure.Options{ConnectionString: connection, Client: client})
	}
	clean, err := azure.Open(t.Context(), testazurite.Account, prefix, &azure.Options{ConnectionString: connection})
	require.NoError(t, err)
	space := archive.SpaceID{Store: uuid.New(), Space: "s"}
	const uploads = 1000
	data := func(n int) []byte { return []byte(strings.Repeat(fmt.Sprint(n), 1+n%300)) }
	failed := 0
	for n := range uploads {
		o := archive.Object{Key: fmt.Sprintf("k%04d", n), Data: data(n)}
		if n%100 == 0 {
			o.Data = []byte(strings.Repeat(fmt.Sprint(n), 1<<20))
		}
		for b.Put(t.Context(), space, o) != nil {
			failed++
		}
		got, err := clean.Get(t.Context(), space, o.Key)
		require.NoError(t, err)
		require.True(t, string(got) == string(o.Data))
	}
	// The manifest too: one that was set although the call failed is found by whoever looks.
	version := ""
	for n := range 100 {
		for {
			next, err := b.SetManifest(t.Context(), space, version, []byte(fmt.Sprint(n)))
			if err == nil {
				version = next
				break
			}
			have, at, err := clean.Manifest(t.Context(), space)
			if err == nil && string(have) == fmt.Sprint(n) {
				version = at
				break
			}
			if err != nil {
				require.ErrorIs(t, err, streamhub.ErrNotFound)
			}
			require.Equal(t, version, at)
		}
	}
	items, err := clean.List(t.Context(), space, "", "", 2*uploads)
	require.NoError(t, err)
	require.Len(t, items, uploads)
	t.Logf("%d calls failed for good, %v", failed, f.broken)
	for _, fault := range []string{"refused", "429", "500", "503", "lost"} {
		require.Greater(t, f.broken[fault], 30, fault)
	}
}
