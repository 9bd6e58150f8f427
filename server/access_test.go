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
	// ("space"), or the store as a whole ("").
	write bool
	about string
	call  func(t *testing.T, url, token string, store uuid.UUID) string
}

// replacedBy is between a token and the one that takes its place on an open connection.
const replacedBy = " replaced by "

// overHTTP makes a request at the path of a store.
func overHTTP(method, path, body string) func(*testing.T, string, string, uuid.UUID) string {
	return func(t *testing.T, url, token string, store uuid.UUID) string {
		t.Helper()
		answer := send(t, method, url+"/stores/"+store.String()+path, token, strings.NewReader(body), "Content-Type", "application/octet-stream")
		switch answer.StatusCode {
		case http.StatusUnauthorized:
			return "unauthenticated"
		case http.StatusForbidden:
			if why, _ := io.ReadAll(answer.Body); bytes.Contains(why, []byte("Streamhub-Producer")) {
				return "ok" // the right is there, and what only the producer has is missing
			}
			return "permission"
		}
		return "ok"
	}
}

// overOurs opens a channel of streamhub.v1.
func overOurs(r wire.Request) func(*testing.T, string, string, uuid.UUID) string {
	return func(t *testing.T, url, token string, store uuid.UUID) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		o := &websocket.DialOptions{Subprotocols: []string{wire.Subprotocol}}
		token, narrower, replaced := strings.Cut(token, replacedBy)
		if token != "" {
			o.HTTPHeader = http.Header{"Authorization": {"Bearer " + token}}
		}
		ws, answer, err := websocket.Dial(ctx, url+"/streamz", o)
		if err != nil {
			require.NotNil(t, answer, "%v", err)
			require.Equal(t, http.StatusUnauthorized, answer.StatusCode)
			return "unauthenticated"
		}
		defer func() { _ = ws.CloseNow() }()
		open := wire.Open{Store: store, Credit: 1 << 20, Request: r}
		var messages []byte
		if replaced {
			messages = wire.AppendMessage(messages, wire.TypeAuth, 0, wire.AppendToken(nil, narrower))
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
func overStreamkit(kind string, content map[string]any) func(*testing.T, string, string, uuid.UUID) string {
	return func(t *testing.T, url, token string, store uuid.UUID) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		header := http.Header{"Origin": {"http://localhost"}}
		if token != "" {
			header.Set("Authorization", "Bearer "+token)
		}
		ws, answer, err := websocket.Dial(ctx, url+"/streamz", &websocket.DialOptions{HTTPHeader: header})
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
	add := func(transport, name string, write bool, about string, call func(*testing.T, string, string, uuid.UUID) string) {
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

// TestAccess makes every operation over every transport with tokens that do not allow it: it is refused,
// and nothing in Redis has changed.
func TestAccess(t *testing.T) {
	redisServer := testredis.Start(t, nil)
	client := redisServer.Client()
	h, err := hub.Open(t.Context(), client, &hub.Options{SweepEvery: -1})
	require.NoError(t, err)
	tokens, err := wsgateway.NewJWT(wsgateway.JWTOptions{HMACSecret: secret})
	require.NoError(t, err)
	s, err := server.New(h, &server.Options{Auth: tokens, Connections: &wsgateway.Limits{PerSubject: -1}})
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
	all := operations()
	forged := func(o *operation) map[string]string {
		right, opposite := "read", "write"
		if o.write {
			right, opposite = opposite, right
		}
		tokens := map[string]string{
			"no token": "", "garbage": "x.y.z", "expired": signUntil(t, "a", time.Now().Add(-time.Minute), "streamkit::*"),
			"other store": sign(t, "a", time.Hour, "streamkit::"+other.String()), "other space": sign(t, "a", time.Hour, scope(store, "other", "*")),
			"other right":   sign(t, "a", time.Hour, scope(store, "*", opposite)),
			"other segment": sign(t, "a", time.Hour, scope(store, "*::other", "*"), scope(store, "space::se", "*"), scope(store, "*::x*", "*"), scope(store, "space::seg3*", "*")),
		}
		if o.about == "" {
			tokens["one space"] = sign(t, "a", time.Hour, scope(store, "space", "*"))
			tokens["one segment of each space"] = sign(t, "a", time.Hour, scope(store, "*::seg", "*"))
		}
		if o.about == "space" {
			tokens["one segment"] = sign(t, "a", time.Hour, scope(store, "space::seg", "*"), scope(store, "space::s*", "*"))
		}
		if o.transport == "websocket" {
			for _, name := range []string{"other store", "other space", "other right", "other segment"} {
				tokens["replaced by "+name] = sign(t, "a", time.Hour, scope(store, "*", right)) + replacedBy + tokens[name]
			}
		}
		return tokens
	}
	refuse := func() {
		t.Helper()
		for _, o := range all {
			for name, token := range forged(&o) {
				want := "permission"
				if name == "no token" || name == "garbage" || name == "expired" {
					want = "unauthenticated"
				}
				require.Equal(t, want, o.call(t, listener.URL, token, store), "%s, %s, %s", o.transport, o.name, name)
			}
		}
	}
	before := dump(t, client)
	refuse()
	require.Equal(t, before, dump(t, client), "a call that was refused has changed something")

	others := watchAll(t, h, listener.URL, store)
	others.mark("begin")
	refuse()
	others.mark("end") // and nobody hears anything between the two

	for _, o := range all { // and the table asks for what there is
		space, right := "space::"+o.about, "read"
		switch o.about {
		case "":
			space = "*"
		case "space":
			space = "space"
		}
		if o.write {
			right = "write"
		}
		if o.name == "subscribe_workers" {
			right = "*" // it shows the list, too
		}
		require.Equal(t, "ok", o.call(t, listener.URL, sign(t, "a", time.Hour, scope(store, space, right)), store), "%s, %s", o.transport, o.name)
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
