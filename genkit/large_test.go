package genkit_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/firebase/genkit/go/core"
	"github.com/firebase/genkit/go/core/x/streaming"
	"github.com/firebase/genkit/go/genkit"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	hubgenkit "github.com/seed-147127fe/streamhub/genkit"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/testredis"
	"github.com/seed-147127fe/streamhub/live"
)

func text(of string, n int) string { return `"` + strings.Repeat(of, n/len(of)) + `"` }

// TestBytes gives back chunks and outputs as they came, of any size.
func TestBytes(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, a, b *hubgenkit.StreamManager) {
		for i, of := range []string{
			`{ "a" : "<b>&" ,` + "\n" + ` "n":1.0 }`, `null`, ` 1`, `no JSON`, "\x1e", "\x1eo\x03{}", "\u2028", "",
			`{"streamhub.genkit":"the output is in the last chunks of the stream"}`,
			text("<", 180<<10), text("x", 1<<20), text("<&>", 5<<20), text("0123456789", 50<<20),
		} {
			id := fmt.Sprint("bytes", i)
			in := open(t, a, id)
			require.NoError(t, in.Write(t.Context(), json.RawMessage(of)))
			require.NoError(t, in.Write(t.Context(), chunk(1)))
			require.NoError(t, in.Done(t.Context(), json.RawMessage(of)))
			chunks, last := drain(t, b, id, 0)
			require.Len(t, chunks, 2)
			require.True(t, of == chunks[0], "chunk %d: %.50q", i, chunks[0])
			require.Equal(t, string(chunk(1)), chunks[1])
			require.Equal(t, streaming.StreamEventDone, last.Type, "%v", last.Err)
			require.True(t, of == string(last.Output), "output %d: %.50q", i, last.Output)
		}
	})
}

// TestSmallChunks has a hub that takes small records only.
func TestSmallChunks(t *testing.T) {
	t.Parallel()
	a, b := managers(t, &live.Options{MaxChunkBytes: 1000})
	in := open(t, a, "s")
	want := text("abc", 100_000)
	require.NoError(t, in.Write(t.Context(), json.RawMessage(want)))
	require.NoError(t, in.Done(t.Context(), json.RawMessage(want)))
	chunks, last := drain(t, b, "s", 0)
	require.Equal(t, []string{want}, chunks)
	require.Equal(t, want, string(last.Output))
}

// TestNeverStored ends a stream as failed when something of it can never be stored, whatever its writer
// makes of the error.
func TestNeverStored(t *testing.T) {
	t.Parallel()
	h, err := hub.Open(t.Context(), nil, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	m := hubgenkit.NewStreamManager(h.Store(uuid.Nil).Live("genkit"), &hubgenkit.Options{MaxBytes: 1000})
	large := json.RawMessage(text("x", 1000))

	in := open(t, m, "output")
	status(t, in.Done(t.Context(), large), core.INVALID_ARGUMENT)
	require.NoError(t, in.Error(t.Context(), errors.New("later")))
	require.NoError(t, in.Close())
	_, last := drain(t, m, "output", 0)
	require.Contains(t, status(t, last.Err, core.INVALID_ARGUMENT).Message, "the output cannot be stored: too large")

	in = open(t, m, "chunk")
	require.NoError(t, in.Write(t.Context(), chunk(0)))
	status(t, in.Write(t.Context(), large), core.INVALID_ARGUMENT)
	status(t, in.Write(t.Context(), chunk(1)), core.FAILED_PRECONDITION)
	require.Error(t, in.Done(t.Context(), nil))
	require.NoError(t, in.Close())
	chunks, last := drain(t, m, "chunk", 0)
	require.Equal(t, []string{string(chunk(0))}, chunks)
	require.Contains(t, status(t, last.Err, core.INVALID_ARGUMENT).Message, "the chunk cannot be stored: too large")

	// Genkit's own handler ignores the error of a write.
	g := genkit.Init(t.Context())
	flow := genkit.DefineStreamingFlow(g, "large", func(ctx context.Context, _ order, emit core.StreamCallback[string]) (int, error) {
		for _, n := range []int{1, 2000, 1} {
			if err := emit(ctx, strings.Repeat("x", n)); err != nil {
				return 0, err
			}
		}
		return 3, nil
	})
	server := httptest.NewServer(genkit.Handler(flow, genkit.WithStreamManager(m)))
	t.Cleanup(server.Close)
	first := post(t, server.URL, order{})
	require.Equal(t, http.StatusOK, first.response.StatusCode)
	again := post(t, server.URL, order{}, hubgenkit.StreamIDHeader, first.id())
	e, ok := again.next()
	require.True(t, ok)
	require.Equal(t, "x", *e.Message)
	e, ok = again.next()
	require.True(t, ok)
	require.NotNil(t, e.Error)
	require.Equal(t, "INVALID_ARGUMENT", e.Error.Status)
	require.Contains(t, e.Error.Details, "cannot be stored")
}

// TestHideErrors keeps internal texts from readers, where that is asked for.
func TestHideErrors(t *testing.T) {
	t.Parallel()
	a, _ := managersAt(t, testredis.Start(t, nil).URL(), beats, &hubgenkit.Options{HideErrors: true})
	for i, c := range []struct {
		err  error
		want string
	}{
		{errors.New("the password is x"), "internal error"},
		{core.NewError(core.UNAVAILABLE, "the password is x"), "internal error"},
		{fmt.Errorf("the password is x: %w", core.NewPublicError(core.ABORTED, "no", nil)), "ABORTED: no"},
		{core.NewPublicError(core.ABORTED, "no", nil), "ABORTED: no"},
	} {
		in := open(t, a, fmt.Sprint(i))
		require.NoError(t, in.Error(t.Context(), c.err))
		_, last := drain(t, a, fmt.Sprint(i), 0)
		require.Equal(t, c.want, last.Err.Error())
	}
}

// underWay begins streams over a Redis, each with a chunk that a reader at another process has.
func underWay(t *testing.T, ids []string) (redis *testredis.Server, other streaming.StreamManager, inputs map[string]streaming.StreamInput, readers map[string]<-chan streaming.StreamEvent) {
	t.Helper()
	redis = testredis.Start(t, &testredis.Options{AOF: "always"})
	a, b := managersAt(t, redis.URL(), nil, nil)
	inputs, readers = map[string]streaming.StreamInput{}, map[string]<-chan streaming.StreamEvent{}
	for _, id := range ids {
		inputs[id] = open(t, a, id)
		require.NoError(t, inputs[id].Write(t.Context(), chunk(0)))
		events, unsubscribe, err := b.Subscribe(t.Context(), id)
		require.NoError(t, err)
		t.Cleanup(unsubscribe)
		require.Equal(t, string(chunk(0)), string((<-events).Chunk))
		readers[id] = events
	}
	return redis, b, inputs, readers
}

// TestRedisAway kills and restarts Redis under streams: nothing is lost, a Done that was refused can be
// followed by Done, Error or Close, and nobody hangs.
func TestRedisAway(t *testing.T) {
	t.Parallel()
	ids := []string{"done", "error", "close", "large"}
	redis, b, inputs, readers := underWay(t, ids)
	redis.Kill()
	large := json.RawMessage(text("x", 5<<20))
	for _, id := range ids {
		output := json.RawMessage(`1`)
		if id == "large" {
			output = large
		} else {
			require.NoError(t, inputs[id].Write(t.Context(), chunk(1)))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		require.Error(t, inputs[id].Done(ctx, output), id)
		cancel()
	}
	redis.Restart()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	require.NoError(t, inputs["done"].Done(ctx, json.RawMessage(`1`)))
	require.NoError(t, inputs["error"].Error(ctx, errors.New("plain")))
	require.NoError(t, inputs["close"].Close())
	require.NoError(t, inputs["large"].Done(ctx, large))
	for _, id := range ids {
		var last streaming.StreamEvent
		for e := range readers[id] {
			last = e
		}
		chunks, replayed := drain(t, b, id, 0)
		require.Equal(t, last.Type, replayed.Type)
		switch id {
		case "done":
			require.Len(t, chunks, 2)
			require.Equal(t, `1`, string(last.Output))
		case "large":
			require.Len(t, chunks, 1)
			require.True(t, string(large) == string(last.Output))
		case "error":
			require.EqualError(t, last.Err, "plain")
		default:
			require.Equal(t, streaming.StreamEventError, last.Type)
		}
	}
}

// TestTwoProcessesRedis runs a flow in one process and reads it in another one, while Redis is killed and
// restarted.
func TestTwoProcessesRedis(t *testing.T) {
	t.Parallel()
	redis := testredis.Start(t, &testredis.Options{AOF: "always"})
	one, _ := child(t, redis.URL())
	two, _ := child(t, redis.URL())
	for _, path := range []string{"/plain", "/flow"} {
		first := post(t, one+path, order{Chunks: 100, Every: 10 * time.Millisecond})
		reader := post(t, two+path, order{}, hubgenkit.StreamIDHeader, first.id())
		_, ok := reader.next()
		require.True(t, ok)
		redis.Kill()
		redis.Restart()
		n, last := reader.rest(1)
		require.Equal(t, 100, n)
		require.Equal(t, 100, *last.Result)
		again := post(t, two+path, order{}, hubgenkit.StreamIDHeader, first.id())
		n, _ = again.rest(0)
		require.Equal(t, 100, n)
	}
}

// TestLargeTwoProcesses has a flow with a large chunk and a large output in one process, and readers in another one.
// Redis is killed and restarted in the middle of the chunk, and again in the middle of the output.
func TestLargeTwoProcesses(t *testing.T) {
	t.Parallel()
	redis := testredis.Start(t, &testredis.Options{AOF: "always"})
	one, _ := child(t, redis.URL())
	two, _ := child(t, redis.URL())
	sizes, kills := []int{1 << 20, 5 << 20}, 0
	if os.Getenv("STREAMHUB_SIZES") != "" { // make test-sizes
		sizes = append(sizes, 50<<20)
	}
	for _, path := range []string{"/large/plain", "/large/flow"} {
		for _, size := range sizes {
			redis.Restart() // counts from 0
			first := post(t, one+path, order{Bytes: size})
			want := []string{`{"message":"begun"}`, fmt.Sprintf(`{"message":%q}`, digits(size)), fmt.Sprintf(`{"result":%q}`, digits(size))}
			expect := func(r *reader, want ...string) error {
				for _, w := range want {
					if _, data, _ := r.line(); data != w {
						return fmt.Errorf("%.100q in place of %.50q", data, w)
					}
				}
				return nil
			}
			reader := post(t, two+path, order{}, hubgenkit.StreamIDHeader, first.id())
			require.NoError(t, expect(reader, want[0]))
			var errs [2]error
			read := make(chan struct{})
			go func() {
				defer close(read)
				var wg sync.WaitGroup
				wg.Go(func() { errs[0] = expect(first, want...) }) // Genkit's handler waits for its client
				wg.Go(func() { errs[1] = expect(reader, want[1:]...) })
				wg.Wait()
			}()
			for _, received := range []int{size / 2, size} {
				if redis.KillAfter(int64(received), read) {
					kills++
					redis.Restart()
				}
			}
			<-read
			require.NoError(t, errors.Join(errs[:]...))
			require.NoError(t, expect(post(t, two+path, order{}, hubgenkit.StreamIDHeader, first.id()), want...))
			t.Logf("%s: %d bytes, %d kills so far", path, size, kills)
		}
	}
	require.NotZero(t, kills)
}

// TestEndWhileAway has flows end while Redis is away for longer than a goodbye takes: their readers get the
// result.
func TestEndWhileAway(t *testing.T) {
	t.Parallel()
	redis := testredis.Start(t, &testredis.Options{AOF: "always"})
	client, err := hub.NewClient(redis.URL())
	require.NoError(t, err)
	h, err := hub.Open(t.Context(), client, nil)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, h.Close())
		_ = client.Close()
	})
	handler, mux := mount(t.Context(), h, nil)
	server := httptest.NewServer(mux)
	t.Cleanup(func() {
		require.NoError(t, handler.Shutdown(context.WithoutCancel(t.Context())))
		server.Close()
	})
	first := post(t, server.URL+"/flow", order{Chunks: 2, Every: 100 * time.Millisecond})
	_, ok := first.next()
	require.True(t, ok)
	redis.Kill()
	<-time.After(6 * time.Second)
	redis.Restart()
	n, last := first.rest(1)
	require.Equal(t, 2, n)
	require.NotNil(t, last.Result, "%+v", last.Error)
	require.Equal(t, 2, *last.Result)
}

// TestCloseDuringOutage closes a writer while Redis is away: the call ends in time with an error, and the stream fails
// for its readers once Redis is back, with another call and without one.
func TestCloseDuringOutage(t *testing.T) {
	t.Parallel()
	ids := []string{"closed again", "closed once"}
	redis, _, inputs, readers := underWay(t, ids)
	redis.Kill()
	var wg sync.WaitGroup
	for _, id := range ids {
		wg.Go(func() {
			begun := time.Now()
			if err := inputs[id].Close(); err == nil || time.Since(begun) > time.Minute {
				t.Errorf("%s: %v after %v", id, err, time.Since(begun))
			}
		})
	}
	wg.Wait()
	redis.Restart()
	require.NoError(t, inputs["closed again"].Close())
	require.NoError(t, inputs["closed again"].Close(), "it has ended")
	for _, id := range ids {
		var last streaming.StreamEvent
		for deadline := time.After(time.Minute); last.Type != streaming.StreamEventError; {
			select {
			case e, ok := <-readers[id]:
				require.True(t, ok, "%s: the readers get an end", id)
				last = e
			case <-deadline:
				t.Fatalf("%s: the readers wait on", id)
			}
		}
		require.Error(t, last.Err)
	}
}
