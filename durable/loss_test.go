package durable_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub/durable"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

// lose has Redis come back without what happens in then, as after a failover to a replica that lagged.
func lose(t *testing.T, server *testredis.Server, gateways []*gateway, then func()) {
	t.Helper()
	client := server.Client()
	require.NoError(t, client.Save(t.Context()).Err())
	then()
	server.Kill()
	server.Restart()
	for _, g := range gateways {
		eventually(t, g.hub.Ping)
	}
}

// TestLoss refuses every offset of what was lost, also when the log has grown over it, at a gateway
// that had seen it and at one that had not.
func TestLoss(t *testing.T) {
	t.Parallel()
	server := testredis.Start(t, nil)
	o := &durable.Options{LoopbackWebhooks: true}
	a, b := start(t, server.URL(), o), start(t, server.URL(), o)
	both := []*gateway{a, b}
	for _, path := range []string{"s", "grown", "closed"} {
		a.put(t, path, text, "")
		a.post(t, path, text, "1")
	}
	kept := a.post(t, "s", text, "2").offset()
	keptGrown := a.post(t, "grown", text, "2").offset()
	a.post(t, "closed", text, "2")
	var lost []string      // of s
	var lostGrown []string // of grown
	var closed, tag, whole string
	var open *eventReader
	lose(t, server, both, func() {
		lost = append(lost, a.post(t, "s", text, "lost 3 ").offset(), a.post(t, "s", text, "lost 4").offset())
		for _, n := range []string{"3", "4", "5"} {
			lostGrown = append(lostGrown, a.post(t, "grown", text, "lost "+n).offset())
		}
		closed = a.must(t, 204, http.MethodPost, "closed", "lost", "Content-Type", text, "Stream-Closed", "true").offset()
		for _, g := range both { // the pages are in their caches
			g.get(t, "s")
			g.get(t, "closed")
			r := g.get(t, "s?offset="+kept)
			require.Equal(t, "lost 3 lost 4", r.body)
			tag = r.header.Get("ETag")
			whole = g.get(t, "s").header.Get("ETag")
			g.must(t, 304, http.MethodGet, "s?offset="+kept, "", "If-None-Match", tag)
		}
		open = a.events(t, "s?live=sse&offset="+lost[1])
		_, ok := open.next()
		require.True(t, ok)
	})
	refused := func(path string, offsets ...string) {
		t.Helper()
		for _, g := range both {
			for _, offset := range offsets {
				for _, live := range []string{"", "&live=long-poll", "&live=sse"} {
					g.must(t, 410, http.MethodGet, path+"?offset="+offset+live, "")
				}
				g.must(t, 412, http.MethodPost, path, "x", "Content-Type", text, "If-Match", `"`+offset+`"`)
				g.must(t, 400, http.MethodPut, "fork", "", "Stream-Forked-From", "/v1/stream/"+path, "Stream-Fork-Offset", offset)
			}
		}
	}
	refused("s", lost...)
	refused("closed", closed)
	_, ok := open.next()
	require.False(t, ok, "an event stream went on after a loss")
	for _, g := range both {
		require.Equal(t, "12", g.get(t, "s").body)
		require.Equal(t, "", g.get(t, "s?offset="+kept).body)
		require.Empty(t, g.must(t, 200, http.MethodHead, "closed", "").header.Get("Stream-Closed"))
	}
	// The log grows over what was lost, to the same length and beyond it.
	for i := range 5 {
		b.post(t, "s", text, fmt.Sprint("new", i, " "))
		refused("s", lost...)
		r := []*reply{a.get(t, "s?offset="+kept), b.get(t, "s?offset="+kept)}
		require.NotContains(t, r[0].body, "lost")
		require.Equal(t, r[0].body, r[1].body)
		require.Equal(t, r[0].header.Get("ETag"), r[1].header.Get("ETag"))
		for _, g := range both {
			g.must(t, 200, http.MethodGet, "s?offset="+kept, "", "If-None-Match", tag)
			g.must(t, 200, http.MethodGet, "s", "", "If-None-Match", whole)
			require.True(t, strings.HasPrefix(g.get(t, "s").body, "12new0"))
		}
	}
	// One append of the same length as what was lost.
	b.post(t, "grown", text, "a")
	b.post(t, "grown", text, "b")
	b.post(t, "grown", text, "c")
	refused("grown", lostGrown...)
	for _, g := range both {
		require.Equal(t, "abc", g.get(t, "grown?offset="+keptGrown).body)
	}
	at := b.get(t, "s").offset()
	b.must(t, 204, http.MethodPost, "s", "x", "Content-Type", text, "If-Match", `"`+at+`"`)
	b.must(t, 201, http.MethodPut, "fork", "", "Stream-Forked-From", "/v1/stream/s", "Stream-Fork-Offset", kept)
	a.must(t, 410, http.MethodGet, "fork?offset="+lost[0], "")
	require.Equal(t, "12", a.get(t, "fork").body)
}

// TestLossOfPages reads again what was kept of the middle of a stream.
func TestLossOfPages(t *testing.T) {
	t.Parallel()
	server := testredis.Start(t, nil)
	a, b := start(t, server.URL(), nil), start(t, server.URL(), nil)
	both := []*gateway{a, b}
	part := strings.Repeat("0123456789abcdef", 1<<15)
	kept := a.put(t, "s", text, "1").offset()
	fill := func(kind string) {
		t.Helper()
		for range 6 {
			a.post(t, "s", text, kind+part)
		}
	}
	var tag, lost string
	lose(t, server, both, func() {
		fill("lost")
		for _, g := range both {
			r := g.get(t, "s?offset="+kept)
			tag, lost = r.header.Get("ETag"), r.offset()
			require.Empty(t, r.header.Get("Stream-Up-To-Date"), "the page ends before the stream does")
			g.must(t, 304, http.MethodGet, "s?offset="+kept, "", "If-None-Match", tag)
		}
	})
	fill("new!")
	for _, g := range both {
		r := g.must(t, 200, http.MethodGet, "s?offset="+kept, "", "If-None-Match", tag)
		require.False(t, strings.Contains(r.body, "lost"))
		g.must(t, 410, http.MethodGet, "s?offset="+lost, "")
	}
}

// TestLossOfLongPoll ends one that waits at the end of what was lost.
func TestLossOfLongPoll(t *testing.T) {
	t.Parallel()
	server := testredis.Start(t, nil)
	a, b := start(t, server.URL(), nil), start(t, server.URL(), nil)
	a.put(t, "s", text, "1")
	polls := make(chan *reply, 2)
	lose(t, server, []*gateway{a, b}, func() {
		lost := a.post(t, "s", text, "lost").offset()
		for _, g := range []*gateway{a, b} {
			go func() {
				r, err := g.try(t.Context(), http.MethodGet, "s?live=long-poll&offset="+lost, "")
				if err != nil {
					r = &reply{}
				}
				polls <- r
			}()
		}
		eventually(t, func(ctx context.Context) error { // both wait
			channels, err := server.Client().PubSubChannels(ctx, "sh:*:s").Result()
			if err == nil && len(channels) == 0 {
				err = errors.New("nobody waits")
			}
			return err
		})
	})
	b.post(t, "s", text, "new")
	for range cap(polls) {
		r := <-polls
		require.Contains(t, []int{410, 503}, r.status, r.body) // 503: it had not been answered before Redis died
	}
}

// TestLossOfSubscription wakes for what came instead of what was handled and lost.
func TestLossOfSubscription(t *testing.T) {
	t.Parallel()
	server := testredis.Start(t, nil)
	g := start(t, server.URL(), loopback)
	g.put(t, "wakes", js, "")
	g.put(t, "jobs/1", text, "1")
	g.subscribe(t, "pool", `{"type":"pull-wake","pattern":"jobs/*","wake_stream":"wakes","lease_ttl_ms":1000}`)
	claim := func() (w wake) {
		t.Helper()
		eventually(t, func(ctx context.Context) error {
			r, err := g.try(ctx, http.MethodPost, "__ds/subscriptions/pool/claim", `{"worker":"w"}`)
			if err == nil && r.status != 200 {
				err = errors.New(r.body)
			}
			if err != nil {
				return err
			}
			return json.Unmarshal([]byte(r.body), &w)
		})
		return w
	}
	ack := func(w wake, offset string) *reply {
		t.Helper()
		return g.do(t, http.MethodPost, "__ds/subscriptions/pool/ack",
			fmt.Sprintf(`{"wake_id":%q,"generation":%d,"done":true,"acks":[{"stream":"jobs/1","offset":%q}]}`, w.ID, w.Generation, offset),
			"Authorization", "Bearer "+w.Token)
	}
	client := server.Client()
	before := map[string]string{}
	keys, err := client.Keys(t.Context(), "sh:*.jobs}:*").Result()
	require.NoError(t, err)
	require.NotEmpty(t, keys)
	for _, key := range keys {
		before[key], err = client.Dump(t.Context(), key).Result()
		require.NoError(t, err)
	}
	var lost string
	for _, body := range []string{"2", "3", "4"} {
		lost = g.post(t, "jobs/1", text, body).offset()
	}
	w := claim()
	require.Equal(t, 200, ack(w, lost).status)
	// The stream is lost; what the subscription noted of it is not.
	for key, value := range before {
		require.NoError(t, client.RestoreReplace(t.Context(), key, 0, value).Err())
	}
	lose(t, server, []*gateway{g}, func() {})
	for _, body := range []string{"new 2", "new 3", "new 4", "new 5"} {
		tail := g.post(t, "jobs/1", text, body).offset()
		w = claim()
		require.Len(t, w.Streams, 1)
		require.Equal(t, 409, ack(w, lost).status, "an offset of what was lost")
		require.Equal(t, tail, w.Streams[0].Tail)
		if body == "new 2" {
			require.Equal(t, "-1", w.Streams[0].Acked, "all of it is to be read again")
		}
		require.Equal(t, 200, ack(w, tail).status)
	}
}
