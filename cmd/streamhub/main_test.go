package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9/logging"

	"github.com/seed-147127fe/streamhub/hub"
	"github.com/seed-147127fe/streamhub/internal/testredis"
)

// The test binary is also the program, and the command that runs under a lease.
const (
	actVariable = "STREAMHUB_TEST_ACT"
	actMain     = "main"
	actCommand  = "command"
)

func TestMain(m *testing.M) {
	logging.Disable() // main does
	switch os.Getenv(actVariable) {
	case actMain:
		main()
	case actCommand:
		commandUnderLease()
	}
	testredis.Main(m)
}

// commandUnderLease says that it runs and waits for SIGTERM, which it ends with 7. With the argument
// stubborn it ignores it.
func commandUnderLease() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	fmt.Println("token", os.Getenv(tokenVariable), "pid", os.Getpid())
	for range signals {
		if len(os.Args) < 2 || os.Args[1] != "stubborn" {
			os.Exit(7)
		}
	}
}

// patience bounds every wait.
const patience = 30 * time.Second

// rounds is how often a test does what it is about: as a variable says, or n times.
func rounds(t *testing.T, variable string, n int) int {
	t.Helper()
	if text := os.Getenv(variable); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatalf("%s: %v", variable, err)
		}
	}
	return n
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// A result is what a run of the program left.
type result struct {
	code     int
	out, err string
}

// call runs the program in this process.
func call(t *testing.T, in io.Reader, args ...string) result {
	t.Helper()
	if in == nil {
		in = strings.NewReader("")
	}
	var out, err bytes.Buffer
	code := run(within(t), args, in, &out, &err, nil)
	return result{code, out.String(), err.String()}
}

// good runs the program and wants code 0.
func good(t *testing.T, in io.Reader, args ...string) result {
	t.Helper()
	r := call(t, in, args...)
	if r.code != 0 {
		t.Fatalf("streamhub %s: exit %d\n%s", strings.Join(args, " "), r.code, r.err)
	}
	return r
}

// embedded starts an embedded Redis for the test and returns its URL and its only store.
func embedded(t *testing.T) (string, *hub.Store) {
	t.Helper()
	h, err := hub.Open(within(t), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h.RedisURL(), h.Store(uuid.Nil)
}

// openStore opens the store that a URL names.
func openStore(t *testing.T, url string) *hub.Store {
	t.Helper()
	client, err := hub.NewClient(url)
	if err != nil {
		t.Fatal(err)
	}
	h, err := hub.Open(within(t), client, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		_ = client.Close()
	})
	return h.Store(uuid.Nil)
}

// A program is a run of the program as a process of its own.
type program struct {
	t       *testing.T
	cmd     *exec.Cmd
	outPipe io.Closer
	out     *bufio.Reader
	in      io.WriteCloser
	err     *buffer
	once    sync.Once
}

// A buffer may be read while it is written to.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// start starts the program; it is killed at the end of the test, or when it keeps the test waiting for longer than patience.
func start(t *testing.T, env []string, args ...string) *program {
	t.Helper()
	p := &program{t: t, cmd: exec.Command(self(t), args...), err: &buffer{}}
	p.cmd.Env = append(append(os.Environ(), actVariable+"="+actMain), env...)
	p.cmd.Stderr = p.err
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.outPipe, p.out = out, bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		p.wait()
	})
	return p
}

// waited is called, and what it returns is deferred, by what waits for the program. It ends a wait that takes longer than patience. A test that does other
// things meanwhile takes as long as it takes.
func (p *program) waited() (stop func() bool) {
	return time.AfterFunc(patience, func() {
		p.t.Errorf("%s kept the test waiting for %v", strings.Join(p.cmd.Args, " "), patience)
		_ = p.cmd.Process.Kill()
	}).Stop
}

func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// line reads the next line of standard output.
func (p *program) line() string {
	p.t.Helper()
	defer p.waited()()
	line, err := p.out.ReadString('\n')
	if err != nil {
		p.t.Fatalf("standard output: %q, %v; standard error:\n%s", line, err, p.err)
	}
	return strings.TrimSuffix(line, "\n")
}

func (p *program) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// wait waits for the end and returns the code, -1 after a signal.
func (p *program) wait() int {
	p.once.Do(func() {
		defer p.waited()()
		_ = p.cmd.Wait()
	})
	return p.cmd.ProcessState.ExitCode()
}

// rest reads standard output to its end and waits.
func (p *program) rest() (string, int) {
	p.t.Helper()
	defer p.waited()()
	out, err := io.ReadAll(p.out)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(out), p.wait()
}

// lastLine returns the last line of text.
func lastLine(text string) string {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	return lines[len(lines)-1]
}

// until polls for a condition of another process.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	ctx := within(t)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("no %s in %v", what, patience)
		}
	}
}

// fresh returns a name that no other run of a test uses.
func fresh(name string) string { return name + "-" + rand.Text()[:8] }

func file(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "input")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
