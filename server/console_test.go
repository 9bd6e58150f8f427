package server_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/server"
)

// TestConsole has the page without a token, and what it shows with the session of a page alone.
func TestConsole(t *testing.T) {
	t.Parallel()
	h, err := hub.Open(t.Context(), nil, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	s, err := server.New(h, &server.Options{AdminToken: "open sesame, please", Metrics: http.NotFoundHandler()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Shutdown(context.WithoutCancel(t.Context()))) })
	admin := httptest.NewServer(s.Admin())
	t.Cleanup(admin.Close)
	store := h.Store(uuid.Nil)
	for i := range 120 {
		_, err := store.Append(t.Context(), "orders", fmt.Sprintf("order-%03d", i), []streamhub.Record{{Payload: []byte(`{"a":1}`)}, {Payload: []byte{0xff}}}, nil)
		require.NoError(t, err)
	}
	jar := []*http.Cookie{}
	ask := func(method, path, body string, want int) *http.Response {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, admin.URL+path, strings.NewReader(body))
		require.NoError(t, err)
		for _, c := range jar {
			r.AddCookie(c)
		}
		answer, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		t.Cleanup(func() { answer.Body.Close() })
		require.Equal(t, want, answer.StatusCode, path)
		return answer
	}
	ask("GET", "/", "", 200)
	shown := []string{
		"overview", "stores", "spaces", "segments?space=orders", "entries?space=orders&segment=order-001", "entries?space=orders", "workers", "leases",
		"live?space=live", "subscriptions", "instances", "history", "doctor", "archive",
	}
	for _, what := range shown {
		ask("GET", "/v1/operate/"+what, "", 401)
	}
	ask("POST", "/console/login", "guess", 401)
	jar = ask("POST", "/console/login", "open sesame, please", 204).Cookies()
	for _, what := range shown {
		ask("GET", "/v1/operate/"+what, "", 200)
	}
	// The cookie is for what the page shows.
	ask("GET", "/metrics", "", 401)
	ask("GET", "/debug/pprof/", "", 401)
	// It shows only, and nothing of the store of the gateways.
	ask("DELETE", "/v1/operate/store", "", 403)
	ask("DELETE", "/v1/operate/live?space=live&id=x", "", 403)
	ask("POST", "/v1/operate/verify?space=orders", "", 400) // there is no archive
	ask("GET", "/stores/"+uuid.NewSHA1(uuid.NameSpaceURL, []byte("https://streamhub/durable/subscriptions")).String()+"/v1/operate/spaces", "", 403)

	type page struct {
		Items    []map[string]any
		Next     string
		Commands int
	}
	read := func(path string) (p page) {
		t.Helper()
		require.NoError(t, json.NewDecoder(ask("GET", "/v1/operate/"+path, "", 200).Body).Decode(&p))
		return p
	}
	names, next := 0, ""
	for {
		p := read("segments?space=orders&after=" + next)
		for _, row := range p.Items {
			require.Equal(t, fmt.Sprintf("order-%03d", names), row["segment"])
			require.Equal(t, float64(2), row["entries"])
			names++
		}
		require.LessOrEqual(t, p.Commands, 210)
		if next = p.Next; next == "" {
			break
		}
	}
	require.Equal(t, 120, names)
	p := read("entries?space=orders&segment=order-007&from=1")
	require.Equal(t, `{"a":1}`, p.Items[0]["text"])
	require.Equal(t, "/w==", p.Items[1]["payload"])
	p = read("entries?space=orders")
	require.Len(t, p.Items, 50)
	require.Equal(t, float64(1), read("entries?space=orders&from=" + p.Next).Items[0]["sequence"])
	ask("GET", "/v1/operate/entries?space=orders&segment=order-007&from=nonsense", "", 400)
	ask("GET", "/v1/operate/entries?space=orders&segment=never", "", 404)

	// A tail shows what comes.
	events := bufio.NewScanner(ask("GET", "/v1/operate/tail?space=orders", "", 200).Body)
	until := func(want string) {
		t.Helper()
		for events.Scan() {
			if strings.Contains(events.Text(), want) {
				return
			}
		}
		t.Fatalf("the tail ended before %q: %v", want, events.Err())
	}
	until("event: open")
	done, seen := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for { // until the tail is there
			select {
			case <-seen:
				return
			case <-tick.C:
			}
			if _, err := store.Append(t.Context(), "orders", "order-001", []streamhub.Record{{Payload: []byte("fresh")}}, nil); err != nil {
				return
			}
		}
	}()
	until(`"text":"fresh"`)
	close(seen)
	<-done
	// It ends with the session, and so does the cookie.
	ask("POST", "/console/logout", "", 204)
	for events.Scan() { // what was under way
	}
	require.Error(t, events.Err(), "it is cut off, for it is not whole")
	ask("GET", "/v1/operate/tail?space=orders", "", 401)
}
