package genkit_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/firebase/genkit/go/core"
	"github.com/firebase/genkit/go/core/x/streaming"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	hubgenkit "github.com/seed-147127fe/streamhub/genkit"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/testredis"
	"github.com/seed-147127fe/streamhub/live"
)

// managers are two of them on one embedded Redis, as two instances have them.
func managers(t *testing.T, o *live.Options) (a, b *hubgenkit.StreamManager) {
	t.Helper()
	if o == nil {
		o = beats
	}
	here, err := hub.Open(t.Context(), nil, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, here.Close()) })
	return managersAt(t, here.RedisURL(), o, nil)
}

func managersAt(t *testing.T, url string, o *live.Options, m *hubgenkit.Options) (a, b *hubgenkit.StreamManager) {
	t.Helper()
	manager := func() *hubgenkit.StreamManager {
		client, err := hub.NewClient(url)
		require.NoError(t, err)
		h, err := hub.Open(t.Context(), client, &hub.Options{Live: o})
		require.NoError(t, err)
		t.Cleanup(func() {
			require.NoError(t, h.Close())
			_ = client.Close()
		})
		return hubgenkit.NewStreamManager(h.Store(uuid.Nil).Live("genkit"), m)
	}
	return manager(), manager()
}

// onEach runs a test on miniredis and on Redis, with the managers of two instances each.
func onEach(t *testing.T, test func(t *testing.T, a, b *hubgenkit.StreamManager)) {
	t.Run("miniredis", func(t *testing.T) {
		a, b := managers(t, nil)
		test(t, a, b)
	})
	t.Run("redis", func(t *testing.T) {
		a, b := managersAt(t, testredis.Start(t, nil).URL(), beats, nil)
		test(t, a, b)
	})
}

// status requires an error of Genkit as its users assert it: without unwrapping.
func status(t *testing.T, err error, want core.StatusName) *core.UserFacingError {
	t.Helper()
	public, ok := err.(*core.UserFacingError) //nolint:errorlint // this is what is promised
	require.True(t, ok, "%T %v", err, err)
	require.Equal(t, want, public.Status)
	return public
}

func chunk(n int) json.RawMessage { return json.RawMessage(fmt.Sprintf(`{"n":%d}`, n)) }

func open(t *testing.T, m streaming.StreamManager, id string) streaming.StreamInput {
	t.Helper()
	in, err := m.Open(t.Context(), id)
	require.NoError(t, err)
	return in
}

// drain reads a subscription to its end.
func drain(t *testing.T, m streaming.StreamManager, id string, pause time.Duration) (chunks []string, last streaming.StreamEvent) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	events, unsubscribe, err := m.Subscribe(ctx, id)
	require.NoError(t, err)
	defer unsubscribe()
	for e := range events {
		if last = e; e.Type == streaming.StreamEventChunk {
			chunks = append(chunks, string(e.Chunk))
		}
		if pause > 0 {
			<-time.After(pause) // a reader that is slow, as is meant
		}
	}
	require.NotEqual(t, streaming.StreamEventChunk, last.Type, "no last event")
	return chunks, last
}

// TestManager is what the tests of the in-memory manager pin down, over two instances.
func TestManager(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, a, b *hubgenkit.StreamManager) {
		_, _, err := b.Subscribe(t.Context(), "none")
		status(t, err, core.NOT_FOUND)
		in := open(t, a, "s")
		_, err = b.Open(t.Context(), "s")
		status(t, err, core.ALREADY_EXISTS)

		// All that is there, and what comes; chunks that are the same are not merged.
		for range 2 {
			require.NoError(t, in.Write(t.Context(), chunk(1)))
		}
		events, unsubscribe, err := b.Subscribe(t.Context(), "s")
		require.NoError(t, err)
		for range 2 {
			require.Equal(t, string(chunk(1)), string((<-events).Chunk))
		}
		require.NoError(t, in.Write(t.Context(), chunk(2)))
		require.Equal(t, string(chunk(2)), string((<-events).Chunk))
		unsubscribe()
		_, more := <-events
		require.False(t, more)
		unsubscribe()

		require.NoError(t, in.Done(t.Context(), json.RawMessage(`"out"`)))
		status(t, in.Write(t.Context(), chunk(3)), core.FAILED_PRECONDITION)
		status(t, in.Done(t.Context(), nil), core.FAILED_PRECONDITION)
		status(t, in.Error(t.Context(), errors.New("x")), core.FAILED_PRECONDITION)
		require.NoError(t, in.Close())
		for _, m := range []*hubgenkit.StreamManager{a, b} {
			chunks, last := drain(t, m, "s", 0)
			require.Equal(t, []string{string(chunk(1)), string(chunk(1)), string(chunk(2))}, chunks)
			require.Equal(t, streaming.StreamEventDone, last.Type)
			require.JSONEq(t, `"out"`, string(last.Output))
		}
		_, err = b.Open(t.Context(), "s")
		status(t, err, core.ALREADY_EXISTS)
	})
}

// TestErrors keeps what an error says, its status and its details too.
func TestErrors(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, a, b *hubgenkit.StreamManager) {
		for i, c := range []struct {
			err     error
			status  core.StatusName
			message string
		}{
			{core.NewPublicError(core.PERMISSION_DENIED, "no", map[string]any{"k": "v"}), core.PERMISSION_DENIED, "no"},
			{fmt.Errorf("why: %w", core.NewPublicError(core.ABORTED, "yes", nil)), core.ABORTED, "yes"},
			{core.NewError(core.UNIMPLEMENTED, "later"), core.UNIMPLEMENTED, "later"},
			{errors.New("plain"), core.INTERNAL, "plain"},
			{errors.New(strings.Repeat("<long>", 1<<18)), core.INTERNAL, strings.Repeat("<long>", 1<<18)},
		} {
			id := fmt.Sprint(i)
			in := open(t, a, id)
			require.NoError(t, in.Error(t.Context(), c.err))
			_, last := drain(t, b, id, 0)
			require.Equal(t, streaming.StreamEventError, last.Type)
			require.Equal(t, c.err.Error(), last.Err.Error(), "the text")
			if i == 0 {
				public := status(t, last.Err, c.status)
				require.Equal(t, map[string]any{"k": "v"}, public.Details)
			}
			var public *core.UserFacingError
			var internal *core.GenkitError
			if errors.As(last.Err, &public) {
				require.Equal(t, c.status, public.Status)
				require.Equal(t, c.message, public.Message)
			} else {
				require.ErrorAs(t, last.Err, &internal)
				require.Equal(t, c.status, internal.Status)
				require.Equal(t, c.message, internal.Message)
			}
		}
		// A text that is not UTF-8 reaches readers as JSON has it.
		broken := open(t, a, "broken")
		require.NoError(t, broken.Error(t.Context(), errors.New("bad \xff byte")))
		_, end := drain(t, b, "broken", 0)
		require.Equal(t, "bad \ufffd byte", end.Err.Error())
		// One that is given up does not let its readers wait.
		in := open(t, a, "closed")
		require.NoError(t, in.Write(t.Context(), chunk(1)))
		require.NoError(t, in.Close())
		chunks, last := drain(t, b, "closed", 0)
		require.Len(t, chunks, 1)
		status(t, last.Err, core.INTERNAL)
		_, err := a.Open(t.Context(), string(make([]byte, live.MaxIDLength+1)))
		status(t, err, core.INVALID_ARGUMENT)
	})
}

// TestSizes are those at which the in-memory manager stalls, loses or hangs.
func TestSizes(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, a, b *hubgenkit.StreamManager) {
		for _, n := range []int{0, 99, 100, 101, 500} {
			id := fmt.Sprint("n", n)
			in := open(t, a, id)
			for i := range n {
				require.NoError(t, in.Write(t.Context(), chunk(i)))
			}
			slow := make(chan int, 1)
			if n == 500 {
				go func() {
					chunks, last := drain(t, b, id, time.Millisecond)
					if last.Type != streaming.StreamEventDone {
						t.Errorf("%+v", last)
					}
					slow <- len(chunks)
				}()
			}
			require.NoError(t, in.Done(t.Context(), json.RawMessage(fmt.Sprint(n))))
			chunks, last := drain(t, b, id, 0)
			require.Len(t, chunks, n)
			require.Equal(t, fmt.Sprint(n), string(last.Output))
			if n == 500 {
				require.Equal(t, n, <-slow)
			}
		}
	})
}

// TestContext ends a subscription with its context.
func TestContext(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, a, b *hubgenkit.StreamManager) {
		in := open(t, a, "s")
		ctx, cancel := context.WithCancel(t.Context())
		events, _, err := b.Subscribe(ctx, "s")
		require.NoError(t, err)
		cancel()
		_, more := <-events
		require.False(t, more)

		// Every call says that its ctx ended, and the stream can still be ended.
		_, _, err = a.Subscribe(ctx, "s")
		require.Equal(t, context.Canceled, err)
		require.Equal(t, context.Canceled, in.Write(ctx, chunk(1)))
		require.Equal(t, context.Canceled, in.Done(ctx, chunk(2)))
		require.Equal(t, context.Canceled, in.Error(ctx, errors.New("x")))
		require.NoError(t, in.Done(t.Context(), chunk(3)))
		_, last := drain(t, b, "s", 0)
		require.Equal(t, string(chunk(3)), string(last.Output))
	})
}

// TestTwoProcesses runs the flow in one process, and resumes in another one.
func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	here, err := hub.Open(t.Context(), nil, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, here.Close()) })
	one, kill := child(t, here.RedisURL())
	two, _ := child(t, here.RedisURL())

	for _, path := range []string{"/plain", "/flow"} {
		first := post(t, one+path+"?stream=true", order{Chunks: 20, Every: 10 * time.Millisecond})
		require.NotEmpty(t, first.id())
		e, ok := first.next()
		require.True(t, ok)
		second := post(t, two+path, order{}, hubgenkit.StreamIDHeader, first.id())
		n, last := second.rest(0)
		require.Equal(t, 20, n)
		require.Equal(t, 20, *last.Result)
		n, last = first.rest(1)
		require.Equal(t, 20, n)
		require.Equal(t, 20, *last.Result)
		again := post(t, two+path, order{}, hubgenkit.StreamIDHeader, first.id())
		n, _ = again.rest(0)
		require.Equal(t, 20, n)
		if path == "/flow" {
			require.Equal(t, first.id(), again.id())
			resumed := post(t, two+path, order{}, hubgenkit.StreamIDHeader, first.id(), "Last-Event-ID", e.id)
			n, end := resumed.rest(1)
			require.Equal(t, 20, n)
			done := post(t, two+path, order{}, hubgenkit.StreamIDHeader, first.id(), "Last-Event-ID", end.id)
			require.Equal(t, http.StatusNoContent, done.response.StatusCode)
		}
		none := post(t, two+path, order{}, hubgenkit.StreamIDHeader, uuid.NewString())
		require.Equal(t, http.StatusNoContent, none.response.StatusCode)
		failed := post(t, one+path, order{Chunks: 1, Failure: "no tokens"})
		_, last = failed.rest(0)
		require.Equal(t, "RESOURCE_EXHAUSTED", last.Error.Status)
		replayed := post(t, two+path, order{}, hubgenkit.StreamIDHeader, failed.id())
		_, last = replayed.rest(0)
		require.Equal(t, "RESOURCE_EXHAUSTED", last.Error.Status)
	}

	// The process of a flow dies: its readers elsewhere hear of it.
	dying := post(t, one+"/flow", order{Chunks: 1000, Every: 10 * time.Millisecond})
	_, ok := dying.next()
	require.True(t, ok)
	reader := post(t, two+"/flow", order{}, hubgenkit.StreamIDHeader, dying.id())
	_, ok = reader.next()
	require.True(t, ok)
	kill()
	_, last := reader.rest(1)
	require.Equal(t, "UNAVAILABLE", last.Error.Status)
}

// TestUnclearStream refuses a parameter that cannot be read.
func TestUnclearStream(t *testing.T) {
	t.Parallel()
	h, err := hub.Open(t.Context(), nil, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	_, mux := mount(t.Context(), h, nil)
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/flow?stream=banana", strings.NewReader(`{"data":{}}`)))
	require.Equal(t, http.StatusBadRequest, w.Code)
	require.Contains(t, w.Body.String(), `stream="banana"`)
}

// TestLateSubscriber joins a running flow of 400 chunks: the first reader is not slower for it.
func TestLateSubscriber(t *testing.T) {
	t.Parallel()
	h, err := hub.Open(t.Context(), nil, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	handler, mux := mount(t.Context(), h, nil)
	server := httptest.NewServer(mux)
	t.Cleanup(func() {
		require.NoError(t, handler.Shutdown(context.WithoutCancel(t.Context())))
		server.Close()
	})
	for _, path := range []string{"/plain", "/flow"} {
		first := post(t, server.URL+path, order{Chunks: 400, Every: 5 * time.Millisecond})
		var late *reader
		longest, before := time.Duration(0), time.Now()
		for n := 0; ; n++ {
			e, ok := first.next()
			require.True(t, ok)
			now := time.Now()
			if n > 150 {
				longest = max(longest, now.Sub(before))
			}
			before = now
			if e.Message == nil {
				require.Equal(t, 400, *e.Result)
				break
			}
			if n == 150 {
				late = post(t, server.URL+path, order{}, hubgenkit.StreamIDHeader, first.id())
				before = time.Now()
			}
		}
		n, last := late.rest(0)
		require.Equal(t, 400, n)
		require.Equal(t, 400, *last.Result)
		t.Logf("%s: the longest silence of the first reader was %v", path, longest)
		require.Less(t, longest, 3*time.Second)
	}
}

// TestOwner gives streams to those who began them, and lets them stop their flows.
func TestOwner(t *testing.T) {
	t.Parallel()
	h, err := hub.Open(t.Context(), nil, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	handler, mux := mount(t.Context(), h, &hubgenkit.HandlerOptions{Owner: func(r *http.Request) (string, error) {
		if who := r.Header.Get("X-User"); who != "" {
			return who, nil
		}
		return "", errors.New("nobody")
	}})
	server := httptest.NewServer(mux)
	t.Cleanup(func() {
		require.NoError(t, handler.Shutdown(context.WithoutCancel(t.Context())))
		server.Close()
	})
	url := server.URL + "/flow"
	require.Equal(t, http.StatusUnauthorized, post(t, url, order{}).response.StatusCode)
	anna := []string{"X-User", "anna"}
	r := post(t, url, order{Chunks: 10_000, Every: time.Millisecond}, anna...)
	_, ok := r.next()
	require.True(t, ok)
	named := []string{hubgenkit.StreamIDHeader, r.id()}
	require.Equal(t, http.StatusNoContent, post(t, url, order{}, append(named, "X-User", "bert")...).response.StatusCode)
	stop := func(who string) int {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, url, nil)
		require.NoError(t, err)
		request.Header.Set(hubgenkit.StreamIDHeader, r.id())
		request.Header.Set("X-User", who)
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		response.Body.Close()
		return response.StatusCode
	}
	require.Equal(t, http.StatusNotFound, stop("bert"))
	require.Equal(t, http.StatusNoContent, stop("anna"))
	_, last := r.rest(1)
	require.Equal(t, "CANCELLED", last.Error.Status)

	_, last = post(t, url, order{Failure: "panic"}, anna...).rest(0)
	require.Equal(t, "INTERNAL_SERVER_ERROR", last.Error.Status)
	plain := post(t, url, order{Chunks: 3}, "X-User", "anna", "Accept", "application/json")
	require.Equal(t, http.StatusOK, plain.response.StatusCode)
	require.Empty(t, plain.id())
}
