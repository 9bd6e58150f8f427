//go:build faults

package integration

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/seed-147127fe/streamhub"
	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/integration/history"
	"github.com/seed-147127fe/streamhub/internal/pause"
)

// A worker is this test binary, run once more as a child with a role. It writes lines of JSON to
// its standard output and ends when its standard input does.
const (
	roleVariable   = "STREAMHUB_WORKER"
	configVariable = "STREAMHUB_WORKER_CONFIG"
	originVariable = "STREAMHUB_WORKER_ORIGIN"
)

var roles = map[string]func(ctx context.Context, config []byte, lines *bufio.Scanner) error{
	"append": appendRole,
	"follow": followRole,
	"lease":  leaseRole,
	"live":   liveRole,
}

// work is the main function of a worker.
func work(role string) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	in, out := io.Pipe()
	go func() {
		_, err := io.Copy(out, os.Stdin)
		cancel()
		out.CloseWithError(err)
	}()
	do := roles[role]
	if do == nil {
		fmt.Fprintf(os.Stderr, "no role %q\n", role)
		return 2
	}
	if err := do(ctx, []byte(os.Getenv(configVariable)), bufio.NewScanner(in)); err != nil {
		fmt.Fprintf(os.Stderr, "worker %s: %v\n", role, err)
		return 1
	}
	return 0
}

// base is what every role needs.
type base struct {
	URL   string
	Store uuid.UUID
	Name  string
	Seed  uint64
}

func (b *base) open(ctx context.Context) (*hub.Store, func(), error) {
	c, err := hub.NewClient(b.URL)
	if err != nil {
		return nil, nil, err
	}
	h, err := hub.Open(ctx, c, &hub.Options{SweepEvery: -1})
	if err != nil {
		_ = c.Close()
		return nil, nil, err
	}
	return h.Store(b.Store), func() {
		_ = h.Close()
		_ = c.Close()
	}, nil
}

// appendConfig is that of a worker that appends. It writes its operations.
type appendConfig struct {
	base
	Space, Segment string
	Goroutines     int
	// Tries is how many appends each goroutine makes; 0 goes on until the input ends.
	Tries int
	// Expect lets each append name the sequence that it is to get.
	Expect bool
	Pause  time.Duration
}

func appendRole(ctx context.Context, config []byte, lines *bufio.Scanner) error {
	var c appendConfig
	if err := json.Unmarshal(config, &c); err != nil {
		return err
	}
	s, done, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer done()
	rec := history.NewRecorder(clock)
	out := bufio.NewWriter(os.Stdout)
	if c.Tries == 0 {
		rec.Tee(os.Stdout) // it may be killed
	} else {
		rec.Tee(out)
	}
	fmt.Fprintln(os.Stderr, "ready")
	lines.Scan() // all begin together
	var all sync.WaitGroup
	for g := range c.Goroutines {
		all.Go(func() {
			r := random(c.Seed, uint64(g))
			client := rec.Client(fmt.Sprintf("%s.%d", c.Name, g), s)
			next := uint64(1)
			for n := 0; (c.Tries == 0 || n < c.Tries) && ctx.Err() == nil; n++ {
				o := &streamhub.AppendOptions{}
				if c.Expect {
					o.ExpectedSequence = next
				}
				result, err := client.Append(context.WithoutCancel(ctx), c.Space, c.Segment, records(r, 1), o)
				var mismatch *streamhub.SequenceError
				if errors.As(err, &mismatch) {
					next = mismatch.Expected
				} else if err == nil {
					next = result.Last + 1
				}
				if c.Pause > 0 && !pause.For(ctx, c.Pause) {
					return
				}
			}
		})
	}
	all.Wait()
	return errors.Join(rec.Err(), out.Flush())
}

// followConfig is that of a worker that follows. It writes what it sees and at last the session
// without it.
type followConfig struct {
	base
	Space, Segment string
	From           uint64
	Cursor         streamhub.Cursor
}

type followLine struct {
	Seen   *history.Seen    `json:",omitempty"`
	Cursor streamhub.Cursor `json:",omitempty"`
	Ended  *history.Session `json:",omitempty"`
}

func followRole(ctx context.Context, config []byte, _ *bufio.Scanner) error {
	var c followConfig
	if err := json.Unmarshal(config, &c); err != nil {
		return err
	}
	s, done, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer done()
	fmt.Fprintln(os.Stderr, "ready")
	out := json.NewEncoder(os.Stdout)
	o := &streamhub.FollowOptions{Cursor: c.Cursor}
	if c.Cursor == "" {
		o.FromSequence = c.From
	}
	var failed error
	f := history.Follow(c.Name, c.Space, c.Segment, c.From, s.FollowSegment(ctx, c.Space, c.Segment, o), clock, func(e *streamhub.Entry) {
		seen := history.See(e, clock())
		failed = errors.Join(failed, out.Encode(followLine{Seen: &seen, Cursor: e.Cursor()}))
	})
	session := f.Session()
	session.Seen = nil
	return errors.Join(failed, out.Encode(followLine{Ended: &session}))
}

// leaseConfig is that of a worker that holds a lease for as long as it can, and appends with its
// token for each line of its input, whether it still has the lease or not.
type leaseConfig struct {
	base
	Space, Segment, Key string
	TTL, Wait           time.Duration
}

type leaseLine struct {
	Token uint64 `json:",omitempty"`
	Lost  bool   `json:",omitempty"`
	// Code is that of an append, "ok" for success.
	Code  streamhub.Code `json:",omitempty"`
	Error string         `json:",omitempty"`
}

func leaseRole(ctx context.Context, config []byte, lines *bufio.Scanner) error {
	var c leaseConfig
	if err := json.Unmarshal(config, &c); err != nil {
		return err
	}
	s, done, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer done()
	fmt.Fprintln(os.Stderr, "ready")
	out := json.NewEncoder(os.Stdout)
	acquire, cancel := context.WithTimeout(ctx, c.Wait)
	defer cancel()
	var token uint64
	for token == 0 {
		l, err := s.AcquireLease(acquire, c.Key, c.TTL)
		switch {
		case err == nil:
			token = l.Token()
			go keep(ctx, l.Renew, c.TTL/3, func() { _ = out.Encode(leaseLine{Lost: true}) })
		case !pause.For(acquire, 20*time.Millisecond):
			return err
		}
	}
	if err := out.Encode(leaseLine{Token: token}); err != nil {
		return err
	}
	r := random(c.Seed, 0)
	for lines.Scan() {
		l := leaseLine{Code: "ok"}
		_, err := s.Append(ctx, c.Space, c.Segment, records(r, 1), &streamhub.AppendOptions{Generation: token})
		if err != nil {
			l.Code, l.Error = streamhub.CodeOf(err), err.Error()
		}
		if err := out.Encode(l); err != nil {
			return err
		}
	}
	return nil
}

// keep renews until it is told that the lease is gone.
func keep(ctx context.Context, renew func(context.Context) error, every time.Duration, gone func()) {
	for pause.For(ctx, every) {
		if err := renew(ctx); errors.Is(err, streamhub.ErrLeaseLost) {
			gone()
			return
		}
	}
}

// A worker is one child.
type worker struct {
	t      *testing.T
	name   string
	config string
	cmd    *exec.Cmd
	in     io.WriteCloser
	lines  chan []byte
	ended  chan struct{}
	err    error // once ended

	mu     sync.Mutex
	output bytes.Buffer
	errors bytes.Buffer
	ready  chan struct{}
}

// start runs a worker that ends with the test, and returns when it says that it is ready.
func start(t *testing.T, role, name string, config any) *worker {
	t.Helper()
	w := launch(t, role, name, config)
	select {
	case <-w.ready:
	case <-w.ended:
		t.Fatalf("worker %s ended: %v\n%s", name, w.err, w.complaints())
	case <-time.After(30 * time.Second):
		t.Fatalf("worker %s is not ready\n%s", name, w.complaints())
	}
	return w
}

func launch(t *testing.T, role, name string, config any) *worker {
	t.Helper()
	text, err := json.Marshal(config)
	require.NoError(t, err)
	w := &worker{t: t, name: name, config: string(text), lines: make(chan []byte, 1<<16), ended: make(chan struct{}), ready: make(chan struct{})}
	program, err := os.Executable()
	require.NoError(t, err)
	w.cmd = exec.Command(program)
	w.cmd.Env = append(os.Environ(), roleVariable+"="+role, configVariable+"="+string(text), originVariable+"="+strconv.FormatInt(origin, 10))
	w.cmd.SysProcAttr = withParent()
	w.in, err = w.cmd.StdinPipe()
	require.NoError(t, err)
	out, err := w.cmd.StdoutPipe()
	require.NoError(t, err)
	bad, err := w.cmd.StderrPipe()
	require.NoError(t, err)

	started := make(chan error, 1)
	go func() {
		// The parent death signal is bound to the thread that started the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(w.ended)
		err := w.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		var reading sync.WaitGroup
		reading.Go(func() { w.read(out) })
		reading.Go(func() { w.listen(bad) })
		reading.Wait()
		w.err = w.cmd.Wait()
	}()
	require.NoError(t, <-started)
	t.Cleanup(func() {
		w.kill()
		if t.Failed() {
			t.Logf("worker %s:\n%s", name, w.complaints())
		}
	})
	return w
}

// read keeps what the child writes and passes its lines on as long as somebody wants them.
func (w *worker) read(out io.Reader) {
	in := bufio.NewReaderSize(out, 1<<16)
	defer close(w.lines)
	for {
		line, err := in.ReadBytes('\n')
		w.mu.Lock()
		w.output.Write(line)
		w.mu.Unlock()
		if err != nil {
			return
		}
		select {
		case w.lines <- line:
		default:
		}
	}
}

func (w *worker) listen(bad io.Reader) {
	in := bufio.NewScanner(bad)
	for in.Scan() {
		if in.Text() == "ready" {
			close(w.ready)
			continue
		}
		w.mu.Lock()
		fmt.Fprintln(&w.errors, in.Text())
		w.mu.Unlock()
	}
}

func (w *worker) complaints() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.TrimSpace(w.errors.String())
}

// written returns all that the child wrote. It is called when the child has ended.
func (w *worker) written() []byte {
	<-w.ended
	w.mu.Lock()
	defer w.mu.Unlock()
	return bytes.Clone(w.output.Bytes())
}

// ops returns the operations of a child that has ended.
func (w *worker) ops() []history.Op {
	w.t.Helper()
	ops, err := history.Decode(bytes.NewReader(w.written()))
	require.NoError(w.t, err, "operations of %s", w.name)
	return ops
}

// tell writes a line to the child.
func (w *worker) tell(line string) {
	w.t.Helper()
	_, err := io.WriteString(w.in, line+"\n")
	require.NoError(w.t, err, "tell %s", w.name)
}

// next reads the next line of the child into v.
func (w *worker) next(v any) {
	w.t.Helper()
	select {
	case line, ok := <-w.lines:
		if !ok {
			w.t.Fatalf("worker %s has ended\n%s", w.name, w.complaints())
		}
		require.NoError(w.t, json.Unmarshal(line, v))
	case <-time.After(30 * time.Second):
		w.t.Fatalf("worker %s says nothing", w.name)
	}
}

// wait returns when the child has ended by itself; it must have ended well.
func (w *worker) wait(limit time.Duration) {
	w.t.Helper()
	select {
	case <-w.ended:
		require.NoError(w.t, w.err, "worker %s: %s", w.name, w.complaints())
	case <-time.After(limit):
		w.t.Fatalf("worker %s did not end within %v", w.name, limit)
	}
}

// stop ends the input of the child and waits for it.
func (w *worker) stop() {
	w.t.Helper()
	_ = w.in.Close()
	w.wait(30 * time.Second)
}

// kill ends the child with SIGKILL and waits for it.
func (w *worker) kill() {
	_ = w.cmd.Process.Kill() // it may have ended
	<-w.ended
	_ = w.in.Close()
}

func (w *worker) pause()  { w.signal(syscall.SIGSTOP) }
func (w *worker) resume() { w.signal(syscall.SIGCONT) }

func (w *worker) signal(sig syscall.Signal) {
	w.t.Helper()
	require.NoError(w.t, w.cmd.Process.Signal(sig), "signal %s", w.name)
}
