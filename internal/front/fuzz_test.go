package front

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/internal/auth"
)

// strangers refuses every token.
type strangers struct{}

func (strangers) Authenticate(context.Context, string) (*streamhub.Identity, error) {
	return nil, errors.New("a stranger")
}

// noKeys has no key of tickets.
type noKeys struct{}

func (noKeys) Current(context.Context) (string, []byte, error) { return "", nil, errors.New("no key") }
func (noKeys) Find(context.Context, string) ([]byte, error)    { return nil, nil }

// FuzzStranger has a stranger send anything that the gate reads before it knows who it is: nothing is let in,
// within a time and a memory that do not depend on what it is.
func FuzzStranger(f *testing.F) {
	g, err := New(context.Background(), &Options{Auth: strangers{}, Tickets: noKeys{}, Origins: []string{"https://app.example.com"}, Cookie: "hub"})
	require.NoError(f, err)
	d := &Dialect{Transport: "websocket", Op: "append"}
	tickets := g.Wrap("tickets", http.HandlerFunc(g.ServeTickets), Ways{})
	f.Add("/v1/tickets", "ticket=a.b.c", "hub.example.com", "https://app.example.com", "Bearer a.b.c", "hub=x", `{"read":["a/b*"]}`)
	f.Add("/stores/x/v1/tickets", "ticket=&ticket=", "[::1]:80", "null", "Basic x", "", "")
	f.Add("/", strings.Repeat("ticket&", 2000), strings.Repeat("a.", 2000), strings.Repeat("http://", 500), strings.Repeat("Bearer ", 500), strings.Repeat("hub=x; ", 500), strings.Repeat("[", 16<<10))
	f.Fuzz(func(t *testing.T, path, query, host, origin, authorization, cookie, body string) {
		if total := len(path) + len(query) + len(host) + len(origin) + len(authorization) + len(cookie); total > 16<<10 {
			t.Skip("a server does not read so many bytes of headers")
		}
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		r.URL.Path, r.URL.RawQuery, r.Host = path, query, host
		r.Header = http.Header{"Origin": {origin}, "Authorization": {authorization}, "Cookie": {cookie}, "Sec-Fetch-Site": {"same-origin"}}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		start := time.Now()
		if guest, err := g.Connect(r, d); err == nil {
			t.Errorf("a stranger was let in: %+v", guest.Principal)
		}
		if _, err := g.Authorize(r, streamhub.Right{Space: "a"}); !errors.Is(err, streamhub.ErrUnauthenticated) {
			t.Errorf("a stranger may read: %v", err)
		}
		w := httptest.NewRecorder()
		tickets.ServeHTTP(w, r)
		if w.Code != http.StatusUnauthorized {
			t.Errorf("a stranger got %d for a ticket", w.Code)
		}
		_ = g.hosts.Check(r)
		_ = auth.OwnOrigin(r)
		took := time.Since(start)
		runtime.ReadMemStats(&after)
		if took > 30*time.Second {
			t.Errorf("it took %v", took)
		}
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 8<<20 {
			t.Errorf("it took %d bytes", grown)
		}
	})
}
