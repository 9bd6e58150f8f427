package server_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
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
	"github.com/seed-147127fe/streamhub/server"
	"github.com/seed-147127fe/streamhub/wsgateway"
)

// An operation is one that a client may ask for over some transport. It returns what it was answered:
// ok, permission, or unauthenticated.
type operation struct {
	transport, name string
	// write says which right it needs, whole that it needs it for the store as a whole.
	write, whole bool
	call         func(t *testing.T, url, token string, store uuid.UUID) string
}

// overHTTP makes a request at the path of a store.
func overHTTP(method, path, body string) func(*testing.T, string, string, uuid.UUID) string {
	return func(t *testing.T, url, token string, store uuid.UUID) string {
		t.Helper()
		answer := send(t, method, url+"/stores/"+store.String()+path, token, strings.NewReader(body), "Content-Type", "application/octet-stream")
		switch answer.StatusCode {
		case http.StatusUnauthorized:
			return "unauthenticated"
		case http.StatusForbidden:
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
		require.NoError(t, ws.Write(ctx, websocket.MessageBinary, wire.AppendMessage(nil, wire.TypeOpen, 1, open.Append(nil))))
		reading, enough := context.WithTimeout(ctx, 300*time.Millisecond) // a follower that is let in says nothing
		defer enough()
		for {
			_, data, err := ws.Read(reading)
			if err != nil {
				return "ok"
			}
			for m, err := range wire.Messages(data) {
				require.NoError(t, err)
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

func operations() (all []operation) {
	add := func(transport, name string, write, whole bool, call func(*testing.T, string, string, uuid.UUID) string) {
		all = append(all, operation{transport, name, write, whole, call})
	}
	records := []streamhub.Record{{Payload: []byte("x")}}
	for _, o := range []struct {
		write, whole bool
		request      wire.Request
	}{
		{true, false, &wire.Append{Append: streamhub.Append{Space: "space", Segment: "seg", Records: records}}},
		{true, false, &wire.Create{Space: "space", Segment: "new"}},
		{true, false, &wire.Delete{Space: "space", Segment: "seg"}},
		{true, false, &wire.Trim{Space: "space", Segment: "seg", UpTo: 1}},
		{true, false, &wire.Touch{Space: "space", Segment: "seg"}},
		{false, false, &wire.Status{Space: "space", Segment: "seg"}},
		{false, false, &wire.Peek{Space: "space", Segment: "seg"}},
		{false, false, &wire.SpaceEnd{Space: "space"}},
		{false, false, &wire.Segments{Space: "space"}},
		{false, false, &wire.ConsumeSegment{Space: "space", Segment: "seg"}},
		{false, false, &wire.ConsumeSpace{Space: "space"}},
		{false, false, &wire.Consume{Cursors: map[string]streamhub.Cursor{"space": ""}}},
		{false, false, &wire.Follow{Space: "space", Segment: "seg"}},
		{false, false, &wire.FollowSpace{Space: "space"}},
		{false, false, &wire.SubscribeSegment{Space: "space", Segment: "seg"}},
		{false, false, &wire.SubscribeSpace{Space: "space"}},
		{false, true, &wire.Spaces{}},
		{false, true, &wire.Workers{}},
		{true, true, &wire.JoinWorkers{Worker: streamhub.Worker{ID: uuid.New()}, TTL: time.Minute}},
		{true, true, &wire.AcquireLease{Key: "key", Holder: "me", TTL: time.Minute}},
		{true, true, &wire.RenewLease{Key: "key", Holder: "me", TTL: time.Minute}},
		{true, true, &wire.ReleaseLease{Key: "key", Holder: "me"}},
	} {
		add("websocket", strings.TrimPrefix(fmt.Sprintf("%T", o.request), "*wire."), o.write, o.whole, overOurs(o.request))
	}
	at := map[string]any{"space": "space", "segment": "seg"}
	lease := map[string]any{"key": "key", "holder": "me", "ttl_seconds": 60}
	for _, o := range []struct {
		kind         string
		write, whole bool
		content      map[string]any
	}{
		{"produce", true, false, at}, {"peek", false, false, at}, {"consume", false, false, map[string]any{"offsets": map[string]string{"space": ""}}},
		{"consume_space", false, false, at}, {"consume_segment", false, false, at}, {"get_spaces", false, true, map[string]any{}},
		{"get_segments", false, false, at}, {"subscribe_to_segment_status", false, false, map[string]any{"space": "space", "segment": "seg", "heartbeat_interval_seconds": 1}},
		{"subscribe_workers", true, true, map[string]any{"worker_id": uuid.New(), "heartbeat_interval_seconds": 1}},
		{"lease_acquire", true, true, lease}, {"lease_renew", true, true, lease}, {"lease_release", true, true, lease},
	} {
		add("streamkit", o.kind, o.write, o.whole, overStreamkit(o.kind, o.content))
	}
	stream, subscription := "/v1/stream/space/seg", "/v1/stream/__ds/subscriptions/s"
	for _, o := range []struct {
		method, path, body string
		write, whole       bool
	}{
		{"GET", stream, "", false, false}, {"HEAD", stream, "", false, false}, {"POST", stream, "x", true, false}, {"PUT", stream + "2", "", true, false},
		{"GET", stream + "?offset=now&live=long-poll", "", false, false}, {"GET", stream + "?offset=-1&live=sse", "", false, false},
		{"DELETE", stream, "", true, false},
		{"GET", subscription, "", false, true}, {"DELETE", subscription, "", true, true}, {"POST", subscription + "/claim", "{}", true, true},
		{"PUT", subscription, `{"type":"pull-wake","pattern":"space/*","wake_stream":"space/wake"}`, true, true},
		{"POST", subscription + "/streams", `{"streams":["space/a"]}`, true, true},
		{"DELETE", subscription + "/streams/space/a", "", true, true},
	} {
		add("durable", o.method+" "+o.path, o.write, o.whole, overHTTP(o.method, o.path, o.body))
	}
	const answer = "/v1/live/answer"
	for _, o := range []struct {
		method, path, body string
		write              bool
	}{
		{"GET", answer + "?space=space&wait=0s", "", false}, {"GET", answer + "/status?space=space", "", false},
		{"POST", answer + "?space=space", "x\n", true}, {"POST", answer + "/cancel?space=space&wait=0", "", true}, {"POST", answer + "/messages?space=space", "x", true},
	} {
		add("live", o.method+" "+o.path, o.write, false, overHTTP(o.method, o.path, o.body))
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
	before := dump(t, client)
	for _, o := range all {
		opposite := "write"
		if o.write {
			opposite = "read"
		}
		for name, token := range map[string]string{
			"no token": "", "garbage": "x.y.z", "expired": signUntil(t, "a", time.Now().Add(-time.Minute), "streamkit::*"),
			"other store": sign(t, "a", time.Hour, "streamkit::"+other.String()), "other space": sign(t, "a", time.Hour, scope(store, "other", "*")),
			"other right": sign(t, "a", time.Hour, scope(store, "*", opposite)),
		} {
			want := "permission"
			if name == "no token" || name == "garbage" || name == "expired" {
				want = "unauthenticated"
			}
			require.Equal(t, want, o.call(t, listener.URL, token, store), "%s, %s, %s", o.transport, o.name, name)
		}
		if o.whole {
			require.Equal(t, "permission", o.call(t, listener.URL, sign(t, "a", time.Hour, scope(store, "space", "*")), store), "%s, %s, one space", o.transport, o.name)
		}
	}
	require.Equal(t, before, dump(t, client), "a call that was refused has changed something")
	for _, o := range all { // and the table asks for what there is
		space, right := "space", "read"
		if o.whole {
			space = "*"
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
