package operate_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/archive"
	"github.com/seed-147127fe/streamhub/archive/tier"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/auth"
	"github.com/seed-147127fe/streamhub/internal/operate"
	"github.com/seed-147127fe/streamhub/internal/testredis"
	"github.com/seed-147127fe/streamhub/live"
)

func TestMain(m *testing.M) { testredis.Main(m) }

// A desk is a hub with an archive, and a handler on it.
type desk struct {
	*testing.T
	hub     *hub.Hub
	handler *operate.Handler
	backend archive.Backend
	server  *testredis.Server
}

func newDesk(t *testing.T, o operate.HandlerOptions) *desk {
	t.Helper()
	d := &desk{T: t, backend: archive.NewMemory(), server: testredis.Start(t, nil)}
	var err error
	d.hub, err = hub.Open(t.Context(), d.server.Client(), &hub.Options{
		Archive: d.backend, Archiving: tier.Options{Policy: tier.Policy{Age: 1, KeepLast: 2}, Every: -1, Recent: 1},
		Live: &live.Options{Heartbeat: 100 * time.Millisecond, CancelGrace: 200 * time.Millisecond},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.hub.Close()) })
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	o.View = operate.NewView(ctx, d.hub)
	d.handler = operate.NewHandler(operate.New(d.hub), &o)
	return d
}

// ask makes a request of the nil store and wants a status; the answer goes into v unless that is nil.
func (d *desk) ask(method, what string, status int, v any) string {
	d.Helper()
	w := httptest.NewRecorder()
	d.handler.ServeHTTP(w, httptest.NewRequest(method, "/v1/operate/"+what, nil))
	require.Equal(d, status, w.Code, "%s %s: %s", method, what, w.Body)
	if v != nil {
		require.NoError(d, json.Unmarshal(w.Body.Bytes(), v), "%s", w.Body)
	}
	return w.Body.String()
}

func (d *desk) append(segment string, n int) {
	d.Helper()
	for i := range n {
		_, err := d.hub.Store(uuid.Nil).Append(d.Context(), "space", segment, []streamhub.Record{{Payload: fmt.Appendf(nil, "%s %d", segment, i+1)}}, nil)
		require.NoError(d, err)
	}
}

type rows struct {
	Items []struct {
		Segment  string
		Entries  uint64
		Hot      uint64
		Cold     uint64
		Bytes    int64
		Sequence uint64
		Time     int64 `json:"timestamp"`
		Text     string
	}
	Next     string
	Commands int
}

// TestSizes tells what lies in Redis from what only the archive has, and what the former takes about.
func TestSizes(t *testing.T) {
	t.Parallel()
	d := newDesk(t, operate.HandlerOptions{})
	d.append("moved", 10)
	d.append("small", 1)
	_, _, err := d.hub.Store(uuid.Nil).Create(t.Context(), "space", "none", nil)
	require.NoError(t, err)
	require.NoError(t, d.hub.ArchiveNow(t.Context()))
	var p rows
	d.ask("GET", "segments?space=space", 200, &p)
	require.Len(t, p.Items, 3)
	moved, none, small := p.Items[0], p.Items[1], p.Items[2]
	require.Equal(t, []uint64{10, 2, 8}, []uint64{moved.Entries, moved.Hot, moved.Cold})
	require.Equal(t, []uint64{1, 1, 0}, []uint64{small.Entries, small.Hot, small.Cold})
	require.Equal(t, []uint64{0, 0, 0}, []uint64{none.Entries, none.Hot, none.Cold})
	require.Zero(t, none.Bytes)
	require.Greater(t, moved.Bytes, int64(40))
	require.LessOrEqual(t, p.Commands, 300)
}

// TestJump reads from a sequence, from a time and after a cursor, of a segment and of a space.
func TestJump(t *testing.T) {
	t.Parallel()
	d := newDesk(t, operate.HandlerOptions{})
	d.append("s", 120)
	var all []streamhub.Entry
	for e, err := range d.hub.Store(uuid.Nil).ConsumeSegment(t.Context(), "space", "s", nil) {
		require.NoError(t, err)
		all = append(all, e)
	}
	middle := all[60]
	var along streamhub.Cursor // of the same entry along the space
	for e, err := range d.hub.Store(uuid.Nil).ConsumeSpace(t.Context(), "space", &streamhub.ReadOptions{Limit: 61}) {
		require.NoError(t, err)
		along = e.Cursor()
	}
	earliest := middle.Sequence
	for _, e := range all {
		if e.Timestamp.Equal(middle.Timestamp) {
			earliest = min(earliest, e.Sequence)
		}
	}
	at := url.QueryEscape(middle.Timestamp.Format(time.RFC3339Nano))
	for _, c := range []struct {
		query string
		first uint64
	}{
		{"segment=s", 1}, {"segment=s&from=0", 1}, {"segment=s&from=61", 61}, {"segment=s&from=" + at, earliest}, {"from=" + at, earliest},
		{"segment=s&from=" + string(middle.Cursor()), 62}, {"from=" + string(along), 62},
		{"segment=s&from=2000-01-01T00:00:00Z", 1},
	} {
		var p rows
		d.ask("GET", "entries?space=space&"+c.query, 200, &p)
		require.NotEmpty(t, p.Items, c.query)
		require.Equal(t, c.first, p.Items[0].Sequence, c.query)
		require.Equal(t, fmt.Sprint("s ", c.first), p.Items[0].Text)
	}
	for what, parameter := range map[string]string{
		"entries?space=space&segment=s&from=yesterday": "from", "entries?space=space&from=61": "from", "tail?space=space&from=x": "from",
		"entries?space=a&space=b": "space", "segments?space=space&after=%zz": "query", "live?space=space&ended=yes": "ended",
		"live?space=space&ended": "ended", "subscriptions?id=a&id=b": "id",
	} {
		require.Contains(t, d.ask("GET", what, 400, nil), parameter, what)
	}
	require.Contains(t, d.ask("DELETE", "live?space=space&id=s&generation=x", 400, nil), "generation")
	var p rows
	d.ask("GET", "entries?space=space&segment=s&from=2999-01-01T00:00:00Z", 200, &p)
	require.Empty(t, p.Items)
}

// TestArchive shows what is archived, why it fails, and what a verification finds.
func TestArchive(t *testing.T) {
	t.Parallel()
	d := newDesk(t, operate.HandlerOptions{ReadOnly: true})
	var p struct{ Items []operate.ArchivedRow }
	d.ask("GET", "archive", 200, &p)
	require.Empty(t, p.Items)
	d.append("s", 10)
	_, err := d.hub.Store(uuid.New()).Append(t.Context(), "of another store", "s", []streamhub.Record{{}}, nil)
	require.NoError(t, err)
	require.NoError(t, d.hub.ArchiveNow(t.Context()))
	d.ask("GET", "archive", 200, &p)
	require.Len(t, p.Items, 1)
	a := p.Items[0]
	require.Equal(t, "space", a.Space)
	require.EqualValues(t, 10, a.Entries)
	require.True(t, a.Here)
	require.Empty(t, a.Failure)
	require.Nil(t, a.Verified)
	require.Positive(t, a.Bytes)

	var v operate.Verified
	d.ask("POST", "verify?space=space", 200, &v)
	require.EqualValues(t, 10, v.Entries)
	require.Zero(t, v.Damaged)
	id := archive.SpaceID{Space: "space"}
	items, err := d.backend.List(t.Context(), id, "s!", "", 1)
	require.NoError(t, err)
	data, err := d.backend.Get(t.Context(), id, items[0].Key)
	require.NoError(t, err)
	data[len(data)/2] ^= 1
	require.NoError(t, d.backend.Delete(t.Context(), id, items[0].Key))
	require.NoError(t, d.backend.Put(t.Context(), id, archive.Object{Key: items[0].Key, Data: data}))
	d.ask("POST", "verify?space=space", 200, &v)
	require.Equal(t, 1, v.Damaged)
	require.Len(t, v.Problems, 1)
	d.ask("GET", "archive", 200, &p)
	require.Equal(t, 1, p.Items[0].Verified.Damaged)
	d.ask("POST", "verify?space=never", 404, nil)
	d.ask("POST", "verify?space=", 400, nil)

	// The last error of an archiver that cannot go on.
	m, version, err := d.backend.Manifest(t.Context(), id)
	require.NoError(t, err)
	_, err = d.backend.SetManifest(t.Context(), id, version, m[:len(m)-1])
	require.NoError(t, err)
	d.append("s", 10)
	require.Error(t, d.hub.ArchiveNow(t.Context()))
	d.ask("GET", "archive", 200, &p)
	require.Contains(t, p.Items[0].Failure, "corrupt")
}

// TestCancelLive stops a producer, where something may be changed.
func TestCancelLive(t *testing.T) {
	t.Parallel()
	for _, readOnly := range []bool{true, false} {
		d := newDesk(t, operate.HandlerOptions{ReadOnly: readOnly})
		stopped := make(chan error, 1)
		p, _, err := d.hub.Store(uuid.Nil).Live("live").Register(t.Context(), "answer", &live.RegisterOptions{OnCancel: func(err error) { stopped <- err }})
		require.NoError(t, err)
		if readOnly {
			require.Contains(t, d.ask("DELETE", "live?space=live&id=answer", 403, nil), "--admin-write")
			require.Empty(t, stopped)
			require.NoError(t, p.Done(t.Context(), ""))
			continue
		}
		d.ask("DELETE", "live?space=live&id=answer&generation=x", 400, nil)
		d.ask("DELETE", "live?space=live", 400, nil)
		d.ask("DELETE", "live?space=live&id=none", 404, nil)
		var v streamhub.Verdict
		d.ask("DELETE", "live?space=live&id=answer&reason=enough", 200, &v)
		require.Equal(t, streamhub.VerdictCancelled, v.Kind)
		require.ErrorContains(t, <-stopped, "enough")
	}
}

// TestHistory has what instances reported without asking Redis, and what was seen of it while a page looked.
func TestHistory(t *testing.T) {
	t.Parallel()
	d := newDesk(t, operate.HandlerOptions{})
	var h operate.History
	require.Eventually(t, func() bool {
		d.ask("GET", "history", 200, &h)
		return len(h.Instances) == 1
	}, 20*time.Second, time.Millisecond)
	require.Empty(t, h.Redis)
	var o operate.Overview
	d.ask("GET", "overview", 200, &o)
	require.LessOrEqual(t, o.Commands, 3)
	d.ask("GET", "overview", 200, &o)
	d.ask("GET", "history", 200, &h)
	require.Len(t, h.Redis, 1, "two looks at the same moment are one")
	require.Positive(t, h.Redis[0].Memory)
}

// TestDoctor has the findings of the command of that name, and asks Redis once for all that look.
func TestDoctor(t *testing.T) {
	t.Parallel()
	d := newDesk(t, operate.HandlerOptions{})
	var first, second operate.Examination
	d.ask("GET", "doctor", 200, &first)
	names := map[string]string{}
	for _, c := range first.Checks {
		names[c.Name] = string(c.Level)
	}
	require.Equal(t, "ok", names["connection"])
	require.Equal(t, "ok", names["hub"])
	require.Contains(t, names, "persistence")
	require.Positive(t, first.Commands)
	d.ask("GET", "doctor", 200, &second)
	require.Equal(t, first.At, second.At)
	require.Zero(t, second.Commands)
}

// TestRights asks for the right that each operation documents, before it does anything.
func TestRights(t *testing.T) {
	t.Parallel()
	h, err := hub.Open(t.Context(), nil, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	store := uuid.New()
	_, err = h.Store(store).AcquireLeaseAs(t.Context(), "k", "me", time.Minute)
	require.NoError(t, err)
	asked := ""
	handler := operate.NewHandler(operate.New(h), &operate.HandlerOptions{
		Authorize: func(_ *http.Request, right streamhub.Right) error {
			asked = fmt.Sprint(right.Store == store, " ", right.Space, " ", right.Write)
			return streamhub.ErrPermissionDenied
		},
		AuthorizeAll: func(_ *http.Request, write bool) error {
			asked = fmt.Sprint("all ", write)
			return streamhub.ErrUnauthenticated
		},
	})
	for _, c := range []struct {
		method, what, right string
		status              int
	}{
		{"GET", "leases", "true  false", 403}, {"GET", "live?space=s", "true s false", 403}, {"DELETE", "live?space=s&id=i", "true s true", 403},
		{"GET", "subscriptions", "true  false", 403}, {"DELETE", "subscriptions?id=x", "true  true", 403}, {"DELETE", "store", "true  true", 403},
		{"GET", "instances", "all false", 401}, {"GET", "overview", "all false", 401},
		// Only the console has these.
		{"GET", "stores", "", 404}, {"GET", "segments?space=s", "", 404}, {"GET", "doctor", "", 404}, {"POST", "verify?space=s", "", 404}, {"GET", "none", "", 404},
		{"PUT", "leases", "", 405}, {"POST", "live?space=s", "", 405}, {"GET", "store", "", 405},
	} {
		asked = ""
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(c.method, "/stores/"+store.String()+"/v1/operate/"+c.what, nil))
		require.Equal(t, c.status, w.Code, "%s %s", c.method, c.what)
		require.Equal(t, c.right, asked, "%s %s", c.method, c.what)
		require.Contains(t, w.Body.String(), `"code"`)
		require.Equal(t, c.status == http.StatusMethodNotAllowed, w.Header().Get("Allow") != "", "%s %s", c.method, c.what)
	}
	held := 0
	for _, err := range h.Store(store).Leases(t.Context()) {
		require.NoError(t, err)
		held++
	}
	require.Equal(t, 1, held)
	// A page of another origin may not ask.
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/v1/operate/leases", nil)
	r.Header.Set("Origin", "http://evil.example")
	handler.ServeHTTP(w, r)
	require.Equal(t, 403, w.Code)
	require.Contains(t, w.Body.String(), "evil.example")
}

// TestRemote asks the same through a server.
func TestRemote(t *testing.T) {
	t.Parallel()
	d := newDesk(t, operate.HandlerOptions{})
	server := httptest.NewServer(d.handler)
	t.Cleanup(server.Close)
	remote := operate.NewRemote([]string{server.URL}, "", server.Client())
	store := d.hub.Store(uuid.New())
	_, err := store.AcquireLeaseAs(t.Context(), "k", "me", time.Minute)
	require.NoError(t, err)
	seen := streamhub.Worker{ID: uuid.New(), Metadata: map[string]string{"zone": "a"}}
	member, err := store.JoinWorkers(t.Context(), seen, time.Minute)
	require.NoError(t, err)
	defer func() { require.NoError(t, member.Leave(t.Context())) }()
	listed := d.hub.Store(uuid.New())
	for _, segment := range []string{"a", "b", "c"} {
		_, _, err := listed.Create(t.Context(), "listed/1", segment, nil)
		require.NoError(t, err)
	}
	for _, ops := range []operate.Operations{operate.New(d.hub), remote} {
		spaces, err := ops.Spaces(t.Context(), listed.ID(), "")
		require.NoError(t, err)
		require.Equal(t, []operate.Space{{Space: "listed/1"}}, spaces)
		spaces, err = ops.Spaces(t.Context(), listed.ID(), "listed/1")
		require.NoError(t, err)
		require.Empty(t, spaces)
		segments, err := ops.Segments(t.Context(), listed.ID(), "listed/1", "a")
		require.NoError(t, err)
		require.Len(t, segments, 2)
		require.Equal(t, "b", segments[0].Segment)
		require.Equal(t, streamhub.StateOpen, segments[1].State)
		n := 0
		for w, err := range ops.Workers(t.Context(), store.ID()) {
			require.NoError(t, err)
			require.Equal(t, seen.ID, w.ID)
			require.Equal(t, seen.Metadata, w.Metadata)
			require.WithinDuration(t, time.Now(), w.LastSeen, time.Minute)
			n++
		}
		require.Equal(t, 1, n)
		n = 0
		for l, err := range ops.Leases(t.Context(), store.ID()) {
			require.NoError(t, err)
			require.Equal(t, "me", l.Holder)
			n++
		}
		require.Equal(t, 1, n)
		_, err = ops.CancelLive(t.Context(), store.ID(), "live", "none", 0, "")
		require.ErrorIs(t, err, streamhub.ErrNotFound)
		_, err = ops.Subscription(t.Context(), store.ID(), "none")
		require.ErrorIs(t, err, streamhub.ErrNotFound)
	}
	purged, err := remote.Purge(t.Context(), store.ID())
	require.NoError(t, err)
	require.Equal(t, operate.Purged{Leases: 1}, purged)
	gone := httptest.NewServer(d.handler)
	gone.Close()
	_, err = operate.NewRemote([]string{gone.URL, server.URL + "/"}, "", server.Client()).Instances(t.Context())
	require.NoError(t, err) // it goes on at the second one
	server.Close()
	_, err = remote.Instances(t.Context())
	require.ErrorIs(t, err, streamhub.ErrUnavailable)
}

// TestReserved says of the store of gateways that it is not served, and not that the gateway does not know the request.
func TestReserved(t *testing.T) {
	d := newDesk(t, operate.HandlerOptions{})
	server := httptest.NewServer(d.handler)
	t.Cleanup(server.Close)
	require.True(t, operate.Owns("/stores/"+auth.Internal.String()+"/v1/operate/leases"))
	for _, err := range operate.NewRemote([]string{server.URL}, "", server.Client()).Leases(t.Context(), auth.Internal) {
		require.ErrorIs(t, err, streamhub.ErrPermissionDenied)
		require.NotContains(t, err.Error(), "older")
		return
	}
	t.Fatal("it is served")
}
