package server_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
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

	"github.com/coder/websocket"
	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/testredis"
	"github.com/seed-147127fe/streamhub/internal/wire"
	"github.com/seed-147127fe/streamhub/live"
	"github.com/seed-147127fe/streamhub/server"
	"github.com/seed-147127fe/streamhub/wsgateway"
)

// An operation is one that a client may ask for over some transport. It returns what it was answered:
// ok, permission, or unauthenticated.
type operation struct {
	transport, name string
	// write says which right it needs, and about for what: a segment of the space, a space as a whole
	// ("space"), the store as a whole (""), or everyStore.
	write bool
	about string
	call  call
}

// A call makes an operation in a store.
type call func(t *testing.T, url string, c credential, store uuid.UUID) string

// A credential is what a client shows, "" for none of a kind.
type credential struct {
	bearer, ticket, cookie string
	foreign                bool   // the cookie comes with the page of another origin
	replaced               string // the token that takes the place of the first one on an open connection
}

// present is the URL and the headers of a request with the credential.
func (c *credential) present(url string) (string, http.Header) {
	header := http.Header{}
	if c.bearer != "" {
		header.Set("Authorization", "Bearer "+c.bearer)
	}
	if c.cookie != "" {
		header.Set("Cookie", cookieName+"="+c.cookie)
		header.Set("Sec-Fetch-Site", "same-origin")
		if c.foreign {
			header.Set("Sec-Fetch-Site", "cross-site")
		}
	}
	if c.ticket != "" {
		separator := "?"
		if strings.Contains(url, "?") {
			separator = "&"
		}
		url += separator + "ticket=" + c.ticket
	}
	return url, header
}

const (
	cookieName = "session"
	everyStore = "*"
)

// overHTTP makes a request at the path of a store.
func overHTTP(method, path, body string) call {
	return func(t *testing.T, url string, c credential, store uuid.UUID) string {
		t.Helper()
		url, header := c.present(url + "/stores/" + store.String() + path)
		pairs := []string{"Content-Type", "application/octet-stream"}
		for name := range header {
			pairs = append(pairs, name, header.Get(name))
		}
		answer := send(t, method, url, "", strings.NewReader(body), pairs...)
		switch answer.StatusCode {
		case http.StatusUnauthorized:
			return "unauthenticated"
		case http.StatusForbidden:
			why, _ := io.ReadAll(answer.Body)
			if bytes.Contains(why, []byte("Streamhub-Producer")) {
				return "ok" // the right is there, and what only the producer has is missing
			}
			if method != http.MethodHead { // which has no body
				require.Regexp(t, "the token does not allow to (read|write) the (store|space|segment) |wants a token with the scope ", string(why), "the missing right is named")
			}
			return "permission"
		}
		return "ok"
	}
}

// overOurs opens a channel of streamhub.v1.
func overOurs(r wire.Request) call {
	return func(t *testing.T, url string, c credential, store uuid.UUID) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		o := &websocket.DialOptions{Subprotocols: []string{wire.Subprotocol}}
		url, o.HTTPHeader = c.present(url + "/streamz")
		ws, answer, err := websocket.Dial(ctx, url, o)
		if err != nil {
			require.NotNil(t, answer, "%v", err)
			require.Equal(t, http.StatusUnauthorized, answer.StatusCode)
			return "unauthenticated"
		}
		defer func() { _ = ws.CloseNow() }()
		open := wire.Open{Store: store, Credit: 1 << 20, Request: r}
		var messages []byte
		if c.replaced != "" {
			messages = wire.AppendMessage(messages, wire.TypeAuth, 0, wire.AppendToken(nil, c.replaced))
		}
		require.NoError(t, ws.Write(ctx, websocket.MessageBinary, wire.AppendMessage(messages, wire.TypeOpen, 1, open.Append(nil))))
		reading, enough := context.WithTimeout(ctx, 300*time.Millisecond) // a follower that is let in says nothing
		defer enough()
		for {
			_, data, err := ws.Read(reading)
			if err != nil {
				return "ok"
			}
			for m, err := range wire.Messages(data) {
				require.NoError(t, err)
				if m.Type == wire.TypeAuthResult {
					continue
				}
				if m.Type != wire.TypeEnd {
					return "ok"
				}
				end, err := wire.DecodeEnd(m.Body)
				require.NoError(t, err)
				switch streamhub.CodeOf(end.Err) {
				case streamhub.CodeOf(streamhub.ErrPermissionDenied):
					if !strings.Contains(end.Err.Error(), "the token does not allow to") {
						return "ok" // the right is there, and what only the producer has is missing
					}
					return "permission"
				case streamhub.CodeOf(streamhub.ErrUnauthenticated):
					return "unauthenticated"
				}
				return "ok"
			}
		}
	}
}

// overStreamkit opens a channel of streamkit.
func overStreamkit(kind string, content map[string]any) call {
	return func(t *testing.T, url string, c credential, store uuid.UUID) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		url, header := c.present(url + "/streamz")
		if c.cookie == "" { // a released client; it has no cookies
			header.Set("Origin", "http://localhost")
		}
		ws, answer, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPHeader: header})
		if err != nil {
			require.NotNil(t, answer, "%v", err)
			require.Equal(t, http.StatusUnauthorized, answer.StatusCode)
			return "unauthenticated"
		}
		defer func() { _ = ws.CloseNow() }()
		envelope, err := json.Marshal(map[string]any{"$type": "streamkit://api/v1/" + kind, "content": content})
		require.NoError(t, err)
		frame, err := json.Marshal(map[string]any{"ControlType": "data", "store_id": store, "channel_id": uuid.New(), "payload": envelope})
		require.NoError(t, err)
		require.NoError(t, ws.Write(ctx, websocket.MessageText, frame))
		reading, enough := context.WithTimeout(ctx, 300*time.Millisecond)
		defer enough()
		_, data, err := ws.Read(reading)
		if err != nil {
			return "ok"
		}
		var got struct {
			Payload string `json:"payload"`
		}
		require.NoError(t, json.Unmarshal(data, &got))
		payload, err := base64.StdEncoding.DecodeString(got.Payload)
		require.NoError(t, err)
		if strings.Contains(string(payload), "access denied") {
			return "permission"
		}
		return "ok"
	}
}

// worker is the one that is on the list, and that others ask for.
var worker = uuid.New()

func operations() (all []operation) {
	add := func(transport, name string, write bool, about string, call call) {
		all = append(all, operation{transport, name, write, about, call})
	}
	records := []streamhub.Record{{Payload: []byte("x")}}
	for _, o := range []struct {
		write   bool
		about   string
		request wire.Request
	}{
		{true, "seg", &wire.Append{Append: streamhub.Append{Space: "space", Segment: "seg", Records: records}}},
		{true, "new", &wire.Create{Space: "space", Segment: "new"}},
		{true, "seg", &wire.Delete{Space: "space", Segment: "seg"}},
		{true, "seg", &wire.Trim{Space: "space", Segment: "seg", UpTo: 1}},
		{true, "seg", &wire.Touch{Space: "space", Segment: "seg"}},
		{true, "seg", &wire.Expire{Space: "space", Segment: "seg", TTL: time.Hour}},
		{false, "seg", &wire.Status{Space: "space", Segment: "seg"}},
		{false, "seg", &wire.Peek{Space: "space", Segment: "seg"}},
		{false, "space", &wire.SpaceEnd{Space: "space"}},
		{false, "space", &wire.Segments{Space: "space"}},
		{false, "seg", &wire.ConsumeSegment{Space: "space", Segment: "seg"}},
		{false, "space", &wire.ConsumeSpace{Space: "space"}},
		{false, "space", &wire.Consume{Cursors: map[string]streamhub.Cursor{"space": ""}}},
		{false, "seg", &wire.Follow{Space: "space", Segment: "seg"}},
		{false, "space", &wire.FollowSpace{Space: "space"}},
		{false, "seg", &wire.SubscribeSegment{Space: "space", Segment: "seg"}},
		{false, "space", &wire.SubscribeSpace{Space: "space"}},
		{false, "", &wire.Spaces{}},
		{false, "", &wire.Workers{}},
		{true, "", &wire.JoinWorkers{Worker: streamhub.Worker{ID: worker}, TTL: time.Minute}},
		{true, "", &wire.AcquireLease{Key: "key", Holder: "me", TTL: time.Minute}},
		{true, "", &wire.RenewLease{Key: "key", Holder: "me", TTL: time.Minute}},
		{true, "", &wire.ReleaseLease{Key: "key", Holder: "me"}},
		{true, "another", &wire.LiveStart{Space: "space", ID: "another"}},
		{true, "answer", &wire.LiveResume{Space: "space", ID: "answer", Token: "x"}},
		{true, "answer", &wire.LivePublish{Space: "space", ID: "answer", Token: "x", First: 1, Chunks: [][]byte{[]byte("x")}}},
		{true, "answer", &wire.LiveEnd{Space: "space", ID: "answer", Token: "x", Verdict: streamhub.Verdict{Kind: streamhub.VerdictDone}}},
		{true, "answer", &wire.LiveMetadata{Space: "space", ID: "answer", Token: "x", Metadata: []byte("{}")}},
		{true, "answer", &wire.LiveMessages{Space: "space", ID: "answer", Token: "x"}},
		{false, "answer", &wire.LiveFind{Space: "space", ID: "answer"}},
		{false, "answer", &wire.LiveStatus{Space: "space", ID: "answer", Generation: 1}},
		{false, "answer", &wire.LiveSubscribe{Space: "space", ID: "answer", Generation: 1}},
		{false, "answer", &wire.LiveFollow{Space: "space", IDs: []string{"answer"}}},
		{false, "space", &wire.LiveFollow{Space: "space", IDs: []string{"answer", "other"}}},
		{false, "space", &wire.LiveFollow{Space: "space"}},
		{false, "answer", &wire.LiveWait{Space: "space", ID: "answer", Generation: 1}},
		{true, "answer", &wire.LiveCancel{Space: "space", ID: "answer", Generation: 1, NoWait: true}},
		{true, "answer", &wire.LiveSend{Space: "space", ID: "answer", Generation: 1, Data: []byte("x")}},
		{false, "answer", &wire.LiveActive{Space: "space", IDs: []string{"answer"}}},
		{false, "space", &wire.LiveActive{Space: "space", IDs: []string{"answer", "other"}}},
		{true, "answer", &wire.LiveRemove{Space: "space", ID: "answer", Generation: 1}},
		{false, "space", &wire.LiveList{Space: "space"}},
	} {
		add("websocket", strings.TrimPrefix(fmt.Sprintf("%T", o.request), "*wire."), o.write, o.about, overOurs(o.request))
	}
	at, every := map[string]any{"space": "space", "segment": "seg"}, map[string]any{"space": "space", "segment": "*", "heartbeat_interval_seconds": 1}
	lease := map[string]any{"key": "key", "holder": "me", "ttl_seconds": 60}
	for _, o := range []struct {
		kind    string
		write   bool
		about   string
		content map[string]any
	}{
		{"produce", true, "seg", at}, {"peek", false, "seg", at}, {"consume", false, "space", map[string]any{"offsets": map[string]string{"space": ""}}},
		{"consume_space", false, "space", at}, {"consume_segment", false, "seg", at}, {"get_spaces", false, "", map[string]any{}},
		{"get_segments", false, "space", at}, {"subscribe_to_segment_status", false, "seg", map[string]any{"space": "space", "segment": "seg", "heartbeat_interval_seconds": 1}},
		{"subscribe_to_segment_status", false, "space", every},
		{"subscribe_workers", true, "", map[string]any{"worker_id": worker, "heartbeat_interval_seconds": 1}},
		{"lease_acquire", true, "", lease}, {"lease_renew", true, "", lease}, {"lease_release", true, "", lease},
	} {
		add("streamkit", o.kind, o.write, o.about, overStreamkit(o.kind, o.content))
	}
	stream, subscription := "/v1/stream/space/seg", "/v1/stream/__ds/subscriptions/s"
	for _, o := range []struct {
		method, path, body string
		write              bool
		about              string
	}{
		{"GET", stream, "", false, "seg"}, {"HEAD", stream, "", false, "seg"}, {"POST", stream, "x", true, "seg"}, {"PUT", stream + "2", "", true, "seg2"},
		{"GET", stream + "?offset=now&live=long-poll", "", false, "seg"}, {"GET", stream + "?offset=-1&live=sse", "", false, "seg"},
		{"DELETE", stream, "", true, "seg"},
		{"GET", subscription, "", false, ""}, {"DELETE", subscription, "", true, ""}, {"POST", subscription + "/claim", "{}", true, ""},
		{"PUT", subscription, `{"type":"pull-wake","pattern":"space/*","wake_stream":"space/wake"}`, true, ""},
		{"POST", subscription + "/streams", `{"streams":["space/a"]}`, true, ""},
		{"DELETE", subscription + "/streams/space/a", "", true, ""},
	} {
		add("durable", o.method+" "+o.path, o.write, o.about, overHTTP(o.method, o.path, o.body))
	}
	const answer = "/v1/live/answer"
	for _, o := range []struct {
		method, path, body string
		write              bool
	}{
		{"GET", "/v1/live?space=space", "", false}, {"GET", "/v1/live?space=space&id=answer&id=", "", false}, {"GET", "/v1/live?space=space&id=answer&id=other", "", false},
	} {
		add("live", o.method+" "+o.path, o.write, "space", overHTTP(o.method, o.path, o.body))
	}
	add("live", "PUT another", true, "another", overHTTP("PUT", "/v1/live/another?space=space", ""))
	for _, o := range []struct {
		method, path, body string
		write              bool
	}{
		{"GET", answer + "?space=space&wait=0s", "", false}, {"GET", answer + "/status?space=space", "", false},
		{"GET", "/v1/live?space=space&id=answer", "", false},
		{"POST", answer + "?space=space", "x\n", true}, {"POST", answer + "/cancel?space=space&wait=0", "", true}, {"POST", answer + "/messages?space=space", "x", true},
		{"PUT", answer + "?space=space", "{}", true}, {"PATCH", answer + "?space=space", "{}", true}, {"POST", answer + "/chunks?space=space&first=1", "x", true},
		{"POST", answer + "/end?space=space", `{"kind":"done"}`, true}, {"GET", answer + "/messages?space=space", "", true},
	} {
		add("live", o.method+" "+o.path, o.write, "answer", overHTTP(o.method, o.path, o.body))
	}
	for _, o := range []struct {
		method, path string
		about        string
	}{
		{"GET", "list", ""}, {"GET", "list?space=space", "space"}, {"GET", "workers", ""},
		{"GET", "leases", ""}, {"GET", "live?space=space", "space"}, {"DELETE", "live?space=space&id=never", "space"},
		{"GET", "subscriptions", ""}, {"GET", "subscriptions?id=s", ""}, {"DELETE", "subscriptions?id=s", ""},
		{"DELETE", "store", ""}, {"GET", "instances", everyStore}, {"GET", "overview", everyStore},
	} {
		add("operate", o.method+" "+o.path, o.method == "DELETE", o.about, overHTTP(o.method, "/v1/operate/"+o.path, ""))
	}
	return all
}

// dump is a digest of everything in a Redis.
func dump(t *testing.T, client redis.UniversalClient) string {
	t.Helper()
	ctx := t.Context()
	keys, err := client.Keys(ctx, "*").Result()
	require.NoError(t, err)
	slices.Sort(keys)
	sum := sha256.New()
	for _, key := range keys {
		value, err := client.Dump(ctx, key).Result()
		if errors.Is(err, redis.Nil) {
			continue // it has just expired
		}
		require.NoError(t, err)
		fmt.Fprintf(sum, "%q %q\n", key, value)
	}
	return fmt.Sprintf("%d keys, %x", len(keys), sum.Sum(nil))
}

// TestAccess makes every operation over every transport with tokens, tickets and cookies that do not allow
// it: it is refused, and nothing in Redis has changed.
func TestAccess(t *testing.T) {
	redisServer := testredis.Start(t, nil)
	client := redisServer.Client()
	// The heartbeat of live streams changes keys as well.
	h, err := hub.Open(t.Context(), client, &hub.Options{SweepEvery: -1, Live: &live.Options{Heartbeat: time.Hour}})
	require.NoError(t, err)
	tokens, err := wsgateway.NewJWT(&wsgateway.JWTOptions{HMACSecret: secret})
	require.NoError(t, err)
	s, err := server.New(h, &server.Options{
		Auth: tokens, Cookie: cookieName, TicketKey: secret, // which is not in Redis
		Connections: &wsgateway.Limits{PerSubject: -1},
	})
	require.NoError(t, err)
	listener := httptest.NewServer(s)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, s.Shutdown(ctx))
		listener.Close()
		require.NoError(t, h.Close())
	})
	store, other := uuid.New(), uuid.New()
	_, err = h.Store(store).Append(t.Context(), "space", "seg", []streamhub.Record{{Payload: []byte("x")}, {Payload: []byte("y")}}, nil)
	require.NoError(t, err)
	p, _, err := h.Store(store).Live("space").Register(t.Context(), "answer", nil)
	require.NoError(t, err)
	require.NoError(t, p.Done(t.Context(), nil))
	scope := func(store uuid.UUID, space, right string) string {
		return "streamhub::" + store.String() + "::" + space + "::" + right
	}
	ticket := func(store uuid.UUID, read, write string) credential {
		text, _ := ticketFor(t, listener.URL+"/stores/"+store.String(), sign(t, "a", time.Hour, "streamkit::*"), `{"read":[`+read+`],"write":[`+write+`],"ttl":"5m"}`)
		return credential{ticket: text}
	}
	const everything, others = `"space/*"`, `"space/se","space/x*","space/seg3*"`
	tickets := map[string]credential{
		"other store": ticket(other, everything, everything), "other space": ticket(store, `"other/*"`, `"other/*"`), "other segment": ticket(store, others, others),
		"read": ticket(store, everything, ""), "write": ticket(store, "", everything), "space": ticket(store, everything, everything),
		"one segment": ticket(store, `"space/seg","space/s*"`, `"space/seg"`),
	}
	all := operations()
	forged := func(o *operation) map[string]credential {
		right, opposite := "read", "write"
		if o.write {
			right, opposite = opposite, right
		}
		tokens := map[string]string{
			"garbage": "x.y.z", "expired": signUntil(t, "a", time.Now().Add(-time.Minute), "streamkit::*"),
			"other store": sign(t, "a", time.Hour, "streamkit::"+other.String()), "other space": sign(t, "a", time.Hour, scope(store, "other", "*")),
			"other right":   sign(t, "a", time.Hour, scope(store, "*", opposite)),
			"other segment": sign(t, "a", time.Hour, scope(store, "*::other", "*"), scope(store, "space::se", "*"), scope(store, "*::x*", "*"), scope(store, "space::seg3*", "*")),
		}
		shown := map[string]credential{
			"no token": {}, "ticket: garbage": {ticket: "x.y.z"}, "cookie: foreign page": {cookie: sign(t, "a", time.Hour, "streamkit::*"), foreign: true},
			"ticket: other store": tickets["other store"], "ticket: other space": tickets["other space"],
			"ticket: other segment": tickets["other segment"], "ticket: other right": tickets[opposite],
		}
		switch o.about {
		case everyStore:
			tokens["one store"] = sign(t, "a", time.Hour, scope(store, "*", "*"))
			shown["ticket: space"] = tickets["space"]
		case "":
			tokens["one space"] = sign(t, "a", time.Hour, scope(store, "space", "*"))
			tokens["one segment of each space"] = sign(t, "a", time.Hour, scope(store, "*::seg", "*"))
			shown["ticket: space"] = tickets["space"]
		case "space":
			tokens["one segment"] = sign(t, "a", time.Hour, scope(store, "space::seg", "*"), scope(store, "space::s*", "*"))
			shown["ticket: one segment"] = tickets["one segment"]
		}
		for name, token := range tokens {
			shown[name], shown["cookie: "+name] = credential{bearer: token}, credential{cookie: token}
			if o.transport == "websocket" && strings.HasPrefix(name, "o") {
				shown["replaced by "+name] = credential{bearer: sign(t, "a", time.Hour, scope(store, "*", right)), replaced: token}
			}
		}
		return shown
	}
	refuse := func() {
		t.Helper()
		for _, o := range all {
			for name, shown := range forged(&o) {
				want := "permission"
				for _, unknown := range []string{"no token", "garbage", "expired", "foreign page"} {
					if strings.HasSuffix(name, unknown) {
						want = "unauthenticated"
					}
				}
				require.Equal(t, want, o.call(t, listener.URL, shown, store), "%s, %s, %s", o.transport, o.name, name)
			}
		}
	}
	before := dump(t, client)
	refuse()
	require.Equal(t, before, dump(t, client), "a call that was refused has changed something")

	bystanders := watchAll(t, h, listener.URL, store)
	bystanders.mark("begin")
	refuse()
	bystanders.mark("end") // and nobody hears anything between the two

	for _, o := range all { // and the table asks for what there is
		scopes, right := "", "read"
		if o.write {
			right = "write"
		}
		shown := credential{}
		switch o.about {
		case everyStore:
			scopes = "streamhub::*::*::" + right
		case "":
			scopes = scope(store, "*", right)
		case "space":
			scopes, shown = scope(store, "space", right), tickets[right]
		default:
			scopes, shown = scope(store, "space::"+o.about, right), tickets[right]
		}
		if o.name == "subscribe_workers" {
			scopes = scope(store, "*", "*") // it shows the list, too
		}
		token := sign(t, "a", time.Hour, scopes)
		ways := map[string]credential{"token": {bearer: token}}
		if o.transport != "websocket" && o.transport != "streamkit" { // where most calls that are let in say nothing
			ways["cookie"] = credential{cookie: token}
			if shown.ticket != "" {
				ways["ticket"] = shown
			}
		}
		for name, shown := range ways {
			require.Equal(t, "ok", o.call(t, listener.URL, shown, store), "%s, %s, %s", o.transport, o.name, name)
		}
	}
}

// A bystander is a connection of somebody else.
type bystander struct {
	name  string
	heard chan string // what it is told, pings and such aside
}

// bystanders are connections over all transports, and what they look at.
type bystanders struct {
	t        *testing.T
	h        *hub.Hub
	store    uuid.UUID
	producer live.Producer
	all      []*bystander
	marked   bool
}

// watchAll opens one connection of each kind.
func watchAll(t *testing.T, h *hub.Hub, url string, store uuid.UUID) *bystanders {
	t.Helper()
	b := &bystanders{t: t, h: h, store: store}
	var err error
	b.producer, _, err = h.Store(store).Live("space").Register(t.Context(), "told", nil)
	require.NoError(t, err)
	token := sign(t, "other", time.Hour, "streamkit::*")
	add := func(name string) func(string) {
		one := &bystander{name, make(chan string, 100)}
		b.all = append(b.all, one)
		return func(message string) { one.heard <- message }
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)

	tell := add("websocket")
	ws, _, err := websocket.Dial(ctx, url+"/streamz", &websocket.DialOptions{Subprotocols: []string{wire.Subprotocol}, HTTPHeader: http.Header{"Authorization": {"Bearer " + token}}})
	require.NoError(t, err)
	open := wire.Open{Store: store, Credit: 1 << 20, Request: &wire.Follow{Space: "space", Segment: "seg"}}
	require.NoError(t, ws.Write(ctx, websocket.MessageBinary, wire.AppendMessage(nil, wire.TypeOpen, 1, open.Append(nil))))
	go hear(ctx, ws, tell)

	tell = add("streamkit")
	ws, _, err = websocket.Dial(ctx, url+"/streamz", &websocket.DialOptions{HTTPHeader: http.Header{"Origin": {"http://localhost"}, "Authorization": {"Bearer " + token}}})
	require.NoError(t, err)
	envelope, err := json.Marshal(map[string]any{"$type": "streamkit://api/v1/subscribe_workers", "content": map[string]any{"worker_id": worker, "metadata": map[string]string{"is": "its own"}}})
	require.NoError(t, err)
	frame, err := json.Marshal(map[string]any{"ControlType": "data", "store_id": store, "channel_id": uuid.New(), "payload": envelope})
	require.NoError(t, err)
	require.NoError(t, ws.Write(ctx, websocket.MessageText, frame))
	go hear(ctx, ws, func(message string) {
		var f struct {
			ControlType string
			Payload     []byte `json:"payload"`
		}
		if json.Unmarshal([]byte(message), &f) == nil && (f.ControlType == "ping" || f.ControlType == "pong") {
			return
		}
		tell(string(f.Payload))
	})

	for name, path := range map[string]string{"durable": "/v1/stream/space/seg?offset=now&live=sse", "live": "/v1/live/told?space=space"} {
		tell := add(name)
		answer := send(t, http.MethodGet, url+"/stores/"+store.String()+path, token, nil, "Accept", "text/event-stream")
		require.Equal(t, http.StatusOK, answer.StatusCode)
		go func() {
			for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
				if data, ok := strings.CutPrefix(lines.Text(), "data:"); ok && !strings.Contains(data, "streamNextOffset") {
					tell(data)
				}
			}
		}()
	}
	return b
}

// hear passes on what comes.
func hear(ctx context.Context, ws *websocket.Conn, tell func(string)) {
	for {
		_, data, err := ws.Read(ctx)
		if err != nil {
			if ctx.Err() == nil {
				tell("the connection was closed")
			}
			return
		}
		tell(string(data))
	}
}

// mark changes something that each of them is told of. The first mark passes over what was heard
// before; from then on they hear nothing but marks.
func (b *bystanders) mark(text string) {
	b.t.Helper()
	_, err := b.h.Store(b.store).Append(b.t.Context(), "space", "seg", []streamhub.Record{{Payload: []byte(text)}}, nil)
	require.NoError(b.t, err)
	require.NoError(b.t, b.producer.Publish(b.t.Context(), []byte(text)))
	member, err := b.h.Store(b.store).JoinWorkers(b.t.Context(), streamhub.Worker{ID: uuid.New(), Metadata: map[string]string{"mark": text}}, time.Minute)
	require.NoError(b.t, err)
	b.t.Cleanup(func() { _ = member.Leave(context.Background()) })
	for _, one := range b.all {
		for {
			var heard string
			select {
			case heard = <-one.heard:
			case <-time.After(patience):
				b.t.Fatalf("%s did not hear the mark %q", one.name, text)
			}
			if strings.Contains(heard, text) || strings.Contains(heard, base64.StdEncoding.EncodeToString([]byte(text))) {
				break
			}
			if b.marked {
				b.t.Fatalf("%s heard %q", one.name, heard)
			}
		}
	}
	b.marked = true
}
