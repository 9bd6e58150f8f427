package genkit_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/firebase/genkit/go/core"
	"github.com/firebase/genkit/go/genkit"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	hubgenkit "github.com/seed-147127fe/streamhub/genkit"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/live"
)

// redisVariable makes a child of the test binary a server on this Redis.
const redisVariable = "STREAMHUB_GENKIT_REDIS"

func TestMain(m *testing.M) {
	if redis := os.Getenv(redisVariable); redis != "" {
		if err := serve(redis); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

var beats = &live.Options{Heartbeat: time.Second}

// serve is a process with a Genkit flow, until its standard input ends.
func serve(redis string) error {
	ctx := context.Background()
	client, err := hub.NewClient(redis)
	if err != nil {
		return err
	}
	h, err := hub.Open(ctx, client, &hub.Options{Live: beats})
	if err != nil {
		return err
	}
	defer h.Close()
	handler, mux := mount(ctx, h, nil)
	large := mountLarge(ctx, h, mux)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() { _ = http.Serve(listener, mux) }()
	fmt.Println("http://" + listener.Addr().String())
	_, _ = io.Copy(io.Discard, os.Stdin)
	bye, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return errors.Join(handler.Shutdown(bye), large.Shutdown(bye))
}

// order is the input of the flow.
type order struct {
	Chunks  int           `json:"chunks"`
	Every   time.Duration `json:"every"`
	Failure string        `json:"failure,omitempty"`
	Bytes   int           `json:"bytes,omitempty"` // of the large flow's chunk and output
}

// mount serves the flow at /plain with the handler of Genkit, and at /flow with ours.
func mount(ctx context.Context, h *hub.Hub, o *hubgenkit.HandlerOptions) (*hubgenkit.Handler, *http.ServeMux) {
	g := genkit.Init(ctx)
	flow := genkit.DefineStreamingFlow(g, "count", func(ctx context.Context, in order, emit core.StreamCallback[string]) (int, error) {
		for n := range in.Chunks {
			if emit != nil {
				if err := emit(ctx, fmt.Sprint("chunk ", n)); err != nil {
					return 0, err
				}
			}
			select {
			case <-time.After(in.Every):
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}
		switch in.Failure {
		case "":
			return in.Chunks, nil
		case "panic":
			panic("the flow")
		}
		return 0, core.NewPublicError(core.RESOURCE_EXHAUSTED, in.Failure, map[string]any{"tokens": 5})
	})
	manager := hubgenkit.NewStreamManager(h.Store(uuid.Nil).Live("genkit"), nil)
	handler := hubgenkit.NewHandler(ctx, flow, manager, o)
	mux := http.NewServeMux()
	mux.Handle("/plain", genkit.Handler(flow, genkit.WithStreamManager(manager)))
	mux.Handle("/flow", handler)
	return handler, mux
}

// mountLarge serves a flow with a large chunk and a large output at /large/plain and /large/flow.
func mountLarge(ctx context.Context, h *hub.Hub, mux *http.ServeMux) *hubgenkit.Handler {
	flow := genkit.DefineStreamingFlow(genkit.Init(ctx), "large", func(ctx context.Context, in order, emit core.StreamCallback[string]) (string, error) {
		for _, text := range []string{"begun", digits(in.Bytes)} {
			if err := emit(ctx, text); err != nil {
				return "", err
			}
		}
		return digits(in.Bytes), nil
	})
	manager := hubgenkit.NewStreamManager(h.Store(uuid.Nil).Live("large"), nil)
	handler := hubgenkit.NewHandler(ctx, flow, manager, nil)
	mux.Handle("/large/plain", genkit.Handler(flow, genkit.WithStreamManager(manager)))
	mux.Handle("/large/flow", handler)
	return handler
}

func digits(n int) string { return strings.Repeat("0123456789", n/10+1)[:n] }

// child starts a server in a process of its own, and returns its URL.
func child(t *testing.T, redis string) (url string, kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), redisVariable+"="+redis)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = in.Close()
		stop := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		defer stop.Stop()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	return strings.TrimSpace(line), func() { _ = cmd.Process.Kill() }
}

// An sseEvent is one event of an answer.
type sseEvent struct {
	id      string
	Message *string
	Result  *int
	Error   *struct{ Status, Message, Details string }
}

// A reader reads the events of an answer.
type reader struct {
	t        *testing.T
	response *http.Response
	lines    *bufio.Scanner
}

func post(t *testing.T, url string, in order, headers ...string) *reader {
	t.Helper()
	body, err := json.Marshal(map[string]order{"data": in})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(string(body)))
	require.NoError(t, err)
	r.Header.Set("Accept", "text/event-stream")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	t.Cleanup(func() { _ = response.Body.Close() })
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 64<<20)
	return &reader{t, response, lines}
}

func (r *reader) id() string { return r.response.Header.Get(hubgenkit.StreamIDHeader) }

// line reads the id and the data of the next event.
func (r *reader) line() (id, data string, ok bool) {
	for r.lines.Scan() {
		line := r.lines.Text()
		if v, is := strings.CutPrefix(line, "id: "); is {
			id = v
		} else if data, is := strings.CutPrefix(line, "data: "); is {
			return id, data, true
		}
	}
	return "", "", false
}

func (r *reader) next() (e sseEvent, ok bool) {
	r.t.Helper()
	id, data, ok := r.line()
	if ok {
		require.NoError(r.t, json.Unmarshal([]byte(data), &e))
	}
	e.id = id
	return e, ok
}

// rest reads to the end: the chunks, which are numbered from first on, and the last event.
func (r *reader) rest(first int) (next int, last sseEvent) {
	r.t.Helper()
	for {
		e, ok := r.next()
		require.True(r.t, ok, "the answer ended after chunk %d without a last event", first)
		if e.Message == nil {
			return first, e
		}
		require.Equal(r.t, fmt.Sprint("chunk ", first), *e.Message)
		first++
	}
}
