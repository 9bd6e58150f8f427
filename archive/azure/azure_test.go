package azure_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive"
	"github.com/seed-147127fe/streamhub/archive/azure"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

func TestMain(m *testing.M) { testredis.Main(m) }

var space = archive.SpaceID{Store: uuid.MustParse("6ba7b810-9dad-11d1-80b4-00c04fd430c8"), Space: "s"}

// service answers as a storage account would that answers only this.
func service(t *testing.T, answer http.HandlerFunc) *azure.Backend {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/Tables") || r.URL.Query().Get("restype") == "container" {
			w.WriteHeader(http.StatusConflict) // they are there
			return
		}
		answer(w, r)
	}))
	client := server.Client()
	t.Cleanup(func() {
		client.CloseIdleConnections()
		server.Close()
	})
	o := &azure.Options{
		ConnectionString: "DefaultEndpointsProtocol=http;AccountName=me;AccountKey=a2V5;BlobEndpoint=" + server.URL + "/me;TableEndpoint=" + server.URL + "/me;",
	}
	o.Client.Transport = client
	o.Client.Retry.MaxRetries, o.Client.Retry.RetryDelay, o.Client.Retry.MaxRetryDelay = 2, time.Millisecond, 10*time.Millisecond
	b, err := azure.Open(t.Context(), "me", "cold", o)
	require.NoError(t, err)
	return b
}

// TestErrors says of each answer whether it may pass.
func TestErrors(t *testing.T) {
	for _, c := range []struct {
		status int
		code   string
		want   error
		calls  int64
	}{
		{404, "ResourceNotFound", streamhub.ErrNotFound, 1},
		{404, "TableNotFound", streamhub.ErrUnavailable, 1},
		{403, "AuthenticationFailed", streamhub.ErrPermissionDenied, 1},
		{413, "RequestBodyTooLarge", streamhub.ErrTooLarge, 1},
		{429, "TooManyRequests", streamhub.ErrUnavailable, 3},
		{500, "InternalError", streamhub.ErrUnavailable, 3},
		{503, "ServerBusy", streamhub.ErrUnavailable, 3},
	} {
		t.Run(c.code, func(t *testing.T) {
			var calls atomic.Int64
			b := service(t, func(w http.ResponseWriter, _ *http.Request) {
				calls.Add(1)
				w.Header().Set("x-ms-error-code", c.code)
				w.Header().Set("Retry-After-Ms", "1")
				w.WriteHeader(c.status)
			})
			_, err := b.Get(t.Context(), space, "k")
			require.ErrorIs(t, err, c.want)
			require.Equal(t, c.calls, calls.Load())
			require.Error(t, b.Put(t.Context(), space, archive.Object{Key: "k", Data: []byte("x")}))
			_, _, err = b.Manifest(t.Context(), space)
			require.ErrorIs(t, err, c.want)
		})
	}
}

func TestContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	b := service(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		cancel()
		<-r.Context().Done()
	})
	require.ErrorIs(t, b.Put(ctx, space, archive.Object{Key: "k", Data: []byte("x")}), context.Canceled)
}

// TestEntityLimits holds the limits of the service, which its emulator does not: 64 KiB a property,
// 252 properties and 1 MiB an entity.
func TestEntityLimits(t *testing.T) {
	var largest atomic.Int64
	b := service(t, func(w http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(r.Body)
		var e map[string]any
		if err == nil {
			err = json.Unmarshal(text, &e)
		}
		if err != nil {
			return // a blob
		}
		size := int64(0)
		for name, value := range e {
			text, _ := value.(string)
			n := int64(len(name) * 2)
			if e[name+"@odata.type"] == "Edm.Binary" {
				n += int64(len(text) / 4 * 3)
				if len(text)/4*3 > 64<<10+2 {
					t.Errorf("property %s has %d bytes", name, n)
				}
			} else {
				n += int64(len(text) * 2)
			}
			size += n
		}
		if len(e) > 252 || size > 1<<20 {
			t.Errorf("%d properties, %d bytes", len(e), size)
		}
		largest.Store(max(largest.Load(), size))
		w.WriteHeader(http.StatusNoContent)
	})
	wide := archive.SpaceID{Store: space.Store, Space: strings.Repeat("\xff", streamhub.MaxNameLength)}
	for size := 0; size < 2<<20; size += 61_000 {
		err := b.Put(t.Context(), wide, archive.Object{Key: strings.Repeat("k", 500) + strconv.Itoa(size), Data: make([]byte, size)})
		if err != nil { // the blob, which is not answered as one is
			require.Greater(t, size, 800<<10)
		}
	}
	require.Greater(t, largest.Load(), int64(800<<10), "what fits lies in the entity")
}

func TestOpen(t *testing.T) {
	connection := "DefaultEndpointsProtocol=https;AccountName=me;AccountKey=a2V5;EndpointSuffix=core.windows.net"
	for _, prefix := range []string{"", "ab", "1abc", "Abc", "a-b", "a/b", "..", strings.Repeat("a", 64)} {
		_, err := azure.Open(t.Context(), "me", prefix, &azure.Options{ConnectionString: connection})
		require.ErrorIs(t, err, streamhub.ErrInvalidArgument, prefix)
	}
	for account, text := range map[string]string{
		"other": connection, "me": "nonsense", "you": "TableEndpoint=https://me.table.core.windows.net/;SharedAccessSignature=x",
	} {
		_, err := azure.Open(t.Context(), account, "cold", &azure.Options{ConnectionString: text})
		require.ErrorIs(t, err, streamhub.ErrInvalidArgument, account)
	}
	_, err := azure.Open(t.Context(), "me", "cold", &azure.Options{AccountKey: "no base64 %"})
	require.ErrorIs(t, err, streamhub.ErrInvalidArgument)
	for _, o := range []azure.Options{{AccountKey: "a2V5"}, {SAS: "?sv=x&sig=y"}, {ConnectionString: connection}} {
		var hosts []string
		o.Client.Transport = transport(func(r *http.Request) (*http.Response, error) {
			hosts = append(hosts, r.URL.Host)
			require.True(t, r.Header.Get("Authorization") != "" || r.URL.Query().Get("sig") == "y")
			return nil, errors.New("nothing is reached")
		})
		o.Client.Retry.MaxRetries = -1
		_, err := azure.Open(t.Context(), "me", "cold", &o)
		require.ErrorIs(t, err, streamhub.ErrUnavailable)
		require.Equal(t, []string{"me.table.core.windows.net"}, hosts)
	}
}

// TestMustExist makes neither a table nor a container.
func TestMustExist(t *testing.T) {
	for code, want := range map[int]error{
		http.StatusOK: nil, http.StatusNotFound: streamhub.ErrNotFound, http.StatusForbidden: streamhub.ErrPermissionDenied,
	} {
		o := azure.Options{AccountKey: "a2V5", MustExist: true}
		o.Client.Transport = transport(func(r *http.Request) (*http.Response, error) {
			require.Equal(t, http.MethodGet, r.Method)
			return &http.Response{StatusCode: code, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(`{"value":[]}`)), Request: r}, nil
		})
		_, err := azure.Open(t.Context(), "me", "cold", &o)
		require.ErrorIs(t, err, want, code)
		if want != nil {
			require.ErrorContains(t, err, "azure://me/cold")
		}
	}
}

type transport func(*http.Request) (*http.Response, error)

func (f transport) Do(r *http.Request) (*http.Response, error) { return f(r) }
