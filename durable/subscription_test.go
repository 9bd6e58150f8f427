package durable_test

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/durable"
)

// A wake is what a worker gets.
type wake struct {
	ID         string `json:"wake_id"`
	Generation uint64 `json:"generation"`
	Streams    []struct {
		Path    string `json:"path"`
		Acked   string `json:"acked_offset"`
		Tail    string `json:"tail_offset"`
		Pending bool   `json:"has_pending"`
	} `json:"streams"`
	Token         string `json:"token"`
	CallbackURL   string `json:"callback_url"`
	CallbackToken string `json:"callback_token"`

	signature string
	body      []byte
}

// receiver is a webhook; answer says what it answers to each wake.
func receiver(t *testing.T, answer func(w http.ResponseWriter)) (url string, wakes chan wake) {
	t.Helper()
	wakes = make(chan wake, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var got wake
		if err != nil || json.Unmarshal(body, &got) != nil {
			t.Errorf("%v %s", err, body)
		}
		got.signature, got.body = r.Header.Get("Webhook-Signature"), body
		answer(w)
		wakes <- got
	}))
	t.Cleanup(server.Close)
	return server.URL, wakes
}

func next(t *testing.T, wakes <-chan wake) wake {
	t.Helper()
	select {
	case w := <-wakes:
		return w
	case <-time.After(20 * time.Second):
		t.Fatal("no wake came")
		return wake{}
	}
}

func (g *gateway) subscribe(t *testing.T, id, config string) *reply {
	t.Helper()
	return g.must(t, 201, http.MethodPut, "__ds/subscriptions/"+id, config)
}

var loopback = &durable.Options{LoopbackWebhooks: true}

// TestWebhook signs what it sends, and wakes for what came meanwhile.
func TestWebhook(t *testing.T) {
	t.Parallel()
	a, b := pair(t, loopback)
	url, wakes := receiver(t, func(w http.ResponseWriter) { fmt.Fprint(w, `{}`) })
	a.subscribe(t, "hook", fmt.Sprintf(`{"type":"webhook","pattern":"jobs/**","webhook":{"url":%q}}`, url))
	b.put(t, "jobs/1", text, "x")
	w := next(t, wakes)
	require.Len(t, w.Streams, 1)
	require.Equal(t, "jobs/1", w.Streams[0].Path)
	require.True(t, w.Streams[0].Pending)
	verify(t, b, &w)

	// Meanwhile there is more. Whoever answers says how far he came.
	b.post(t, "jobs/1", text, "y")
	bearer := []string{"Authorization", "Bearer " + w.CallbackToken, "Content-Type", js}
	body := fmt.Sprintf(`{"wake_id":%q,"generation":%d,"done":true,"acks":[{"stream":"jobs/1","offset":%q}]}`, w.ID, w.Generation, w.Streams[0].Tail)
	path := "__ds/subscriptions/hook/callback"
	b.must(t, 401, http.MethodPost, path, body, "Authorization", "Bearer nonsense")
	r := b.must(t, 200, http.MethodPost, path, body, bearer...)
	require.JSONEq(t, `{"ok":true,"next_wake":true}`, r.body)
	b.must(t, 409, http.MethodPost, path, body, bearer...) // it is over

	again := next(t, wakes)
	require.Greater(t, again.Generation, w.Generation)
	require.Equal(t, w.Streams[0].Tail, again.Streams[0].Acked)
	b.must(t, 204, http.MethodDelete, "__ds/subscriptions/hook", "")
	b.must(t, 404, http.MethodGet, "__ds/subscriptions/hook", "")
}

// verify checks a signature as a receiver does, with what the key set says.
func verify(t *testing.T, g *gateway, w *wake) {
	t.Helper()
	var set struct {
		Keys []struct{ X, KID string }
	}
	require.NoError(t, json.Unmarshal([]byte(g.get(t, "__ds/jwks.json").body), &set))
	require.Len(t, set.Keys, 1)
	key, err := base64.RawURLEncoding.DecodeString(set.Keys[0].X)
	require.NoError(t, err)
	parts := map[string]string{}
	for part := range strings.SplitSeq(w.signature, ",") {
		name, value, _ := strings.Cut(part, "=")
		parts[name] = value
	}
	require.Equal(t, set.Keys[0].KID, parts["kid"])
	signature, err := base64.RawURLEncoding.DecodeString(parts["ed25519"])
	require.NoError(t, err)
	require.True(t, ed25519.Verify(key, []byte(parts["t"]+"."+string(w.body)), signature))
	require.False(t, ed25519.Verify(key, []byte(parts["t"]+"."+string(w.body)+" "), signature))
}

// TestWebhookFails calls again what did not answer.
func TestWebhookFails(t *testing.T) {
	t.Parallel()
	g := start(t, "", loopback)
	calls := 0
	url, wakes := receiver(t, func(w http.ResponseWriter) {
		if calls++; calls < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		fmt.Fprint(w, `{"done":true}`)
	})
	g.subscribe(t, "hook", fmt.Sprintf(`{"type":"webhook","streams":["s"],"webhook":{"url":%q}}`, url))
	g.put(t, "s", text, "x")
	first := next(t, wakes)
	for range 2 {
		again := next(t, wakes)
		require.Equal(t, first.ID, again.ID)
	}
	eventually(t, func(ctx context.Context) error {
		r, err := g.try(ctx, http.MethodGet, "__ds/subscriptions/hook", "")
		if err == nil && !strings.Contains(r.body, `"status":"active"`) {
			err = errors.New(r.body)
		}
		return err
	})
	require.Empty(t, wakes)
}

// TestTarpit has the receivers of one store answer nothing: those of another store are called at once.
func TestTarpit(t *testing.T) {
	t.Parallel()
	g := start(t, "", loopback)
	stuck, pits := make(chan struct{}), make(chan struct{}, 100)
	pit := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		pits <- struct{}{}
		select {
		case <-stuck:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(pit.Close)
	t.Cleanup(func() { close(stuck) })
	at := "/stores/" + uuid.NewString() + "/v1/stream/"
	for i := range 40 {
		name := fmt.Sprint("s", i)
		g.must(t, 201, http.MethodPut, at+"__ds/subscriptions/"+name, fmt.Sprintf(`{"type":"webhook","streams":[%q],"webhook":{"url":%q}}`, name, pit.URL))
		g.must(t, 201, http.MethodPut, at+name, "x", "Content-Type", text)
	}
	for range 32 { // every place of that store is taken
		<-pits
	}
	url, wakes := receiver(t, func(w http.ResponseWriter) { fmt.Fprint(w, `{"done":true}`) })
	g.subscribe(t, "hook", fmt.Sprintf(`{"type":"webhook","streams":["s"],"webhook":{"url":%q}}`, url))
	g.put(t, "s", text, "x")
	begun := time.Now()
	next(t, wakes)
	require.Less(t, time.Since(begun), 8*time.Second)
}

// TestWebhookTargets refuses what is not of the open Internet.
func TestWebhookTargets(t *testing.T) {
	t.Parallel()
	open, closed := start(t, "", loopback), start(t, "", nil)
	config := func(url string) string {
		return fmt.Sprintf(`{"type":"webhook","streams":["s"],"webhook":{"url":%q}}`, url)
	}
	for i, url := range []string{
		"http://10.0.0.1/x", "https://10.0.0.1/x", "https://192.168.1.1", "https://172.16.3.4", "https://169.254.169.254/latest/meta-data",
		"https://100.64.0.1", "https://0.0.0.0", "https://[::]", "https://[fd00::1]", "https://[fe80::1%25eth0]", "https://[::ffff:10.0.0.1]",
		"https://[64:ff9b::10.0.0.1]", "https://[::ffff:0:10.0.0.1]", "https://[64:ff9b:1::1]", "https://[4000::1]", "https://[2002:0a00:1::]",
		"https://[2001:0:4136:e378:8000:63bf:f5ff:fffe]", "https://168.63.129.16", "https://[fec0::1]", "https://224.0.0.1", "http://example.com/x", "https://example.com:99999", "https://example.com:0", "ftp://example.com", "https://user:pass@example.com", "not a url", "",
		"https://127.1", "https://2130706433", "https://0x7F000001", "https://0x7f.0.0.0x1.", "https://017700000001", "https://0", "https://example.1",
	} {
		for _, g := range []*gateway{open, closed} {
			g.must(t, 400, http.MethodPut, fmt.Sprint("__ds/subscriptions/r", i), config(url))
		}
	}
	for i, url := range []string{"http://127.0.0.1:1/x", "http://localhost:1/x", "http://[::1]:1/x", "http://127.9.9.9:1"} {
		id := fmt.Sprint("__ds/subscriptions/l", i)
		open.must(t, 201, http.MethodPut, id, config(url))
		closed.must(t, 400, http.MethodPut, id, config(url))
	}
	open.must(t, 400, http.MethodPut, "__ds/subscriptions/text", "{\"type\":\"pull-wake\",\"streams\":[\"s\"],\"wake_stream\":\"w\",\"description\":\"\xff\"}")
	closed.must(t, 201, http.MethodPut, "__ds/subscriptions/public", config("https://example.com/hook"))
}

// TestPull gives each wake to one worker, and to another one when that was silent for too long.
func TestPull(t *testing.T) {
	t.Parallel()
	a, b := pair(t, nil)
	a.put(t, "wakes", js, "")
	a.put(t, "jobs/1", text, "x")
	a.subscribe(t, "pool", `{"type":"pull-wake","pattern":"jobs/*","wake_stream":"wakes","lease_ttl_ms":1000}`)
	claim := func(g *gateway, worker string) *reply {
		return g.do(t, http.MethodPost, "__ds/subscriptions/pool/claim", fmt.Sprintf(`{"worker":%q}`, worker))
	}
	require.Equal(t, 409, claim(a, "none").status, "what was there before is nobody's work")
	for i := range 3 {
		a.post(t, "jobs/1", text, fmt.Sprint(i))
	}
	var w wake
	eventually(t, func(context.Context) error {
		r := claim(b, "one")
		if r.status != 200 {
			return errors.New(r.body)
		}
		return json.Unmarshal([]byte(r.body), &w)
	})
	r := claim(a, "two")
	require.Equal(t, 409, r.status)
	require.Contains(t, r.body, `"current_holder":"one"`)
	// The lease ends without a word of its holder.
	var second wake
	eventually(t, func(context.Context) error {
		r := claim(a, "two")
		if r.status != 200 {
			return errors.New(r.body)
		}
		return json.Unmarshal([]byte(r.body), &second)
	})
	require.Greater(t, second.Generation, w.Generation)
	ack := func(w wake, offset string) *reply {
		return b.do(t, http.MethodPost, "__ds/subscriptions/pool/ack",
			fmt.Sprintf(`{"wake_id":%q,"generation":%d,"done":true,"acks":[{"stream":"jobs/1","offset":%q}]}`, w.ID, w.Generation, offset),
			"Authorization", "Bearer "+w.Token)
	}
	tail := second.Streams[0].Tail
	require.Equal(t, 409, ack(w, tail).status, "the first one is late")
	require.Equal(t, 409, ack(second, tail[:len(tail)-1]+"9").status, "after the end")
	require.Equal(t, 200, ack(second, tail).status)
	require.Equal(t, 409, claim(b, "one").status, "all is done")
	require.Contains(t, a.get(t, "wakes").body, `"subscription_id":"pool"`)
}

// TestWakerDies lets another gateway go on.
func TestWakerDies(t *testing.T) {
	t.Parallel()
	a, b := pair(t, loopback)
	url, wakes := receiver(t, func(w http.ResponseWriter) { fmt.Fprint(w, `{"done":true}`) })
	a.subscribe(t, "hook", fmt.Sprintf(`{"type":"webhook","pattern":"*","lease_ttl_ms":1000,"webhook":{"url":%q}}`, url))
	a.put(t, "s", text, "1")
	require.Equal(t, "s", next(t, wakes).Streams[0].Path)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	require.NoError(t, a.Shutdown(ctx))
	for _, body := range []string{"2", "3"} {
		tail := b.post(t, "s", text, body).offset()
		for next(t, wakes).Streams[0].Tail != tail { // what the first one could not note is sent again
		}
	}
}

// A tally counts what is read of a body.
type tally struct{ read int }

func (b *tally) Read(p []byte) (int, error) {
	b.read += len(p)
	return len(p), nil
}

// TestUnreadBeforeToken sends bodies without an end under tokens that are not those of a wake: nothing of
// them is read.
func TestUnreadBeforeToken(t *testing.T) {
	g := start(t, "", nil)
	for _, action := range []string{"callback", "ack", "release"} {
		for _, token := range []string{"", "x", "a.1.w", "..", strings.Repeat("x", 5000)} {
			body := &tally{}
			r := httptest.NewRequest(http.MethodPost, "/v1/stream/__ds/subscriptions/pool/"+action, body)
			r.Header.Set("Authorization", "Bearer "+token)
			w := httptest.NewRecorder()
			g.ServeHTTP(w, r)
			require.Equal(t, http.StatusUnauthorized, w.Code, "%s %.20s: %s", action, token, w.Body)
			require.Zero(t, body.read, "%s %.20s", action, token)
		}
	}
}

// TestListSubscriptions shows operators what clients do not get: why deliveries fail.
func TestListSubscriptions(t *testing.T) {
	t.Parallel()
	g := start(t, "", loopback)
	url, wakes := receiver(t, func(w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) })
	g.subscribe(t, "hook", fmt.Sprintf(`{"type":"webhook","streams":["s"],"webhook":{"url":%q}}`, url))
	g.subscribe(t, "gone", fmt.Sprintf(`{"type":"webhook","streams":["s"],"webhook":{"url":%q}}`, url))
	g.subscribe(t, "pull", `{"type":"pull-wake","pattern":"jobs/*","wake_stream":"wakes"}`)
	require.NoError(t, durable.RemoveSubscription(t.Context(), g.hub, uuid.Nil, "gone"))
	require.ErrorIs(t, durable.RemoveSubscription(t.Context(), g.hub, uuid.Nil, "gone"), streamhub.ErrNotFound)
	require.ErrorIs(t, durable.RemoveSubscription(t.Context(), g.hub, uuid.Nil, "never"), streamhub.ErrNotFound)
	g.put(t, "s", text, "x")
	next(t, wakes)
	eventually(t, func(ctx context.Context) error {
		s, err := durable.FindSubscription(ctx, g.hub, uuid.Nil, "hook")
		if err == nil && (s.Failures == 0 || !strings.Contains(s.Failure, "503") || s.FailedAt == 0 || s.Webhook != url || len(s.Streams) != 1) {
			err = fmt.Errorf("%+v", s)
		}
		return err
	})
	var ids []string
	for s, err := range durable.Subscriptions(t.Context(), g.hub, uuid.Nil) {
		require.NoError(t, err)
		ids = append(ids, s.ID)
	}
	require.Equal(t, []string{"hook", "pull"}, ids)
	_, err := durable.FindSubscription(t.Context(), g.hub, uuid.Nil, "gone")
	require.ErrorIs(t, err, streamhub.ErrNotFound)
	_, err = durable.FindSubscription(t.Context(), g.hub, uuid.New(), "hook")
	require.ErrorIs(t, err, streamhub.ErrNotFound)
}

// TestUnlinkDeleted: streams that are deleted leave the subscriptions whose pattern took them in. Those that were named stay.
func TestUnlinkDeleted(t *testing.T) {
	t.Parallel()
	a, b := pair(t, loopback)
	url, wakes := receiver(t, func(w http.ResponseWriter) { _, _ = io.WriteString(w, `{"done":true}`) })
	a.put(t, "jobs/old", text, "x")
	a.subscribe(t, "hook", fmt.Sprintf(`{"type":"webhook","pattern":"jobs/*","streams":["named"],"webhook":{"url":%q}}`, url))
	a.put(t, "jobs/new", text, "x")
	require.Equal(t, "jobs/new", next(t, wakes).Streams[0].Path)
	a.put(t, "named", text, "x")
	require.Equal(t, "named", next(t, wakes).Streams[0].Path)
	linked := func(want ...string) {
		t.Helper()
		eventually(t, func(context.Context) error {
			var got struct {
				Streams []struct{ Path string } `json:"streams"`
			}
			if err := json.Unmarshal([]byte(b.get(t, "__ds/subscriptions/hook").body), &got); err != nil {
				return err
			}
			var paths []string
			for _, s := range got.Streams {
				paths = append(paths, s.Path)
			}
			if !slices.Equal(want, paths) {
				return fmt.Errorf("linked: %v", paths)
			}
			return nil
		})
	}
	linked("jobs/new", "jobs/old", "named")
	for _, path := range []string{"jobs/old", "jobs/new", "named"} {
		b.must(t, http.StatusNoContent, http.MethodDelete, path, "")
	}
	linked("named")
	// One that comes again is all to be handled.
	a.put(t, "jobs/old", text, "y")
	w := next(t, wakes)
	require.Equal(t, "jobs/old", w.Streams[0].Path)
	require.Equal(t, "-1", w.Streams[0].Acked)
	linked("jobs/old", "named")
}

// TestWakeNames has streams with unusual names. Each is woken for once and can be acknowledged. A segment that no wake can
// name, from another transport, wakes for nothing and holds up nothing.
func TestWakeNames(t *testing.T) {
	t.Parallel()
	g := start(t, "", loopback)
	g.put(t, "wakes", js, "")
	g.subscribe(t, "all", `{"type":"pull-wake","pattern":"**","wake_stream":"wakes"}`)
	names := map[string]string{
		"p/": "default/p/", "/p": "default//p", "a//b": "default/a//b", "a/b": "default/a/b", "__ds": "default/__ds", " ": " ", "ä": "ä", "*": "*",
	}
	for _, at := range []struct{ space, segment string }{{"a/b", "c"}, {"c/", "d"}, {"__ds", "e"}, {"default", "\xff"}, {"\xfe", "f"}} {
		_, err := g.store().Append(t.Context(), at.space, at.segment, records("x"), nil)
		require.NoError(t, err)
	}
	want, got := []string{}, []string{}
	for segment, path := range names {
		want = append(want, path)
		_, err := g.store().Append(t.Context(), "default", segment, records("x"), nil)
		require.NoError(t, err)
	}
	eventually(t, func(ctx context.Context) error {
		r, err := g.try(ctx, http.MethodPost, "__ds/subscriptions/all/claim", `{"worker":"w"}`, "Content-Type", js)
		var w wake
		if err != nil || r.status != 200 || json.Unmarshal([]byte(r.body), &w) != nil {
			return fmt.Errorf("no claim: %w: %v", err, r)
		}
		acks := []map[string]string{}
		for _, s := range w.Streams {
			got = append(got, s.Path)
			acks = append(acks, map[string]string{"stream": s.Path, "offset": s.Tail})
		}
		body, err := json.Marshal(map[string]any{"wake_id": w.ID, "generation": w.Generation, "done": true, "acks": acks})
		require.NoError(t, err)
		r = g.must(t, 200, http.MethodPost, "__ds/subscriptions/all/ack", string(body), "Content-Type", js, "Authorization", "Bearer "+w.Token)
		if len(got) < len(want) {
			return fmt.Errorf("%q are missing some of %q: %s", got, want, r.body)
		}
		return nil
	})
	require.ElementsMatch(t, want, got)
	r := g.do(t, http.MethodPost, "__ds/subscriptions/all/claim", `{"worker":"w"}`, "Content-Type", js)
	require.Equal(t, 409, r.status, r.body)
	require.Contains(t, r.body, "NO_PENDING_WORK")
}
